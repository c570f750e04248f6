"""The SQL store where a server or a network is slow or silent: each call ends at its deadline."""

import asyncio
import socket
import ssl
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util import greenlet_spawn

from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.stores.sql import AsyncSQLStore, SQLStore, connecting
from coatcheck.stores.sql.bounds import Reader
from coatcheck.stores.sql.connection import Connection
from tests.awake import awake
from tests.servers.mariadb import MariaDB
from tests.servers.process import free_port, silent, until
from tests.servers.proxy import Proxy
from tests.stores.engine import Engine
from tests.stores.sql.faults import DRIVERS, InThread, stands_still
from tests.stores.sql.scene import (
    NOW,
    after,
    create,
    done,
    fields,
    found,
    get,
    new,
    put,
    soon,
    update,
)
from tests.stores.sql.servers import Place

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults"), pytest.mark.promise("F-16")]
BREAKS = True
SHORT, BRIEF = 1, 0.5  # seconds; psycopg itself gives connecting no less than 2


def own(place, port):
    return SQLStore(place.server.url(port), prefix=place.prefix)


def given(place, port):
    """On an engine as an application makes it, with the drivers' own timeouts: none."""
    url = place.server.url(port).replace("://", f"+{DRIVERS[place.kind][0]}://")
    return SQLStore(create_engine(url, isolation_level="AUTOCOMMIT"), prefix=place.prefix)


def own_async(place, port):
    return AsyncSQLStore(place.server.url(port), prefix=place.prefix)


def given_async(place, port):
    url = place.server.url(port).replace("://", f"+{DRIVERS[place.kind][1]}://")
    return AsyncSQLStore(create_async_engine(url, isolation_level="AUTOCOMMIT"), prefix=place.prefix)


def fastest(call, times=3, least=0):
    """The shortest time of several calls, in seconds: a busy machine may delay some. None may end before `least`."""
    took = []
    for _ in range(times):
        began, start = time.monotonic(), awake()
        call()
        assert time.monotonic() - began > least
        took.append(awake() - start)
    return min(took)


def silence(proxy):
    proxy.silent = True


def trickle(proxy):
    """The reply goes on coming, a byte at a time."""
    proxy.trickle = 0.2


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("make", [own, given])
@pytest.mark.parametrize("fault", [silence, trickle])
def test_a_network_that_swallows_or_slows_everything_is_a_timeout_within_the_deadline(
    place, proxy, make, fault
):
    store = make(place, proxy.port)
    write, other = put(store, new(bytes(500))), put(store, new())
    get(store, write)
    for asks in ("load", "write"):
        get(store, other)
        fault(proxy)
        began, start = time.monotonic(), awake()
        try:
            if asks == "load":
                (error,) = store.load([write.key], NOW, soon(SHORT))
            else:
                (error,) = store.write([after(write)], NOW, soon(SHORT))
        except StoreTimeout as raised:
            error = raised
        assert time.monotonic() - began > 0.9 * SHORT
        assert awake() - start < SHORT + 1
        assert isinstance(error, StoreTimeout)
        assert error.ambiguous is (asks == "write")
        proxy.heal()
        # The connection is not used again: what was asked before is not taken for the answer.
        other = put(store, after(other))
        assert get(store, other) == other.data
    store._database.engine.dispose()


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("make", [own_async, given_async])
@pytest.mark.parametrize("fault", [silence, trickle])
def test_in_async_a_network_that_swallows_or_slows_everything_is_a_timeout_too(place, proxy, make, fault):
    async def scenario():
        store = make(place, proxy.port)
        write, other = new(bytes(500)), new()
        assert await store.write([write, other], NOW, soon()) == [None, None]
        for asks in ("load", "write"):
            await store.load([other.key], NOW, soon())
            fault(proxy)
            began, start = time.monotonic(), awake()
            try:
                if asks == "load":
                    (error,) = await store.load([write.key], NOW, soon(SHORT))
                else:
                    (error,) = await store.write([after(write)], NOW, soon(SHORT))
            except StoreTimeout as raised:
                error = raised
            assert time.monotonic() - began > 0.9 * SHORT
            assert awake() - start < SHORT + 1
            assert isinstance(error, StoreTimeout)
            assert error.ambiguous is (asks == "write")
            proxy.heal()
            other = after(other)
            assert await store.write([other], NOW, soon()) == [None]
            assert await store.load([other.key], NOW, soon()) == [found(other)]
        await greenlet_spawn(store._inside._database.engine.dispose)

    asyncio.run(scenario())


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("make", [own, own_async])
@pytest.mark.parametrize("fault", [silence, trickle])
def test_connecting_to_a_server_that_says_nothing_or_little_ends_at_the_deadline_too(
    place, proxy, make, fault
):
    """From the first byte of the login to the statements that a new connection is prepared with."""
    fault(proxy)
    store = make(place, proxy.port)

    async def ask():
        await store.load([bytes(16)], NOW, soon(BRIEF))

    def call():
        with pytest.raises(StoreTimeout) as caught:
            asyncio.run(ask()) if make is own_async else store.load([bytes(16)], NOW, soon(BRIEF))
        assert not caught.value.ambiguous

    assert fastest(call, least=0.9 * BRIEF) < BRIEF + 1


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("make", [own, own_async])
def test_a_server_that_falls_silent_after_the_login_is_a_timeout(place, proxy, monkeypatch, make):
    """What SQLAlchemy and the store ask a new connection first has no timeout of the drivers."""
    store = make(place, proxy.port)
    dialect = type((store._database if make is own else store._inside._spare).engine.dialect)
    initialize = dialect.initialize

    def silenced(*args):
        proxy.silent = True
        return initialize(*args)

    monkeypatch.setattr(dialect, "initialize", silenced)

    async def ask():
        await store.load([bytes(16)], NOW, soon(BRIEF))

    def call():
        proxy.heal()
        with pytest.raises(StoreTimeout):
            asyncio.run(ask()) if make is own_async else store.load([bytes(16)], NOW, soon(BRIEF))

    assert fastest(call) < BRIEF + 1


@pytest.mark.promise("F-02", "F-06", "20")
@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_waiting_for_the_pool_and_connecting_have_one_deadline(place, proxy):
    """The calls that found the pool full connect in what the others have left them of their time."""
    proxy.silent = True

    def ask(number):
        began = awake()
        with pytest.raises(StoreUnavailable):
            store.load([bytes(16)], NOW, soon(BRIEF * (1 if number < 10 else 1.5)))
        return awake() - began

    took = []
    for _ in range(3):
        with closing(own(place, proxy.port)) as store, ThreadPoolExecutor(15) as threads:
            took.append(max(threads.map(ask, range(15))))
    assert min(took) < BRIEF * 1.5 + 1


@pytest.mark.promise("F-02", "20")
def test_with_tls_all_of_connecting_ends_at_the_deadline_too(monkeypatch):
    """PyMySQL uses TLS wherever a server has it."""
    makefile = connecting._TLSSocket.makefile
    with (
        tempfile.TemporaryDirectory(prefix="coatcheck-") as folder,
        MariaDB(*certificate(Path(folder))) as server,
        Proxy(server.port) as proxy,
    ):
        place = Place("mysql", server)
        with closing(own(place, proxy.port)) as store:
            write = put(store, new())
            assert get(store, write) == write.data
            pooled = store._database.engine.raw_connection()
            assert isinstance(pooled.driver_connection._sock, ssl.SSLSocket)
            pooled.close()

        def trickling(*args):
            proxy.trickle = 0.2
            return makefile(*args)

        monkeypatch.setattr(connecting._TLSSocket, "makefile", trickling)

        def call():
            proxy.heal()
            with closing(own(place, proxy.port)) as store, pytest.raises(StoreTimeout):
                store.load([bytes(16)], NOW, soon(BRIEF))

        assert fastest(call) < BRIEF + 1
        place.reconnect()


def certificate(folder):
    """A server's options for a certificate of its own, in files that it can read whoever it runs as."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    texts = {
        "key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        "cert": made.sign(key, hashes.SHA256()).public_bytes(pem),
    }
    folder.chmod(0o755)
    for part, text in texts.items():
        (folder / part).write_bytes(text)
    return [f"--ssl-{part}={folder / part}" for part in texts]


@pytest.mark.parametrize("place", ["mysql"], indirect=True)
def test_the_next_address_of_a_host_is_tried_when_one_refuses(place, monkeypatch):
    port, find = free_port(), socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, _, **how: [*find(host, port, **how), *find(host, place.server.port, **how)],
    )
    with closing(place.store()) as store:
        store.ping(soon())


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("place", ["mysql"], indirect=True)
def test_a_silent_address_of_a_host_leaves_time_for_the_others(place, monkeypatch):
    find = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, port, **how: [info for last in (2, 3, 1) for info in find(f"127.0.0.{last}", port, **how)],
    )
    port = place.server.port
    with silent("127.0.0.2", port), silent("127.0.0.3", port), closing(place.store()) as store:
        store.ping(soon(3))  # each address has a part of it, also on a busy machine


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
@pytest.mark.parametrize("make", [SQLStore, AsyncSQLStore])
def test_of_several_hosts_a_silent_one_leaves_time_for_the_next(place, make):
    port = place.server.port
    url = f"postgresql://{place.server.user}@127.0.0.2:{port},127.0.0.1:{port}/postgres"
    store = make(url, prefix=place.prefix)

    async def ask():
        await store.load([bytes(16)], NOW, soon(8))
        await store.close()

    with silent("127.0.0.2", port):
        if make is AsyncSQLStore:
            asyncio.run(ask())
        else:
            assert store.load([bytes(16)], NOW, soon(8)) == [None]
            store.close()


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_several_hosts_that_are_silent_are_told_by_the_deadline_and_by_name(place):
    port = place.server.port
    url = f"postgresql://{place.server.user}@127.0.0.2:{port},127.0.0.3:{port}/postgres"

    def call():
        with (
            closing(SQLStore(url, prefix=place.prefix)) as store,
            pytest.raises(StoreUnavailable, match=r"host=127\.0\.0\.2,127\.0\.0\.3"),
        ):
            store.load([bytes(16)], NOW, soon(BRIEF))

    with silent("127.0.0.2", port), silent("127.0.0.3", port):
        assert fastest(call) < BRIEF + 1


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("make", [own, own_async])
def test_a_write_that_the_network_does_not_take_is_a_timeout_too(place, proxy, make):
    store = make(place, proxy.port)
    small, large = new(), new(bytes(6_000_000))  # more than the buffers on the way

    async def ask():
        assert await store.write([small], NOW, soon()) == [None]
        proxy.silent = True
        began = awake()
        answers = await store.write([large], NOW, soon(SHORT))
        took = awake() - began
        proxy.heal()
        await store.close()
        return answers, took

    if make is own_async:
        (answer,), took = asyncio.run(ask())
    else:
        put(store, small)
        proxy.silent = True
        began = awake()
        (answer,) = store.write([large], NOW, soon(SHORT))
        took = awake() - began
        proxy.heal()
        store.close()
    assert isinstance(answer, StoreTimeout)
    assert answer.ambiguous
    assert took < SHORT + 1


@pytest.mark.promise("F-06", "20")
def test_a_pool_whose_connections_are_all_taken_is_a_timeout_within_the_deadline(place, store, monkeypatch):
    write = put(store, new())
    inside, leave = threading.Semaphore(0), threading.Event()
    rows = Connection.rows

    def lingering(*args):
        inside.release()
        assert leave.wait(30)
        return rows(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "rows", lingering)
        readers = [InThread(lambda: get(store, write)) for _ in range(10)]
        for _ in readers:
            assert inside.acquire(timeout=30)
        began, start = time.monotonic(), awake()
        (answer,) = store.write([after(write)], NOW, soon(0.3))
        assert time.monotonic() - began > 0.2
        assert awake() - start < 0.3 + 1
        assert isinstance(answer, StoreTimeout)
        assert not answer.ambiguous
        leave.set()
        for reader in readers:
            assert reader.answer() == write.data
    put(store, after(write))


@pytest.mark.promise("F-02", "20")
def test_a_server_that_stands_still_is_a_timeout_and_goes_on_afterwards(place):
    with closing(place.store()) as store:
        write = put(store, new())
        place.server.pause()
        try:
            until(lambda: stands_still(place), "it stands still")
            stopped = time.monotonic()
            took = []
            while time.monotonic() - stopped < 3:
                began = awake()
                (answer,) = store.write([after(write)], NOW, soon(SHORT))
                assert isinstance(answer, StoreUnavailable)
                took.append(awake() - began)
            assert min(took) < SHORT + 1
        finally:
            place.server.resume()
        until(lambda: get(store, write), "it answers again")
        engine = Engine(store)
        record = create(engine)
        done(engine.apply([update(record, set={"b": b"1"})], NOW))
        assert fields(engine, record)["b"] == b"1"


@pytest.mark.promise("F-01", "20")
def test_a_server_that_is_not_there_is_unavailable_at_once_and_soon_left_alone(place):
    place.server.stop()
    try:
        with closing(place.store()) as store:
            for _ in range(5):
                (answer,) = store.write([new()], NOW, soon())
                assert isinstance(answer, StoreUnavailable)
                assert not answer.ambiguous
            with pytest.raises(StoreUnavailable, match="the next try") as caught:
                store.ping(soon())
            assert not caught.value.ambiguous
    finally:
        place.server.start()
        place.reconnect()


@pytest.mark.promise("20")
def test_a_call_without_time_says_nothing_of_the_server(place, store):
    """Such calls don't open the breaker."""
    write = put(store, new())
    for _ in range(10):
        (answer,) = store.write([after(write)], NOW, soon(0))
        assert isinstance(answer, StoreTimeout)
        assert not answer.ambiguous
    put(store, after(write))


def test_a_piece_of_a_reply_is_not_waited_for_when_the_time_is_over():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x")
        assert Reader(ours, soon()).readinto(bytearray(1)) == 1
        with pytest.raises(TimeoutError):
            Reader(ours, soon(-1)).readinto(bytearray(1))
