"""Memcached's limits: memory, sizes, lifetimes and names, as the servers have them."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError

from coatcheck.errors import StoreFull, StoreUnavailable, TooLarge
from coatcheck.model.ports import Conflict, Found
from tests.servers.memcached import prefix
from tests.servers.process import HOST
from tests.stores.memcached.scene import (
    DAY,
    after,
    answer_to,
    ending,
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


# Memory


@pytest.mark.promise("F-12")
def test_what_is_evicted_ends_early_and_is_never_half_there(mode, a_memcached):
    server = a_memcached("-m", "1", "-I", "512k")
    with opened(mode, server.address) as store:
        writes = [new(b"x" * 400) for _ in range(10_000)]
        for start in range(0, len(writes), 500):
            assert store.write(writes[start : start + 500], now(), soon()) == [None] * 500
        assert int(server.stats()["evictions"]) > 0
        there = gone = 0
        for start in range(0, len(writes), 100):
            batch = writes[start : start + 100]
            lies = store.load([write.key for write in batch], now(), soon())
            for write, item in zip(batch, lies, strict=True):
                if item is None:
                    gone += 1
                else:
                    assert item.data == write.data
                    there += 1
        assert there > 0
        assert gone > 0


@pytest.fixture
def full(mode, a_memcached):
    """A store on a server that does not evict, and what filled it."""
    server = a_memcached("-m", "1", "-I", "512k", "-M")
    with opened(mode, server.address) as store:
        writes = []
        while True:
            write = new(b"x" * 900)
            answer = answer_to(store, write)
            if isinstance(answer, StoreFull):
                assert "no room left: give it more memory (-m)" in str(answer)
                break
            assert answer is None
            writes.append(write)
            assert len(writes) < 20_000
        yield store, writes


@pytest.mark.promise("F-10", "12")
def test_a_full_server_takes_nothing_new_and_lets_every_visitor_out(full):
    store, writes = full
    some = writes[:: max(1, len(writes) // 50)]
    assert isinstance(answer_to(store, after(some[0], b"y" * 910)), StoreFull)
    assert get(store, some[0]) == some[0].data
    for write in some:
        tombstone = ending(write)
        assert answer_to(store, tombstone) is None
        assert get(store, write) in (None, tombstone.data)
        assert isinstance(answer_to(store, after(write)), Conflict)


@pytest.mark.promise("F-10")
def test_a_full_server_removes(full):
    store, writes = full
    keys = [write.key for write in writes[:20]]
    assert store.remove(keys, now(), soon()) == [True] * 20
    assert store.load(keys, now(), soon()) == [None] * 20


@pytest.mark.promise("F-10", "17")
def test_an_epoch_that_notes_a_sign_in_is_never_removed_for_want_of_memory(full):
    """It does not end anything, and is as large as the one before it; only what is smaller ends something."""
    store, _ = full
    for write in at_no_memory(store, new(b"e" * 40, live=False)):
        changed = after(write, b"n" * 40, urgent=True)
        assert isinstance(answer_to(store, changed), StoreFull)
        assert get(store, write) == write.data


@pytest.mark.promise("F-10")
def test_what_is_a_session_is_never_removed_for_want_of_memory(full):
    store, writes = full
    for write in writes[:5]:
        answer = answer_to(store, after(write, b"y" * 890, urgent=True))
        assert answer is None or isinstance(answer, StoreFull)
        assert get(store, write) is not None


def at_no_memory(store, write):
    """Writes of that size, where its size has no memory left after them."""
    writes = []
    while answer_to(store, write) is None:
        writes.append(write)
        write = msgspec.structs.replace(write, key=os.urandom(16), data=os.urandom(8) + write.data[8:])
    return writes[-3:]


@pytest.fixture
def without_memory(memcached, mode):
    """A store on a server that has memory for nothing; `between` runs before each of its commands."""
    its = prefix()
    with (
        opened("sync", memcached.address, prefix=its) as plain,
        opened(mode, memcached.address, prefix=its) as store,
    ):
        (node,) = nodes_of(store)
        connections = node._own.connections
        borrow, give_back = connections.borrow, connections.give_back
        connections.borrow = lambda deadline: NoMemory(borrow(deadline), store_between)
        connections.give_back = lambda client, usable: give_back(client.client, usable=usable)
        happenings = []

        def store_between(command):
            if happenings and happenings[0][0] == command:
                happenings.pop(0)[1]()

        yield store, plain, happenings
        assert happenings == []


class NoMemory:
    """A client whose server refuses to store anything. The other commands reach the real one."""

    def __init__(self, client, between):
        self.client, self.between = client, between

    def __getattr__(self, name):
        attribute = getattr(self.client, name)
        if not callable(attribute):
            return attribute

        def command(*args, **kwargs):
            self.between(name)
            if name in {"add", "cas"}:
                raise MemcacheServerError(b"out of memory storing object")
            return attribute(*args, **kwargs)

        return command


@pytest.mark.promise("F-10", "12")
@pytest.mark.parametrize("knows", ["token", "revision"])
def test_where_a_tombstone_finds_no_memory_the_session_is_removed(without_memory, knows):
    store, plain, _ = without_memory
    write = put(plain)
    version = found(plain, write.key).version if knows == "token" else write.data[:8]
    assert answer_to(store, ending(write, expected=version)) is None
    assert get(plain, write) is None


@pytest.mark.promise("F-10", "12")
@pytest.mark.parametrize("command", ["cas", "gets_many", "raw_command"])
def test_a_sign_in_that_comes_between_is_not_removed_with_it(without_memory, command):
    """Whenever it comes: before the tombstone is refused, before the look, or between the look and the removal."""
    store, plain, happenings = without_memory
    write = put(plain)
    version = found(plain, write.key).version
    sign_in = after(write, b"the sign-in")
    happenings.append((command, lambda: put(plain, sign_in)))
    answer = answer_to(store, ending(write, expected=version))
    assert isinstance(answer, Conflict)
    assert answer.found.data == sign_in.data
    assert get(plain, write) == sign_in.data


@pytest.mark.promise("F-10", "12")
@pytest.mark.parametrize("command", ["cas", "gets_many", "raw_command"])
def test_a_session_that_ends_between_is_a_conflict_with_nothing(without_memory, command):
    store, plain, happenings = without_memory
    write = put(plain)
    version = found(plain, write.key).version
    happenings.append((command, lambda: plain.remove([write.key], now(), soon())))
    assert answer_to(store, ending(write, expected=version)) == Conflict(None)


@pytest.mark.promise("F-10", "12")
def test_an_ending_whose_look_or_removal_fails_says_whether_it_may_be_done(without_memory, monkeypatch):
    store, plain, happenings = without_memory
    write = put(plain)
    version = found(plain, write.key).version

    def fail():
        raise ConnectionResetError

    happenings.append(("gets_many", fail))
    answer = answer_to(store, ending(write, expected=version))
    assert isinstance(answer, StoreUnavailable)
    assert not answer.ambiguous
    happenings.append(("raw_command", fail))
    answer = answer_to(store, ending(write, expected=version))
    assert isinstance(answer, StoreUnavailable)
    assert get(plain, write) == write.data


@pytest.mark.promise("F-10", "12")
def test_an_ending_that_is_answered_with_something_else_may_be_done(without_memory, monkeypatch):
    store, plain, _ = without_memory
    write = put(plain)
    monkeypatch.setattr(Client, "raw_command", lambda *_: b"OK")
    answer = answer_to(store, ending(write, expected=found(plain, write.key).version))
    assert isinstance(answer, StoreUnavailable)
    assert answer.ambiguous


@pytest.mark.promise("F-10")
def test_nothing_else_is_removed_where_there_is_no_memory(without_memory):
    store, plain, _ = without_memory
    write = put(plain)
    for change in (
        after(write, b"", live=True, urgent=True),  # a session that shrinks
        after(write, b"", live=False, urgent=False),
        after(write, b"as large", live=False, urgent=True),
        new(live=False, urgent=True),  # where nothing lies
    ):
        assert isinstance(answer_to(store, change), StoreFull)
        assert get(plain, write) == write.data
    assert isinstance(answer_to(store, new(b"", key=write.key, live=False, urgent=True)), Conflict)


# Sizes


@pytest.mark.promise("21")
def test_data_that_is_too_large_is_refused_before_it_is_sent_and_the_old_stays(mode, proxy):
    with opened(mode, f"{HOST}:{proxy.port}", prefix=prefix()) as store:
        write, other = put(store), new()
        version = found(store, write.key).version
        with proxy.counting() as counted:
            large = after(write, bytes(1 << 20), expected=version)
            refused, answer = store.write([large, other], now(), soon())
        assert isinstance(refused, TooLarge)
        assert refused.limit == 1 << 20
        assert answer is None
        assert counted.sent < 1_000
        assert get(store, write) == write.data


@pytest.mark.promise("21")
@pytest.mark.parametrize("missing", [0, 1, 2, 100, 5_000])
def test_every_size_that_is_let_through_the_server_takes(mode, memcached, missing):
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        room = (1 << 20) - 256 - len(its) - 32 - 8
        write = put(store, new(bytes(room - missing)))
        assert get(store, write) == write.data
        assert isinstance(answer_to(store, after(write, bytes(room + 1))), TooLarge)
        put(store, after(write, bytes(10)))


@pytest.mark.promise("21")
def test_a_server_with_smaller_items_than_it_was_said_to_have_is_told_of(mode, a_memcached):
    server = a_memcached("-I", "16k", "-o", "slab_chunk_max=8192")
    with opened(mode, server.address) as store:
        write = put(store)
        refused = answer_to(store, after(write, bytes(20_000)))
        assert isinstance(refused, TooLarge)
        assert "lower -I" in str(refused)
        assert (refused.size, refused.limit) == (20_008, 20_007)
        assert get(store, write) == write.data
        write = put(store, after(write))
        put(store, ending(write))
    with opened(mode, server.address, max_item_bytes=16 * 1024) as store:
        refused = answer_to(store, new(bytes(20_000)))
        assert isinstance(refused, TooLarge)
        assert "largest item is 16384" in str(refused)


# Lifetimes


@pytest.mark.promise("16")
@pytest.mark.parametrize("seconds", [30 * 86_400 - 1, 30 * 86_400, 30 * 86_400 + 1, 90 * 86_400, 20])
@pytest.mark.parametrize("again", [False, True])
def test_data_of_any_lifetime_is_there_and_has_an_end(mode, memcached, seconds, again):
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        write = put(store, new(expires=now() + seconds * 1_000))
        if again:
            write = put(store, after(write))
        assert get(store, write) == write.data
        answer = memcached.ask(b"mg " + named(its, write) + b" t\r\n")
        left = int(answer.split(b" t")[1])
        assert seconds - 60 < left <= seconds + 3


@pytest.mark.promise("16")
def test_data_that_has_expired_when_it_comes_is_not_kept(mode, memcached):
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        write = put(store, new(expires=now() - 1))
        assert memcached.read(named(its, write)) is None
        write = put(store)
        put(store, after(write, expires=now() - DAY))
        assert memcached.read(named(its, write)) is None


def named(its, write):
    return f"{its}{write.key.hex()}".encode()


# What clients send


INJECTIONS = [
    b"",
    b" ",
    b"\r\n",
    b"a\r\nset owned 0 0 1\r\nx\r\n",
    b"\r\nEND\r\nSTORED\r\n",
    b"\0",
    b"a\nflush_all\n",
    b"\r\nflush_all\r\n",
]


@pytest.mark.promise("18")
@pytest.mark.parametrize("text", INJECTIONS, ids=range(len(INJECTIONS)))
def test_no_data_and_no_key_is_a_command(mode, memcached, text):
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        bystander = put(store)
        key = (text + bytes(16))[-16:]
        write = put(store, new(text, key=key))
        assert get(store, write) == write.data
        assert memcached.read(named(its, write)) == write.data
        write = put(store, after(write, text * 2))
        assert get(store, write) == write.data
        assert get(store, bystander) == bystander.data
        assert store.remove([key], now(), soon()) == [True]
    assert memcached.read(b"owned") is None


@pytest.mark.promise("F-22", "10")
@pytest.mark.parametrize("data", [b"", b"short", b"\r\nEND\r\n", bytes(100)])
def test_whatever_lies_there_is_given_back_as_it_is(mode, memcached, data):
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        write = put(store)
        memcached.write(named(its, write), data)
        assert get(store, write) == data
        conflict = answer_to(store, after(write))
        assert isinstance(conflict, Conflict)
        assert conflict.found.data == data
        put(store, ending(write, expected=conflict.found.version))


# Versions


@pytest.mark.promise("7")
def test_a_token_is_never_taken_for_a_revision_nor_a_revision_for_a_token(mode, memcached):
    """Eight digits can be both."""
    its = prefix()
    with opened(mode, memcached.address, prefix=its) as store:
        write = put(store, new())
        token = found(store, write.key).version
        assert type(token) is int
        digits = b"%08d" % token
        for expected in (digits, token + 1):
            answer = answer_to(store, after(write, expected=expected))
            assert isinstance(answer, Conflict)
            assert answer.found == Found(write.data, token)
        write = put(store, after(write, expected=token, data=digits + b"pears"))
        put(store, after(write))


@pytest.mark.promise("6", "7")
@pytest.mark.parametrize("knows", ["token", "revision", "nothing"])
def test_of_writers_that_know_the_same_version_one_is_first(mode, memcached, knows):
    its, begin = prefix(), threading.Barrier(8)
    with opened("sync", memcached.address, prefix=its) as plain:
        write, expected = new(), None
        if knows != "nothing":
            put(plain, write)
            expected = write.data[:8] if knows == "revision" else found(plain, write.key).version
        changes = [after(write, b"%d" % number, expected=expected) for number in range(8)]

        def send(change):
            with opened(mode, memcached.address, prefix=its) as store:
                begin.wait(30)
                return answer_to(store, change)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, changes))
        (first,) = [number for number, answer in enumerate(answers) if answer is None]
        stored = changes[first].data
        assert get(plain, write) == stored
        assert all(answer.found.data == stored for answer in answers if answer is not None)
