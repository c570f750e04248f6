"""A Redis server that answers, but does not do what it is asked: full, read only, with something else under the key."""

import os
import time
from contextlib import suppress

import pytest
from redis.exceptions import ResponseError

from coatcheck.errors import StoreFull, StoreReadOnly
from coatcheck.model.ports import Unreadable
from coatcheck.model.record import (
    Applied,
    Create,
    Destroy,
    RecordError,
    Refused,
    Tombstone,
    decode,
    encode,
    settle,
)
from tests.servers.process import free_port, until
from tests.servers.redis import single
from tests.stores.redis_harness import name_of
from tests.stores.redis_scene import BOTH_COLOURS, staged
from tests.stores.redis_site import RedisSite

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def spoiled():
    """A server of its own, whose settings a test may spoil."""
    with single(enable_debug_command="yes") as server:
        yield server


@pytest.fixture
def server(spoiled):
    yield spoiled
    for name, value in (("maxmemory", 0), ("min-replicas-to-write", 0), ("save", "")):
        spoiled.ask("CONFIG", "SET", name, value)
    spoiled.ask("REPLICAOF", "NO", "ONE")


@pytest.fixture(params=["wsgi", "asgi"])
def site(request, server, prefix):
    with RedisSite(request.param, server.url, prefix) as site:
        yield site


# F-10: out of memory


@pytest.mark.promise("F-10", "12")
@BOTH_COLOURS
def test_out_of_memory_what_reads_or_takes_away_works_and_what_adds_says_that_it_is_full(
    colour, server, prefix
):
    with staged(colour, server, prefix) as scene:
        record, other, third = scene.stored(), scene.stored(), scene.stored(user="ada", signed_in=scene.now)
        server.ask("CONFIG", "SET", "maxmemory", 1)
        assert scene.store.load([record.key], scene.now) == [record]
        for change in (
            scene.update(record),  # a slide
            scene.update(record, take=("a",)),
            scene.update(record, remove=frozenset({"b"})),
            Destroy(key=other.key, at=scene.now),
            Destroy(key=third.key, at=scene.now, user="ada", signed_in=scene.now),
        ):
            (answer,) = scene.store.apply([change])
            assert isinstance(answer, Applied), change
        assert scene.found(record).fields == {}
        assert not isinstance(scene.found(other), type(record))
        for change in (Create(scene.record()), scene.update(record, set={"a": os.urandom(50)})):
            with pytest.raises(StoreFull):
                scene.store.apply([change])
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert scene.store.apply([Create(scene.record())]) == [Applied()]


@pytest.mark.promise("F-10", "12")
@BOTH_COLOURS
def test_out_of_memory_a_batch_fails_only_for_those_that_add(colour, server, prefix):
    with staged(colour, server, prefix) as scene:
        kept, ended = scene.stored(), scene.stored()
        server.ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreFull):
            scene.store.apply([scene.update(kept, set={"c": b"3"}), Destroy(key=ended.key, at=scene.now)])
        assert scene.found(kept) == kept
        assert not isinstance(scene.found(ended), type(ended))


@pytest.mark.promise("F-10", "12")
def test_out_of_memory_visitors_read_and_log_out_and_are_told_that_nothing_new_is_kept(site, server):
    reader, leaver = (
        site.browser("set a 1", "sign_in ada"),
        site.browser("set a 1", "sign_in bob", "flash bye"),
    )
    stolen = leaver.twin()
    server.ask("CONFIG", "SET", "maxmemory", 1)
    cookies = dict(reader.cookies)
    for _ in range(3):
        reply = reader.play("get a", "user")
        assert (reply.status, reply.results) == (200, ["1", "ada"])
        reply = reader.play("set a 2")
        assert reply.status == 503
        assert reply.all("retry-after")
        assert reply.all("set-cookie") == []
    assert [flash[1] for flash in leaver.play("take_flashes").results[0]] == ["bye"]
    assert leaver.play("sign_out").status == 200
    assert stolen.play("is_new", "user").results == [True, None]
    assert reader.cookies == cookies
    server.ask("CONFIG", "SET", "maxmemory", 0)
    assert reader.play("set a 2", "get a").results[1] == "2"


# F-11: it takes no writes


def read_only(server):
    server.ask("REPLICAOF", "127.0.0.1", free_port())


def no_replicas(server):
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)


def no_disk(server):
    # It can't replace a folder by the file that it has written.
    (server.directory / "dump.rdb" / "full").mkdir(parents=True, exist_ok=True)
    server.ask("CONFIG", "SET", "save", "3600 1")
    until(lambda: could_not_save(server), "it can't save")


def could_not_save(server):
    with suppress(ResponseError):  # one is under way
        server.ask("BGSAVE")
    return server.told("persistence")["rdb_last_bgsave_status"] == "err"


@pytest.mark.promise("F-11")
@pytest.mark.parametrize("spoil", [read_only, no_replicas, no_disk])
@BOTH_COLOURS
def test_a_server_that_takes_no_writes_is_read_and_says_so(colour, spoil, server, prefix):
    with staged(colour, server, prefix) as scene:
        record = scene.stored()
        spoil(server)
        assert scene.store.load([record.key], scene.now) == [record]
        for change in scene.changes(record).values():
            start = time.monotonic()
            with pytest.raises(StoreReadOnly):
                scene.store.apply([change])
            assert time.monotonic() - start < 5
        assert scene.found(record) == record


@pytest.mark.promise("F-11")
@pytest.mark.parametrize("spoil", [read_only, no_replicas, no_disk])
def test_a_logout_that_the_server_refuses_is_not_pretended(spoil, site, server):
    browser = site.browser("set a 1", "sign_in ada")
    cookies = dict(browser.cookies)
    spoil(server)
    assert browser.play("get a", "user").results == ["1", "ada"]
    for steps in (("sign_out",), ("set a 2",), ("sign_in bob",)):
        reply = browser.play(*steps)
        assert reply.status == 503
        assert reply.all("set-cookie") == []
    assert browser.cookies == cookies
    server.ask("REPLICAOF", "NO", "ONE")
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    server.ask("CONFIG", "SET", "save", "")
    stolen = browser.twin()
    assert browser.play("sign_out").status == 200
    assert stolen.play("is_new").result is True


# F-22: what lies there is no record


def plant(scene, server, prefix, record, data):
    name = name_of(prefix, record.key)
    with server.client() as client:
        client.set(name, data, px=1_000_000)
    return name


@pytest.mark.promise("F-22", "10")
@BOTH_COLOURS
def test_each_flipped_byte_is_read_as_the_record_format_says_and_written_by_nobody(
    colour, redis_server, prefix
):
    with staged(colour, redis_server, prefix) as scene:
        record = scene.record(user="ada", signed_in=scene.now, fields={"a": b"1"})
        whole = encode(record)
        unreadable = 0
        for place in range(len(whole)):
            data = bytearray(whole)
            data[place] ^= 0x80 if place % 2 else 0x01
            name = plant(scene, redis_server, prefix, record, bytes(data))
            try:
                expected = decode(record.key, bytes(data))
            except RecordError:
                expected = None
            (found,) = scene.store.load([record.key], scene.now)
            assert isinstance(found, Unreadable) if expected is None else found == expected
            unreadable += expected is None
            change = scene.update(record, set={"b": b"2"})
            settled = settle(bytes(data), change)
            assert scene.store.apply([change]) == [settled.answer]
            left = redis_server.ask("GET", name)
            assert left == (bytes(data) if settled.state is None else encode(settled.state))
        assert unreadable > 20


@pytest.mark.promise("F-22", "10")
@BOTH_COLOURS
def test_each_cut_record_is_unreadable_left_alone_and_can_be_destroyed(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        record = scene.record(user="ada", signed_in=scene.now, fields={"a": b"1"})
        whole = encode(record)
        for size in range(len(whole)):
            name = plant(scene, redis_server, prefix, record, whole[:size])
            (found,) = scene.store.load([record.key], scene.now)
            assert isinstance(found, Unreadable)
            assert scene.store.apply([scene.update(record, set={"b": b"2"})]) == [Refused.UNREADABLE]
            assert redis_server.ask("GET", name) == whole[:size]
        assert scene.store.apply([Destroy(key=record.key, at=scene.now)]) == [Applied()]
        assert isinstance(scene.found(record), Tombstone | None)


FOREIGN = {
    "list": ("RPUSH", b"x"),
    "set": ("SADD", b"x"),
    "hash": ("HSET", b"x", b"y"),
    "sorted set": ("ZADD", 1, b"x"),
    "stream": ("XADD", "*", b"x", b"y"),
}


@pytest.mark.promise("F-22", "10")
@pytest.mark.parametrize("kind", FOREIGN)
@BOTH_COLOURS
def test_a_key_that_holds_something_else_is_unreadable_and_left_alone(colour, kind, redis_server, prefix):
    command, *arguments = FOREIGN[kind]
    with staged(colour, redis_server, prefix) as scene:
        record, other = scene.stored(), scene.stored()
        name = plant(scene, redis_server, prefix, record, b"")
        with redis_server.client() as client:
            client.delete(name)
            client.execute_command(command, name, *arguments)
            client.pexpire(name, 1_000_000)
            before = client.dump(name)
            for keys in ([record.key], [other.key, record.key]):
                found = scene.store.load(keys, scene.now)
                assert isinstance(found[-1], Unreadable)
                assert list(found[:-1]) == [other][: len(keys) - 1]
            assert scene.store.apply([scene.update(record, set={"a": b"3"})]) == [Refused.UNREADABLE]
            assert scene.store.apply([Create(record)]) == [Refused.EXISTS]
            assert client.dump(name) == before
        assert scene.store.apply([Destroy(key=record.key, at=scene.now)]) == [Applied()]
        assert not isinstance(scene.found(record), Unreadable)


@pytest.mark.promise("F-22", "10")
def test_a_visitor_whose_record_is_spoiled_begins_anew_and_it_is_told(site, server, prefix):
    browser = site.browser("set a 1")
    other = site.browser("set a 2")
    name = name_of(prefix, site.key_of(browser))
    server.ask("DEL", name)
    server.ask("RPUSH", name, "x")
    site.events.clear()
    reply = browser.play("get a", "is_new")
    assert (reply.status, reply.results) == (200, [None, True])
    assert [event.kind for event in site.events] == ["unreadable"]
    assert browser.play("set a 3").status == 200
    assert browser.play("get a").result == "3"
    assert other.play("get a").result == "2"
    assert server.ask("LRANGE", name, 0, -1) == [b"x"]
    server.ask("DEL", name)
