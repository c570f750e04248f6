"""The compare-and-swap loop where answers are lost and writes fail."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coatcheck.core.calls import Done
from coatcheck.errors import (
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    TooLarge,
)
from coatcheck.model.ports import Conflict, Found
from coatcheck.model.record import (
    Create,
    Refused,
    Tombstone,
)
from tests.core.driven import (
    KEY,
    LOST,
    NOT_SENT,
    Driven,
    destroy,
    fields,
    puts,
    record,
    update,
    written,
)
from tests.core.scene import NOW, a_token, found, held

# Lost answers


def lost_write(changes=None, known=None, **options):
    """The loop whose first write has no answer; and that write."""
    changes = changes or [puts("a")]
    driven = Driven(changes, known or [held(record(fields={"b": 1}))] * len(changes), **options)
    (write,) = driven.writes
    return driven.fail(LOST), write


@pytest.mark.promise("L")
@pytest.mark.parametrize("lost", ["the call", "the item", "too few answers"])
def test_after_a_lost_answer_the_key_is_looked_at_and_nothing_is_sent(lost):
    driven = Driven([puts("a")], [held(record())])
    match lost:
        case "the call":
            driven.fail(LOST)
        case "the item":
            driven.answer(LOST)
        case _:
            driven.answer()
    assert driven.keys == [KEY]
    assert driven.results is None


@pytest.mark.promise("L")
def test_a_look_that_finds_its_own_revision_is_done():
    driven, write = lost_write()
    driven.answer(written(write))
    (done,) = driven.results
    assert set(done.held.state.fields) == {"a", "b"}


@pytest.mark.promise("L")
def test_a_look_that_finds_the_revision_it_started_from_sends_the_same_write_again():
    before = held(record(fields={"b": 1}))
    driven, write = lost_write(known=[before])
    driven.answer(before.found)
    assert driven.writes == [write]
    # The delayed first one lands between the look and this one.
    driven.answer(Conflict(written(write)))
    assert isinstance(driven.results[0], Done)


@pytest.mark.promise("L")
def test_a_conflict_with_its_own_revision_is_done_though_no_answer_was_lost():
    # Something on the way has sent it twice, and gave the second answer.
    driven = Driven([puts("a")], [held(record())])
    (write,) = driven.writes
    driven.answer(Conflict(written(write)))
    assert isinstance(driven.results[0], Done)


@pytest.mark.promise("L")
def test_a_write_that_is_sent_again_names_the_version_that_lies_there_now():
    before = held(record())
    driven, write = lost_write(known=[before])
    driven.answer(Found(before.found.data, 99))
    assert driven.writes == [replace(write, expected=99)]


@pytest.mark.promise("L")
def test_a_conflict_with_the_revision_it_started_from_is_sent_again_without_another_look():
    before = held(record())
    driven, write = lost_write(known=[before])
    driven.answer(before.found).answer(Conflict(Found(before.found.data, 99)))
    assert driven.writes == [replace(write, expected=99)]


@pytest.mark.promise("L")
@pytest.mark.parametrize("way", ["look", "conflict"])
@pytest.mark.parametrize("theirs", [record(fields={"theirs": 1}), None, Tombstone(KEY, NOW + 1)], ids=str)
def test_another_writer_after_a_lost_answer_makes_it_ambiguous_and_nothing_is_applied_again(way, theirs):
    before = held(record())
    driven, _ = lost_write(known=[before])
    if way == "look":
        driven.answer(found(theirs))
    else:
        driven.answer(before.found).answer(Conflict(found(theirs)))
    (error,) = driven.results
    assert isinstance(error, StoreTimeout)
    assert error.ambiguous


@pytest.mark.promise("12", "L")
@pytest.mark.parametrize("way", ["look", "conflict"])
def test_an_ending_is_applied_again_and_never_told_ambiguous(way):
    before = held(record())
    driven, _ = lost_write([puts("a"), destroy()], [before] * 2)
    theirs = found(record(fields={"theirs": 1}))
    if way == "look":
        driven.answer(theirs)
    else:
        driven.answer(before.found).answer(Conflict(theirs))
    assert driven.writes[0].expected == theirs.version
    assert isinstance(driven.state(), Tombstone)
    driven.answer(None)
    error, done = driven.results
    assert (type(error), error.ambiguous, type(done)) == (StoreTimeout, True, Done)


@pytest.mark.promise("12", "L")
def test_an_ending_that_finds_a_tombstone_of_another_is_none_of_its_own():
    driven, _ = lost_write([destroy()], [held(record())])
    driven.answer(found(Tombstone(KEY, NOW + 9)))
    assert driven.results == [Refused.GONE]


@pytest.mark.promise("12", "L")
def test_an_ending_that_was_applied_again_is_told_a_plain_failure_plainly():
    driven, _ = lost_write([destroy()], [held(record())])
    driven.answer(found(record(fields={"theirs": 1}))).answer(StoreFull("full"))
    (error,) = driven.results
    assert type(error) is StoreFull


@pytest.mark.promise("11", "L")
def test_a_take_whose_answer_was_lost_gives_what_it_took():
    before = held(record(fields={"a": 1, "b": 2}))
    driven, write = lost_write([update(take=("a",))], [before])
    driven.answer(before.found).answer(Conflict(written(write)))
    (done,) = driven.results
    assert dict(done.answer.taken) == {"a": b"\x01"}
    other, _ = lost_write([update(take=("a",))], [before])
    other.answer(found(record(fields={"b": 2})))
    assert other.results[0].ambiguous


@pytest.mark.promise("L")
def test_a_created_record_whose_answer_was_lost_is_looked_up_too():
    driven, write = lost_write([Create(record())], [None])
    driven.answer(None)
    assert driven.writes == [write]
    driven.answer(Conflict(written(write)))
    assert isinstance(driven.results[0], Done)


@pytest.mark.promise("L", "F-02")
def test_answers_are_lost_only_so_often():
    before = held(record())
    driven, write = lost_write(known=[before])
    looks = 0
    while driven.results is None:
        looks += 1
        driven.answer(before.found)
        assert driven.writes == [write]
        driven.fail(LOST)
    assert looks == 3
    (error,) = driven.results
    assert (type(error), error.ambiguous) == (StoreTimeout, True)


@pytest.mark.promise("L")
@pytest.mark.parametrize("error", [LOST, NOT_SENT, StoreReadOnly("?"), StoreError("odd")], ids=repr)
def test_where_even_the_look_fails_it_is_ambiguous_by_the_first_failure(error):
    driven, _ = lost_write()
    driven.fail(error)
    (told,) = driven.results
    assert isinstance(told, StoreTimeout)
    assert told.ambiguous
    assert told.__cause__ is LOST
    assert f"({LOST})" in str(told)


def test_a_first_look_that_is_refused_says_nothing_of_a_write():
    (told,) = Driven([puts("a")]).answer(StoreReadOnly("no")).results
    assert isinstance(told, StoreReadOnly)
    assert not hasattr(told, "ambiguous")


@pytest.mark.promise("20")
@pytest.mark.parametrize("whole", [True, False])
def test_a_first_look_that_fails_is_no_ambiguous_write(whole):
    driven = Driven([puts("a"), puts("b", number=2)])
    lost = StoreTimeout("slow", ambiguous=True)
    if whole:
        driven.fail(lost)
    else:
        driven.answer(lost, found(record(2))).answer(None)
    error, other = driven.results
    assert (type(error), error.ambiguous) == (StoreTimeout, False)
    assert isinstance(other, StoreTimeout if whole else Done)


@pytest.mark.promise("L")
@pytest.mark.parametrize(
    "error", [NOT_SENT, StoreFull("full"), StoreReadOnly("no"), TooLarge("big", size=2, limit=1)], ids=repr
)
def test_a_second_try_that_surely_failed_says_nothing_of_the_first(error):
    before = held(record())
    driven, _ = lost_write(known=[before])
    driven.answer(before.found).answer(error)
    (told,) = driven.results
    assert isinstance(told, StoreTimeout)
    assert told.ambiguous


# Sure failures


@pytest.mark.promise("20")
@pytest.mark.parametrize(
    "error", [NOT_SENT, StoreFull("full"), StoreReadOnly("no"), TooLarge("big", size=2, limit=1)], ids=repr
)
def test_a_write_that_was_surely_not_stored_is_told_as_that_and_not_looked_up(error):
    driven = Driven([puts("a")], [held(record())]).answer(error)
    (told,) = driven.results
    assert type(told) is type(error)
    assert getattr(told, "ambiguous", False) is False


@pytest.mark.promise("B")
def test_the_failure_of_one_key_is_none_of_another_s():
    driven = Driven(
        [puts("a"), puts("b", number=2), puts("c", number=3)], [held(record(n)) for n in (1, 2, 3)]
    )
    driven.answer(StoreReadOnly("no"), None, LOST)
    assert driven.keys == [a_token(3).key]
    driven.answer(found(record(3, fields={"theirs": 1})))
    assert [type(result) for result in driven.results] == [StoreReadOnly, Done, StoreTimeout]


@pytest.mark.promise("B")
def test_callers_that_share_a_failure_get_an_error_each():
    driven = Driven([puts("a"), puts("b")], [held(record())] * 2).fail(StoreReadOnly("no"))
    one, two = driven.results
    assert one is not two
    assert type(one) is type(two) is StoreReadOnly


@pytest.mark.promise("11", "F-10")
@pytest.mark.parametrize(
    "error", [StoreFull("full"), TooLarge("big", size=2, limit=1)], ids=["full", "too large"]
)
def test_a_growing_change_never_refuses_another_s_take(error):
    before = held(record(fields={"a": 1}))
    driven = Driven([puts("big", b"x" * 999), update(take=("a",)), puts("c")], [before] * 3)
    assert not driven.writes[0].urgent
    driven.answer(error)
    assert not driven.writes[0].urgent
    driven.answer(error)
    (write,) = driven.writes
    assert write.urgent
    assert fields(driven.state()) == {}
    driven.answer(None)
    assert not driven.writes[0].urgent
    driven.answer(error)
    refused, done, last = driven.results
    assert (type(refused), type(last)) == (type(error), type(error))
    assert refused is not last
    assert dict(done.answer.taken) == {"a": b"\x01"}


@pytest.mark.promise("11", "F-10")
def test_one_by_one_each_change_is_applied_to_what_the_one_before_left():
    driven = Driven([puts("a"), puts("b"), puts("c")], [held(record())] * 3).answer(StoreFull("full"))
    for names in ({"a"}, {"a", "b"}, {"a", "b", "c"}):
        assert set(driven.state().fields) == names
        driven.answer(None)
    assert all(isinstance(result, Done) for result in driven.results)


@pytest.mark.promise("13")
def test_one_by_one_what_the_write_before_left_refuses_a_change_without_a_look():
    changes = [puts("a"), update(user="grace", set={"b": b"\x01"}), puts("c")]
    driven = Driven(changes, [held(record())] * 3).answer(StoreFull("full")).answer(None)
    assert set(driven.state().fields) == {"a", "c"}
    driven.answer(None)
    assert [type(result) for result in driven.results] == [Done, Refused, Done]


@pytest.mark.promise("L")
def test_one_by_one_a_lost_answer_says_nothing_of_the_next_change():
    driven = Driven([puts("a"), puts("b")], [held(record())] * 2).answer(StoreFull("full"))
    (write,) = driven.writes
    driven.fail(LOST).answer(written(write))
    driven.answer(StoreFull("full"))
    assert [type(result) for result in driven.results] == [Done, StoreFull]
