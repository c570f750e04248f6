"""What goes over the wire: one round trip to read, one to write, however many, and which commands these are."""

import os
import re

import pytest

from coatcheck.stores.redis import RedisStore, from_url
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.redis.harness import name_of
from tests.stores.redis.scene import SYNC_AND_ASYNC, item, soon, staged

pytestmark = pytest.mark.servers


@pytest.fixture
def scene(kind, redis_server, prefix):
    """With a connection that stands, to a server that knows the scripts."""
    with staged(kind, redis_server, prefix) as scene:
        scene.write(item(), item(urgent=True))
        scene.store.note([scene.entry("warm")], scene.now, scene.deadline)
        scene.store.forget([scene.entry("warm")], scene.deadline)
        yield scene


def watched(scene, work):
    """The result of `work`, the commands that it sent, and the number of its round trips."""
    with scene.proxy.counting() as counted, scene.proxy.recording() as transcript:
        result = work()
    assert counted.connections == 0
    sent = b"".join(data for way, data in transcript if way == "sent")
    commands = re.findall(rb"(?:^|\r\n)\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n", sent)
    return result, [command.decode() for command in commands], counted.round_trips


@SYNC_AND_ASYNC
@pytest.mark.promise("2", "3")
def test_a_read_is_one_round_trip_and_a_write_another(scene):
    write = item()
    assert watched(scene, lambda: scene.write(write)) == ([None], ["EVALSHA"], 1)
    assert watched(scene, lambda: scene.load(write.key)) == ([write.data], ["GET"], 1)
    second = item(b"", over=write, urgent=True)
    assert watched(scene, lambda: scene.write(second)) == ([None], ["EVALSHA"], 1)
    remove = lambda: scene.store.remove([write.key], scene.now, scene.deadline)
    assert watched(scene, remove) == ([True], ["DEL"], 1)


@SYNC_AND_ASYNC
@pytest.mark.promise("3")
def test_a_batch_of_writes_is_one_call_of_a_script(scene):
    writes = [item() for _ in range(32)]
    assert watched(scene, lambda: scene.write(*writes)) == ([None] * 32, ["EVALSHA"], 1)
    keys = [write.key for write in writes] + [os.urandom(16)]
    found = [*(write.data for write in writes), None]
    assert watched(scene, lambda: scene.load(*keys)) == (found, ["MGET", "EXISTS"], 1)
    mixed = [item(over=write, urgent=number % 2 == 0) for number, write in enumerate(writes)]
    assert watched(scene, lambda: scene.write(*mixed)) == ([None] * 32, ["EVALSHA"] * 2, 1)


@SYNC_AND_ASYNC
@pytest.mark.promise("3")
def test_a_sign_in_costs_one_more(scene):
    note = lambda: scene.store.note([scene.entry()], scene.now, scene.deadline)
    assert watched(scene, note) == (None, ["EVALSHA", "INFO"], 1)


@SYNC_AND_ASYNC
def test_a_list_of_sessions_costs_two_and_asking_whether_it_is_complete_two(scene):
    entry = scene.entry()
    scene.store.note([entry], scene.now, scene.deadline)
    page = lambda: list(scene.store.sessions_of("ada", scene.now, 10, None, scene.deadline))
    assert watched(scene, page) == ([entry], ["ZRANGE", "ZMSCORE"], 2)
    asked = watched(scene, lambda: scene.store.index_may_be_incomplete(scene.deadline))
    assert asked == (None, ["INFO"] + ["ZMSCORE"] * 16, 2)


@SYNC_AND_ASYNC
def test_a_conflict_is_told_in_the_same_round_trip(scene):
    write = scene.put()
    answers, commands, trips = watched(scene, lambda: scene.write(item(key=write.key), item(over=item())))
    assert [answer.found and answer.found.data for answer in answers] == [write.data, None]
    assert (commands, trips) == (["EVALSHA"], 1)


def test_connecting_tells_the_server_nothing_that_it_need_not_know(redis_server):
    with Proxy(redis_server.port) as proxy:
        store = from_url(f"redis://{HOST}:{proxy.port}")
        with proxy.recording() as transcript:
            store.ping(soon())
        assert b"".join(data for way, data in transcript if way == "sent") == b"*1\r\n$4\r\nTIME\r\n"
        store.close()
        store = from_url(f"redis://{HOST}:{proxy.port}/3")
        with proxy.counting() as counted:
            store.ping(soon())
        assert counted.round_trips == 2
        store.close()


def test_nothing_is_connected_before_it_is_needed(redis_server):
    with Proxy(redis_server.port) as proxy:
        with proxy.counting() as counted:
            store = from_url(f"redis://{HOST}:{proxy.port}")
            store.close()
        assert counted.connections == 0
        assert isinstance(store, RedisStore)


@SYNC_AND_ASYNC
def test_a_script_that_the_server_does_not_know_is_sent_in_full(scene, redis_server):
    redis_server.ask("SCRIPT", "FLUSH")
    writes = [item(), item(urgent=True), item()]
    sent = watched(scene, lambda: scene.write(*writes))
    assert sent == ([None] * 3, ["EVALSHA", "EVALSHA", "EVAL", "EVAL"], 2)
    sent = watched(scene, lambda: scene.write(item(), item(urgent=True)))
    assert sent == ([None] * 2, ["EVALSHA"] * 2, 1)
    redis_server.ask("SCRIPT", "FLUSH")
    entry = scene.entry()
    scene.store.note([entry], scene.now, scene.deadline)
    redis_server.ask("SCRIPT", "FLUSH")
    scene.store.forget([entry], scene.deadline)
    assert scene.entries() == []


@SYNC_AND_ASYNC
@pytest.mark.promise("F-14", "16")
def test_a_record_never_lies_there_without_an_expiry_and_is_let_go_in_time(scene, redis_server, prefix):
    def left(write):
        assert scene.write(write) == [None]
        return redis_server.ask("PTTL", name_of(prefix, write.key))

    near = lambda ms, wanted: wanted - 60_000 < ms <= wanted
    write = item(expires=scene.now + 1_000_000)
    assert near(left(write), 1_000_000)
    longer = item(over=write, expires=scene.now + 2_000_000)
    assert near(left(longer), 2_000_000)
    tombstone = item(over=longer, expires=scene.now + 30_000, live=False, urgent=True)
    assert near(left(tombstone), 30_000)
    # By the clock of the caller, not of the server.
    ahead = scene.now + 10**9
    write = item(expires=ahead + 500_000)
    assert list(scene.store.write([write], ahead, scene.deadline)) == [None]
    assert near(redis_server.ask("PTTL", name_of(prefix, write.key)), 500_000)
