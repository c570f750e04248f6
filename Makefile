# Everything that people and CI run. `make` alone lists it. Each target installs what it misses.

PYTHON ?= $(firstword $(shell command -v python3.11 python3 2>/dev/null) python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
# The lock pins the build backend too, so nothing is fetched but what the lock names.
INSTALL_SELF := $(PIP) --no-deps --no-index --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-config \
           --custom-compile-command "make lock" --group build

# Options of the targets
# make demo:  PORT=, STORE= (a store's URL); without them the demo's own defaults
# make test:  JOBS= (test processes; default: one per core, at most 4)
# make lock:  UPGRADE=--upgrade, or "UPGRADE=--upgrade-package flask"
# make bench, make soak: ARGS= (passed on)
PORT ?=
STORE ?=
JOBS ?= auto
UPGRADE ?=
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test unit check lint types bench soak docs promises lock format clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## run the demo site: PORT=8000 STORE=sqlite:///demo.db
	$(BIN)/coatcheck demo $(if $(PORT),--port $(PORT)) $(if $(STORE),--store $(STORE))

test: check unit ## lint, types, all tests but the soak tests, and the coverage gate

unit: $(VENV)/.dev
	scripts/install-system browser
	scripts/install-system servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --maxprocesses 4 --dist loadgroup
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: lint types ## lint, format and types, without the tests

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes coatcheck --ignoreexternal

format: $(VENV)/.dev ## lay out the code, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev ## measure against the budgets
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev ## the long tests, alone
	scripts/install-system browser
	scripts/install-system servers
	$(BIN)/pytest -m soak --timeout 0 $(ARGS)

docs: $(VENV)/.dev ## build the documentation into site/; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs site

promises: $(VENV)/.dev ## write docs/reference/promises.md from the markers of the tests
	$(BIN)/python -m tests.promises

lock: $(VENV)/.dev ## compile requirements/*.lock anew from pyproject.toml
	$(COMPILE) --extra dev $(UPGRADE) --output-file requirements/dev.lock pyproject.toml > /dev/null
	$(COMPILE) --extra demo --constraint requirements/dev.lock --output-file requirements/demo.lock pyproject.toml > /dev/null

clean: ## remove everything that make and the tools made
	rm -rf $(VENV) site dist build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	scripts/install-system venv $(PYTHON)
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.demo: requirements/demo.lock pyproject.toml | $(BIN)/pip
	$(PIP) --only-binary :all: --require-hashes --requirement requirements/demo.lock
	$(INSTALL_SELF)
	@touch $@

# What the tests need holds all that the demo needs, in the same versions.
$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/pip
	$(PIP) --only-binary :all: --require-hashes --requirement requirements/dev.lock
	$(INSTALL_SELF)
	@touch $@ $(VENV)/.demo
