"""The `coatcheck` command."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import pytest

import coatcheck
from coatcheck import Sessions
from coatcheck.cli import command, main
from tests.demo.process import run

SECRET = "LzNAh6yy0bFqEtYxTt0SL2Ve3nJ9nQpmPvWkE1sGd4o"
DAYS = 24 * 60 * 60


@pytest.fixture
def cli():
    runner = click.testing.CliRunner()
    return lambda *arguments: runner.invoke(command(), arguments, prog_name="coatcheck")


@pytest.fixture
def store(tmp_path):
    """A store with two sessions that have expired and one that lives."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    for age in (40 * DAYS, 3 * DAYS, 0):
        with Sessions.from_url(url, secret=SECRET, clock=lambda age=age: time.time() - age) as sessions:
            session = sessions.open(b"")
            session["k"] = "v"
            sessions.close(session)
    return url


def test_the_command_and_the_module_tell_their_version():
    for program in ([str(Path(sys.executable).with_name("coatcheck"))], [sys.executable, "-m", "coatcheck"]):
        done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == f"coatcheck {coatcheck.__version__}\n"


def test_without_a_word_it_lists_what_it_can(cli):
    result = cli()
    for name in ("demo", "secret", "sweep"):
        assert re.search(rf"^  {name} ", result.output, re.MULTILINE)


def test_the_help_of_demo_names_its_defaults(cli):
    help_text = " ".join(cli("demo", "--help").output.split())
    for default in ("8000", "127.0.0.1", "sqlite:///coatcheck-demo.db", "COATCHECK_SECRET"):
        assert default in help_text


def test_a_secret_is_all_that_it_prints_and_good_enough(cli):
    printed = cli("secret").output
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", printed)
    assert printed != cli("secret").output
    Sessions.from_url("memory://", secret=printed.strip())


def test_sweep_removes_what_has_expired_and_says_how_many(cli, store):
    assert cli("sweep", "--store", store).output == "2 expired sessions removed\n"
    assert cli("sweep", "--store", store).output == "0 expired sessions removed\n"
    with Sessions.from_url(store, secret=SECRET) as sessions:
        assert sessions.count() == 1


def test_sweep_counts_one_as_one(cli, tmp_path):
    url = f"sqlite:///{tmp_path}/one.db"
    with Sessions.from_url(
        url, secret=SECRET, prefix="app:", clock=lambda: time.time() - 3 * DAYS
    ) as sessions:
        session = sessions.open(b"")
        session["k"] = "v"
        sessions.close(session)
    assert cli("sweep", "--store", url).output == "0 expired sessions removed\n"
    assert cli("sweep", "--store", url, "--prefix", "app:").output == "1 expired session removed\n"


def test_sweep_does_not_make_the_store_that_a_mistyped_name_names(cli, tmp_path):
    result = cli("sweep", "--store", f"sqlite:///{tmp_path}/typo.db")
    assert result.exit_code == 2
    assert result.stderr == f"coatcheck: There is no file {tmp_path}/typo.db.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sweep", "demo"])
def test_a_url_that_names_no_store_is_told_in_one_line(cli, name):
    result = cli(name, "--store", "nonsense://x")
    assert result.exit_code == 2
    assert result.stderr.startswith("coatcheck: nonsense:// names no store")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_store_that_fails_is_told_in_one_line(cli, tmp_path):
    (tmp_path / "sessions.db").write_bytes(b"no database" * 1000)
    result = cli("sweep", "--store", f"sqlite:///{tmp_path}/sessions.db")
    assert result.exit_code == 1
    assert result.stderr.startswith("coatcheck: ")
    assert result.stderr.count("\n") == 1


def test_a_driver_that_is_missing_is_told_with_its_extra(cli, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("this store needs a driver: pip install 'coatcheck[driver]'")

    monkeypatch.setattr(Sessions, "from_url", missing)
    result = cli("sweep", "--store", "memory://")
    assert result.exit_code == 2
    assert result.stderr == "coatcheck: this store needs a driver: pip install 'coatcheck[driver]'\n"


def test_a_module_of_our_own_that_is_missing_is_no_matter_of_extras(cli, monkeypatch):
    def broken(*_, **__):
        raise ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr(Sessions, "from_url", broken)
    assert isinstance(cli("sweep", "--store", "memory://").exception, ModuleNotFoundError)


@pytest.mark.parametrize(
    "arguments", [["sweep"], ["demo", "--port", "65536"], ["demo", "--port", "x"], ["nothing"]]
)
def test_wrong_use_exits_with_2(cli, arguments):
    assert cli(*arguments).exit_code == 2


# The bare core, without click


@pytest.fixture
def bare(monkeypatch):
    """No click, no Flask, no uvicorn, as far as anybody who asks can tell."""
    for name in ("click", "flask", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_bare_core_makes_a_secret_and_knows_its_version(bare, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["coatcheck", "secret"])
    main()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", capsys.readouterr().out)
    main(["--version"])
    assert capsys.readouterr().out == f"coatcheck {coatcheck.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["demo"], ["sweep", "--store", "memory://"]])
def test_the_bare_core_names_the_extra_for_the_rest(bare, capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "coatcheck: This command needs click: pip install 'coatcheck[demo]'\n"


def test_the_demo_without_its_libraries_names_the_extra(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = cli("demo")
    assert result.exit_code == 2
    assert result.stderr == "coatcheck: The demo needs flask and uvicorn: pip install 'coatcheck[demo]'\n"


def test_the_command_is_imported_without_any_optional_library():
    optional = [
        name
        for name in ("click", "flask", "fastapi", "uvicorn", "a2wsgi", "werkzeug", "jinja2")
        if importlib.util.find_spec(name)
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({optional!r}));"
        "from coatcheck.cli import main; main(['secret'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", done.stdout)


def test_the_command_as_a_process_fails_in_one_line(tmp_path):
    done = run("sweep", "--store", "sqlite:///typo.db", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "coatcheck: There is no file typo.db.\n"
