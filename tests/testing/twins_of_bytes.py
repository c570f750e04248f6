"""Twins that lose, mix or misread keys, versions and data, alone or in batches."""

import os
import threading

from msgspec.structs import replace

from coatcheck.errors import StoreUnavailable
from coatcheck.model.ports import Conflict, Found
from tests.testing.twin import Twin, pause


class FindsSomething(Twin):
    bites = "nothing_lies_under_a_key_that_was_never_written"

    def load(self, keys, now, deadline):
        some = next(iter(self._found.values()), None)
        return [self._found.get(key, some) for key in keys]


class Forgetful(Twin):
    bites = "written_data_is_stored_and_loaded_as_it_is"

    def put(self, write, now):
        pass


class LosesUrgent(Twin):
    bites = "written_data_is_stored_and_loaded_as_it_is"

    def put(self, write, now):
        if not (write.urgent and not write.live):
            super().put(write, now)


class Backwards(Twin):
    """Stores the data in a form of its own."""

    bites = "written_data_is_stored_and_loaded_as_it_is"

    def put(self, write, now):
        super().put(replace(write, data=write.data[::-1]), now)

    def load(self, keys, now, deadline):
        found = super().load(keys, now, deadline)
        return [each and Found(each.data[::-1], each.version) for each in found]


class Overwrites(Twin):
    bites = "a_write_that_expects_nothing_is_never_done_over_data of_many_writes_that_expect_nothing_exactly_one_is_done"

    def fits(self, write, found):
        return write.expected is None or super().fits(write, found)


class OverwritesWhenUrgent(Twin):
    bites = "a_write_that_expects_nothing_is_never_done_over_data each_write_of_a_batch_is_done_or_refused_by_itself"

    def fits(self, write, found):
        return write.urgent or super().fits(write, found)


class OverwritesShortBytes(Twin):
    bites = "a_write_that_expects_nothing_is_never_done_over_bytes_that_it_can_not_read"

    def fits(self, write, found):
        return super().fits(write, None if found and len(found.data) < 8 else found)


class OverwritesEmptyBytes(Twin):
    bites = "a_write_that_expects_nothing_is_never_done_over_bytes_that_it_can_not_read"

    def fits(self, write, found):
        return super().fits(write, found if found and found.data else None)


class NeverReplaces(Twin):
    bites = "a_write_replaces_the_version_that_it_expects the_version_in_a_conflict_can_be_used_at_once"

    def fits(self, write, found):
        return super().fits(write, found) and found is None


class NeverReplacesByTombstones(Twin):
    bites = "a_write_replaces_the_version_that_it_expects"

    def fits(self, write, found):
        return super().fits(write, found) and (found is None or write.live)


class KeepsTheLonger(Twin):
    """Writes over the beginning, and leaves the rest."""

    bites = "a_write_replaces_the_version_that_it_expects"

    def put(self, write, now):
        found = self._found.get(write.key)
        rest = found.data[len(write.data) :] if found else b""
        super().put(replace(write, data=write.data + rest), now)


class VersionsOfItsOwn(Twin):
    """Knows a version by a number, and not by the head of the data."""

    bites = "the_head_of_written_data_is_its_version"

    def put(self, write, now):
        super().put(write, now)
        self._found[write.key] = Found(write.data, object())


class ComparesNothing(Twin):
    bites = (
        "a_version_that_was_replaced_is_not_accepted_again"
        " of_many_writes_that_expect_one_version_exactly_one_is_done"
    )

    def fits(self, write, found):
        return (write.expected is None) == (found is None)


class ComparesAnyVersionItHad(Twin):
    bites = "a_version_that_was_replaced_is_not_accepted_again where_data_was_removed_a_key_begins_anew"

    def __init__(self):
        super().__init__()
        self.had = {}

    def fits(self, write, found):
        return super().fits(write, found) or write.expected in self.had.get(write.key, ())

    def put(self, write, now):
        self.had.setdefault(write.key, []).append(write.data[:8])
        super().put(write, now)


class Creates(Twin):
    bites = "a_write_that_expects_a_version_never_creates a_key_whose_data_was_swept_begins_anew"

    def fits(self, write, found):
        return found is None or super().fits(write, found)


class CreatesForAVersionOfAnotherKey(Twin):
    bites = "a_write_that_expects_a_version_never_creates"

    def fits(self, write, found):
        known = [each.version for each in self._found.values()]
        return super().fits(write, found) or (found is None and write.expected in known)


class TellsNoFind(Twin):
    bites = (
        "a_write_that_expects_nothing_is_never_done_over_data"
        " each_write_of_a_batch_is_done_or_refused_by_itself"
    )

    def shown(self, write, found):
        return Conflict(None)


class TellsAnOldVersion(Twin):
    bites = "the_version_in_a_conflict_can_be_used_at_once a_counter_that_many_callers_raise_ends_exact"

    def shown(self, write, found):
        return Conflict(found and Found(found.data, write.expected or b"8 others"))


class LoadsStamp(Twin):
    bites = "loading_writes_nothing"

    def load(self, keys, now, deadline):
        for key in keys:
            if key in self._found:
                data = os.urandom(8) + self._found[key].data[8:]
                self._found[key] = Found(data, data[:8])
        return super().load(keys, now, deadline)


class LoadsSweep(Twin):
    bites = "loading_writes_nothing"

    def load(self, keys, now, deadline):
        self._sweep(now, len(keys))
        return super().load(keys, now, deadline)


class LoadsDecode(Twin):
    """Gives back nothing where it can read nothing."""

    bites = (
        "bytes_that_it_can_not_read_are_loaded_as_they_are_and_can_be_replaced"
        " keys_are_answered_in_order_with_doubles_and_absent_ones"
    )

    def load(self, keys, now, deadline):
        found = super().load(keys, now, deadline)
        return [each if each and len(each.data) >= 8 else None for each in found]


class ReplacesNoShortBytes(Twin):
    bites = "bytes_that_it_can_not_read_are_loaded_as_they_are_and_can_be_replaced"

    def fits(self, write, found):
        return super().fits(write, found) and len(write.expected or bytes(8)) == 8


class RemovesEverythingAndNothing(Twin):
    bites = "a_removal_tells_whether_something_lay_there of_many_removals_exactly_one_removes"

    def _remove(self, key):
        super()._remove(key)
        return True


class RemovesLiveDataOnly(Twin):
    bites = "a_removal_tells_whether_something_lay_there"

    def _remove(self, key):
        return key in self._written and self._written[key].live and super()._remove(key)


class RemovesNoShortBytes(Twin):
    bites = "bytes_that_it_can_not_read_can_be_removed"

    def _remove(self, key):
        return key in self._found and len(self._found[key].data) >= 8 and super()._remove(key)


class TakesEmptyForAbsent(Twin):
    bites = "bytes_that_it_can_not_read_can_be_removed"

    def _remove(self, key):
        empty = key in self._found and not self._found[key].data
        return super()._remove(key) and not empty


class RemembersRemoved(Twin):
    bites = "where_data_was_removed_a_key_begins_anew"

    def __init__(self):
        super().__init__()
        self.gone = set()

    def _remove(self, key):
        self.gone.add(key)
        return super()._remove(key)

    def fits(self, write, found):
        return super().fits(write, found) and write.key not in self.gone


class ReadsItsOwnCopy(Twin):
    bites = "another_process_sees_at_once_what_was_answered another_process_sees_every_entry"
    opens = "a copy"


class VersionsOfItsProcess(Twin):
    bites = "another_process_accepts_and_gives_the_same_versions"
    opens = "the same data"

    def load(self, keys, now, deadline):
        found = super().load(keys, now, deadline)
        return [each and Found(each.data, (id(self), each.version)) for each in found]

    def fits(self, write, found):
        if isinstance(write.expected, tuple):
            process, version = write.expected
            return process == id(self) and super().fits(replace(write, expected=version), found)
        return super().fits(write, found)


class TakesNoEmptyBatch(Twin):
    bites = "an_empty_batch_has_no_answers"
    error = IndexError

    def load(self, keys, now, deadline):
        keys[0]
        return super().load(keys, now, deadline)


class SortsKeys(Twin):
    bites = "keys_are_answered_in_order_with_doubles_and_absent_ones"

    def load(self, keys, now, deadline):
        return super().load(sorted(keys), now, deadline)


class AnswersDoublesOnce(Twin):
    bites = "keys_are_answered_in_order_with_doubles_and_absent_ones"

    def load(self, keys, now, deadline):
        return super().load(list(dict.fromkeys(keys)), now, deadline)


class AllOrNothing(Twin):
    bites = "each_write_of_a_batch_is_done_or_refused_by_itself"

    def write(self, writes, now, deadline):
        if any(not self.fits(write, self._found.get(write.key)) for write in writes):
            return [Conflict(self._found.get(write.key)) for write in writes]
        return super().write(writes, now, deadline)


class StopsAtAConflict(Twin):
    bites = "each_write_of_a_batch_is_done_or_refused_by_itself a_batch_may_be_large"

    def write(self, writes, now, deadline):
        answers = []
        for write in writes:
            stopped = any(answers)
            answers.append(Conflict(self._found.get(write.key)) if stopped else self._write(write, now))
        return answers


class CreatesLast(Twin):
    bites = "each_write_of_a_batch_is_done_or_refused_by_itself"

    def write(self, writes, now, deadline):
        ordered = sorted(writes, key=lambda write: write.expected is None)
        return super().write(ordered, now, deadline)


class AThousandParameters(Twin):
    bites = "a_batch_may_be_large"

    def remove(self, keys, now, deadline):
        return super().remove(keys[:1_000], now, deadline)


class LocksInTheOrderOfABatch(Twin):
    """Locks each item until its batch is done, as rows in a transaction: two batches wait for each other."""

    bites = "batches_that_meet_in_opposite_order_are_all_carried_out"

    def __init__(self):
        super().__init__()
        self.locks = {}

    def write(self, writes, now, deadline):
        held = []
        try:
            for write in writes:
                lock = self.locks.setdefault(write.key, threading.Lock())
                if not lock.acquire(timeout=0.1):
                    return [StoreUnavailable("a deadlock")] * len(writes)
                held.append(lock)
                pause()
            return super().write(writes, now, deadline)
        finally:
            for lock in held:
                lock.release()


class KeepsText(Twin):
    bites = "data_of_any_bytes_and_any_size_comes_back"

    def put(self, write, now):
        super().put(replace(write, data=write.data[:8] + write.data[8:].rstrip(b"\0")), now)


class KeepsLines(Twin):
    bites = "data_of_any_bytes_and_any_size_comes_back"

    def put(self, write, now):
        super().put(replace(write, data=write.data[:8] + write.data[8:].replace(b"\r\n", b"\n")), now)


class KeepsNoMoreThanACell(Twin):
    bites = "data_of_any_bytes_and_any_size_comes_back"

    def put(self, write, now):
        super().put(replace(write, data=write.data[:65_535]), now)


class FoldsKeys(Twin):
    bites = "each_key_whatever_its_bytes_has_data_of_its_own"

    def write(self, writes, now, deadline):
        return super().write([replace(write, key=write.key.lower()) for write in writes], now, deadline)

    def load(self, keys, now, deadline):
        return super().load([key.lower() for key in keys], now, deadline)


class PadsKeys(Twin):
    bites = "each_key_whatever_its_bytes_has_data_of_its_own"

    def write(self, writes, now, deadline):
        return super().write([replace(write, key=write.key.rstrip(b" ")) for write in writes], now, deadline)

    def load(self, keys, now, deadline):
        return super().load([key.rstrip(b" \0") for key in keys], now, deadline)


class FoldsVersions(Twin):
    bites = "a_version_whatever_its_bytes_is_told_from_every_other"

    def fits(self, write, found):
        if write.expected and found:
            return write.expected.lower() == found.version.lower()
        return super().fits(write, found)


class PadsVersions(Twin):
    bites = "a_version_whatever_its_bytes_is_told_from_every_other"

    def fits(self, write, found):
        if write.expected and found:
            return write.expected.rstrip(b" \0") == found.version.rstrip(b" \0")
        return super().fits(write, found)
