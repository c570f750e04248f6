"""Epochs beside sign-ins of the same moment, clocks that disagree, and requests that meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core.calls import Apply, Writes
from coatcheck.model.record import TOMBSTONE_LIFE, Create, Destroy, Tombstone
from tests.core.epochs import BY_EPOCH, KEY, alive, end_all, epoch_of, plant, signed_in, unnoted
from tests.core.scene import DAY, HOUR, MINUTE, NOW, STORES, World, a_record, a_token, held

pytestmark = pytest.mark.promise("17")


@pytest.fixture(params=["none", "within", "beside"])
def world(request):
    return World(BY_EPOCH, request.param)


# One millisecond, and clocks


def test_sign_ins_of_the_millisecond_in_which_all_are_ended_end_too(world):
    before = [signed_in(world, number) for number in (1, 2)]
    end_all(world)
    after = signed_in(world, 3)
    assert alive(world, *before) == [False, False]
    assert (alive(world, after), after.signed_in) == ([True], NOW + 1)
    end_all(world)
    assert alive(world, after) == [False]


@pytest.mark.parametrize("index", ["within", "beside"])
@pytest.mark.parametrize("tokens", [(), (a_token(),)], ids=["a new session", "one that was there"])
def test_a_sign_in_that_was_moved_is_found_in_the_index_and_ended_by_it(index, tokens):
    world = World(BY_EPOCH, index)
    world.put(a_record())
    end_all(world)
    visit = world.request(*tokens)
    visit.session.sign_in("ada")
    visit.close()
    record = world.state_of(visit.token.key)
    assert record.signed_in == visit.state.record.signed_in == NOW + 1
    assert visit.state.held.state == record
    entries = world.store.sessions_of("ada", NOW, 10, None, 0)
    assert [(entry.key, entry.signed_in) for entry in entries] == [(record.key, NOW + 1)]
    assert end_all(world) == 1
    assert isinstance(world.state_of(record.key), Tombstone)


@pytest.mark.promise("F-17")
def test_clocks_that_disagree_neither_keep_nor_lose_a_session(world):
    ahead = signed_in(world, 1, at=NOW + MINUTE)
    end_all(world, at=NOW - MINUTE)
    assert alive(world, ahead) == [False]
    behind = signed_in(world, 2, at=NOW - 30_000)
    assert alive(world, behind) == [True]


def test_an_epoch_never_moves_back(world):
    signed_in(world, 1)
    end_all(world)
    before = epoch_of(world)
    end_all(world, at=NOW - DAY)
    signed_in(world, 2, at=NOW - HOUR)
    after = epoch_of(world)
    assert after.ended >= before.ended
    assert after.newest > before.newest
    assert after.revoked == before.revoked


@pytest.mark.promise("F-17")
def test_a_sign_in_by_a_clock_that_is_behind_ends_no_later_one(world):
    records = [
        signed_in(world, number, at=at) for number, at in ((1, NOW - HOUR), (2, NOW), (3, NOW - MINUTE))
    ]
    assert alive(world, *records) == [True, True, True]


# Races


@pytest.mark.promise("13")
def test_a_sign_in_counts_only_once_it_is_noted_and_its_late_companions_are_late(world):
    signed_in(world, 1)
    world.now += 1
    record, rest = unnoted(world, 2)
    assert world.counts(record) == Tombstone(record.key, record.signed_in + TOMBSTONE_LIFE)
    world.run(rest)
    assert alive(world, record) == [True]


def test_a_sign_in_under_way_while_all_are_ended_stands():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    record, rest = unnoted(world, 2)
    end_all(world, at=NOW + 1_000)
    world.run(rest)
    assert alive(world, record) == [True]
    end_all(world)
    assert alive(world, record) == [False]


def test_a_session_that_ended_before_its_sign_in_was_noted_notes_nothing(world):
    record, rest = unnoted(world, 1)
    world.run(ended(record))
    world.run(rest)
    assert epoch_of(world) is None


def test_a_session_that_is_gone_before_its_sign_in_was_noted_notes_nothing():
    world = World(BY_EPOCH, "none")
    record, rest = unnoted(world, 1)
    world.store.remove([record.key], NOW, 0)
    world.run(rest)
    assert epoch_of(world) is None


def test_a_sign_in_that_another_users_has_replaced_notes_nothing():
    world = World(BY_EPOCH, "none")
    record, rest = unnoted(world, 1)
    world.store.remove([record.key], NOW, 0)
    world.run(created(replace(record, user="grace")))
    world.run(rest)
    assert epoch_of(world) is None


@pytest.mark.promise("12")
@pytest.mark.parametrize("lost", [False, True])
def test_a_request_under_way_that_changes_the_limits_does_not_bring_back_a_session_that_has_ended(lost):
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    visit = world.request(a_token(1))
    visit.state.limits, visit.state.acted = (HOUR, 300 * DAY), True
    world.now += 1
    if lost:
        plant(world, None)
    else:
        end_all(world)
    visit.close()
    assert alive(world, record) == [False]


def test_a_change_of_the_limits_makes_the_epoch_last_as_long():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    visit = world.request(a_token(1))
    visit.state.limits, visit.state.acted = (HOUR, 300 * DAY), True
    visit.close()
    assert epoch_of(world).expires == NOW + 300 * DAY


def test_a_change_of_the_limits_of_an_anonymous_session_notes_nothing(world):
    world.put(a_record())
    visit = world.request(a_token())
    visit.state.limits, visit.state.acted = (HOUR, DAY), True
    visit.close()
    assert world.state_of(a_token().key).absolute == DAY
    assert epoch_of(world, "") is None


def test_noting_a_kept_session_once_more_leaves_its_sign_in_and_the_epoch_as_they_are():
    world = World(BY_EPOCH, "none")
    kept = signed_in(world, 1)
    end_all(world, keep=kept)
    before = world.store.load([kept.key, KEY], NOW, 0)
    noted = world.run(world.users.entered(held(kept), NOW))
    assert noted.state == kept
    assert world.store.load([kept.key, KEY], NOW, 0) == before


def created(record):
    yield Apply([Create(record)], [None])


def ended(record):
    yield Apply([Destroy(key=record.key, at=NOW)], [None])


@pytest.mark.parametrize("first", ["note", "end"])
def test_noting_and_ending_at_once_see_each_other(first):
    """Each has read the epoch before the other writes it."""
    world = World(BY_EPOCH, "none")
    before = signed_in(world, 1)
    world.now += 1
    record, rest = unnoted(world, 2)
    parked = {
        "note": world.until(rest, Writes),
        "end": world.until(world.admin.revoke_user("ada", NOW, None), Writes),
    }
    world.run(parked.pop(first))
    (second,) = parked
    world.run(parked[second])
    # The one that came second was told so, and began anew.
    assert alive(world, before, record) == [False, second == "note"]


@given(st.lists(st.sampled_from(["sign in", "answer", "end", "begin to end"]), max_size=14), st.data())
def test_whatever_was_answered_before_the_end_of_all_began_never_opens_again(steps, data):
    world = World(BY_EPOCH, data.draw(st.sampled_from(sorted(STORES))))
    waiting, ending, answered, must_end = [], [], [], []
    for step in steps:
        world.now += data.draw(st.integers(0, 1))
        match step:
            case "sign in":
                waiting.append(unnoted(world, 1))
            case "answer" if waiting:
                record, rest = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
                world.run(rest)
                answered.append(record)
            case "end":
                before = list(answered)
                end_all(world)
                must_end += before
            case "begin to end":
                ending.append(
                    (list(answered), world.until(world.admin.revoke_user("ada", world.now, None), Writes))
                )
        assert not any(alive(world, *must_end))
    for before, flow in ending:
        world.run(flow)
        must_end += before
        assert not any(alive(world, *must_end))
    last = signed_in(world, 200)
    assert alive(world, last) == [True]


def test_an_epoch_that_another_writer_changes_meanwhile_is_kept_longer_all_the_same():
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    left = world.until(world.users.covered(record, 300 * DAY), Writes)
    world.now += 1
    second = signed_in(world, 2)
    world.run(left)
    assert epoch_of(world).expires == NOW + 300 * DAY
    assert alive(world, record, second) == [True, True]
