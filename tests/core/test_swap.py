"""The compare-and-swap loop, driven by hand: what it asks of a store, and what it makes of each answer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coatcheck.core.calls import Done
from coatcheck.core.epochs import Epoch
from coatcheck.core.marks import Marks
from coatcheck.core.swap import NOTHING, held_of
from coatcheck.errors import (
    TooLarge,
)
from coatcheck.model.format import encode
from coatcheck.model.ports import Conflict, Entry, Found, revision_of
from coatcheck.model.record import (
    TOMBSTONE_LIFE,
    Applied,
    Create,
    Destroy,
    Record,
    Refused,
    Rotation,
    SignIn,
    Tombstone,
)
from tests.core.driven import (
    KEY,
    LIFETIMES,
    Driven,
    destroy,
    fields,
    puts,
    record,
    update,
    written,
)
from tests.core.scene import DAY, NOW, a_token, found, held


def marked(kept=b""):
    """The bytes of a mark."""
    return next(Marks(bytes).put(KEY, NOW, kept)).writes[0].data


def epoch(kept=b""):
    """The bytes of an epoch."""
    return Epoch(ended=NOW, newest=NOW, expires=NOW, kept=kept).encode(bytes(8))


# Changes of a key


@pytest.mark.promise("3")
def test_what_the_caller_knows_is_not_read_again():
    before = held(record())
    driven = Driven([puts("a")], [before])
    (write,) = driven.writes
    assert (write.key, write.expected, write.live) == (KEY, before.found.version, True)
    assert (write.expires, revision_of(write.data) != before.found.version) == (driven.state().expires, True)
    driven.answer(None)
    (done,) = driven.results
    assert (done.answer, fields(done.held.state)) == (Applied(), {"a": b"\x01"})
    assert done.held.found == written(write)


@pytest.mark.promise("7")
def test_what_the_caller_does_not_know_is_read_first():
    driven = Driven([puts("a")])
    assert driven.keys == [KEY]
    driven.answer(found(record(fields={"b": 1})))
    assert set(driven.state().fields) == {"a", "b"}
    driven.answer(None)
    assert isinstance(driven.results[0], Done)


@pytest.mark.promise("3")
def test_of_what_the_callers_of_one_key_know_the_latest_counts():
    first, second = held(record()), held(record(fields={"b": 1}))
    for known in ([None, second], [first, second], [second, None]):
        assert Driven([puts("a"), puts("c")], known).writes[0].expected == second.found.version


def test_nothing_to_apply_asks_nothing():
    assert Driven([]).results == []


@pytest.mark.promise("6")
def test_changes_of_one_key_are_one_write_and_each_sees_the_one_before():
    changes = [puts("a"), update(rotate=Rotation(b"n" * 32)), puts("b")]
    driven = Driven(changes, [held(record()), None, None])
    assert len(driven.writes) == 1
    assert (set(driven.state().fields), driven.state().secret_hash) == ({"a", "b"}, b"n" * 32)
    driven.answer(None)
    assert all(isinstance(result, Done) for result in driven.results)
    # Each is told what lies there since, not what its own change alone would have made of it.
    assert len({id(result.held) for result in driven.results}) == 1


@pytest.mark.promise("B")
def test_changes_of_several_keys_leave_together_and_come_back_in_their_order():
    numbers = [3, 1, 2, 1]
    driven = Driven([puts(f"f{at}", number=number) for at, number in enumerate(numbers)])
    assert driven.keys == [a_token(number).key for number in (3, 1, 2)]
    driven.answer(found(record(3)), None, found(record(2)))
    assert [write.key for write in driven.writes] == [a_token(3).key, a_token(2).key]
    driven.answer(None, None)
    kinds = [type(result) for result in driven.results]
    assert kinds == [Done, Refused, Done, Refused]
    assert set(driven.results[2].held.state.fields) == {"f2"}


@pytest.mark.promise("13")
def test_each_change_is_refused_by_itself():
    changes = [
        puts("a"),
        update(secret_hash=b"x" * 32, set={"b": b"\x01"}),
        update(user="grace", set={"c": b"\x01"}),
        puts("d"),
    ]
    driven = Driven(changes, [held(record())] * 4)
    assert set(driven.state().fields) == {"a", "d"}
    driven.answer(None)
    assert [result for result in driven.results if isinstance(result, Refused)] == [Refused.CHANGED] * 2
    assert [isinstance(result, Done) for result in driven.results] == [True, False, False, True]


@pytest.mark.promise("12", "20")
@pytest.mark.parametrize("lies_there", [record(fields={"b": 1}), None, Tombstone(KEY, NOW + 1)], ids=str)
def test_no_change_is_refused_by_what_its_caller_knew_alone(lies_there):
    # Another request has slid the record, or signed in, since this one was read.
    stale = held(record(last_used=NOW - 2 * DAY, created=NOW - 2 * DAY))
    driven = Driven([puts("a")], [stale])
    assert driven.keys == [KEY]
    driven.answer(found(lies_there))
    if isinstance(lies_there, Record):
        assert set(driven.state().fields) == {"a", "b"}
    else:
        assert driven.results == [Refused.GONE]


@pytest.mark.promise("13")
def test_a_change_is_not_refused_by_what_another_caller_of_its_batch_knew():
    # The second of them has read the record before the first signed in.
    signed_in = record(fields={})
    signed_in = replace(signed_in, secret_hash=b"n" * 32)
    changes = [update(secret_hash=b"n" * 32, set={"a": b"\x01"})]
    changes.append(update(secret_hash=a_token(1).secret_hash, set={"b": b"\x01"}))
    driven = Driven(changes, [held(signed_in), held(record())])
    (write,) = driven.writes
    driven.answer(Conflict(found(signed_in)))
    assert set(driven.state().fields) == {"a"}
    driven.answer(None)
    assert isinstance(driven.results[0], Done)
    assert (write.key, driven.results[1]) == (KEY, Refused.CHANGED)


# Creating and ending


@pytest.mark.promise("15")
def test_a_record_is_created_only_where_nothing_lies():
    driven = Driven([Create(record())], [held(record(fields={"other": 1}))])
    assert driven.writes[0].expected is None
    driven.answer(Conflict(found(record(fields={"other": 1}))))
    assert driven.results == [Refused.EXISTS]


@pytest.mark.promise("12")
def test_an_ending_leaves_a_tombstone_that_counts_as_nothing():
    driven = Driven([destroy()], [held(record(fields={"a": 1}))])
    (write,) = driven.writes
    assert driven.state() == Tombstone(KEY, NOW + TOMBSTONE_LIFE)
    assert (write.live, write.urgent, write.entry, write.expires) == (False, True, None, NOW + TOMBSTONE_LIFE)
    driven.answer(None)
    assert isinstance(driven.results[0].held.state, Tombstone)


@pytest.mark.promise("12")
@pytest.mark.parametrize(
    "change", [puts("a"), destroy(), Create(record())], ids=["update", "destroy", "create"]
)
def test_nothing_lands_on_a_tombstone(change):
    tombstone = Tombstone(KEY, NOW + 1)
    known = None if isinstance(change, Create) else held(record())
    driven = Driven([change], [known]).answer(Conflict(found(tombstone)))
    assert driven.results == [Refused.EXISTS if isinstance(change, Create) else Refused.GONE]


@pytest.mark.promise("12")
def test_behind_an_ending_in_one_batch_nothing_is_stored():
    driven = Driven([puts("a"), destroy(), puts("b"), destroy()], [held(record())] * 4)
    assert isinstance(driven.state(), Tombstone)
    driven.answer(None)
    assert [type(result) for result in driven.results] == [Done, Done, Refused, Refused]


@pytest.mark.promise("10", "F-22")
def test_what_can_not_be_read_is_left_alone_but_by_an_ending_without_a_condition():
    damaged = Found(b"revisiondamaged", b"revision")
    driven = Driven([puts("a"), destroy()]).answer(damaged)
    assert driven.results == [Refused.UNREADABLE] * 2
    driven = Driven([Destroy(key=KEY, at=NOW)]).answer(damaged)
    assert driven.writes[0].expected == b"revision"
    assert isinstance(driven.state(), Tombstone)


@pytest.mark.promise("12", "17")
@pytest.mark.parametrize(
    "beside",
    [marked(), marked(kept=bytes(16)), epoch(), epoch(kept=bytes(16)), bytes(9) + b"f" * 200],
    ids=["mark", "mark that keeps one", "epoch", "epoch that keeps one", "note of many secrets"],
)
def test_and_what_is_no_record_also_by_that(beside):
    driven = Driven([Destroy(key=KEY, at=NOW)]).answer(Found(beside, beside[:8]))
    assert driven.results == [Refused.UNREADABLE]


# Conflicts


@pytest.mark.promise("6")
def test_where_another_writer_came_first_the_changes_are_applied_to_what_is_there():
    driven = Driven([puts("a"), puts("b")], [held(record(fields={"gone": 1}))] * 2)
    (first,) = driven.writes
    theirs = found(record(fields={"theirs": 2}))
    driven.answer(Conflict(theirs))
    (second,) = driven.writes
    assert second.expected == theirs.version
    assert revision_of(second.data) != revision_of(first.data)
    assert set(driven.state().fields) == {"theirs", "a", "b"}
    again = found(record(fields={"theirs": 3}))
    driven.answer(Conflict(again)).answer(None)
    assert all(isinstance(result, Done) for result in driven.results)
    assert set(driven.results[0].held.state.fields) == {"theirs", "a", "b"}


@pytest.mark.promise("13")
def test_a_change_that_the_new_state_refuses_is_refused_and_the_others_stand():
    changes = [
        update(secret_hash=a_token(1).secret_hash, set={"a": b"\x01"}),
        update(set={"b": b"\x01"}, used=False),
    ]
    driven = Driven(changes, [held(record())] * 2)
    driven.answer(Conflict(found(replace(record(), secret_hash=b"n" * 32)))).answer(None)
    assert driven.results[0] is Refused.CHANGED
    assert set(driven.results[1].held.state.fields) == {"b"}


@pytest.mark.promise("12")
def test_an_ending_that_met_another_writer_ends_what_he_left():
    driven = Driven([destroy(user="ada")], [held(record(user="ada", signed_in=NOW))])
    theirs = replace(record(user="ada", signed_in=NOW + 5), secret_hash=b"n" * 32)
    driven.answer(Conflict(found(theirs)))
    assert isinstance(driven.state(), Tombstone)
    driven.answer(Conflict(found(record(user="grace", signed_in=NOW))))
    assert driven.results == [Refused.CHANGED]


def test_a_version_of_the_server_s_own_is_handed_back_as_it_came():
    data = found(record()).data
    driven = Driven([puts("a")]).answer(Found(data, 7))
    assert driven.writes[0].expected == 7
    # The same bytes under another version: the server's affair.
    driven.answer(Conflict(Found(data, 8)))
    assert driven.writes[0].expected == 8
    driven.answer(None)
    # From here on, what was written is known by its revision.
    assert driven.results[0].held.found.version == revision_of(driven.results[0].held.found.data)


# Limits, urgency, entries


@pytest.mark.promise("21")
def test_a_change_that_makes_the_record_too_large_is_refused_by_itself():
    before = held(record(fields={"a": "x" * 400}))
    size = len(before.found.data)
    changes = [
        puts("big", b"y" * 2000),
        update(remove=frozenset({"a"})),
        puts("small"),
        puts("huge", b"z" * 900),
    ]
    driven = Driven(changes, [before] * 4, max_bytes=size)
    assert set(driven.state().fields) == {"small"}
    driven.answer(None)
    first, *_, last = driven.results
    for error in (first, last):
        assert isinstance(error, TooLarge)
        assert (error.limit, error.size > size) == (size, True)
        assert "max_bytes" in str(error)
    assert isinstance(driven.results[1], Done)


@pytest.mark.promise("21")
def test_beside_one_that_is_too_large_a_change_may_fill_the_record_and_a_refused_one_stays_refused():
    size = len(encode(record(fields={"a": 1}), bytes(8)))
    changes = [puts("a"), update(user="grace", set={"b": b"\x01"}), puts("big", b"x" * 99)]
    driven = Driven(changes, [held(record())] * 3, max_bytes=size)
    assert len(driven.writes[0].data) == size
    driven.answer(None)
    assert [type(result) for result in driven.results] == [Done, Refused, TooLarge]


@pytest.mark.promise("21")
def test_a_record_that_was_too_large_and_shrank_may_not_grow_again_in_the_same_write():
    before = held(record(fields={"a": "x" * 2000, "b": "x" * 500}))
    changes = [update(remove=frozenset({"b"})), puts("c", b"x" * 50)]
    driven = Driven(changes, [before] * 2, max_bytes=1024)
    assert set(driven.state().fields) == {"a"}
    driven.answer(None)
    assert [type(result) for result in driven.results] == [Done, TooLarge]


@pytest.mark.promise("21")
@pytest.mark.parametrize("room", [0, -1])
def test_the_limit_is_exact_to_the_byte(room):
    size = len(encode(record(fields={"a": 1}), bytes(8)))
    driven = Driven([Create(record(fields={"a": 1}))], max_bytes=size + room)
    if room == 0:
        assert len(driven.writes[0].data) == size
    else:
        (error,) = driven.results
        assert (error.size, error.limit) == (size, size - 1)


@pytest.mark.promise("21")
def test_a_record_that_is_too_large_already_may_shrink_and_slide_and_end():
    before = held(record(fields={"a": "x" * 2000, "b": 1}))
    for change in (update(), update(remove=frozenset({"b"})), update(take=("b",)), destroy()):
        assert Driven([change], [before], max_bytes=1024).writes[0].urgent
    driven = Driven([update(set={"b": b"\x01\x02"})], [before], max_bytes=1024).answer(before.found)
    assert isinstance(driven.results[0], TooLarge)
    signs_in = Driven([update(sign_in=SignIn("u" * 255))], [before], max_bytes=1024).answer(before.found)
    assert isinstance(signs_in.results[0], TooLarge)


@pytest.mark.promise("F-10")
@pytest.mark.parametrize(
    ("change", "urgent"),
    [
        (update(), True),
        (update(set={"a": b"\x02"}), True),
        (update(take=("a",)), True),
        (destroy(), True),
        (update(set={"a": b"\x01\x02"}), False),
        (update(sign_in=SignIn("ada")), False),
        (Create(record()), False),
    ],
    ids=["slide", "same size", "take", "destroy", "grow", "sign in", "create"],
)
def test_what_ends_or_does_not_grow_must_work_in_full_memory(change, urgent):
    known = None if isinstance(change, Create) else held(record(fields={"a": 1}))
    assert Driven([change], [known]).writes[0].urgent is urgent


@pytest.mark.promise("17")
@pytest.mark.parametrize("within", [True, False])
def test_the_entry_of_a_signed_in_record_goes_with_it_where_the_index_is_within(within):
    lifetimes = LIFETIMES if within else None
    signs_in = update(sign_in=SignIn("ada"), permanent=True)
    driven = Driven([signs_in], [held(record())], lifetimes=lifetimes)
    expected = Entry("ada", KEY, NOW, NOW + 90 * DAY)
    assert driven.writes[0].entry == (expected if within else None)
    assert Driven([puts("a")], [held(record())], lifetimes=lifetimes).writes[0].entry is None
    driven = Driven([destroy(user="ada")], [held(record(user="ada", signed_in=NOW))], lifetimes=lifetimes)
    assert driven.writes[0].entry is None


def test_what_lies_nowhere_is_nothing():
    assert held_of(KEY, None) is NOTHING
