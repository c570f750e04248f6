"""What the first request says in the log where a store is misconfigured: the cause, what to do, and no password."""

import asyncio

import pytest

from coatcheck import AsyncSessions, Sessions, StoreError
from coatcheck.core.calls import Load
from tests.servers.memcached import Memcached
from tests.servers.process import HOST, free_port
from tests.stores.sql.servers import SERVERS, Place, databases_that_end  # noqa: F401 - a fixture
from tests.visitor import SECRET

pytestmark = [pytest.mark.servers, pytest.mark.promise("18", "20")]

PASSWORD = "hunter2-is-no-good"


async def requested_async(url, **options):
    sessions = AsyncSessions.from_url(url, secret=SECRET, **options)
    session = sessions.open(b"")
    await sessions.load(session)
    session["a"] = 1
    try:
        await sessions.close(session)
    finally:
        await sessions.shutdown()


def requested(url, **options):
    """A visitor's first request, which stores something."""
    sessions = Sessions.from_url(url, secret=SECRET, **options)
    session = sessions.open(b"")
    session["a"] = 1
    try:
        sessions.close(session)
    finally:
        sessions.shutdown()


@pytest.fixture(params=["sync", "async"])
def said(request, caplog):
    """The one line that a first request leaves."""
    ways = {"sync": requested, "async": lambda *args, **named: asyncio.run(requested_async(*args, **named))}

    def said(url, **options):
        caplog.clear()
        with pytest.raises(StoreError):
            ways[request.param](url, **options)
        (record,) = [record for record in caplog.records if record.name == "coatcheck"]
        assert record.levelname == "WARNING"
        assert PASSWORD not in caplog.text
        return record.getMessage()

    return said


def test_a_redis_with_another_password_database_or_place(said, redis_tls, redis_server):
    where = f"redis://:{PASSWORD}@{redis_server.address}/0"
    assert "the server has no password for this user: leave it out of the URL" in said(where)
    assert "no database of the number" in said(f"redis://{redis_server.address}/99")
    down = said(f"redis://:{PASSWORD}@{HOST}:{free_port()}/0")
    assert "can't be reached (ConnectionRefusedError): is it running, and is its address right?" in down
    where = redis_tls.server.address
    answer = said(f"rediss://store:{PASSWORD}@{where}/0", **redis_tls.options)
    assert "knows no such user and password" in answer
    assert where in answer


@pytest.mark.parametrize("kind", SERVERS)
def test_a_database_without_tables_user_or_database_or_that_is_not_there(said, kind):
    place = Place(kind, SERVERS[kind](), make=False)
    scheme, _, rest = place.url.partition("://")
    authority, _, database = rest.partition("/")
    host = authority.rpartition("@")[2]
    assert "make them by `coatcheck db create --store URL`" in said(place.url, prefix="nowhere:")
    checks = "check user, password, database"
    assert checks in said(f"{scheme}://nobody:{PASSWORD}@{host}/{database}")
    assert checks in said(f"{scheme}://{authority}/no_such_database")
    down = said(f"{scheme}://nobody:{PASSWORD}@{HOST}:{free_port()}/{database}")
    assert "is the server running" in down


def test_a_memcached_that_is_not_there_or_something_else(said, redis_server, tmp_path):
    assert "is it running, and is its address right?" in said(f"memcached://{HOST}:{free_port()}")
    assert "is it a Memcached server?" in said(f"memcached://{redis_server.address}")
    server = Memcached(tmp_path)
    with server:
        url = server.url
    assert "is it running, and is its address right?" in said(url)


def test_a_file_that_is_damaged(caplog, tmp_path):
    path = tmp_path / "sessions.db"
    with Sessions.from_url(f"sqlite:///{path}", secret=SECRET) as sessions:
        sessions.shutdown()
        path.write_bytes(b"no database" * 1_000)
        session = sessions.open(b"")
        session["a"] = 1
        with pytest.raises(StoreError):
            sessions.close(session)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "coatcheck"]
    assert f"{path}: it is damaged, or not a database" in line


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"postgresql://ada:{PASSWORD}@db.shop/x?sslmode=require", "postgresql://db.shop/x"),
        (f"postgresql://ada:{PASSWORD}@a.shop,b.shop:1/x", "postgresql:///x?host=a.shop,b.shop&port=5432,1"),
        (f"postgresql://ada:{PASSWORD}@/x?host=/run/pg", "postgresql:///x?host=/run/pg"),
        (f"mysql://ada:{PASSWORD}@/x?unix_socket=/run/my.sock", "mysql:///x?unix_socket=/run/my.sock"),
        ("memcached://a.shop,b.shop:1", "Memcached at a.shop:11211,b.shop:1"),
        (f"redis://:{PASSWORD}@r.shop", "redis://r.shop:6379"),
        ("sqlite:///x.db", "x.db"),
    ],
)
@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
def test_each_line_names_the_place_of_the_store_whatever_its_error_says(
    caplog, manager, url, place, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    sessions = manager.from_url(url, secret=SECRET)
    sessions._outages.failed(Load([b""]), StoreError("the change was not stored within the deadline"))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "coatcheck"]
    assert f"{place}> fails: " in line
    assert PASSWORD not in line
    if manager is Sessions:
        sessions.shutdown()
    else:
        asyncio.run(sessions.shutdown())


def test_a_manager_that_is_being_closed(caplog):
    class Closing(Sessions):
        pass

    sessions = Closing.from_url("memory://", secret=SECRET)
    closed = sessions.store.close

    def closing():
        with pytest.raises(StoreError):
            sessions.ping()
        closed()

    sessions.store.close = closing
    sessions.shutdown()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "coatcheck"]
    assert line == "The session store fails: the sessions are being shut down"
