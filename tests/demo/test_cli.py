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
from coatcheck import Sessions, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from coatcheck import cli as cli_module
from coatcheck.cli import command, main
from coatcheck.stores.memory import MemoryStore
from tests.demo.process import run
from tests.servers.process import free_port
from tests.stores.sql.servers import SERVERS, Place, databases_that_end  # noqa: F401 - a fixture

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
    for name in ("db", "demo", "secret", "sweep"):
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
    assert result.stderr == f"coatcheck: The file {tmp_path}/typo.db does not exist.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ballast", [0, 8192])
def test_sweep_makes_no_ballast_where_the_application_has_none(cli, tmp_path, ballast):
    url, file = f"sqlite:///{tmp_path}/x.db", tmp_path / "x.db-ballast"
    Sessions.from_url(url, secret=SECRET, ballast=ballast).shutdown()
    assert cli("sweep", "--store", url).exit_code == 0
    assert file.exists() is (ballast > 0)


@pytest.mark.parametrize("name", ["sweep", "demo"])
def test_a_url_that_names_no_store_is_told_in_one_line(cli, name):
    result = cli(name, "--store", "nonsense://x")
    assert result.exit_code == 2
    assert result.stderr.startswith("coatcheck: nonsense:// names no built-in store")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_store_that_fails_is_told_in_one_line(cli, tmp_path):
    (tmp_path / "sessions.db").write_bytes(b"no database" * 1000)
    result = cli("sweep", "--store", f"sqlite:///{tmp_path}/sessions.db")
    assert result.exit_code == 1
    assert result.stderr.startswith("coatcheck: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.promise("20")
@pytest.mark.parametrize(
    "url",
    ["redis://{}/0", "memcached://{}", "postgresql://ada:hunter2@{}/shop", "mysql://ada:hunter2@{}/shop"],
    ids=lambda url: url.partition(":")[0],
)
def test_a_store_that_is_not_there_is_not_swept_and_the_command_says_so(cli, url):
    where = f"127.0.0.1:{free_port()}"
    result = cli("sweep", "--store", url.format(where))
    assert (result.exit_code, result.stdout) == (1, "")
    assert where in result.stderr
    assert "hunter2" not in result.stderr
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


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [([], "cli"), (["--help"], "cli"), (["demo"], "demo"), (["sweep", "--store", "memory://"], "cli")],
)
def test_the_bare_core_names_the_extra_for_the_rest(bare, capsys, arguments, extra):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(
        f"coatcheck: This command needs click: pip install 'coatcheck[{extra}]'. Without it"
    )


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
    assert done.stderr == "coatcheck: The file typo.db does not exist.\n"


# Databases


@pytest.fixture(params=SERVERS)
def database(request):
    """Tables that are not there yet."""
    made = Place(request.param, SERVERS[request.param](), make=False)
    yield made
    for name in (made.sessions, made.meta):
        made.execute(f"DROP TABLE IF EXISTS {name}")
    made.reconnect()


@pytest.mark.servers
def test_db_create_makes_the_tables_once_and_sweep_then_sweeps_them(cli, database):
    where = ("--store", database.url, "--prefix", database.prefix)
    result = cli("sweep", *where)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "coatcheck db create" in result.stderr
    for _ in range(2):
        assert cli("db", "create", *where).output == f"The tables of prefix {database.prefix} exist.\n"
    with Sessions.from_url(
        database.url, secret=SECRET, prefix=database.prefix, clock=lambda: time.time() - 3 * DAYS
    ) as sessions:
        session = sessions.open(b"")
        session["k"] = "v"
        sessions.close(session)
    assert cli("sweep", *where).output == "1 expired session removed\n"


@pytest.mark.servers
def test_db_create_that_fails_is_told_in_one_line(cli, database):
    cli("db", "create", "--store", database.url, "--prefix", database.prefix)
    database.execute(f"UPDATE {database.meta} SET format = 2")
    result = cli("db", "create", "--store", database.url, "--prefix", database.prefix)
    assert result.exit_code == 1
    assert result.stderr.startswith("coatcheck: the tables of prefix")
    assert result.stderr.count("\n") == 1


def test_db_create_is_nothing_for_a_store_that_makes_what_it_needs(cli, tmp_path):
    for url in ("memory://", f"sqlite:///{tmp_path}/sessions.db"):
        result = cli("db", "create", "--store", url)
        assert result.exit_code == 2
        assert "needs no `db create`" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_db_create_is_nothing_for_a_store_without_tables(cli):
    result = cli("db", "create", "--store", "redis://localhost:1/0")  # where no server is
    assert (result.exit_code, result.stderr) == (2, "coatcheck: This store has no tables.\n")


def test_db_ddl_without_its_library_names_the_extra(cli, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("coatcheck.stores.sql.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "coatcheck.stores.sql", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    result = cli("db", "ddl", "--dialect", "sqlite")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "coatcheck: This needs sqlalchemy: pip install 'coatcheck[sql]'\n"


def test_db_ddl_prints_what_makes_the_tables_and_nothing_else(cli):
    printed = cli("db", "ddl", "--dialect", "postgresql", "--prefix", "shop:").output
    assert printed.startswith("CREATE TABLE shop_sessions (")
    assert printed.endswith("INSERT INTO shop_meta (format) VALUES (1);\n")
    result = cli("db", "ddl", "--dialect", "postgresql", "--prefix", "No good")
    assert result.exit_code == 2
    assert result.stderr.startswith("coatcheck: prefix must be")


@pytest.mark.parametrize("error", [StoreUnavailable, StoreFull, StoreReadOnly, StoreError])
@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("2d", 172_800), ("01s", 1)]
)
def test_it_sweeps_again_after_a_time_and_after_any_failure(cli, monkeypatch, text, seconds, error):
    slept, sweeps = [], []

    def sleep(how_long):
        slept.append(how_long)
        if len(slept) == 20:
            raise KeyboardInterrupt

    class Store(MemoryStore):
        def sweep(self, now, limit, deadline):
            sweeps.append(limit)
            if len(sweeps) == 3:
                raise error("gone for a moment")
            return super().sweep(now, limit, deadline)

    monkeypatch.setattr(cli_module.time, "sleep", sleep)
    monkeypatch.setattr(cli_module.signal, "signal", lambda *_: None)
    monkeypatch.setattr(
        Sessions, "from_url", lambda *_, **options: Sessions(Store(), secret=options["secret"])
    )
    result = cli("sweep", "--store", "memory://", "--every", text)
    assert result.exit_code == 0
    assert result.stdout.count("0 expired sessions removed in 0.") == 19
    assert result.stderr == "coatcheck: gone for a moment\n"
    assert all(0.9 * seconds <= one <= 1.1 * seconds for one in slept)
    assert len(set(slept)) > 1


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-1m", "1.5h", "10 m", "1w", "9999999s"])
def test_what_is_no_time_is_refused(cli, text):
    result = cli("sweep", "--store", "memory://", f"--every={text}")
    assert result.exit_code == 2
    assert "write 90s, 10m, 1h or 2d" in result.stderr


def test_a_long_sweep_says_how_far_it_is(cli, monkeypatch):
    left, now = [2500], [0.0]

    class Store(MemoryStore):
        def sweep(self, _now, limit, deadline):
            now[0] += 6
            removed = min(limit, left[0])
            left[0] -= removed
            return removed

    monkeypatch.setattr(cli_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        Sessions, "from_url", lambda *_, **options: Sessions(Store(), secret=options["secret"])
    )
    assert cli("sweep", "--store", "memory://").output == (
        "1000 expired sessions removed so far\n2000 expired sessions removed so far\n"
        "2500 expired sessions removed\n"
    )


def test_a_sweep_of_several_quick_batches_says_only_the_whole(cli, monkeypatch):
    removed = iter([1000, 1000, 500])

    class Store(MemoryStore):
        def sweep(self, *_):
            return next(removed)

    monkeypatch.setattr(cli_module.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(
        Sessions, "from_url", lambda *_, **options: Sessions(Store(), secret=options["secret"])
    )
    assert cli("sweep", "--store", "memory://").output == "2500 expired sessions removed\n"


@pytest.mark.servers
def test_sweep_goes_on_until_it_is_told_to_stop(database):
    subprocess.run(
        [
            *(sys.executable, "-m", "coatcheck", "db", "create"),
            *("--store", database.url, "--prefix", database.prefix),
        ],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    command = [sys.executable, "-m", "coatcheck", "sweep", "--every", "1s"]
    with subprocess.Popen(
        [*command, "--store", database.url, "--prefix", database.prefix], stdout=subprocess.PIPE, text=True
    ) as sweeper:
        for _ in range(2):
            assert sweeper.stdout.readline().startswith("0 expired sessions removed in ")
        sweeper.terminate()
        sweeper.communicate(timeout=60)
    assert sweeper.returncode == 0
