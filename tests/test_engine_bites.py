"""Engines that are wrong in one place, each with the test that catches it: no test of the engine is one that can't fail."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core import epochs, lifecycle, swap
from coatcheck.core.calls import Held
from coatcheck.core.epochs import Epochs
from coatcheck.core.requests import Requests
from coatcheck.core.state import State, Wanted
from coatcheck.core.users import Users
from coatcheck.errors import StoreFull, StoreTimeout
from coatcheck.model import merges, record
from coatcheck.model.record import Destroy, Edit, Tombstone
from coatcheck.stores.coalesce import Lane
from tests import test_runner_async
from tests.cancelling import by_cancel
from tests.core import (
    driven,
    scene,
    test_epochs,
    test_epochs_lost,
    test_epochs_races,
    test_late_endings,
    test_lifecycle_changes,
    test_requests_sign_in,
    test_swap,
    test_swap_failures,
    test_swap_schedules,
)
from tests.model import test_merges, test_record
from tests.stores import test_coalesce, test_coalesce_callers

_group, _swap = swap._Group, swap.Swap


# Twins: each takes pytest's monkeypatch, and breaks the engine


def re_applies_blindly(patch):
    """Where another writer came first, it writes its own copy over that."""

    def found(self, found):
        stale = self.held
        held(self, found)
        if stale is not None and stale.state is not None:
            self.held = Held(self.held.found, stale.state)

    held = _group.found
    patch.setattr(_group, "found", found)


def applies_again_after_a_lost_answer(patch):
    def resolve(self, group, found, _results):
        group.unsure = False
        group.found(found)

    patch.setattr(_swap, "_resolve", resolve)


def never_says_that_an_answer_is_ambiguous(patch):
    def fail(self, error, results, **how):
        failed(self, StoreTimeout(str(error), ambiguous=False), results, **how)

    failed = _group.fail
    patch.setattr(_group, "fail", fail)


def looks_at_nothing_after_a_lost_answer(patch):
    patch.setattr(swap, "_MOST_LOOKS", 0)


def sends_a_new_revision_after_a_lost_answer(patch):
    def plan(self, group, results):
        sent, group.sent = group.sent, None
        made = planned(self, group, results)
        if made is None:
            group.sent = sent
        return made

    planned = _swap._plan
    patch.setattr(_swap, "_plan", plan)


def tells_an_ending_that_it_is_ambiguous(patch):
    def fail(self, error, results, *, but_endings=False):
        failed(self, error, results)

    failed = _group.fail
    patch.setattr(_group, "fail", fail)


def writes_over_tombstones(patch):
    def settled(state, change):
        return settle(None if isinstance(state, Tombstone) else state, change)

    settle = swap.settle
    patch.setattr(swap, "settle", settled)


def refuses_by_what_its_caller_knew(patch):
    def make(self, key, number, change, held):
        made(self, key, number, change, held)
        self.confirmed = True

    made = _group.__init__
    patch.setattr(_group, "__init__", make)


def never_splits_a_batch_that_is_full(patch):
    patch.setattr(swap, "StoreFull", type("Never", (StoreFull,), {}))


def asks_for_no_way_through_full_memory(patch):
    write = swap._write
    patch.setattr(swap, "_write", lambda *parts: replace(write(*parts), urgent=False))


def destroys_without_a_condition(patch):
    patch.setattr(lifecycle, "ending_of", lambda record, now: Destroy(key=record.key, at=now))


def ends_only_the_sign_in_that_it_saw(patch):
    def ending_of(record, now):
        holder = record.user and lifecycle.Holder(record.user, record.signed_in)
        return Destroy(key=record.key, at=now, holder=holder or lifecycle.Holder(None))

    patch.setattr(lifecycle, "ending_of", ending_of)


def shows_what_another_s_sign_in_has_stored(patch):
    patch.setattr(Requests, "_holds", lambda self, held, *_: isinstance(held.state, record.Record))


def keeps_what_is_put_in_behind_a_late_ending(patch):
    def ended(self, *parts):
        yield from end(self, *parts)  # whether it was late is not handed on

    end = Requests._ended
    patch.setattr(Requests, "_ended", ended)


def merges_what_was_assigned(patch):
    def wanted(self, rules):
        found = of(self, rules)
        base = self.base
        edits = {name: Edit(data, base.get(name), base.get(name)) for name, data in found.set.items()}
        return Wanted({}, {**edits, **found.edits}, found.remove)

    of = State.wanted
    patch.setattr(State, "wanted", wanted)


def merges_what_was_removed(patch):
    def fields(found, change):
        edits = {name: replace(edit, rule=merges.last) for name, edit in change.edits.items()}
        return of(found, replace(change, edits=edits))

    of = record._fields_after
    patch.setattr(record, "_fields_after", fields)


def takes_the_later_list(patch):
    patch.setattr(merges, "_merged_list", lambda base, theirs, ours: ours)


def takes_a_conflict_of_epochs_for_a_success(patch):
    def put(self, write):
        stored = yield from of(self, write)
        return None if stored is None else True

    of = Epochs._put
    patch.setattr(Epochs, "_put", put)


def answers_before_a_sign_in_is_noted(patch):
    def noted(self, held):
        return held
        yield

    patch.setattr(Users, "noted", noted)


def takes_a_lost_epoch_for_one_that_admits_all(patch):
    def judged(held, of_users):
        user = held.state.user if isinstance(held.state, record.Record) else None
        return held if user is None or of_users[user] is None else judge(held, of_users)

    judge = epochs._judged
    patch.setattr(epochs, "_judged", judged)


def runs_the_loop_in_the_requests_task(patch):
    patch.setattr(Lane, "submit", lambda lane, items, now, deadline: lane._send(items, now, deadline))


def lets_two_batches_change_one_record(patch):
    def board(self):
        self._keys = set()
        return boarded(self)

    boarded = Lane._next_batch
    patch.setattr(Lane, "_next_batch", board)


def forgets_the_changes_of_cancelled_requests(patch):
    def board(self):
        self._cancelled = False
        return boarded(self)

    boarded = Lane._next_batch
    patch.setattr(Lane, "_next_batch", board)


def hands_nothing_on(patch):
    patch.setattr(Lane, "_hand_on", lambda *_: None)


THEIRS = driven.record(fields={"theirs": 1})
CAUGHT = {
    re_applies_blindly: (
        test_swap.test_where_another_writer_came_first_the_changes_are_applied_to_what_is_there,
        (),
    ),
    applies_again_after_a_lost_answer: (
        test_swap_failures.test_another_writer_after_a_lost_answer_makes_it_ambiguous_and_nothing_is_applied_again,
        ("look", THEIRS),
    ),
    never_says_that_an_answer_is_ambiguous: (
        test_swap_failures.test_another_writer_after_a_lost_answer_makes_it_ambiguous_and_nothing_is_applied_again,
        ("conflict", THEIRS),
    ),
    looks_at_nothing_after_a_lost_answer: (
        test_swap_failures.test_a_look_that_finds_its_own_revision_is_done,
        (),
    ),
    sends_a_new_revision_after_a_lost_answer: (
        test_swap_failures.test_a_look_that_finds_the_revision_it_started_from_sends_the_same_write_again,
        (),
    ),
    tells_an_ending_that_it_is_ambiguous: (
        test_swap_failures.test_an_ending_is_applied_again_and_never_told_ambiguous,
        ("look",),
    ),
    writes_over_tombstones: (
        test_swap.test_nothing_lands_on_a_tombstone,
        (test_swap.Create(driven.record()),),
    ),
    refuses_by_what_its_caller_knew: (
        test_swap.test_no_change_is_refused_by_what_its_caller_knew_alone,
        (driven.record(fields={"b": 1}),),
    ),
    never_splits_a_batch_that_is_full: (
        test_swap_failures.test_a_growing_change_never_refuses_another_s_take,
        (StoreFull("full"),),
    ),
    asks_for_no_way_through_full_memory: (
        test_swap.test_what_ends_or_does_not_grow_must_work_in_full_memory,
        (driven.destroy(), True),
    ),
    destroys_without_a_condition: (
        test_late_endings.test_a_late_anonymous_sign_out_leaves_a_fresh_login_alone_and_its_cookie,
        ("world",),
    ),
    ends_only_the_sign_in_that_it_saw: (
        test_late_endings.test_a_sign_out_ends_what_its_user_did_meanwhile,
        ("world", test_late_endings.signs_in_again),
    ),
    shows_what_another_s_sign_in_has_stored: (
        test_requests_sign_in.test_a_request_never_sees_what_a_sign_in_behind_it_in_the_same_write_has_stored,
        ("save", True),
    ),
    keeps_what_is_put_in_behind_a_late_ending: (
        test_late_endings.test_what_a_late_sign_out_is_followed_by_is_dropped_and_leaves_no_record,
        ("world",),
    ),
    merges_what_was_assigned: (
        test_lifecycle_changes.test_what_is_assigned_is_never_merged_and_what_was_read_and_edited_is,
        (),
    ),
    merges_what_was_removed: (
        test_record.TestEdits().test_of_a_field_that_was_removed_meanwhile_are_gone,
        (),
    ),
    takes_the_later_list: (
        test_swap_schedules.test_a_hundred_that_began_with_the_same_record_all_count,
        ("append",),
    ),
    takes_a_conflict_of_epochs_for_a_success: (
        test_epochs_races.test_noting_and_ending_at_once_see_each_other,
        ("end",),
    ),
    answers_before_a_sign_in_is_noted: (
        test_epochs.test_every_session_that_was_answered_ends_and_later_ones_stand,
        ("by epoch",),
    ),
    takes_a_lost_epoch_for_one_that_admits_all: (
        test_epochs_lost.test_a_lost_epoch_ends_the_sessions_and_the_next_sign_in_begins_another,
        ("by epoch",),
    ),
    runs_the_loop_in_the_requests_task: (
        test_runner_async.test_the_change_of_a_request_that_is_cancelled_is_carried_out_after_a_conflict_too,
        {"cancelled": by_cancel, "loop": "asyncio"},
    ),
    lets_two_batches_change_one_record: (
        test_coalesce.test_items_of_one_key_are_never_in_two_batches_at_once,
        {"loop": "asyncio"},
    ),
    forgets_the_changes_of_cancelled_requests: (
        test_coalesce_callers.test_a_caller_who_is_cancelled_before_his_batch_left_harms_nobody,
        {"kind": "apply", "cancelled": by_cancel, "loop": "asyncio"},
    ),
    hands_nothing_on: (
        test_coalesce.test_an_item_that_waits_is_handed_the_answer_of_its_key,
        {"loop": "asyncio"},
    ),
}


def unshrunk(test, *strategies):
    """A property test that stops at the first example that it finds."""
    quick = settings(max_examples=2_000, phases=[Phase.generate], database=None, report_multiple_bugs=False)
    return quick(given(*strategies)(test.hypothesis.inner_test))


def run(test, arguments):
    worlds = {
        "world": lambda: scene.World(scene.ROTATING),
        "by epoch": lambda: scene.World(test_epochs.BY_EPOCH, "none"),
    }
    if isinstance(arguments, dict):
        test(**arguments)
    else:
        test(*[worlds[one]() if isinstance(one, str) and one in worlds else one for one in arguments])


@pytest.mark.parametrize("twin", CAUGHT, ids=lambda twin: twin.__name__)
def test_a_broken_engine_is_caught_by_the_test_that_is_there_for_it(twin, monkeypatch):
    test, arguments = CAUGHT[twin]
    run(test, arguments)  # on the engine itself
    twin(monkeypatch)
    with pytest.raises(Exception) as caught:
        run(test, arguments)
    assert str(caught.traceback[-1].path) != __file__, "the twin itself is broken"


@pytest.mark.parametrize(
    "twin",
    [re_applies_blindly, applies_again_after_a_lost_answer, writes_over_tombstones],
    ids=lambda twin: twin.__name__,
)
def test_random_schedules_find_what_counts_twice_or_is_lost(twin, monkeypatch):
    twin(monkeypatch)
    test = (
        test_swap_schedules.test_once_an_ending_was_answered_nothing_brings_the_session_back
        if twin is writes_over_tombstones
        else test_swap_schedules.test_whatever_is_lost_or_late_nothing_counts_twice_and_nothing_that_was_told_is_lost
    )
    with pytest.raises(AssertionError):
        unshrunk(test, st.data())()


def test_what_is_merged_wrongly_is_found_by_the_properties(monkeypatch):
    monkeypatch.setattr(merges, "_merged_dict", lambda base, theirs, ours: ours)
    dicts = [test_merges._dicts] * 3
    with pytest.raises(AssertionError):
        unshrunk(test_merges.test_what_one_side_removed_stays_removed, *dicts)()
