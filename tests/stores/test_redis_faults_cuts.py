"""Connections to Redis that end in the middle: of a request, of a reply, at every byte.

What is stored is the old or the new record, never a mixture, and the caller is told; a reply that is not whole is no
record.
"""

import os

import pytest

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.record import Applied, Create, Refused, Tombstone, Update
from tests.stores.redis_scene import BOTH_COLOURS, recovered, staged

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-04")]

# F-03: the connection is reset after something was sent


KINDS = ["create", "set", "take", "slide", "rotate", "rotate, derived", "sign in", "destroy", "revoke"]


def before_and_after(scene, kind):
    """A record, the change of that kind, and what lies there before and after it."""
    if kind == "create":
        record = scene.record()
        return record, Create(record), None, record
    record = scene.stored(**({"user": "ada", "signed_in": scene.now} if kind == "revoke" else {}))
    change = scene.changes(record)[kind]
    after = record.apply(change) if isinstance(change, Update) else Tombstone
    return record, change, record, after


def is_state(found, expected):
    return isinstance(found, Tombstone) if expected is Tombstone else found == expected


def told_the_truth(scene, record, change, before, after):
    """Apply a change while the network fails, and hold what was answered against what is there."""
    error = None
    try:
        (answer,) = scene.store.apply([change])
    except StoreError as failure:
        error = failure
    # What is under way arrives, or never does: the proxy ends the connection only after the server did.
    found = scene.found(record)
    is_old, is_new = is_state(found, before), is_state(found, after)
    assert is_old or is_new, found
    if error is None:
        assert is_new
        assert isinstance(answer, Applied) or answer in {Refused.EXISTS, Refused.GONE, Refused.CHANGED}
    elif isinstance(error, StoreTimeout) and not error.ambiguous:
        assert is_old
    return error, is_new


def size_of(scene, make):
    """How many bytes the changes are that `make` makes, on a connection that stands, to a server that knows the scripts."""
    scene.store.apply(make())
    with scene.proxy.recording() as transcript:
        scene.store.apply(make())
    return sum(len(data) for way, data in transcript if way == "sent")


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("kind", KINDS)
@BOTH_COLOURS
def test_a_request_that_is_cut_anywhere_leaves_the_old_record_or_the_new(colour, kind, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        size = size_of(scene, lambda: [before_and_after(scene, kind)[1]])
        for cut in sorted({0, 1, size // 3, size // 2, size - 2, size - 1, size}):
            record, change, before, after = before_and_after(scene, kind)
            recovered(scene.store)
            scene.proxy.cut_request_after(cut)
            error, is_new = told_the_truth(scene, record, change, before, after)
            assert error is not None
            assert is_new == (cut == size), cut
            scene.recover()
            assert is_state(scene.store.load([record.key], scene.now)[0], after if is_new else before)


@pytest.mark.promise("F-03", "L")
@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", KINDS)
@BOTH_COLOURS
def test_a_request_that_is_cut_after_each_byte_leaves_the_old_record_or_the_new(
    colour, kind, redis_server, prefix
):
    with staged(colour, redis_server, prefix) as scene:
        size = size_of(scene, lambda: [before_and_after(scene, kind)[1]])
        for cut in range(size + 1):
            record, change, before, after = before_and_after(scene, kind)
            recovered(scene.store)
            scene.proxy.cut_request_after(cut)
            error, is_new = told_the_truth(scene, record, change, before, after)
            assert error is not None
            assert is_new == (cut == size), cut
            scene.recover()


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("kind", KINDS)
@BOTH_COLOURS
def test_a_reply_that_is_cut_anywhere_leaves_the_new_record_and_is_told(colour, kind, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        for cut in range(4):
            record, change, before, after = before_and_after(scene, kind)
            recovered(scene.store)
            scene.proxy.cut_reply_after(cut)
            error, is_new = told_the_truth(scene, record, change, before, after)
            assert error is not None
            assert is_new
            scene.recover()


@pytest.mark.promise("F-03", "L")
@BOTH_COLOURS
def test_a_batch_that_is_cut_in_the_middle_is_told_of_by_each_of_its_members(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:

        def batch():
            records = [scene.stored() for _ in range(3)]
            return records, [scene.update(record, set={"a": b"3"}) for record in records]

        size = size_of(scene, lambda: batch()[1])
        for cut in (0, size // 6, size // 3, size // 2, 2 * size // 3, size - 1, size):
            records, changes = batch()
            recovered(scene.store)
            scene.proxy.cut_request_after(cut)
            with pytest.raises(StoreUnavailable):
                scene.store.apply(changes)
            applied = 0
            for record, change in zip(records, changes, strict=True):
                found = scene.found(record)
                assert found in (record, record.apply(change))
                applied += found != record
            assert applied == (cut * 3) // size
            scene.recover()


@BOTH_COLOURS
def test_connections_that_were_reset_while_nobody_used_them_are_replaced_unseen(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        for kind in KINDS:
            record, change, _, after = before_and_after(scene, kind)
            recovered(scene.store)
            scene.proxy.reset()
            (answer,) = scene.store.apply([change])
            assert isinstance(answer, Applied)
            assert is_state(scene.found(record), after)
            scene.proxy.reset()
            assert is_state(scene.store.load([record.key], scene.now)[0], after)


# F-04: replies in pieces, and half of them


@BOTH_COLOURS
def test_what_comes_byte_by_byte_is_the_same(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        scene.proxy.slice = 1
        record = scene.record(fields={"a": os.urandom(300), "b": b"\r\n$5\r\n+OK\r\n"})
        assert scene.store.apply([Create(record)]) == [Applied()]
        others = [scene.stored() for _ in range(3)]
        keys = [record.key, *(other.key for other in others), os.urandom(16)]
        assert list(scene.store.load(keys, scene.now)) == [record, *others, None]
        taking = scene.update(record, take=("a", "b"))
        assert scene.store.apply([taking]) == [Applied(dict(record.fields))]


@pytest.mark.parametrize("keys", [1, 3])
@BOTH_COLOURS
def test_a_reply_that_ends_at_any_byte_is_no_record(colour, keys, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        records = [scene.stored(fields={"a": b"1"}) for _ in range(keys)]
        asked = [record.key for record in records]
        recovered(scene.store)
        with scene.proxy.recording() as transcript:
            assert list(scene.store.load(asked, scene.now)) == records
        size = sum(len(data) for way, data in transcript if way == "received")
        assert size > 80 * keys
        for cut in range(0, size, 1 if keys == 1 else 7):
            scene.proxy.cut_reply_after(cut)
            with pytest.raises(StoreUnavailable):
                scene.store.load(asked, scene.now)
            scene.recover()
        assert list(scene.store.load(asked, scene.now)) == records
