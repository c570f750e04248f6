"""Twins that go wrong only when several callers come at once, or when one is cancelled."""

import asyncio

from tests.testing.twin import AsyncTwin, Twin, Unlocked, pause


class LooksThenWrites(Twin):
    bites = (
        "of_many_writes_that_expect_one_version_exactly_one_is_done"
        " of_many_writes_that_expect_nothing_exactly_one_is_done"
        " a_counter_that_many_callers_raise_ends_exact"
    )

    def __init__(self):
        super().__init__()
        self._lock = Unlocked()

    def fits(self, write, found):
        fits = super().fits(write, found)
        if fits:
            pause()
        return fits


class LooksThenRemoves(Twin):
    bites = "of_many_removals_exactly_one_removes"

    def remove(self, keys, now, deadline):
        there = [key in self._found for key in keys]
        pause()
        super().remove(keys, now, deadline)
        return there


class LocksItsProcessOnly(Twin):
    bites = "a_counter_that_two_processes_raise_ends_exact"
    opens = "the same data"

    def fits(self, write, found):
        fits = super().fits(write, found)
        if fits:
            pause()
        return fits


class SharesAConnection(Twin):
    """Reads the reply to the question that was asked last."""

    bites = "loads_at_once_each_get_their_own_data"

    def load(self, keys, now, deadline):
        self.asked = keys
        pause()
        return super().load(self.asked, now, deadline)


class WritesInTwoSteps(Twin):
    bites = "loads_beside_writes_see_whole_data"

    def put(self, write, now):
        found = self._found.get(write.key)
        super().put(write, now)
        if found is not None:
            whole = self._found[write.key]
            self._found[write.key] = found.__class__(write.data[:4_000] + found.data[4_000:], whole.version)
            pause()
            self._found[write.key] = whole


class HalfReadConnection(AsyncTwin):
    """A caller that is cancelled leaves its reply behind, for the next one."""

    bites = "after_cancelled_loads_each_caller_gets_its_own_data"
    loads_in_place = False

    def __init__(self):
        super().__init__()
        self.replies = []

    async def load(self, keys, now, deadline):
        self.replies.append(await super().load(keys, now, deadline))
        await asyncio.sleep(0)
        return self.replies.pop(0)


class CancelledBetweenRemovalAndWrite(AsyncTwin):
    bites = "a_cancelled_write_is_done_as_a_whole_or_not_at_all"

    async def write(self, writes, now, deadline):
        answers = await super().write(writes, now, deadline)
        if answers == [None]:
            found = self._store._found.pop(writes[0].key)
            await asyncio.sleep(0)
            self._store._found[writes[0].key] = found
        return answers
