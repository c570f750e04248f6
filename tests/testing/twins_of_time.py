"""Twins that keep data too long or too short, count wrongly, hang, or are lost once they were closed."""

import asyncio
import time
from pathlib import Path

from msgspec.structs import replace

from coatcheck.errors import StoreFull, StoreUnavailable
from tests.testing.twin import AsyncTwin, BesideTwin, Twin, wait_until


class NeverSweeps(Twin):
    bites = "data_is_kept_until_it_expires_and_not_for_ever a_sweep_removes_no_more_than_it_was_told_and_tells_how_many"

    def _sweep(self, now, limit):
        return 0


class SweepsOnlyLiveData(Twin):
    """Keeps tombstones for ever."""

    bites = "data_is_kept_until_it_expires_and_not_for_ever"

    def _remove(self, key):
        return key in self._written and self._written[key].live and super()._remove(key)


class KeepsUrgentForEver(Twin):
    bites = "data_is_kept_until_it_expires_and_not_for_ever"

    def put(self, write, now):
        super().put(replace(write, expires=1 << 60) if write.urgent else write, now)


class ExpiresASecondEarly(Twin):
    """As a server that counts whole seconds, and cuts the rest off."""

    bites = "data_is_kept_until_it_expires_and_not_for_ever a_sweep_never_removes_live_data"

    def _sweep(self, now, limit):
        return super()._sweep(now + 1_000, limit)


class KeepsTheFirstExpiry(Twin):
    bites = "the_expiry_of_the_last_write_counts"

    def put(self, write, now):
        before = self._written.get(write.key, write)
        super().put(replace(write, expires=before.expires), now)


class ProlongsOnly(Twin):
    bites = "the_expiry_of_the_last_write_counts"

    def put(self, write, now):
        before = self._written.get(write.key, write)
        super().put(replace(write, expires=max(write.expires, before.expires)), now)


class AConflictMovesTheExpiry(Twin):
    bites = "the_expiry_of_the_last_write_counts"

    def shown(self, write, found):
        if found is not None:
            before = self._written[write.key]
            self.put(replace(before, expires=write.expires), write.expires)
        return super().shown(write, found)


class SweepsByTheKeyAlone(Twin):
    """Goes by the first expiry that a key ever had."""

    bites = "a_key_whose_data_was_swept_begins_anew a_sweep_never_removes_live_data"

    def __init__(self):
        super().__init__()
        self.first = {}

    def put(self, write, now):
        self.first.setdefault(write.key, write.expires)
        super().put(write, now)

    def _sweep(self, now, limit):
        expired = [key for key, expires in self.first.items() if expires <= now and key in self._found]
        for key in expired[:limit]:
            self._remove(key)
        return len(expired[:limit])


class SweepsMoreThanItWasTold(Twin):
    bites = "a_sweep_removes_no_more_than_it_was_told_and_tells_how_many"

    def _sweep(self, now, limit):
        return super()._sweep(now, limit + 1)


class SweepsForEver(Twin):
    bites = "the_expiry_of_the_last_write_counts"

    def sweep(self, now, limit, deadline):
        super().sweep(now, limit, deadline)
        return 1


class TellsTheLimit(Twin):
    bites = "a_sweep_removes_no_more_than_it_was_told_and_tells_how_many data_is_kept_until_it_expires_and_not_for_ever"

    def _sweep(self, now, limit):
        super()._sweep(now, limit)
        return limit


class SweepsWithoutALook(Twin):
    """Another request prolongs between the look and the removal."""

    bites = "a_sweep_leaves_what_another_request_prolongs_at_the_same_time"

    def sweep(self, now, limit, deadline):
        expired = [write.key for write in list(self._written.values()) if write.expires <= now][:limit]
        written = [self._written.get(key) for key in expired]
        wait_until(lambda: [self._written.get(key) for key in expired] != written)
        return sum(self.remove(expired, now, deadline))


class CountsTheDead(Twin):
    bites = "live_data_is_counted_and_nothing_else"

    def count(self, now, deadline):
        return sum(write.live for write in self._written.values())


class CountsTombstones(Twin):
    bites = "live_data_is_counted_and_nothing_else"

    def count(self, now, deadline):
        return sum(now < write.expires for write in self._written.values())


class CountsWrites(Twin):
    bites = "live_data_is_counted_and_nothing_else"

    def __init__(self):
        super().__init__()
        self.written = 0

    def put(self, write, now):
        self.written += write.live
        super().put(write, now)

    def count(self, now, deadline):
        return self.written


class CanNotBeReached(Twin):
    bites = "the_store_answers_a_ping"
    error = StoreUnavailable

    def ping(self, deadline):
        raise StoreUnavailable("down")


class LosesAllAtClosing(Twin):
    bites = "a_closed_store_can_be_used_again_and_finds_its_data"

    def close(self):
        self.__init__()


class ClosesForGood(Twin):
    bites = "a_closed_store_can_be_used_again_and_finds_its_data"
    error = StoreUnavailable
    closed = False

    def close(self):
        self.closed = True

    def load(self, keys, now, deadline):
        if self.closed:
            raise StoreUnavailable("closed")
        return super().load(keys, now, deadline)


class ClosesOnce(Twin):
    bites = "a_closed_store_can_be_used_again_and_finds_its_data"
    error = AttributeError

    def __init__(self):
        super().__init__()
        self.connection = Path("/dev/null").open()  # noqa: SIM115 - `close` closes it

    def close(self):
        self.connection.close()
        del self.connection


class ClosesTheDataOfAll(Twin):
    bites = "closing_a_store_leaves_others_over_the_same_data_open"
    opens = "the same data"

    def close(self):
        self._found.clear()


class Hangs(Twin):
    bites = "a_call_whose_deadline_has_passed_comes_back_at_once"

    def sweep(self, now, limit, deadline):
        if deadline < time.monotonic():
            time.sleep(2.1)
        return super().sweep(now, limit, deadline)


class WaitsForTheRest(Twin):
    """Hands a driver less than nothing as its timeout."""

    bites = "a_call_whose_deadline_has_passed_comes_back_at_once"
    error = ValueError

    def sessions_of(self, user, now, limit, after, deadline):
        time.sleep(min(deadline - time.monotonic(), 0.001))
        return super().sessions_of(user, now, limit, after, deadline)


class TakesATimeoutForFullMemory(Twin):
    bites = "a_call_whose_deadline_has_passed_comes_back_at_once"

    def write(self, writes, now, deadline):
        if deadline < time.monotonic():
            return [StoreFull("no room")] * len(writes)
        return super().write(writes, now, deadline)


class WritesByHalfAtTheDeadline(Twin):
    bites = "a_call_whose_deadline_has_passed_comes_back_at_once"

    def write(self, writes, now, deadline):
        if deadline < time.monotonic():
            writes = [replace(write, data=write.data[:8]) for write in writes]
        return super().write(writes, now, deadline)


class HangsBeside(BesideTwin):
    bites = "a_note_whose_deadline_has_passed_comes_back_at_once"

    def note(self, entries, now, deadline):
        if deadline < time.monotonic():
            time.sleep(2.1)
        return super().note(entries, now, deadline)


class LoadsInAWhile(AsyncTwin):
    bites = "a_store_that_loads_in_place_never_waits"

    async def load(self, keys, now, deadline):
        await asyncio.sleep(0)
        return await super().load(keys, now, deadline)
