"""Twins that are wrong about creating, updating, taking, secrets and users."""

from msgspec.structs import replace

from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import (
    APPLIED,
    Applied,
    Create,
    Destroy,
    Record,
    Refused,
    Settled,
    Update,
    decode,
    encode,
    settle,
)
from tests.testing.twin import Twin, Unlocked, pause


def blank(change, fields):
    """A record made up out of an update."""
    return Record(
        key=change.key,
        secret=change.secret or bytes(32),
        secret_at=change.at,
        created=change.at,
        last_used=change.at,
        expires=change.at + change.lifetimes.idle,
        fields=fields,
    )


class CreateOverwrites(Twin):
    bites = """
        create_never_overwrites_a_record
        create_never_overwrites_what_can_not_be_read
        a_destroyed_record_is_never_created_again
        changes_of_several_records_are_answered_in_order
        of_many_who_create_under_one_key_at_once_one_did
        a_sign_in_that_was_refused_enters_nothing
        what_can_not_be_read_is_left_alone
    """

    def settle(self, data, change):
        if isinstance(change, Create):
            return Settled(APPLIED, change.record)
        return settle(data, change)


class UpdateCreates(Twin):
    bites = """
        update_never_creates
        changes_of_one_record_in_one_batch_are_applied_in_order
    """

    def settle(self, data, change):
        if data is None and isinstance(change, Update):
            return Settled(APPLIED, blank(change, change.set))
        return settle(data, change)


class UpdateRevives(Twin):
    """After a logout, the late request writes its session again."""

    bites = """
        a_destroyed_record_is_never_changed_again
        no_change_under_way_brings_a_destroyed_record_back
        logging_out_works_on_what_can_not_be_read
        sign_ins_and_logouts_at_once_leave_the_index_true
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if settled.answer is Refused.GONE and data is not None and isinstance(change, Update):
            return Settled(APPLIED, blank(change, change.set))
        return settled


class WritesBackTheCopyFromTheBeginning(Twin):
    bites = """
        an_update_is_applied_to_the_record_that_is_there_now
        what_another_set_or_removed_meanwhile_stays_so
        take_gives_what_was_set_last_not_what_the_request_saw
        what_was_taken_can_not_be_taken_again
        a_hundred_changes_of_different_fields_at_once_all_stand
        a_field_that_goes_from_hand_to_hand_counts_to_a_hundred
        messages_that_come_while_others_are_taken_are_each_taken_once
        of_two_takers_in_one_batch_the_first_gets_it
        a_hundred_parallel_increments_that_each_replace_the_secret_all_count
    """

    def __init__(self):
        super().__init__()
        self.copies = {}

    def settle(self, data, change):
        if isinstance(change, Create):
            self.copies[change.key] = encode(change.record)
        elif isinstance(change, Update) and data is not None:
            data = self.copies.get(change.key, data)
        return settle(data, change)


class TheFirstValueStands(Twin):
    bites = """
        of_two_changes_of_one_field_the_last_stands
        a_change_with_the_current_secret_is_applied
        take_gives_what_was_set_last_not_what_the_request_saw
        changes_of_one_record_in_one_batch_are_applied_in_order
    """

    def settle(self, data, change):
        settled = settle(data, change)
        there = self._read(change.key)
        if isinstance(change, Update) and isinstance(there, Record) and isinstance(settled.state, Record):
            kept = {name: there.fields.get(name, value) for name, value in settled.state.fields.items()}
            settled = Settled(settled.answer, replace(settled.state, fields=kept))
        return settled


class SetsBeforeItClears(Twin):
    bites = "clearing_comes_before_removing_and_setting_comes_last"

    def settle(self, data, change):
        if isinstance(change, Update) and change.set:
            gone = {*change.remove, *change.take}
            kept = {} if change.clear else {name: v for name, v in change.set.items() if name not in gone}
            change = replace(change, set=kept)
        return settle(data, change)


class RemovingWhatIsNotThereFails(Twin):
    bites = "removing_what_is_not_there_is_no_error"
    error = KeyError

    def settle(self, data, change):
        if isinstance(change, Update) and data is not None:
            for name in change.remove:
                decode(change.key, data).fields[name]
        return settle(data, change)


class ShortensTheClient(Twin):
    bites = "a_created_record_is_loaded_as_it_was every_kind_of_change_leaves_what_record_apply_says"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(settled.state, Record) and settled.state.client:
            settled = Settled(settled.answer, replace(settled.state, client=settled.state.client[:5]))
        return settled


class KeepsItsOwnFormat(Twin):
    bites = "what_lies_in_the_store_is_the_documented_format"

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Record):
            fields = dict(sorted(state.fields.items(), reverse=True))
            self._data[state.key] = encode(replace(state, fields=fields))


class GivesAnotherRecordForAnUnknownKey(Twin):
    bites = """
        a_key_under_which_nothing_was_put_loads_as_nothing
        keys_are_answered_in_order_with_doubles_and_absent_ones
    """

    def load(self, keys, now):
        known = next(iter(self._data), None)
        return super().load([key if key in self._data else known for key in keys], now)


class LoadingTouches(Twin):
    bites = "loading_writes_nothing"

    def load(self, keys, now):
        found = super().load(keys, now)
        for state in found:
            if isinstance(state, Record):
                self._put(replace(state, last_used=max(now, state.last_used)))
        return found


class CantBePinged(Twin):
    bites = "the_store_answers_a_ping"
    error = StoreUnavailable

    def ping(self):
        raise StoreUnavailable("no answer")


class CantBeClosedTwice(Twin):
    bites = "closing_twice_is_harmless"
    error = RuntimeError
    closed = 0

    def close(self):
        self.closed += 1
        if self.closed == 2:
            raise RuntimeError("already closed")


class TakesNothingAway(Twin):
    bites = """
        taken_fields_are_given_back_and_gone
        what_was_taken_can_not_be_taken_again
        fields_with_odd_names_come_back
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and change.take and isinstance(settled.state, Record):
            fields = {**settled.answer.taken, **settled.state.fields}
            return Settled(settled.answer, replace(settled.state, fields=fields))
        return settled


class TakesWhatWasCleared(Twin):
    bites = "after_clearing_there_is_nothing_to_take"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and change.clear and change.take:
            fields = decode(change.key, data).fields
            return Settled(Applied({name: fields[name] for name in change.take}), settled.state)
        return settled


class TakesBeforeItAsks(Twin):
    bites = """
        a_refused_take_takes_nothing
        a_change_with_another_secret_is_refused_and_writes_nothing
        a_change_for_another_user_is_refused_and_writes_nothing
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if settled.answer is Refused.CHANGED and isinstance(change, Update):
            written = settle(data, replace(change, secret=None, user=None))
            return Settled(Refused.CHANGED, written.state)
        return settled


class NothingIsAtomic(Twin):
    """It reads, decides, and writes, and others do so in between."""

    bites = """
        of_many_takers_at_once_one_gets_it
        a_field_that_goes_from_hand_to_hand_counts_to_a_hundred
        messages_that_come_while_others_are_taken_are_each_taken_once
        of_many_who_expect_the_same_secret_and_replace_it_one_wins
        a_hundred_parallel_increments_that_each_replace_the_secret_all_count
        a_hundred_changes_of_different_fields_at_once_all_stand
        a_derived_rotation_is_the_same_for_all_who_ask_at_once
        of_many_who_create_under_one_key_at_once_one_did
        of_many_who_destroy_a_record_at_once_one_did
        no_change_under_way_brings_a_destroyed_record_back
        sign_ins_and_logouts_at_once_leave_the_index_true
        batches_that_meet_in_opposite_order_are_all_applied
    """

    def __init__(self):
        super().__init__()
        self._lock = Unlocked()

    def settle(self, data, change):
        settled = settle(data, change)
        pause()
        return settled


class AsksNoSecret(Twin):
    bites = """
        a_change_with_another_secret_is_refused_and_writes_nothing
        a_random_rotation_ends_the_old_secret_at_once
        a_refused_take_takes_nothing
        of_many_who_expect_the_same_secret_and_replace_it_one_wins
        the_old_secret_is_good_for_the_grace_after_the_new_one_was_seen
        a_sign_in_that_was_refused_enters_nothing
    """

    def settle(self, data, change):
        there = self._read(change.key)
        if isinstance(change, Update):
            # Whoever rotates is believed to hold the current one.
            secret = there.secret if change.rotate is not None and isinstance(there, Record) else None
            change = replace(change, secret=secret)
        return settle(data, change)


class AsksForTheWrongSecret(Twin):
    bites = """
        a_change_with_the_current_secret_is_applied
        signing_in_moves_the_user_and_the_time_of_the_sign_in
    """

    def settle(self, data, change):
        if isinstance(change, Update) and change.secret is not None:
            change = replace(change, secret=change.secret[::-1])
        return settle(data, change)


class AsksNoUser(Twin):
    bites = """
        a_change_for_another_user_is_refused_and_writes_nothing
        a_record_is_destroyed_only_for_the_user_it_belongs_to
        an_anonymous_record_is_not_destroyed_for_a_user
    """

    def settle(self, data, change):
        return settle(data, replace(change, user=None) if isinstance(change, Update | Destroy) else change)


class AsksForTheWrongUser(Twin):
    bites = """
        a_change_for_the_user_who_is_signed_in_is_applied
        users_and_clients_with_odd_names_come_back
    """

    def settle(self, data, change):
        if isinstance(change, Update | Destroy) and change.user is not None:
            change = replace(change, user=change.user + " ")
        return settle(data, change)


class ForgetsTheOldSecret(Twin):
    bites = """
        a_derived_rotation_keeps_the_old_secret_until_the_new_one_was_seen
        a_derived_rotation_is_the_same_for_all_who_ask_at_once
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(settled.state, Record):
            settled = Settled(settled.answer, replace(settled.state, previous=None, seen=0))
        return settled


class EverySightIsTheFirst(Twin):
    bites = "the_old_secret_is_good_for_the_grace_after_the_new_one_was_seen"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(settled.state, Record) and isinstance(change, Update) and change.seen:
            settled = Settled(settled.answer, replace(settled.state, seen=change.at))
        return settled


class EveryRotationStartsAnew(Twin):
    bites = """
        a_second_derived_rotation_does_not_start_anew
        a_derived_rotation_is_the_same_for_all_who_ask_at_once
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and change.rotate is not None and isinstance(settled.state, Record):
            there = decode(change.key, data)
            after = replace(settled.state, previous=there.secret, secret_at=change.at + 1)
            settled = Settled(settled.answer, after)
        return settled


class SignsInAtTheSameTime(Twin):
    bites = """
        two_sign_ins_never_look_the_same
        every_kind_of_change_leaves_what_record_apply_says
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and change.sign_in is not None and isinstance(settled.state, Record):
            settled = Settled(settled.answer, replace(settled.state, signed_in=change.at))
        return settled


class WritesBehind(Twin):
    """What it answered is still in this process, and nowhere else."""

    bites = "what_was_answered_is_seen_by_another_process"
    shared = True
