"""Twins that are wrong about the index of users."""

import unicodedata

from msgspec.structs import replace

from coatcheck.model.ports import Life
from coatcheck.model.record import Record, Tombstone
from tests.testing.twin import Twin, pause


class EverybodyIsEverybody(Twin):
    bites = """
        a_user_whom_nobody_knows_has_no_sessions
        the_sessions_of_a_user_come_newest_first_and_complete
        each_user_whatever_his_name_finds_his_own_sessions_only
    """

    def lives_of(self, user, now):
        return [
            life
            for user in list(self._users)
            for life in super(EverybodyIsEverybody, self).lives_of(user, now)
        ]


class OldestFirst(Twin):
    bites = """
        the_sessions_of_a_user_come_newest_first_and_complete
        a_new_sign_in_brings_a_session_to_the_top
    """

    def lives_of(self, user, now):
        return super().lives_of(user, now)[::-1]


class OnlyTheNewest(Twin):
    bites = """
        the_sessions_of_a_user_come_newest_first_and_complete
        every_sign_in_that_was_answered_is_found
    """

    def lives_of(self, user, now):
        return super().lives_of(user, now)[:10]


class ASecondSignInIsNotNoted(Twin):
    bites = "a_new_sign_in_brings_a_session_to_the_top"

    def _put(self, state):
        since = self._users.get(state.user, {}).get(state.key) if isinstance(state, Record) else None
        super()._put(state)
        if since is not None:
            self._users[state.user][state.key] = since


class OnlyCreatingEnters(Twin):
    bites = """
        signing_in_enters_an_anonymous_session
        when_another_user_signs_in_the_session_is_his
        every_sign_in_that_was_answered_is_found
        a_session_for_which_many_sign_in_at_once_is_found_by_one
    """

    def _put(self, state):
        new = state.key not in self._data
        super()._put(state)
        if not new and isinstance(state, Record) and state.user is not None:
            self._withdraw(state.key)


class EntersBeforeItAsks(Twin):
    bites = "a_sign_in_that_was_refused_enters_nothing"

    def _apply(self, change):
        if getattr(change, "sign_in", None) is not None:
            self._users.setdefault(change.sign_in.user, {})[change.key] = change.at
        return super()._apply(change)


class AMovedSessionStaysWhereItWas(Twin):
    bites = """
        when_another_user_signs_in_the_session_is_his
        a_session_for_which_many_sign_in_at_once_is_found_by_one
    """

    def _withdraw(self, key):
        if not isinstance(self._read(key), Record):
            super()._withdraw(key)


class AnEndedSessionStays(Twin):
    bites = """
        a_session_is_found_until_it_is_destroyed
        sign_ins_and_logouts_at_once_leave_the_index_true
        nothing_stays_in_the_store_for_ever
        a_damaged_record_of_a_user_breaks_no_listing_and_no_sweep
    """

    def _withdraw(self, key):
        if isinstance(self._read(key), Record):
            super()._withdraw(key)

    def _is_live(self, key, now):
        found = self._read(key)
        return not isinstance(found, Record) or now < found.expires


class EveryWriteIsASignIn(Twin):
    bites = """
        rotating_and_changing_fields_leave_the_index_alone
        the_sessions_of_a_user_come_newest_first_and_complete
    """

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Record) and state.user is not None:
            self._users[state.user][state.key] = state.last_used


class TheDeadAreListed(Twin):
    bites = """
        a_session_of_a_user_is_found_while_it_lives
        a_session_that_slid_on_is_found_for_as_long_as_it_lives
    """

    def lives_of(self, user, now):
        return super().lives_of(user, 0)


class EntriesDontSlide(Twin):
    """The index keeps the end that it was told at the sign-in."""

    bites = "a_session_that_slid_on_is_found_for_as_long_as_it_lives"

    def __init__(self):
        super().__init__()
        self.ends = {}

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Record):
            self.ends.setdefault(state.key, state.expires)

    def lives_of(self, user, now):
        return [life for life in super().lives_of(user, now) if now < self.ends[life.key]]


class NamesAreFolded(Twin):
    bites = "each_user_whatever_his_name_finds_his_own_sessions_only"

    def _put(self, state):
        super()._put(state)
        if isinstance(state, Record) and state.user is not None:
            self._withdraw(state.key)
            user = fold(state.user)
            self._users.setdefault(user, {})[state.key] = state.signed_in
            self._signed_in_as[state.key] = user

    def lives_of(self, user, now):
        return super().lives_of(fold(user), now)


def fold(user):
    return unicodedata.normalize("NFKC", user).casefold().strip()


class TheIndexIsWrittenAfterTheAnswer(Twin):
    bites = "every_sign_in_that_was_answered_is_found"

    def __init__(self):
        super().__init__()
        self.late = None

    def _put(self, state):
        if isinstance(state, Tombstone) or state.user is None:
            super()._put(state)
            return
        super()._put(replace(state, user=None))
        super()._put(state)
        self._withdraw(state.key)
        if self.late is not None and isinstance(self._read(self.late.key), Record):
            super()._put(self.late)
        self.late = state


class TheIndexLosesWhatComesAtOnce(Twin):
    """It reads the list of a user, adds to it and writes it, and others do so in between."""

    bites = "every_sign_in_that_was_answered_is_found"

    def apply(self, changes):
        (change,) = changes
        user = getattr(getattr(change, "sign_in", None), "user", None)
        before = dict(self._users.get(user, {}))
        if user is not None:
            pause()
        answers = super().apply(changes)
        if user is not None:
            with self._lock:
                self._users[user] = before | {change.key: change.at}
        return answers


class LivesOfAnotherTime(Twin):
    bites = "a_new_sign_in_brings_a_session_to_the_top the_sessions_of_a_user_come_newest_first_and_complete"

    def lives_of(self, user, now):
        return [Life(life.key, life.signed_in + 1) for life in super().lives_of(user, now)]
