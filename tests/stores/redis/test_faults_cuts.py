"""Connections to Redis that end in the middle: of a request, of a reply, at every byte.

What is stored is the old data or the new, never a mixture, and the caller is told; a reply that is not whole is no data.
"""

import os

import pytest

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from coatcheck.model.ports import Conflict
from tests.stores.redis.scene import SYNC_AND_ASYNC, item, recovered, staged

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-04")]

# F-03: the connection is reset after something was sent


def create(scene):
    return item(), None


def replace(scene):
    before = scene.put()
    return item(b"pears", over=before), before


def end(scene):
    before = scene.put()
    return item(b"", over=before, live=False, urgent=True), before


KINDS = pytest.mark.parametrize("make", [create, replace, end])


def told_the_truth(scene, write, before):
    """Send a write while the network fails, and hold what was answered against what is there."""
    try:
        (answer,) = scene.write(write)
    except StoreError as failure:
        answer = failure
    # What is under way arrives, or never does: the proxy ends the connection only after the server did.
    data = scene.data(write.key)
    is_new = data == write.data
    assert is_new or data == (before and before.data)
    if answer is None:
        assert is_new
    elif isinstance(answer, Conflict | StoreFull | StoreReadOnly) or not answer.ambiguous:
        assert not is_new
    return answer, is_new


def size_of(scene, make):
    """How many bytes are sent for the writes that `make` makes, to a server that knows the scripts."""
    scene.write(*make())
    with scene.proxy.recording() as transcript:
        scene.write(*make())
    return sum(len(data) for way, data in transcript if way == "sent")


def cut_at(scene, make, cut, size):
    write, before = make(scene)
    recovered(scene.store)
    scene.proxy.cut_request_after(cut)
    error, is_new = told_the_truth(scene, write, before)
    assert isinstance(error, StoreUnavailable)
    assert is_new == (cut == size), cut
    scene.recover()
    assert scene.load(write.key) == [write.data if is_new else before and before.data]


@KINDS
@SYNC_AND_ASYNC
@pytest.mark.promise("F-03", "L")
def test_a_request_that_is_cut_anywhere_leaves_the_old_data_or_the_new(kind, make, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        size = size_of(scene, lambda: [make(scene)[0]])
        for cut in sorted({0, 1, size // 3, size // 2, size - 2, size - 1, size}):
            cut_at(scene, make, cut, size)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@KINDS
@SYNC_AND_ASYNC
def test_a_request_that_is_cut_after_each_byte_leaves_the_old_data_or_the_new(
    kind, make, redis_server, prefix
):
    with staged(kind, redis_server, prefix) as scene:
        size = size_of(scene, lambda: [make(scene)[0]])
        for cut in range(size + 1):
            cut_at(scene, make, cut, size)


@KINDS
@SYNC_AND_ASYNC
@pytest.mark.promise("F-03", "L")
def test_a_reply_that_is_cut_anywhere_leaves_the_new_data_and_is_told(kind, make, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        scene.write(item(), item(urgent=True))
        for cut in range(4):
            write, before = make(scene)
            recovered(scene.store)
            scene.proxy.cut_reply_after(cut)
            error, is_new = told_the_truth(scene, write, before)
            assert isinstance(error, StoreUnavailable)
            assert error.ambiguous
            assert is_new
            scene.recover()


@SYNC_AND_ASYNC
@pytest.mark.promise("F-03", "L")
def test_a_batch_of_one_script_that_is_cut_is_done_as_a_whole_or_not_at_all(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        batch = lambda: [replace(scene)[0] for _ in range(3)]
        size = size_of(scene, batch)
        for cut in (0, size // 6, size // 2, 2 * size // 3, size - 1, size):
            writes = batch()
            recovered(scene.store)
            scene.proxy.cut_request_after(cut)
            with pytest.raises(StoreUnavailable):
                scene.write(*writes)
            done = [scene.data(write.key) == write.data for write in writes]
            assert done == [cut == size] * 3
            scene.recover()


@SYNC_AND_ASYNC
@pytest.mark.promise("F-03", "L")
def test_a_batch_of_two_scripts_that_is_cut_between_them_is_ambiguous(kind, redis_server, prefix):
    """Both are on their way together; whatever part arrives whole is run."""
    with staged(kind, redis_server, prefix) as scene:
        batch = lambda: [replace(scene)[0], end(scene)[0]]
        size = size_of(scene, batch)
        counts = set()
        for cut in range(0, size + 1, 25):
            writes = batch()
            recovered(scene.store)
            scene.proxy.cut_request_after(cut)
            with pytest.raises(StoreUnavailable) as raised:
                scene.write(*writes)
            done = [scene.data(write.key) == write.data for write in writes]
            counts.add(sum(done))
            assert raised.value.ambiguous or not any(done)
            scene.recover()
        assert counts >= {0, 1}


@SYNC_AND_ASYNC
@pytest.mark.promise("F-03", "L")
def test_connections_that_were_reset_while_they_were_idle_are_replaced_unseen(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        for make in (create, replace, end):
            write, _ = make(scene)
            recovered(scene.store)
            scene.proxy.reset()
            assert scene.write(write) == [None]
            scene.proxy.reset()
            assert scene.load(write.key) == [write.data]


# F-04: replies in pieces, and half of them


@SYNC_AND_ASYNC
def test_what_comes_byte_by_byte_is_the_same(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        scene.proxy.slice = 1
        write = item(os.urandom(300) + b"\r\n$5\r\n+OK\r\n")
        assert scene.write(write) == [None]
        others = [scene.put() for _ in range(3)]
        keys = [write.key, *(other.key for other in others), os.urandom(16)]
        assert scene.load(*keys) == [write.data, *(other.data for other in others), None]
        (conflict,) = scene.write(item(key=write.key))
        assert conflict.found.data == write.data
        entries = [scene.entry(signed_in=scene.now - number) for number in range(20)]
        scene.store.note(entries, scene.now, scene.deadline)
        assert scene.store.sessions_of("ada", scene.now, 50, None, scene.deadline) == entries


@pytest.mark.parametrize("keys", [1, 3])
@SYNC_AND_ASYNC
def test_a_reply_that_ends_at_any_byte_is_no_data(kind, keys, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        writes = [scene.put(os.urandom(70)) for _ in range(keys)]
        asked = [write.key for write in writes]
        recovered(scene.store)
        with scene.proxy.recording() as transcript:
            assert scene.load(*asked) == [write.data for write in writes]
        size = sum(len(data) for way, data in transcript if way == "received")
        assert size > 80 * keys
        for cut in range(0, size, 1 if keys == 1 else 7):
            scene.proxy.cut_reply_after(cut)
            with pytest.raises(StoreUnavailable):
                scene.load(*asked)
            scene.recover()
        assert scene.load(*asked) == [write.data for write in writes]
