"""The strategies reach whatever can be decided, and the property test finds whoever decides otherwise."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from msgspec.structs import replace

from coatcheck.model.record import (
    APPLIED,
    Applied,
    Create,
    Destroy,
    Record,
    RecordError,
    Refused,
    Settled,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)
from coatcheck.stores.memory import MemoryStore
from tests.equivalence import BRANCHES, assert_equal, branches_of, check_apply
from tests.strategies import cases, histories, records

ANY = list(HealthCheck)


def by(settle_otherwise):
    """An implementation that asks `settle_otherwise`."""

    def implementation(key, data, change):
        settled = settle_otherwise(data, change)
        return settled.answer, data if settled.state is None else encode(settled.state)

    return implementation


def in_memory(key, data, change):
    store = MemoryStore()
    if data is not None:
        store._data[key] = data
    (answer,) = store.apply([change])
    return answer, store._data.get(key)


def test_every_branch_is_reached():
    reached = Counter()
    tried = 0
    while BRANCHES - set(reached) and tried < 30_000:
        phases = [Phase.generate]

        @seed(tried)  # the same cases every time
        @settings(max_examples=1_000, database=None, deadline=None, phases=phases, suppress_health_check=ANY)
        @given(cases())
        def count(case):
            reached.update(branches_of(*case))

        count()
        tried += 1_000
    assert set(reached) == BRANCHES


def test_settle_is_equal_to_itself():
    check_apply(by(settle), examples=100)


def test_a_store_that_calls_settle_is_equal_to_it():
    check_apply(in_memory, examples=150)


@pytest.mark.soak
def test_a_store_that_calls_settle_is_equal_to_it_for_long():
    check_apply(in_memory, examples=100_000)


@settings(max_examples=60, deadline=None)
@given(records())
def test_every_record_that_is_drawn_can_be_written_and_read(record):
    assert len(record.key) == 16
    assert decode(record.key, encode(record)) == record


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_batch_is_the_same_as_its_changes_one_by_one(history):
    record, changes = history
    one_by_one, at_once = MemoryStore(), MemoryStore()
    for store in (one_by_one, at_once):
        store._put(record)
    answers = [store_answer for change in changes for store_answer in one_by_one.apply([change])]
    assert at_once.apply(changes) == answers
    assert at_once._data == one_by_one._data


def test_what_can_not_be_read_is_left_out_when_asked():
    @settings(max_examples=200, database=None, deadline=None, suppress_health_check=ANY)
    @given(cases(damage=False))
    def readable(case):
        data, change = case
        if data is not None:
            decode(change.key, data)

    readable()


def of_update(change_of):
    """A settle that sees every update through `change_of`."""
    return lambda data, change: settle(data, change_of(change) if isinstance(change, Update) else change)


def after(record_of):
    """A settle whose records come out through `record_of(record, change, before)`."""

    def otherwise(data, change):
        settled = settle(data, change)
        if isinstance(settled.state, Record) and isinstance(change, Update):
            before = decode(change.key, data)
            return Settled(settled.answer, record_of(settled.state, change, before))
        return settled

    return otherwise


def expired_lives(data, change):
    if data is not None and isinstance(change, Update):
        return settle(data, replace(change, at=change.at - 1))
    return settle(data, change)


def creates_over_tombstones(data, change):
    if isinstance(change, Create) and data is not None:
        try:
            if isinstance(decode(change.key, data), Tombstone):
                return Settled(APPLIED, change.record)
        except RecordError:
            pass
    return settle(data, change)


def destroys_unconditionally(data, change):
    if isinstance(change, Destroy):
        return settle(data, replace(change, user=None, signed_in=None))
    return settle(data, change)


def writes_over_what_it_can_not_read(data, change):
    settled = settle(data, change)
    if settled.answer is Refused.UNREADABLE:
        return Settled(APPLIED, Tombstone(change.key, change.at))
    return settled


def gives_what_was_cleared(data, change):
    settled = settle(data, change)
    if isinstance(change, Update) and change.take and change.clear and settled.state is not None:
        fields = decode(change.key, data).fields
        return Settled(Applied({name: fields[name] for name in change.take if name in fields}), settled.state)
    return settled


def in_another_order(record, change, before):
    return replace(record, fields=dict(sorted(record.fields.items())))


def seen_anew(record, change, before):
    return replace(record, seen=change.at) if change.seen and record.previous is not None else record


def always_derives(record, change, before):
    if change.rotate is not None and change.rotate.derived:
        return replace(record, secret=change.rotate.secret)
    return record


def same_time(record, change, before):
    return replace(record, signed_in=change.at) if change.sign_in is not None else record


def later_use(record, change, before):
    return replace(record, last_used=change.at) if change.touch else record


OTHERWISE = {
    "an expired record lives on": expired_lives,
    "creating overwrites a tombstone": creates_over_tombstones,
    "destroying asks nothing": destroys_unconditionally,
    "what can't be read is written over": writes_over_what_it_can_not_read,
    "what was cleared is taken": gives_what_was_cleared,
    "updating asks for no secret": of_update(lambda change: replace(change, secret=None)),
    "updating asks for no user": of_update(lambda change: replace(change, user=None)),
    "there is no grace": of_update(lambda change: replace(change, grace=0)),
    "the grace is a millisecond longer": of_update(lambda change: replace(change, grace=change.grace + 1)),
    "nothing is cleared": of_update(lambda change: replace(change, clear=False)),
    "nothing is removed": of_update(lambda change: replace(change, remove=frozenset())),
    "permanence is not given up": of_update(
        lambda change: replace(change, permanent=change.permanent or None)
    ),
    "every use is the visitor's": of_update(lambda change: replace(change, touch=True)),
    "fields are sorted": after(in_another_order),
    "every sight is the first": after(seen_anew),
    "a derived rotation asks nothing": after(always_derives),
    "a sign-in may be as old as the one before": after(same_time),
    "the last use is the latest that came": after(later_use),
    "an old secret is kept": after(lambda record, change, before: replace(record, previous=before.previous)),
    "the client is kept": after(lambda record, change, before: replace(record, client=before.client)),
    "created moves": after(lambda record, change, before: replace(record, created=change.at)),
    "secret_at moves": after(lambda record, change, before: replace(record, secret_at=change.at)),
    "expires stays": after(lambda record, change, before: replace(record, expires=before.expires)),
}


@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_whoever_decides_otherwise_is_found(otherwise):
    phases = [Phase.generate]

    @settings(max_examples=20_000, database=None, deadline=None, phases=phases, suppress_health_check=ANY)
    @given(cases())
    def equal(case):
        assert_equal(by(OTHERWISE[otherwise]), *case)

    with pytest.raises(AssertionError):
        equal()


def test_the_smallest_difference_is_shown():
    def forgets(key, data, change):
        answer, _ = by(settle)(key, data, change)
        return answer, None

    with pytest.raises(AssertionError) as caught:
        check_apply(forgets, examples=500)
    assert "it left nothing, not " in str(caught.value)
    notes = "\n".join(caught.value.__notes__)
    assert "found: " in notes
    assert "change: " in notes
    assert "key=b'" in notes
