"""The engine on a store, without sessions: changes are applied to a store by compare-and-swap, as the managers do it."""

import secrets
import time

from coatcheck.core.calls import Done, Load, Writes, for_each
from coatcheck.core.swap import Swap, held_of
from coatcheck.errors import StoreError
from coatcheck.model.lifetimes import Lifetimes

HOUR = 3_600_000
LIFETIMES = Lifetimes(
    idle=24 * HOUR, absolute=30 * 24 * HOUR, remember_idle=30 * 24 * HOUR, remember_absolute=90 * 24 * HOUR
)


class _Engine:
    def __init__(self, store, *, lifetimes=LIFETIMES, max_bytes=1 << 20, patience=60.0):
        self.store = store
        self.patience = patience
        self._swap = Swap(
            secrets.token_bytes, max_bytes, lifetimes=lifetimes if store.index == "within" else None
        )

    @property
    def deadline(self):
        return time.monotonic() + self.patience

    def steps(self, changes, known):
        return self._swap.apply(changes, known or [None] * len(changes))


class Engine(_Engine):
    """A sync store with the compare-and-swap loop on it."""

    def apply(self, changes, now, known=None):
        """The `Result` of each change."""
        flow, deadline = self.steps(changes, known), self.deadline
        answer = None
        try:
            while True:
                call = flow.send(answer)
                try:
                    if isinstance(call, Load):
                        answer = self.store.load(call.keys, now, deadline)
                    else:
                        assert isinstance(call, Writes)
                        answer = self.store.write(call.writes, now, deadline)
                except StoreError as error:
                    answer = for_each(call, error)
        except StopIteration as stop:
            return stop.value

    def load(self, key, now):
        """What lies under a key, with its version and its meaning."""
        (found,) = self.store.load([key], now, self.deadline)
        if isinstance(found, StoreError):
            raise found
        return held_of(key, found)


class AsyncEngine(_Engine):
    """The same for an event loop."""

    async def apply(self, changes, now, known=None):
        """The `Result` of each change."""
        flow, deadline = self.steps(changes, known), self.deadline
        answer = None
        try:
            while True:
                call = flow.send(answer)
                try:
                    if isinstance(call, Load):
                        answer = await self.store.load(call.keys, now, deadline)
                    else:
                        assert isinstance(call, Writes)
                        answer = await self.store.write(call.writes, now, deadline)
                except StoreError as error:
                    answer = for_each(call, error)
        except StopIteration as stop:
            return stop.value

    async def load(self, key, now):
        """What lies under a key, with its version and its meaning."""
        (found,) = await self.store.load([key], now, self.deadline)
        if isinstance(found, StoreError):
            raise found
        return held_of(key, found)


def stored(result):
    """The state that an applied change left."""
    assert isinstance(result, Done), result
    return result.held.state
