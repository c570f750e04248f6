"""Twins that are wrong about ending: destroying, expiring, counting and sweeping."""

from msgspec.structs import replace

from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Destroy,
    Record,
    Refused,
    Settled,
    Tombstone,
    Update,
    settle,
)
from tests.testing.twin import Twin, wait_until


class NoTombstones(Twin):
    bites = """
        a_destroyed_record_is_never_created_again
        for_thirty_seconds_a_tombstone_tells_that_a_record_was_destroyed
        a_sweep_leaves_a_tombstone_its_thirty_seconds
        logging_out_works_on_what_can_not_be_read
    """

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Tombstone):
            self._remove(state.key)


class DestroysNothing(Twin):
    bites = """
        a_destroyed_record_is_never_changed_again
        what_was_answered_is_seen_by_another_process
        a_session_is_found_until_it_is_destroyed
        what_is_dead_is_not_counted
    """

    def _put(self, state):
        if isinstance(state, Record):
            super()._put(state)


class HidesWhatItShouldErase(Twin):
    bites = "nothing_of_a_destroyed_record_is_left_in_the_store"

    def _put(self, state):
        before = self._data.get(state.key, b"")
        super()._put(state)
        if isinstance(state, Tombstone):
            self._data[state.key] += before


class TombstonesOfTenSeconds(Twin):
    bites = """
        for_thirty_seconds_a_tombstone_tells_that_a_record_was_destroyed
        what_is_absent_or_ended_can_not_be_destroyed
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(settled.state, Tombstone):
            return Settled(APPLIED, Tombstone(change.key, change.at + 10_000))
        return settled


class DestroyingAlwaysSucceeds(Twin):
    bites = """
        what_is_absent_or_ended_can_not_be_destroyed
        of_many_who_destroy_a_record_at_once_one_did
        an_expired_record_is_not_destroyed_but_gone
        changes_of_one_record_in_one_batch_are_applied_in_order
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Destroy) and settled.answer is Refused.GONE:
            return Settled(APPLIED, Tombstone(change.key, change.at + TOMBSTONE_LIFE))
        return settled


class AsksForNoLife(Twin):
    bites = """
        a_record_is_destroyed_only_in_the_life_that_was_seen
        an_anonymous_record_is_not_destroyed_for_a_user
    """

    def settle(self, data, change):
        return settle(data, replace(change, signed_in=None) if isinstance(change, Destroy) else change)


class DestroysEverything(Twin):
    bites = """
        destroying_one_record_leaves_the_others
        changes_of_several_records_are_answered_in_order
        a_session_is_found_until_it_is_destroyed
    """

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Tombstone):
            for key in list(self._data):
                super()._put(replace(state, key=key))


class LivesAMillisecondTooLong(Twin):
    bites = """
        a_record_lives_until_it_expires_and_not_a_millisecond_longer
        an_expired_record_is_not_destroyed_but_gone
        use_never_moves_the_absolute_limit
    """

    def settle(self, data, change):
        if isinstance(change, Update | Destroy) and data is not None:
            return settle(data, replace(change, at=change.at - 1))
        return settle(data, change)


class EndsAMillisecondTooEarly(Twin):
    bites = """
        a_record_lives_until_it_expires_and_not_a_millisecond_longer
        signing_in_starts_a_new_life
        a_sweep_never_removes_a_live_record
    """

    def _put(self, state):
        super()._put(replace(state, expires=state.expires - 1) if isinstance(state, Record) else state)


class UseIsNotNoted(Twin):
    bites = """
        use_moves_the_idle_limit_forward
        sweeping_beside_use_removes_no_live_record
        a_session_that_slid_on_is_found_for_as_long_as_it_lives
    """

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and isinstance(settled.state, Record):
            there = self._read(change.key)
            kept = replace(settled.state, last_used=there.last_used, expires=there.expires)
            settled = Settled(settled.answer, kept)
        return settled


class TheLastRequestDecides(Twin):
    bites = "a_late_or_lagging_request_never_moves_a_limit_back"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and isinstance(settled.state, Record):
            state = replace(settled.state, last_used=change.at)
            expires = change.lifetimes.expiry(
                start=state.start, last_used=change.at, permanent=state.permanent
            )
            settled = Settled(settled.answer, replace(state, expires=expires))
        return settled


class UseMovesEveryLimit(Twin):
    bites = "use_never_moves_the_absolute_limit"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and isinstance(settled.state, Record) and not settled.state.permanent:
            expires = settled.state.last_used + change.lifetimes.idle
            settled = Settled(settled.answer, replace(settled.state, expires=expires))
        return settled


class SigningInIsOnlyUse(Twin):
    bites = "signing_in_starts_a_new_life"

    def settle(self, data, change):
        settled = settle(data, change)
        if isinstance(change, Update) and change.sign_in is not None and isinstance(settled.state, Record):
            there = self._read(change.key)
            settled = Settled(settled.answer, replace(settled.state, expires=there.expires))
        return settled


class OncePermanentAlwaysPermanent(Twin):
    bites = "permanence_picks_the_longer_limits_and_can_be_given_up"

    def settle(self, data, change):
        if isinstance(change, Update) and change.permanent is False:
            change = replace(change, permanent=None)
        return settle(data, change)


class CountsTheDead(Twin):
    bites = "what_is_dead_is_not_counted"

    def count(self, now):
        return len(self._data)


class NeverLetsGo(Twin):
    bites = """
        nothing_stays_in_the_store_for_ever
        a_record_whose_end_came_nearer_is_let_go_then
        a_sweep_removes_no_more_than_it_was_told
    """

    def sweep(self, now, limit):
        return 0


class SweepsAllAtOnce(Twin):
    bites = "a_sweep_removes_no_more_than_it_was_told"

    def sweep(self, now, limit):
        return super().sweep(now, 1_000)


class SweepsForEver(Twin):
    bites = "nothing_stays_in_the_store_for_ever"

    def sweep(self, now, limit):
        super().sweep(now, limit)
        return 1


class SweepsByItsFirstNote(Twin):
    """What was due when it was created goes, whatever happened since."""

    bites = "a_sweep_never_removes_a_live_record"

    def sweep(self, now, limit):
        due = [key for at, key in self._due if at <= now][:limit]
        for key in due:
            self._remove(key)
        return len(due)


class SweepsTombstonesFirst(Twin):
    bites = "a_sweep_leaves_a_tombstone_its_thirty_seconds"

    def sweep(self, now, limit):
        dead = [key for key in self._data if isinstance(self._read(key), Tombstone)][:limit]
        for key in dead:
            self._remove(key)
        return len(dead) or super().sweep(now, limit)


class SweepsWithoutLookingAgain(Twin):
    bites = "sweeping_beside_use_removes_no_live_record"

    def sweep(self, now, limit):
        with self._lock:
            found = [(key, self._read(key)) for key in self._data]
            due = [key for key, state in found if isinstance(state, Record) and state.expires <= now][:limit]
        wait_until(lambda: any(self._is_live(key, now) for key in due))
        with self._lock:
            for key in due:
                self._remove(key)
        return len(due)


class LetsGoOfWhatItCantRead(Twin):
    bites = "a_damaged_record_of_a_user_breaks_no_listing_and_no_sweep"

    def sweep(self, now, limit):
        bad = [key for key in self._data if not isinstance(self._read(key), Record | Tombstone)]
        for key in bad:
            self._remove(key)
        return len(bad) + super().sweep(now, limit)
