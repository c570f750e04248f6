"""Memcached's servers are down, silent, slow or restarted: bounded, told, and only for the keys that lie there."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.ports import Conflict, Found
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from tests import loops
from tests.awake import awake
from tests.servers.memcached import prefix
from tests.servers.process import HOST, free_port, until
from tests.stores.memcached.scene import after, answer_to, at, ending, found, get, new, now, opened, put, soon

pytestmark = pytest.mark.servers
KEY = bytes(16)


# Not there


@pytest.mark.promise("F-01", "20")
def test_a_server_that_is_not_there_is_unavailable_at_once_and_the_breaker_opens(mode):
    port = free_port()
    with opened(mode, f"{HOST}:{port}") as store:
        for _ in range(5):
            began = awake()
            (answer,) = store.load([KEY], now(), soon())
            assert isinstance(answer, StoreUnavailable)
            assert f"{HOST}:{port} can't be reached (ConnectionRefusedError): is it running" in str(answer)
            assert awake() - began < 5
        with pytest.raises(StoreUnavailable, match="the next try"):
            found(store, KEY)


@pytest.mark.promise("F-01", "20")
def test_nothing_was_sent_where_no_connection_was_made_or_the_breaker_was_open(mode):
    with opened(mode, f"{HOST}:{free_port()}") as store:
        for told in ["can't be reached"] * 5 + ["the next try"] * 3:
            for answer in (answer_to(store, new()), answer_to(store, after(new()))):
                assert isinstance(answer, StoreUnavailable)
                assert not answer.ambiguous
            (answer,) = store.remove([KEY], now(), soon())
            assert isinstance(answer, StoreUnavailable)
            assert not answer.ambiguous
            if told == "the next try":
                assert told in str(answer)


@pytest.mark.promise("F-01", "20")
def test_it_is_used_again_when_it_is_back(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write = put(store)
        proxy.down()
        for _ in range(6):
            with pytest.raises(StoreUnavailable):
                get(store, write)
        proxy.up()
        until(lambda: get(store, write) == write.data, "the store is used again")


@pytest.mark.promise("F-01", "20")
def test_a_host_that_has_no_address_is_a_store_that_can_not_be_reached(mode):
    with (
        opened(mode, "no-such-host.invalid") as store,
        pytest.raises(StoreUnavailable, match="address right"),
    ):
        store.ping(soon())


@pytest.mark.promise("F-01", "20")
def test_pinging_asks_every_server(mode, memcached):
    with opened(mode, memcached.address) as store:
        store.ping(soon())
    dead = f"{HOST}:{free_port()}"
    with opened(mode, [memcached.address, dead]) as store, pytest.raises(StoreUnavailable, match=dead):
        store.ping(soon())


@pytest.mark.promise("F-12", "F-01", "20")
def test_a_dead_server_is_unavailable_for_its_keys_and_the_other_goes_on(mode, a_memcached):
    servers = [a_memcached(), a_memcached()]
    with opened(mode, [server.address for server in servers]) as store:
        writes = [new() for _ in range(40)]
        assert store.write(writes, now(), soon()) == [None] * 40
        on_first = [write for write in writes if servers[0].read(name(write)) is not None]
        assert 5 < len(on_first) < 35
        servers[0].kill()
        keys = [write.key for write in writes]
        changes = [after(write) for write in writes]
        for answers in (
            store.load(keys, now(), soon()),
            store.write([new(key=key) for key in keys], now(), soon()),
            store.write([ending(write) for write in on_first] + changes, now(), soon())[len(on_first) :],
        ):
            failed = [write for write, answer in zip(writes, answers, strict=True) if is_down(answer)]
            assert failed == on_first
        # Nothing has moved: the data of the first server is nowhere else.
        assert [servers[1].read(name(write)) for write in on_first] == [None] * len(on_first)
        others = [change for write, change in zip(writes, changes, strict=True) if write not in on_first]
        assert [get(store, change) for change in others] == [change.data for change in others]
        # It comes back empty: those sessions ended early.
        servers[0].start()
        first_keys = [write.key for write in on_first]
        until(
            lambda: store.load(first_keys, now(), soon()) == [None] * len(first_keys),
            "it is back",
        )


def name(write):
    return f"coatcheck:{write.key.hex()}".encode()


def is_down(answer):
    return isinstance(answer, StoreUnavailable)


# Slow and silent


@pytest.mark.promise("F-02", "20")
def test_a_silent_server_is_a_timeout_and_a_write_may_have_been_done(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write = put(store)
        proxy.silent = True
        began, start = time.monotonic(), awake()
        with pytest.raises(StoreTimeout, match=f"{proxy.port} did not answer in time") as caught:
            get(store, write, 0.6)
        assert not caught.value.ambiguous
        for answer in (answer_to(store, new(), 0.6), store.remove([KEY], now(), soon(0.6))[0]):
            assert isinstance(answer, StoreTimeout)
            assert answer.ambiguous
        # Reading the token is not yet writing.
        answer = answer_to(store, after(write), 0.6)
        assert isinstance(answer, StoreTimeout)
        assert not answer.ambiguous
        with pytest.raises(StoreTimeout):
            store.ping(soon(0.6))
        assert time.monotonic() - began > 2.0
        assert awake() - start < 15
        proxy.silent = False
        until(lambda: get(store, write) == write.data, "it answers again")


@pytest.mark.promise("F-02", "20")
def test_of_a_batch_that_finds_a_silent_server_only_what_was_sent_is_ambiguous(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        store.ping(soon())
        proxy.silent = True
        answers = store.write([new() for _ in range(3)], now(), soon(0.6))
        assert all(isinstance(answer, StoreTimeout) for answer in answers)
        assert [answer.ambiguous for answer in answers] == [True, False, False]


@pytest.mark.promise("F-02", "20")
def test_a_deadline_that_has_passed_sends_nothing_and_does_not_count_against_the_server(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write = put(store)
        with proxy.counting() as counted:
            for _ in range(10):
                for answer in (
                    *store.load([write.key], now(), soon(-1)),
                    *store.remove([write.key], now(), soon(-1)),
                    answer_to(store, new(), -1),
                ):
                    assert isinstance(answer, StoreTimeout)
                    assert not answer.ambiguous or mode == "async"
        assert counted.sent == 0
        assert get(store, write) == write.data


@pytest.mark.promise("F-02", "20")
def test_a_server_that_takes_no_connection_is_given_up_in_time(mode):
    with socket.create_server((HOST, 0), backlog=0) as full:
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        with opened(mode, f"{HOST}:{full.getsockname()[1]}") as store:
            began = awake()
            answer = answer_to(store, new(), 0.6)
            assert isinstance(answer, StoreTimeout)
            assert "took no connection" in str(answer)
            assert not answer.ambiguous
            assert awake() - began < 5
        for filler in fillers:
            filler.close()


@pytest.mark.promise("F-02", "20")
def test_a_reply_that_trickles_in_is_over_at_the_deadline(mode):
    """Each piece comes in good time, and the whole never does."""
    stop = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"VALUE ")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            with opened(mode, f"{HOST}:{listener.getsockname()[1]}") as store:
                began = awake()
                with pytest.raises(StoreTimeout, match="did not answer in time"):
                    found(store, KEY, 0.6)
                assert awake() - began < 5
        finally:
            stop.set()
            thread.join()


# One of several


def placed(servers, its):
    """Writes, by the number of the server on which they lie; some on each."""
    writes = [new() for _ in range(30)]
    shares = MemcachedStore(servers, prefix=its).shares([write.key for write in writes])
    assert set(shares) == {0, 1}
    return [[writes[position] for position in shares[number]] for number in (0, 1)]


@pytest.mark.promise("F-02", "F-12", "20")
def test_a_batch_that_meets_a_silent_server_is_answered_by_the_other(mode, memcached, proxy):
    servers, its = [memcached.address, at(proxy)], prefix()
    healthy, stuck = placed(servers, its)
    with opened(mode, servers, prefix=its) as store:
        assert store.write(healthy + stuck, now(), soon()) == [None] * 30
        proxy.silent = True
        # The silent one comes first.
        batch = stuck + healthy
        began = awake()
        answers = store.load([write.key for write in batch], now(), soon(0.8))
        assert [isinstance(answer, StoreTimeout) for answer in answers[: len(stuck)]] == [True] * len(stuck)
        assert [answer.data for answer in answers[len(stuck) :]] == [write.data for write in healthy]
        assert awake() - began < 5
        answers = store.write([after(write) for write in batch], now(), soon(0.8))
        assert [isinstance(answer, StoreError) for answer in answers] == [True] * len(stuck) + [False] * len(
            healthy
        )
        proxy.silent = False


@pytest.mark.promise("F-02", "F-12", "20")
def test_a_silent_server_holds_up_no_call_for_another_one(memcached, proxy):
    """In one loop: the threads of each server are its own."""
    servers, its = [memcached.address, at(proxy)], prefix()
    healthy, stuck = placed(servers, its)

    async def play():
        store = AsyncMemcachedStore(servers, prefix=its)
        assert await store.write(healthy + stuck, now(), soon()) == [None] * 30
        proxy.silent = True
        waiting = [asyncio.ensure_future(store.load([write.key], now(), soon())) for write in stuck * 5]
        async with loops.Heartbeat() as heart:
            for _ in range(3):
                lies = await asyncio.gather(*(store.load([write.key], now(), soon()) for write in healthy))
                assert [item.data for (item,) in lies] == [write.data for write in healthy]
            await heart.some()
        assert not any(task.done() for task in waiting)
        proxy.silent = False
        lies = await asyncio.gather(*waiting)
        assert [item.data for (item,) in lies] == [write.data for write in stuck * 5]
        await store.close()

    loops.run(play())


# Restarted


@pytest.mark.promise("F-12")
def test_a_restart_under_load_gives_typed_errors_and_never_half_of_a_write(mode, a_memcached):
    server = a_memcached()
    seen, done = [], threading.Event()

    def work():
        with opened(mode, server.address) as store:
            while not done.is_set():
                write = new(b"1" * 5_000)
                change = after(write, b"2" * 9_000)
                answers = [answer_to(store, one, 2) for one in (write, change)]
                lies, *_ = store.load([write.key], now(), soon(2))
                if isinstance(lies, Found):
                    assert lies.data in (write.data, change.data)
                    seen.append(lies)
                for answer in (*answers, lies):
                    if isinstance(answer, StoreError):
                        assert isinstance(answer, StoreUnavailable), answer
                        seen.append(answer)
                        done.wait(0.01)
                    else:
                        assert answer is None or isinstance(answer, Found | Conflict)

    def has_seen(kind, since):
        return any(isinstance(one, kind) for one in seen[since:])

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work) for _ in range(3)]
        try:
            until(lambda: has_seen(Found, 0), "work is done")
            server.kill()
            until(lambda: has_seen(StoreUnavailable, 0), "the error is seen")
            server.start()
            mark = len(seen)
            until(lambda: has_seen(Found, mark), "work is done again")
        finally:
            done.set()
        for worker in working:
            worker.result()
