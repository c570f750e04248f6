from __future__ import annotations

import asyncio
import subprocess
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pytest

import coatcheck
from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.config import Options
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from coatcheck.urls import StoreOptions
from tests.visitor import SECRET, Visitor

COLOURS = [Sessions, AsyncSessions]


def shutdown(sessions):
    if isinstance(sessions, AsyncSessions):
        asyncio.run(sessions.shutdown())
    else:
        sessions.shutdown()


def test_memory_is_a_store_of_its_own_for_each_manager():
    one, other = (Sessions.from_url("memory://", secret=SECRET) for _ in range(2))
    assert isinstance(one.store, MemoryStore)
    assert one.store is not other.store
    assert isinstance(AsyncSessions.from_url("memory://", secret=SECRET).store, AsyncMemoryStore)


def test_the_settings_of_a_url_reach_the_manager():
    sessions = Sessions.from_url("memory://", secret=SECRET, idle_timeout=timedelta(hours=1))
    assert sessions.settings.idle_timeout == timedelta(hours=1)


def test_three_slashes_are_relative_and_four_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///here.db", f"sqlite:///{tmp_path}/there.db", "sqlite:///a%20b%3F%23.db"):
        with Sessions.from_url(url, secret=SECRET) as sessions:
            assert isinstance(sessions.store, SQLiteStore)
    assert {path.name for path in tmp_path.glob("*.db")} == {"here.db", "there.db", "a b?#.db"}


def test_a_session_is_kept_in_the_file_of_the_url(tmp_path):
    url = f"sqlite:///{tmp_path}/sessions.db"
    with Sessions.from_url(url, secret=SECRET) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]
    with Sessions.from_url(url, secret=SECRET) as sessions:
        assert Visitor(sessions, visitor.cookie).read() == {"a": [1]}


def test_the_async_manager_gets_an_async_store(tmp_path):
    async def scenario():
        async with AsyncSessions.from_url(f"sqlite:///{tmp_path}/sessions.db", secret=SECRET) as sessions:
            assert isinstance(sessions.store, AsyncSQLiteStore)
            await sessions.ping()

    asyncio.run(scenario())


def test_the_options_of_a_store_reach_it(tmp_path):
    url = f"sqlite:///{tmp_path}/sessions.db"
    options = {"prefix": "shop:", "synchronous": "FULL", "ballast": 0}
    with Sessions.from_url(url, secret=SECRET, **options) as sessions:
        sessions.ping()
    with pytest.raises(ConfigurationError, match="prefix"):
        Sessions.from_url(url, secret=SECRET, prefix="no good!")
    with pytest.raises(ConfigurationError, match="synchronous"):
        Sessions.from_url(url, secret=SECRET, synchronous="OFF")


@pytest.mark.parametrize("manager", COLOURS)
@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql://h/db", "redis://h", "memcached://h"])
def test_a_prefix_that_is_no_text_is_refused_by_name(manager, url, tmp_path, monkeypatch):
    """Such as an environment variable that is not set."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="prefix"):
        manager.from_url(url, secret=SECRET, prefix=None)


@pytest.mark.parametrize("manager", COLOURS)
def test_options_that_are_true_of_memory_anyway_are_taken_and_others_refused(manager):
    shutdown(manager.from_url("memory://", secret=SECRET, prefix="x"))
    with pytest.raises(ConfigurationError, match="synchronous"):
        manager.from_url("memory://", secret=SECRET, synchronous="FULL")


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "memory://, sqlite:///"),
        ("sessions.db", "memory://, sqlite:///"),
        ("/var/sessions.db", "memory://, sqlite:///"),
        ("sqlite://sessions.db", "sqlite:///relative/path.db"),
        ("sqlite://localhost/sessions.db", "sqlite:////absolute/path.db"),
        ("sqlite:///sessions.db?synchronous=FULL", "keyword arguments"),
        ("sqlite:///sessions.db#x", "write # as %23"),
        ("memory://host", "no host"),
        ("memory:///path", "no path"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("oracle://user:hunter2@host/db", "oracle://"),
        ("file:///sessions.db", "memory://, sqlite:///"),
    ],
)
@pytest.mark.parametrize("manager", COLOURS)
def test_a_url_that_names_no_store_says_which_there_are_and_shows_no_password(
    manager, url, told, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        manager.from_url(url, secret=SECRET)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "url", [None, 5, b"memory://", Path("sessions.db"), "redis://[::1", "sqlite://[x/y.db"], ids=repr
)
def test_what_is_no_url_at_all_is_a_configuration_error(url):
    # `from_url(os.environ.get("SESSIONS"))` where the variable is not set.
    with pytest.raises(ConfigurationError):
        Sessions.from_url(url, secret=SECRET)


@pytest.mark.parametrize("manager", COLOURS)
def test_an_option_that_nobody_takes_is_a_type_error(manager, tmp_path):
    with pytest.raises(TypeError, match="timeout"):
        manager.from_url("memory://", secret=SECRET, timeout=5)


def test_bad_settings_make_no_file(tmp_path):
    with pytest.raises(ConfigurationError):
        Sessions.from_url(f"sqlite:///{tmp_path}/sessions.db", secret="too short")
    assert list(tmp_path.iterdir()) == []


def test_the_store_s_options_are_no_settings():
    assert (
        not (StoreOptions.__annotations__.keys() - Options.__annotations__.keys())
        & Options.__annotations__.keys()
    )
    assert StoreOptions.__annotations__.keys() > Options.__annotations__.keys()


def without(module, store, monkeypatch):
    """Let `module` be missing, and `store` be a module that nothing has imported yet."""
    for name in [name for name in sys.modules if f"{name}.".startswith(f"coatcheck.stores.{store}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("manager", COLOURS)
@pytest.mark.parametrize(
    ("url", "store", "driver", "extra"),
    [
        ("redis://localhost/0", "redis", "redis", "redis"),
        ("postgresql://localhost/db", "sql", "sqlalchemy", "postgresql"),
        ("mysql://localhost/db", "sql", "sqlalchemy", "mysql"),
    ],
)
def test_a_driver_that_is_missing_is_told_with_its_extra(manager, url, store, driver, extra, monkeypatch):
    without(driver, store, monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {driver}: pip install 'coatcheck\[{extra}\]'"):
        manager.from_url(url, secret=SECRET)


def test_a_python_without_sqlite_is_told_of_no_extra(tmp_path, monkeypatch):
    without("sqlite3", "sqlite", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="sqlite3") as caught:
        Sessions.from_url(f"sqlite:///{tmp_path}/sessions.db", secret=SECRET)
    assert "pip install" not in str(caught.value)


def test_a_driver_is_imported_only_by_the_url_that_names_it():
    program = (
        "import sys\n"
        "from coatcheck import Sessions\n"
        f"Sessions.from_url('memory://', secret={SECRET!r})\n"
        "assert 'sqlite3' not in sys.modules\n"
        "assert 'coatcheck.stores.sqlite' not in sys.modules\n"
    )
    source = str(Path(coatcheck.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": source}, timeout=60)


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("manager", "store", "other"),
    [(Sessions, AsyncMemoryStore, "AsyncSessions"), (AsyncSessions, MemoryStore, "use Sessions")],
)
def test_a_store_of_the_other_colour_is_refused_and_the_message_names_the_manager(manager, store, other):
    with pytest.raises(ConfigurationError, match=other):
        manager(store(), secret=SECRET)


@pytest.mark.parametrize("manager", COLOURS)
def test_the_query_that_a_hosting_platform_appends_is_understood_or_named(manager):
    url = "postgresql://user:hunter2@localhost/shop?sslmode=require"
    shutdown(manager.from_url(url, secret=SECRET))  # nothing is connected yet
    with pytest.raises(ConfigurationError, match="colour in the query") as caught:
        manager.from_url(f"{url}&colour=blue", secret=SECRET)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("manager", COLOURS)
@pytest.mark.parametrize(
    "url",
    [
        "redis://user@hush@localhost",
        "redis://user:12/hush@localhost",
        "redis://user:hush%ff@localhost",
        "redis://user:hush/x@localhost",
        "postgresql://user:hush@localhost:hush/shop",
    ],
)
def test_a_password_that_breaks_the_url_is_shown_nowhere(manager, url):
    with pytest.raises(ConfigurationError) as caught:
        manager.from_url(url, secret=SECRET)
    assert "hush" not in "".join(traceback.format_exception(caught.value)).replace(repr(url), "")
