"""Connections to Memcached: cut, stale, cancelled, forked, in threads and loops. One visitor never gets another's data."""

import asyncio
import itertools
import os
import random
import select
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from coatcheck.errors import CoatcheckError, StoreTimeout, StoreUnavailable
from coatcheck.model.ports import Conflict
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from coatcheck.stores.memcached.connections import TimedSocket
from tests import loops
from tests.servers.memcached import prefix
from tests.servers.process import HOST, Server, silent, until
from tests.stores.memcached.scene import (
    after,
    answer_to,
    at,
    found,
    get,
    new,
    nodes_of,
    now,
    opened,
    put,
    soon,
)

pytestmark = pytest.mark.servers
KEY = bytes(16)


# Cut


@pytest.mark.promise("F-04")
@pytest.mark.parametrize("size", [0, 1, 5, 40, 200, 1_000])
def test_a_reply_that_is_cut_is_no_data_and_the_next_one_is_right(mode, proxy, size):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        first, second = put(store, new(bytes(1_500))), put(store)
        proxy.cut_reply_after(size)
        with pytest.raises(StoreUnavailable) as caught:
            get(store, first)
        assert not caught.value.ambiguous
        proxy.heal()
        assert get(store, second) == second.data
        assert get(store, first) == first.data


@pytest.mark.promise("F-04")
def test_replies_in_slices_of_a_byte_are_read_as_any_other(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        proxy.slice = 1
        write = put(store, new(b"\r\nEND\r\n" * 20))
        assert get(store, write) == write.data
        change = put(store, after(write, b"STORED\r\n"))
        assert get(store, change) == change.data
        assert isinstance(answer_to(store, after(write)), Conflict)
        assert store.remove([write.key, KEY], now(), soon()) == [True, False]


@pytest.mark.promise("F-03", "L")
def test_a_write_whose_reply_is_lost_says_so_and_what_follows_is_right(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write, lost = put(store), new()
        proxy.drop_replies()
        answer = answer_to(store, lost)
        assert isinstance(answer, StoreUnavailable)
        assert answer.ambiguous
        (answer,) = store.remove([KEY], now(), soon())
        assert isinstance(answer, StoreUnavailable)
        assert answer.ambiguous
        proxy.heal()
        assert get(store, write) == write.data
        assert get(store, lost) == lost.data  # it was stored
        assert answer_to(store, after(write)) is None


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("size", [0, 10, 70, 90])
def test_a_write_that_is_cut_on_its_way_is_stored_or_not_and_never_in_part(mode, proxy, size):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write = put(store)
        change = after(write, b"x" * 200, expected=found(store, write.key).version)
        proxy.cut_request_after(size)
        answer = answer_to(store, change, 5)
        assert isinstance(answer, StoreUnavailable)
        assert answer.ambiguous
        proxy.heal()
        assert get(store, write) == write.data


@pytest.mark.promise("F-03", "L")
def test_no_write_is_repeated_by_itself(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        store.ping(soon())
        proxy.drop_replies()
        with proxy.recording() as transcript:
            answer_to(store, new())
        sent = b"".join(data for way, data in transcript if way == "sent")
        assert sent.count(b"add ") == 1


@pytest.mark.promise("F-04")
def test_connections_that_went_stale_are_not_noticed_by_any_caller(mode, proxy):
    with opened(mode, at(proxy), prefix=prefix()) as store:
        write = put(store)
        (node,) = nodes_of(store)
        for _ in range(5):
            proxy.reset()
            idle = node._own.connections._idle
            until(lambda: all(select.select([one.sock.plain], [], [], 0)[0] for one in idle), "ended")  # noqa: B023
            assert get(store, write) == write.data
            write = put(store, after(write))


def serve(listener, answer):
    """Answer whatever is asked in the same way."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                if connection.recv(65536):
                    connection.sendall(answer)
                    connection.recv(65536)
            except OSError:
                pass


@pytest.mark.promise("F-04", "18")
@pytest.mark.parametrize(
    "answer",
    [
        b"VALUE somebody-else 0 1 1\r\nx\r\nEND\r\n",
        b"VALUE coatcheck:%b 0 8 somebody\r\nsomebody\r\nEND\r\n" % (b"0" * 32),
        b"VALUE coatcheck:%b 0 somebody 1\r\nsomebody\r\nEND\r\n" % (b"0" * 32),
        b"somebody's session\r\n",
        b"STORED\r\n",
        b"ERROR\r\n",
        b"\r\n",
        b"VALUE ",
        b"SERVER_ERROR something\r\n",
        b"CLIENT_ERROR line format\r\n",
    ],
    ids=range(10),
)
def test_a_reply_to_something_else_is_never_data_and_never_shown(mode, answer):
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, answer))
        thread.start()
        try:
            with opened(mode, f"{HOST}:{listener.getsockname()[1]}") as store:
                with pytest.raises(CoatcheckError) as caught:
                    found(store, KEY, 0.6)
                assert "somebody" not in "".join(traceback.format_exception(caught.value))
                assert (answer_to(store, new(), 0.6) is None) == (answer == b"STORED\r\n")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.promise("20")
def test_a_connection_whose_deadline_has_passed_sends_and_reads_nothing():
    near, far = socket.socketpair()
    with near, far:
        connection = TimedSocket(near, soon(-1))
        for work in (lambda: connection.sendall(b"x"), lambda: connection.recv(1)):
            with pytest.raises(TimeoutError):
                work()
        assert not connection.sent
        connection.deadline = soon()
        connection.sendall(b"x")
        assert connection.sent
        assert far.recv(10) == b"x"


@pytest.mark.promise("20")
def test_a_write_whose_deadline_passes_before_it_is_sent_is_surely_not_done(mode, proxy):
    with opened(mode, f"{HOST}:{proxy.port}", prefix=prefix()) as store:
        put(store)  # on the connection that is lent again
        connections = nodes_of(store)[0]._own.connections
        borrow = connections.borrow

        def late(deadline):
            client = borrow(deadline)
            client.sock.deadline = soon(-1)
            return client

        connections.borrow = late
        with proxy.counting() as counted:
            answer = answer_to(store, new())
        assert isinstance(answer, StoreTimeout)
        assert not answer.ambiguous
        assert counted.sent == 0


def test_an_error_that_is_no_failure_of_the_store_is_raised_as_it_is(mode, memcached):
    with opened(mode, memcached.address) as store, pytest.raises(TypeError):
        store.write([new()], "not a time", soon())


# Cancelled


@pytest.mark.promise("F-05")
def test_callers_that_are_cancelled_leave_no_reply_behind_for_others(proxy):
    """As with CVE-2023-28858: every caller gives up at another moment, and none is given another's data."""
    turns = random.Random(7)

    async def play():
        store = AsyncMemcachedStore(at(proxy), prefix=prefix())
        writes = [new(b"%d" % number) for number in range(8)]
        assert await store.write(writes, now(), soon()) == [None] * 8
        proxy.latency = 0.002
        for _ in range(120):
            victims = [
                asyncio.ensure_future(
                    store.load([write.key], now(), soon())
                    if turns.random() < 0.6
                    else store.write([new(key=write.key)], now(), soon())
                )
                for write in turns.choices(writes, k=3)
            ]
            # Seeded moments before, in and after the replies, which take 2 ms each way.
            await asyncio.sleep(turns.uniform(0, 0.012))
            for victim in victims:
                victim.cancel()
            wanted = turns.choice(writes)
            (lies,) = await store.load([wanted.key], now(), soon())
            assert lies.data == wanted.data
            await asyncio.gather(*victims, return_exceptions=True)
        await store.close()

    loops.run(play())


@pytest.mark.promise("F-05")
def test_a_write_whose_caller_is_cancelled_is_done_all_the_same(proxy):
    its = prefix()

    async def play():
        store = AsyncMemcachedStore(at(proxy), prefix=its)
        write = new()
        await store.write([write], now(), soon())
        proxy.latency = 0.02
        change = after(write)
        before = proxy.total.sent
        writing = asyncio.ensure_future(store.write([change], now(), soon()))
        await loops.until(lambda: proxy.total.sent > before, turns=1_000_000)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert writing.cancelled()
        await store.close()  # waits for it
        return change

    change = loops.run(play())
    with opened("sync", at(proxy), prefix=its) as store:
        assert get(store, change) == change.data


@pytest.mark.promise("F-04")
def test_a_timeout_in_the_middle_of_a_reply_leaves_nothing_for_the_next_caller(mode, memcached, proxy):
    """Its reply comes when the next one asks, and would be taken for that one's."""
    its = prefix()
    with opened("sync", memcached.address, prefix=its) as patient:
        writes = [put(patient, new(b"%d" % number)) for number in range(4)]
    with opened(mode, at(proxy), prefix=its) as store:
        for write, following in itertools.pairwise(writes):
            proxy.latency = 0.4
            with pytest.raises(StoreTimeout):
                get(store, write, 0.15)
            proxy.latency = 0
            assert get(store, following) == following.data


# Threads, forks, loops, sockets


@pytest.mark.promise("24")
def test_threads_share_connections_and_each_gets_its_own_data(memcached):
    its = prefix()
    with opened("sync", memcached.address, prefix=its) as store, ThreadPoolExecutor(8) as pool:
        writes = [put(store, new(b"%d" % number)) for number in range(8)]

        def read(write):
            return all(get(store, write) == write.data for _ in range(100))

        assert all(pool.map(read, writes))
        (node,) = nodes_of(store)
        assert len(node._own.connections._idle) <= 8


@pytest.mark.promise("F-18", "24")
def test_a_child_of_a_fork_talks_on_connections_of_its_own(memcached):
    with opened("sync", memcached.address, prefix=prefix()) as store:
        writes = [put(store, new(b"%d" % number)) for number in range(4)]
        (inherited,) = nodes_of(store)[0]._own.connections._idle
        child = os.fork()
        if child == 0:
            status = 1
            try:
                plain = inherited.sock.plain
                for _ in range(50):
                    for write in writes:
                        assert get(store, write) == write.data
                assert plain.fileno() == -1
                assert answer_to(store, after(writes[0], b"the child's")) is None
                store.close()
                status = 0
            finally:
                os._exit(status)
        for _ in range(200):
            for write in writes[1:]:
                assert get(store, write) == write.data
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert get(store, writes[0])[8:] == b"the child's"


@pytest.mark.promise("24")
def test_a_store_is_closed_and_used_again(mode, memcached):
    with opened(mode, memcached.address, prefix=prefix()) as store:
        write = put(store)
        for _ in range(3):
            used = [one.sock.plain for node in nodes_of(store) for one in node._own.connections._idle]
            assert used
            close(store)
            assert all(one.fileno() == -1 for one in used)
            assert get(store, write) == write.data


def close(store):
    if isinstance(store, MemcachedStore):
        store.close()
    else:
        store.runner.run(store.store.close())


@pytest.mark.promise("24")
def test_a_connection_that_is_in_use_while_the_store_is_closed_is_closed_when_it_comes_back(proxy):
    with opened("sync", at(proxy), prefix=prefix()) as store, ThreadPoolExecutor(1) as pool:
        write = put(store)
        (node,) = nodes_of(store)
        before = node._own.connections
        proxy.silent = True
        reading = pool.submit(get, store, write)
        until(lambda: not before._idle, "it is in use")
        store.close()
        proxy.silent = False
        assert reading.result() == write.data
        assert not before._idle
        assert node._own.connections is not before


@pytest.mark.promise("24")
def test_a_store_is_used_from_one_loop_after_another(memcached):
    store, write = AsyncMemcachedStore(memcached.address, prefix=prefix()), new()

    async def once(change):
        assert await store.write([change], now(), soon()) == [None]
        (lies,) = await store.load([change.key], now(), soon())
        return lies.data

    assert loops.run(once(write)) == write.data
    for loop in loops.LOOPS:
        write = after(write)
        assert loops.run(once(write), loop) == write.data
    loops.run(store.close())


def test_a_unix_socket_serves_as_well(mode, tmp_path):
    path = tmp_path / "mc.sock"
    command = ["memcached", "-s", path, "-a", "777", "-u", "root"]
    with (
        Server(command, directory=tmp_path, ready=path.exists),
        opened(mode, str(path)) as store,
    ):
        write = put(store)
        assert get(store, write) == write.data
        store.ping(soon())


def test_a_host_of_several_addresses_is_reached_at_the_one_that_answers(mode, memcached, monkeypatch):
    """Such as localhost, where a server listens on 127.0.0.1 and not on ::1."""
    plain = socket.getaddrinfo

    def both(host, port, *args, **kwargs):
        dead = plain(HOST, 1, *args, **kwargs)
        return [*dead, *plain(HOST, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with opened(mode, f"localhost:{memcached.port}", prefix=prefix()) as store:
        write = put(store)
        assert get(store, write) == write.data


def test_a_silent_address_of_a_host_leaves_time_for_the_others(mode, memcached, monkeypatch):
    plain = socket.getaddrinfo

    def all_three(host, port, *args, **kwargs):
        return [info for last in (2, 3, 1) for info in plain(f"127.0.0.{last}", port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", all_three)
    with (
        silent("127.0.0.2", memcached.port),
        silent("127.0.0.3", memcached.port),
        opened(mode, f"localhost:{memcached.port}", prefix=prefix()) as store,
    ):
        assert store.write([new()], now(), soon(1)) == [None]
