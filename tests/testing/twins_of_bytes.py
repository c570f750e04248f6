"""Twins that are wrong about batches, about odd values, and about what can't be read."""

import contextlib
import pickle
import threading
import time
import unicodedata

from msgspec.structs import replace

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.model.ports import Unreadable
from coatcheck.model.record import (
    APPLIED,
    Create,
    Destroy,
    Record,
    RecordError,
    Refused,
    Settled,
    Update,
    decode,
    encode,
    settle,
)
from tests.testing.twin import Twin, pause


class NeedsSomethingToDo(Twin):
    bites = "an_empty_batch_has_no_answers"
    error = StoreError

    def load(self, keys, now):
        if not keys:
            raise StoreError("syntax error near ()")
        return super().load(keys, now)


class AnswersInItsOwnOrder(Twin):
    bites = """
        keys_are_answered_in_order_with_doubles_and_absent_ones
        a_batch_may_be_large
        each_key_whatever_its_bytes_has_a_record_of_its_own
    """

    def load(self, keys, now):
        return super().load(sorted(keys), now)


class AnswersEachKeyOnce(Twin):
    bites = "keys_are_answered_in_order_with_doubles_and_absent_ones"

    def load(self, keys, now):
        return super().load(list(dict.fromkeys(keys)), now)


class StopsAtTheFirstRefusal(Twin):
    bites = """
        changes_of_several_records_are_answered_in_order
        an_unreadable_neighbour_spoils_nothing
        changes_of_one_record_in_one_batch_are_applied_in_order
    """

    def apply(self, changes):
        answers = []
        for change in changes:
            refused = any(isinstance(answer, Refused) for answer in answers)
            answers.append(Refused.GONE if refused else super().apply([change])[0])
        return answers


class AppliesTheLastFirst(Twin):
    bites = """
        changes_of_one_record_in_one_batch_are_applied_in_order
        of_two_takers_in_one_batch_the_first_gets_it
    """

    def apply(self, changes):
        return super().apply(changes[::-1])[::-1]


class ABatchIsWhatItFoundAtItsBeginning(Twin):
    bites = """
        changes_of_one_record_in_one_batch_are_applied_in_order
        of_two_takers_in_one_batch_the_first_gets_it
    """

    def apply(self, changes):
        before = {change.key: self._data.get(change.key) for change in changes}
        with self._lock:
            all_settled = [settle(before[change.key], change) for change in changes]
            for settled in all_settled:
                if settled.state is not None:
                    self._put(settled.state)
        return [settled.answer for settled in all_settled]


class TakesAThousandParameters(Twin):
    bites = "a_batch_may_be_large"
    error = StoreError

    def load(self, keys, now):
        if len(keys) > 999:
            raise StoreError("too many SQL variables")
        return super().load(keys, now)


class LocksInTheOrderOfTheBatch(Twin):
    bites = "batches_that_meet_in_opposite_order_are_all_applied"
    error = StoreTimeout

    def __init__(self):
        super().__init__()
        self.locks = {}

    def apply(self, changes):
        with contextlib.ExitStack() as held:
            for key in dict.fromkeys(change.key for change in changes):
                lock = self.locks.setdefault(key, threading.Lock())
                if not lock.acquire(timeout=0.05):
                    raise StoreTimeout("deadlock", ambiguous=False)
                held.callback(lock.release)
                if len(changes) > 1:
                    pause()
            return super().apply(changes)


class NamesAreText(Twin):
    """Normalized, and cut off at the first NUL."""

    bites = """
        fields_with_odd_names_come_back
        fields_with_odd_names_can_be_removed_one_by_one
        users_and_clients_with_odd_names_come_back
    """

    def _put(self, state):
        if isinstance(state, Record):
            fields = {plain(name): value for name, value in state.fields.items()}
            user = None if state.user is None else plain(state.user)
            state = replace(state, fields=fields, user=user)
        super()._put(state)


def plain(text):
    return unicodedata.normalize("NFC", text).partition("\0")[0]


class ValuesOf64KiB(Twin):
    bites = "values_of_any_bytes_and_any_size_come_back"

    def _put(self, state):
        if isinstance(state, Record):
            fields = {name: value[:65_535] for name, value in state.fields.items()}
            state = replace(state, fields=fields)
        super()._put(state)


class FieldsByTheHundred(Twin):
    bites = "a_thousand_fields_come_back"

    def _put(self, state):
        if isinstance(state, Record):
            state = replace(state, fields=dict(list(state.fields.items())[:999]))
        super()._put(state)


class KeysAreText(Twin):
    bites = "each_key_whatever_its_bytes_has_a_record_of_its_own"

    def _apply(self, change):
        key = fold(change.key)
        if not isinstance(change, Create):
            return super()._apply(change)
        if key in {fold(other) for other in self._data}:
            return Refused.EXISTS
        return super()._apply(change)


def fold(key):
    return key.rstrip(b" \0").lower()


class WhatItCantReadIsNothing(Twin):
    bites = """
        what_can_not_be_read_is_unreadable_and_not_absent
        an_unreadable_neighbour_spoils_nothing
        a_record_of_another_format_is_unreadable
        a_record_that_was_moved_under_another_key_is_unreadable
        a_record_cut_off_anywhere_is_unreadable
        a_record_with_something_behind_it_is_unreadable
        a_record_with_one_byte_changed_is_never_an_error_nor_another_keys
    """

    def _read(self, key):
        found = super()._read(key)
        return None if isinstance(found, Unreadable) else found


class FailsOnWhatItCantRead(Twin):
    bites = """
        what_can_not_be_read_is_unreadable_and_not_absent
        a_record_with_one_byte_changed_is_never_an_error_nor_another_keys
        a_damaged_record_of_a_user_breaks_no_listing_and_no_sweep
    """
    error = RecordError

    def _read(self, key):
        data = self._data.get(key)
        return None if data is None else decode(key, data)


class RunsWhatItCantRead(Twin):
    bites = "what_can_not_be_read_is_unreadable_and_not_absent"

    def _read(self, key):
        found = super()._read(key)
        if isinstance(found, Unreadable):
            with contextlib.suppress(Exception):
                pickle.loads(self._data[key])
        return found


class BeginsAnewOverWhatItCantRead(Twin):
    bites = """
        what_can_not_be_read_is_left_alone
        a_record_of_another_format_is_unreadable
        a_record_that_was_moved_under_another_key_is_unreadable
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if settled.answer is Refused.UNREADABLE and isinstance(change, Update):
            empty = Record(key=change.key, secret=bytes(32), secret_at=0, created=0, last_used=0, expires=1)
            return Settled(APPLIED, empty)
        return settled


class CantLogOutOfWhatItCantRead(Twin):
    bites = """
        logging_out_works_on_what_can_not_be_read
        a_damaged_record_of_a_user_breaks_no_listing_and_no_sweep
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Destroy) and isinstance(self._read(change.key), Unreadable):
            return Settled(Refused.UNREADABLE)
        return settled


class BelievesEveryKey(Twin):
    bites = """
        a_record_that_was_moved_under_another_key_is_unreadable
        a_record_with_one_byte_changed_is_never_an_error_nor_another_keys
    """

    def _read(self, key):
        data = self._data.get(key)
        if data is not None and len(data) > 18:
            try:
                return decode(data[2:18], data)
            except RecordError as error:
                return Unreadable(str(error))
        return super()._read(key)


class ReadsAsFarAsItGoes(Twin):
    bites = """
        a_record_cut_off_anywhere_is_unreadable
        a_record_with_something_behind_it_is_unreadable
    """

    def _read(self, key):
        found = super()._read(key)
        data = self._data.get(key, b"")
        if isinstance(found, Unreadable) and data:
            for less in range(1, 3):
                with contextlib.suppress(RecordError):
                    return decode(key, data[:-less])
            with contextlib.suppress(RecordError):
                return decode(key, data + b"x")
        return found


class OneReplyForAll(Twin):
    """A reply that belongs to another request: what a shared connection does after a cancelled command."""

    bites = """
        loads_at_once_each_get_their_own_record
        loads_beside_writes_see_whole_records_of_their_own
    """

    def load(self, keys, now):
        self.reply = super().load(keys, now)
        pause()
        return self.reply


class ReadsHalfOfAWrite(Twin):
    bites = "loads_beside_writes_see_whole_records_of_their_own"

    def _put(self, state):
        before = self._read(state.key)
        if isinstance(state, Record) and isinstance(before, Record):
            fields = dict(before.fields)
            for name, value in state.fields.items():
                fields[name] = value
                self._data[state.key] = encode(replace(state, fields=fields))
                time.sleep(0.001)
        super()._put(state)
