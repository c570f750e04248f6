"""A Redis server that answers, but does not do what it is asked: full, read only, busy, with something else under the key."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from coatcheck.model.ports import Conflict, Found
from tests.awake import awake
from tests.servers.process import HOST, free_port, until
from tests.servers.redis import RedisServer, folder, single
from tests.stores.redis.harness import LIVE, name_of
from tests.stores.redis.scene import SYNC_AND_ASYNC, Scene, item, now_ms, opened, soon, staged
from tests.stores.redis.site import RedisSite

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
@SYNC_AND_ASYNC
def test_out_of_memory_what_is_urgent_works_and_the_rest_says_that_it_is_full(kind, server, prefix):
    with staged(kind, server, prefix) as scene:
        first, second, third = scene.put(), scene.put(), scene.put()
        kept, ended = scene.entry(), scene.entry()
        scene.store.note([kept, ended], scene.now, scene.deadline)
        server.ask("CONFIG", "SET", "maxmemory", 1)
        assert scene.load(first.key) == [first.data]
        assert scene.load(first.key, second.key) == [first.data, second.data]
        tombstone = item(b"", over=first, live=False, urgent=True)
        shorter = item(b"", over=second, urgent=True)
        assert scene.write(tombstone, shorter) == [None, None]
        assert scene.data(first.key) == tombstone.data
        grown = item(os.urandom(50), over=third)
        refused = scene.write(item(), grown)
        assert all(isinstance(error, StoreFull) for error in refused)
        assert scene.data(third.key) == third.data
        assert scene.store.remove([third.key], scene.now, scene.deadline) == [True]
        with pytest.raises(StoreFull):
            scene.store.note([scene.entry()], scene.now, scene.deadline)
        scene.store.forget([ended], scene.deadline)
        assert scene.entries() == [kept]
        assert scene.store.sweep(kept.until + 1, 10, scene.deadline) == 1
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert scene.write(item()) == [None]


@SYNC_AND_ASYNC
@pytest.mark.promise("F-10", "12", "B")
def test_out_of_memory_a_batch_fails_only_for_those_that_grow(kind, server, prefix):
    with staged(kind, server, prefix) as scene:
        kept, ended = scene.put(), scene.put()
        server.ask("CONFIG", "SET", "maxmemory", 1)
        ending = item(b"", over=ended, live=False, urgent=True)
        refused, done, conflict = scene.write(
            item(b"longer", over=kept), ending, item(key=kept.key, urgent=True)
        )
        assert isinstance(refused, StoreFull)
        assert done is None
        assert conflict == Conflict(Found(kept.data, kept.data[:8]))
        assert (scene.data(kept.key), scene.data(ended.key)) == (kept.data, ending.data)


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
        reply = reader.play("set b 2")
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
@SYNC_AND_ASYNC
def test_a_server_that_takes_no_writes_is_read_and_says_so(kind, spoil, server, prefix):
    with staged(kind, server, prefix) as scene:
        write, entry = scene.put(), scene.entry()
        scene.store.note([entry], scene.now, scene.deadline)
        spoil(server)
        assert scene.load(write.key) == [write.data]
        assert scene.store.sessions_of("ada", scene.now, 10, None, scene.deadline) == [entry]
        for call in (
            lambda: scene.write(item()),
            lambda: scene.write(item(b"", over=write, urgent=True)),
            lambda: scene.write(item(), item(urgent=True)),
            lambda: scene.store.remove([write.key], scene.now, scene.deadline),
            lambda: scene.store.note([entry], scene.now, scene.deadline),
            lambda: scene.store.forget([entry], scene.deadline),
        ):
            start = awake()
            try:
                answers = call()
            except StoreError as error:
                answers = [error]
            assert all(isinstance(error, StoreReadOnly) for error in answers)
            assert answers
            assert awake() - start < 5
        assert scene.data(write.key) == write.data


@pytest.mark.promise("F-07", "F-11")
@SYNC_AND_ASYNC
def test_a_write_that_a_former_primary_refuses_is_sent_once_more_to_whatever_the_address_means_now(
    kind, server, prefix
):
    """Hosted servers keep their name after a failover; connections may still lead to the former primary."""
    with single() as successor, staged(kind, server, prefix) as scene:
        before = scene.put()
        scene.proxy.latency = 0.02
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: scene.load(before.key), range(4)))
        scene.proxy.latency = 0
        assert len(scene.proxy._links) > 1
        read_only(server)
        scene.proxy.target = successor.port  # for new connections
        write = item()
        with scene.proxy.counting() as counted:
            assert scene.write(write) == [None]
        assert counted.connections == 1
        # None of the other connections is used any more: they lead to the former primary, too.
        until(lambda: len(scene.proxy._links) == 1, "the others are closed")
        assert scene.load(write.key, before.key) == [write.data, None]


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


@pytest.mark.promise("F-11")
@SYNC_AND_ASYNC
def test_a_plain_delete_works_where_scripts_are_refused(kind, redis_server, prefix):
    redis_server.ask("ACL", "SETUSER", "plain", "reset", "on", ">word", "~*", "+get", "+del")
    with (
        opened("sync", redis_server.url, prefix=prefix) as whole,
        opened(kind, redis_server.url.replace("//", "//plain:word@"), prefix=prefix) as store,
    ):
        now, write = now_ms(), item()
        assert whole.write([write], now, soon()) == [None]
        (refused,) = store.write([item(over=write, urgent=True)], now, soon())
        assert isinstance(refused, StoreUnavailable)
        assert not refused.ambiguous
        assert store.remove([write.key, os.urandom(16)], now, soon()) == [True, False]
        assert list(store.load([write.key], now, soon())) == [None]
    redis_server.ask("ACL", "DELUSER", "plain")


@SYNC_AND_ASYNC
@pytest.mark.promise("20")
def test_a_busy_server_is_unavailable_and_is_asked_again_later(kind):
    with (
        single(busy_reply_threshold=50) as server,
        socket.create_connection((HOST, server.port)) as connection,
        opened(kind, server.url) as store,
    ):
        store.ping(soon())
        connection.sendall(b"EVAL 'while true do end' 0\r\n")

        def is_busy():
            try:
                server.ask("PING")
            except ResponseError as error:
                return "BUSY" in str(error)

        until(is_busy, "it is busy")
        for call in (
            lambda: store.ping(soon()),
            lambda: done(store.load([bytes(16)], 0, soon())),
            lambda: done(store.write([item()], now_ms(), soon())),
        ):
            with pytest.raises(StoreUnavailable, match="busy") as raised:
                call()
            assert not raised.value.ambiguous
        server.ask("SCRIPT", "KILL")
        until(lambda: store.ping(soon()) is not None, "it is no longer busy")
        assert done(store.write([item()], now_ms(), soon())) is None


def done(answers):
    (answer,) = answers
    if isinstance(answer, StoreError):
        raise answer
    return answer


# F-09: keys move to another server


def is_well(server):
    return b"cluster_state:ok" in server.ask("CLUSTER", "INFO")


@pytest.mark.promise("F-09")
@SYNC_AND_ASYNC
def test_a_server_whose_keys_were_moved_away_says_so_and_that_nothing_was_done(kind, prefix):
    with (
        folder() as directory,
        RedisServer(directory, cluster_enabled="yes", cluster_node_timeout=1_000) as server,
        RedisServer(directory, cluster_enabled="yes", cluster_node_timeout=1_000) as other,
        opened(kind, server.url, prefix=prefix) as store,
    ):
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        until(lambda: is_well(server), "it serves all keys")
        scene = Scene(None, store, store, 20)
        moved, kept = scene.put(), scene.put()
        server.ask("CLUSTER", "MEET", HOST, other.port)
        until(lambda: is_well(other), "it knows the first one")
        own_id, its_id = server.ask("CLUSTER", "MYID"), other.ask("CLUSTER", "MYID")
        name, slot = name_of(prefix, moved.key), key_slot(name_of(prefix, moved.key))
        other.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", own_id)
        server.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", its_id)
        server.ask("MIGRATE", HOST, other.port, name, 0, 5_000)
        for each in (other, server):
            each.ask("CLUSTER", "SETSLOT", slot, "NODE", its_id)
        both = [item(over=moved), item(over=kept)]
        for answers in (
            store.load([moved.key], scene.now, soon()),
            scene.write(both[0]),
            scene.write(*both),
            store.remove([moved.key], scene.now, soon()),
        ):
            for answer in answers:
                assert isinstance(answer, StoreUnavailable)
                assert "redis+cluster://" in str(answer)
                assert not answer.ambiguous
        with pytest.raises(StoreUnavailable, match=r"redis\+cluster://"):
            store.load([moved.key, kept.key], scene.now, soon())
        assert scene.load(kept.key) == [kept.data]
        assert scene.write(both[1]) == [None]


# F-22: something else lies there


def plant(server, prefix, key, value):
    with server.client() as client:
        client.set(name_of(prefix, key), value, px=1_000_000)


@pytest.mark.promise("F-22", "10")
@SYNC_AND_ASYNC
def test_any_bytes_are_given_back_and_replaced_only_by_who_saw_them(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        for size in range(40):
            key, data = os.urandom(16), os.urandom(size)
            plant(redis_server, prefix, key, data + LIVE)
            (found,) = scene.store.load([key], scene.now, scene.deadline)
            assert found.data == data
            assert scene.write(item(key=key), item(key=os.urandom(16))) == [Conflict(found), None]
            assert scene.data(key) == data
            mine = item(key=key, expected=found.version)
            assert scene.write(mine) == [None]
            assert scene.data(key) == mine.data


FOREIGN = {
    "list": ("RPUSH", b"x"),
    "set": ("SADD", b"x"),
    "hash": ("HSET", b"x", b"y"),
    "sorted set": ("ZADD", 1, b"x"),
    "stream": ("XADD", "*", b"x", b"y"),
    "an empty string": ("SET", b""),
}


@pytest.mark.promise("F-22", "10")
@pytest.mark.parametrize("what", FOREIGN)
@SYNC_AND_ASYNC
def test_a_key_that_holds_something_else_is_left_alone_and_can_be_removed(kind, what, redis_server, prefix):
    command, *arguments = FOREIGN[what]
    with staged(kind, redis_server, prefix) as scene, redis_server.client() as client:
        other, key, absent = scene.put(), os.urandom(16), os.urandom(16)
        name = name_of(prefix, key)
        client.execute_command(command, name, *arguments)
        client.pexpire(name, 1_000_000)
        before = client.dump(name)
        for keys in ([key], [other.key, key], [absent, key, other.key, key]):
            found = scene.load(*keys)
            assert found == [{key: b"", absent: None}.get(each, other.data) for each in keys]
        (unread,) = scene.store.load([key], scene.now, scene.deadline)
        for expected in (None, unread.version, os.urandom(8)):
            assert scene.write(item(key=key, expected=expected)) == [Conflict(Found(b"", b""))]
        assert client.dump(name) == before
        assert scene.store.count(scene.now, scene.deadline) == 1
        assert scene.store.remove([key], scene.now, scene.deadline) == [True]
        assert scene.write(item(key=key)) == [None]


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
