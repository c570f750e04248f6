# Everything that people and CI run. `make` alone lists it. Each target installs what it misses.

PYTHON ?= $(firstword $(shell command -v python3.11 python3 2>/dev/null) python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet
# The lock pins the build backend too, so nothing is fetched but what the lock names.
INSTALL_SELF := $(PIP) --no-deps --no-index --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-config \
           --custom-compile-command "make lock" --group build

# The Pythons of the classifiers; and 3.14, which no classifier claims until the whole suite has run on it.
PYTHONS := $(shell sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml) 3.14
OTHERS := $(filter-out $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null),$(PYTHONS))
PARALLEL = --numprocesses $(JOBS) --maxprocesses 4 --dist loadgroup
# The tests that need only Coatcheck, pytest and Hypothesis, and no server, driver or framework.
BARE := tests/core tests/http tests/model tests/session tests/sessions tests/test_runner.py \
        tests/stores/test_memory.py tests/stores/sqlite/test_contract.py
QUICK := $(BARE) tests/test_runner_async.py tests/test_engine_bites.py tests/test_async_sessions.py \
         tests/test_async_asking.py tests/test_async_cancelled.py tests/test_threads_of_a_request.py
# From Python 3.12 on, dev.lock has a newer Django.
QUICK += $(wildcard tests/frameworks/test_django_*.py)
# The extras whose lowest versions are tested: those with code of ours. Their lock is made anew each time: what it held
# before would hide a bound that was lowered.
LOWEST := demo hug memcached mysql postgresql pyramid redis sql starlette testing tornado

# Options of the targets
# make demo:  PORT=, STORE= (a store's URL); without them the demo's own defaults
# make test:  COVERAGE=1 (with the coverage gate, as CI runs it)
#             JOBS= (test processes; default: one more than cores, since a test often waits for a server; at most 4)
# make lock:  UPGRADE=--upgrade, or "UPGRADE=--upgrade-package flask"
# make bench, make soak: ARGS= (passed on)
PORT ?=
STORE ?=
COVERAGE ?=
JOBS ?= $(shell expr $$(nproc) + 1)
UPGRADE ?=
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-all test-lowest test-wheel test-frameworks test-world dist quick unit coverage check lint types bench soak docs promises behaviours lock format clean \
        system $(OTHERS:%=test-%) $(OTHERS:%=quick-%)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(VENV)/.demo ## run the demo site: PORT=8000 STORE=sqlite:///demo.db
	$(BIN)/coatcheck demo $(if $(PORT),--port $(PORT)) $(if $(STORE),--store $(STORE))

test: check $(if $(COVERAGE),coverage,unit) ## lint, types, and all tests but the soak tests

unit: $(VENV)/.dev system
	$(BIN)/python -m pytest $(PARALLEL)

coverage: $(VENV)/.dev system ## all tests but the soak tests, and the coverage gate; it takes half as long again
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-all: test $(OTHERS:%=test-%) test-lowest test-wheel test-frameworks test-world ## all tests on every Python, with the lowest dependencies, and of the wheel
	@scripts/on-python missing $(OTHERS)

$(OTHERS:%=test-%): test-%: $(VENV)/.dev system
	scripts/on-python $* $(PARALLEL)

test-lowest: $(VENV)/.dev system
	scripts/on-python lowest $(PARALLEL)

test-wheel: $(VENV)/.dev ## build the wheel, test it where nothing else is installed, and follow the README with it
	scripts/on-python wheel $(BARE)

dist: $(VENV)/.dev ## build what is published into dist/, from what is committed, and check it
	scripts/dist

test-frameworks: $(VENV)/.dev ## the HTTP behaviours in frameworks that have no module of ours, and the frameworks' own session tests
	scripts/on-python frameworks $(PARALLEL)

test-world: $(VENV)/.dev ## tutorials, libraries and programs that people have around their sessions, as they are
	scripts/on-python world $(PARALLEL)

quick: $(OTHERS:%=quick-%) ## on the other Pythons, the tests that need no server

$(OTHERS:%=quick-%): quick-%: $(VENV)/.dev
	scripts/on-python $* $(PARALLEL) $(QUICK)

system:
	scripts/install-system browser
	scripts/install-system servers

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

bench: $(VENV)/.dev ## measure beside the alternatives, and write the pages: ARGS="quick", or parts by name
	scripts/install-system servers
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev system ## the long tests, alone
	$(BIN)/pytest -m soak --timeout 0 $(ARGS)

docs: $(VENV)/.dev ## build the documentation into site/; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs site

promises: $(VENV)/.dev ## write docs/reference/promises.md from the markers of the tests
	$(BIN)/python -m tests.promises

behaviours: $(VENV)/.dev system ## run the list of behaviours in every framework, and write docs/reference/behaviours.md
	rm -f build/outcomes.json
	$(BIN)/pytest $(PARALLEL) --outcomes build/outcomes.json $$($(BIN)/python -m tests.behaviours.table tests/frameworks)
	scripts/on-python frameworks $(PARALLEL) --outcomes build/outcomes.json -k thirdparty
	$(BIN)/python -m tests.behaviours.table

lock: $(VENV)/.dev ## compile requirements/*.lock anew from pyproject.toml
	$(COMPILE) --group dev --all-extras $(UPGRADE) --output-file requirements/dev.lock pyproject.toml > /dev/null
	$(COMPILE) --extra demo --constraint requirements/dev.lock --output-file requirements/demo.lock pyproject.toml > /dev/null
	$(COMPILE) --group release --constraint requirements/dev.lock $(UPGRADE) --output-file requirements/release.lock > /dev/null
	$(COMPILE) --group frameworks $(UPGRADE) --output-file requirements/frameworks.lock pyproject.toml > /dev/null
	$(COMPILE) --group world $(UPGRADE) --output-file requirements/world.lock pyproject.toml > /dev/null
	$(COMPILE) $(LOWEST:%=--extra %) --resolution lowest-direct --upgrade --output-file requirements/lowest.lock pyproject.toml > /dev/null

clean: ## remove everything that make and the tools made
	rm -rf $(VENV) $(VENV)-* site dist build htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
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
