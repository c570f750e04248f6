"""Twins whose index of users is not true."""

import unicodedata

from msgspec.structs import replace

from tests.testing.twin import BesideTwin, Twin, Unlocked, pause, wait_until


class ListsEveryone(Twin):
    bites = "a_user_without_a_sign_in_has_no_entries each_user_whatever_the_name_has_entries_of_his_own"

    def sessions_of(self, user, now, limit, after, deadline):
        users = list(self._users)
        return [
            entry
            for each in users
            for entry in super(ListsEveryone, self).sessions_of(each, now, limit, after, deadline)
        ]


class OldestFirst(Twin):
    bites = (
        "entries_come_newest_first_then_by_key_and_complete a_new_sign_in_takes_the_place_of_the_one_before"
    )

    def sessions_of(self, user, now, limit, after, deadline):
        return super().sessions_of(user, now, limit, after, deadline)[::-1]


class InNoOrderWithinAMoment(Twin):
    bites = "entries_come_newest_first_then_by_key_and_complete pages_hold_each_entry_once_though_their_last_one_is_gone"

    def sessions_of(self, user, now, limit, after, deadline):
        found = super().sessions_of(user, now, limit, after, deadline)
        return sorted(found, key=lambda entry: (-entry.signed_in, entry.key[::-1]))


class TellsTheExpiry(Twin):
    """Gives the expiry of the data for the entry's end."""

    bites = "entries_come_newest_first_then_by_key_and_complete"

    def put(self, write, now):
        entry = write.entry and replace(write.entry, until=write.expires)
        super().put(replace(write, entry=entry), now)


class ListsAtMostThirty(Twin):
    bites = "entries_come_newest_first_then_by_key_and_complete"

    def sessions_of(self, user, now, limit, after, deadline):
        return super().sessions_of(user, now, min(limit, 30), after, deadline)


class PagesByTheMoment(Twin):
    bites = "pages_hold_each_entry_once_though_their_last_one_is_gone"

    def sessions_of(self, user, now, limit, after, deadline):
        found = super().sessions_of(user, now, 1_000, None, deadline)
        return [entry for entry in found if after is None or entry.signed_in < after.signed_in][:limit]


class PagesByPosition(Twin):
    bites = "pages_hold_each_entry_once_though_their_last_one_is_gone"

    def sessions_of(self, user, now, limit, after, deadline):
        found = super().sessions_of(user, now, 1_000, None, deadline)
        start = found.index(after) + 1 if after in found else 0
        return found[start : start + limit]


class PagesHaveNoEnd(Twin):
    bites = "pages_hold_each_entry_once_though_their_last_one_is_gone"

    def sessions_of(self, user, now, limit, after, deadline):
        return super().sessions_of(user, now, 1_000, after, deadline)


class ListsWhatIsOver(Twin):
    bites = "an_entry_is_listed_until_its_moment_and_no_longer"

    def sessions_of(self, user, now, limit, after, deadline):
        return super().sessions_of(user, 0, limit, after, deadline)


class ListsTheLastMoment(Twin):
    bites = "an_entry_is_listed_until_its_moment_and_no_longer"

    def sessions_of(self, user, now, limit, after, deadline):
        return super().sessions_of(user, now - 1, limit, after, deadline)


class CutsBeforeItLooks(Twin):
    """Entries that are over take the place of others on a page."""

    bites = "an_entry_is_listed_until_its_moment_and_no_longer"

    def sessions_of(self, user, now, limit, after, deadline):
        found = super().sessions_of(user, 0, limit, after, deadline)
        return [entry for entry in found if entry.until > now]


class KeepsTheFirstEntry(Twin):
    bites = "a_new_sign_in_takes_the_place_of_the_one_before the_entry_of_the_last_write_is_the_only_one_of_its_key"

    def put(self, write, now):
        before = self._written.get(write.key)
        entry = (before and before.entry) or write.entry
        super().put(replace(write, entry=entry), now)


class FoldsNames(Twin):
    bites = "each_user_whatever_the_name_has_entries_of_his_own"

    def put(self, write, now):
        entry = write.entry and replace(write.entry, user=write.entry.user.lower())
        super().put(replace(write, entry=entry), now)

    def sessions_of(self, user, now, limit, after, deadline):
        found = super().sessions_of(user.lower(), now, limit, after, deadline)
        return [replace(entry, user=user) for entry in found]


class NormalizesNames(FoldsNames):
    bites = "each_user_whatever_the_name_has_entries_of_his_own"

    def put(self, write, now):
        entry = write.entry and replace(write.entry, user=unicodedata.normalize("NFC", write.entry.user))
        Twin.put(self, replace(write, entry=entry), now)

    def sessions_of(self, user, now, limit, after, deadline):
        name = unicodedata.normalize("NFC", user)
        found = Twin.sessions_of(self, name, now, limit, after, deadline)
        return [replace(entry, user=user) for entry in found]


class CutsNames(FoldsNames):
    bites = "each_user_whatever_the_name_has_entries_of_his_own"

    def put(self, write, now):
        entry = write.entry and replace(write.entry, user=write.entry.user[:254])
        Twin.put(self, replace(write, entry=entry), now)

    def sessions_of(self, user, now, limit, after, deadline):
        found = Twin.sessions_of(self, user[:254], now, limit, after, deadline)
        return [replace(entry, user=user) for entry in found]


class EntersInTwoSteps(BesideTwin):
    """Reads the whole list, and writes it back."""

    bites = "sign_ins_at_the_same_time_are_all_listed_once_they_were_answered"

    def note(self, entries, now, deadline):
        noted = dict(self.noted)
        pause()
        noted.update({(entry.user, entry.key): entry for entry in entries})
        self.noted = noted


class EntersBeforeItLooks(Twin):
    bites = "a_refused_write_enters_nothing"

    def shown(self, write, found):
        if write.entry is not None and found is not None:
            self.put(replace(self._written[write.key], entry=write.entry), 0)
        return super().shown(write, found)


class EntersGhosts(Twin):
    bites = "a_refused_write_enters_nothing"

    def shown(self, write, found):
        if write.entry is not None and found is None:
            self._users.setdefault(write.entry.user, []).append(write.entry)
        return super().shown(write, found)


class WithdrawsBeforeItLooks(Twin):
    bites = "a_refused_write_takes_no_entry_away"

    def shown(self, write, found):
        if found is not None:
            self.put(replace(self._written[write.key], entry=None), 0)
        return super().shown(write, found)


class ProlongsEntriesOnly(Twin):
    bites = "the_entry_of_the_last_write_is_the_only_one_of_its_key"

    def put(self, write, now):
        before = self._written.get(write.key)
        if before and before.entry and write.entry:
            until = max(before.entry.until, write.entry.until)
            write = replace(write, entry=replace(write.entry, until=until))
        super().put(write, now)


class KeepsTheEntryOfAnotherUser(Twin):
    bites = "the_entry_of_the_last_write_is_the_only_one_of_its_key"

    def _withdraw(self, key):
        if len(self._users) == 1:
            super()._withdraw(key)

    def put(self, write, now):
        before = self._written.get(write.key)
        other = before and before.entry and write.entry and before.entry.user != write.entry.user
        kept = list(self._users[before.entry.user]) if other else None
        super().put(write, now)
        if kept:
            self._users[before.entry.user] = kept


class KeepsTheEntryOfAnEnd(Twin):
    bites = "a_write_without_an_entry_takes_the_entry_away sign_ins_and_endings_at_the_same_time_leave_a_true_index"

    def put(self, write, now):
        before = self._written.get(write.key)
        if before and write.entry is None:
            write = replace(write, entry=before.entry)
        super().put(write, now)


class RemovesTheDataAlone(Twin):
    bites = "an_entry_goes_with_data_that_is_removed"

    def remove(self, keys, now, deadline):
        return [self._found.pop(key, None) is not None for key in keys]


class SweepsTheDataAlone(Twin):
    bites = "an_entry_goes_with_data_that_is_swept"

    def sweep(self, now, limit, deadline):
        expired = [key for key in self._found if self._written[key].expires <= now][:limit]
        for key in expired:
            del self._found[key]
        return len(expired)


class EntersAfterTheWrite(Twin):
    bites = "of_many_that_sign_in_one_session_the_winner_is_listed sign_ins_and_endings_at_the_same_time_leave_a_true_index"

    def __init__(self):
        super().__init__()
        self.owners = {}

    def write(self, writes, now, deadline):
        answers = super().write(writes, now, deadline)
        for write in writes:
            pause()
            if write.entry is not None:
                self.owners[write.key] = write.entry
        return answers

    def sessions_of(self, user, now, limit, after, deadline):
        return [entry for entry in list(self.owners.values()) if entry.user == user]


class NotesOne(BesideTwin):
    bites = "several_entries_are_noted_together"

    def note(self, entries, now, deadline):
        super().note(entries[:1], now, deadline)


class TheLastNoteStands(BesideTwin):
    bites = "a_later_sign_in_replaces_an_entry_and_an_earlier_one_does_not"

    def enter(self, entry):
        known = self.noted.get((entry.user, entry.key), entry)
        self.noted[entry.user, entry.key] = replace(entry, until=max(known.until, entry.until))


class TheFirstNoteStands(BesideTwin):
    bites = "a_later_sign_in_replaces_an_entry_and_an_earlier_one_does_not"

    def enter(self, entry):
        self.noted.setdefault((entry.user, entry.key), entry)


class TheLastEndStands(BesideTwin):
    bites = "the_end_of_an_entry_only_moves_forward"

    def enter(self, entry):
        known = self.noted.get((entry.user, entry.key), entry)
        if entry.signed_in >= known.signed_in:
            self.noted[entry.user, entry.key] = entry


class NotesOneUserOfAKey(BesideTwin):
    bites = "one_key_may_be_listed_for_two_users"

    def enter(self, entry):
        for user, key in list(self.noted):
            if key == entry.key and user != entry.user:
                del self.noted[user, key]
        super().enter(entry)


class ForgetsByTheKey(BesideTwin):
    bites = "only_exactly_this_entry_is_forgotten"

    def drop(self, entry):
        self.noted.pop((entry.user, entry.key), None)


class ForgetsBySignIn(BesideTwin):
    bites = "only_exactly_this_entry_is_forgotten"

    def drop(self, entry):
        known = self.noted.get((entry.user, entry.key))
        if known and known.signed_in == entry.signed_in:
            del self.noted[entry.user, entry.key]


class StopsAtAStrangerToForget(BesideTwin):
    bites = "only_exactly_this_entry_is_forgotten"

    def forget(self, entries, deadline):
        for entry in entries:
            if (entry.user, entry.key) not in self.noted:
                return
            self.drop(entry)


class ForgetsInTwoSteps(BesideTwin):
    bites = "forgetting_a_sign_in_leaves_the_later_one_of_the_same_moment"

    def __init__(self):
        super().__init__()
        self._lock = Unlocked()

    def drop(self, entry):
        if self.noted.get((entry.user, entry.key)) == entry:
            wait_until(lambda: self.noted.get((entry.user, entry.key)) != entry)
            self.noted.pop((entry.user, entry.key), None)


class WithdrawsWithTheData(BesideTwin):
    bites = "an_entry_stays_when_its_data_is_written_or_removed"

    def write(self, writes, now, deadline):
        for write in writes:
            if not write.live:
                self.noted = {at: entry for at, entry in self.noted.items() if entry.key != write.key}
        return super().write(writes, now, deadline)


class TellsNothing(BesideTwin):
    bites = "the_store_tells_whether_its_index_may_be_incomplete"

    def index_may_be_incomplete(self, deadline):
        return " "
