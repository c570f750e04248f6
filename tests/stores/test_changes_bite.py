"""Engines that are wrong in one place, and the test of `Changes` that catches each."""

import pytest
from msgspec.structs import replace

from coatcheck.core import swap
from coatcheck.errors import StoreUnavailable
from coatcheck.model import record as records
from coatcheck.model.record import Destroy
from tests.promises import ENGINE_TWINS
from tests.stores.changes import Changes
from tests.stores.harnesses import MemoryHarness


def reapplies_blindly(patch):
    """After a lost answer, the changes are applied to whatever is found."""

    def resolve(self, group, found, results):
        group.sent, group.unsure, group.held = None, False, swap.held_of(group.key, found)

    patch.setattr(swap.Swap, "_resolve", resolve)


def destroys_without_a_condition(patch):
    sound = swap.settle

    def settle(found, change):
        if isinstance(change, Destroy):
            change = replace(change, holder=None)
        return sound(found, change)

    patch.setattr(swap, "settle", settle)


def never_says_that_an_answer_is_ambiguous(patch):
    sound = swap.Swap._settle

    def settle(self, plan, answer, results):
        if isinstance(answer, StoreUnavailable):
            answer = StoreUnavailable(str(answer), ambiguous=False)
        sound(self, plan, answer, results)

    patch.setattr(swap.Swap, "_settle", settle)


def gives_up_an_ending_with_the_other_changes(patch):
    sound = swap._Group.fail

    def fail(self, error, results, *, but_endings=False):
        sound(self, error, results)

    patch.setattr(swap._Group, "fail", fail)


def lets_the_later_edit_stand(patch):
    patch.setattr(records, "merged", lambda base, theirs, ours: ours)


def writes_back_the_copy_that_was_read(patch):
    sound = swap.Swap._settle

    def settle(self, plan, answer, results):
        if isinstance(answer, swap.Conflict) and not plan.group.looks:
            # The same data again, over the version of the other writer.
            plan.write = replace(plan.write, expected=answer.found and answer.found.version)
            return
        sound(self, plan, answer, results)

    patch.setattr(swap.Swap, "_settle", settle)


TWINS = {
    reapplies_blindly: "a_lost_answer_is_never_applied_twice_whoever_writes_in_between",
    destroys_without_a_condition: "an_ending_for_another_user_or_sign_in_ends_nothing",
    never_says_that_an_answer_is_ambiguous: "a_lost_answer_is_never_applied_twice_whoever_writes_in_between",
    gives_up_an_ending_with_the_other_changes: "an_ending_whose_answer_was_lost_is_certain_all_the_same",
    lets_the_later_edit_stand: "edits_of_one_list_that_meet_are_both_kept",
    writes_back_the_copy_that_was_read: "a_change_is_applied_to_the_record_that_is_there_now",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_a_wrong_engine_is_caught(twin, monkeypatch):
    twin(monkeypatch)
    with pytest.raises(AssertionError):
        run(TWINS[twin])


@pytest.mark.parametrize("name", sorted(set(TWINS.values())))
def test_the_engine_itself_is_not(name):
    run(name)


def run(name):
    getattr(Changes(), f"test_{name}")(MemoryHarness())


def test_the_table_of_promises_names_these_twins():
    told = {twin.__name__.replace("_", " "): name for twin, name in TWINS.items()}
    told["re-applies blindly"] = told.pop("reapplies blindly")
    assert told.items() <= ENGINE_TWINS.items()
