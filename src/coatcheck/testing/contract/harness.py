"""The harness, which tells the suite how to reach a store, and the bench that each test works at."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from coatcheck.model.ports import AsyncStore, Conflict, Entry, Found, Store, Write, Written, revision_of
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.shim import awaitable

__all__ = ["DAY", "SHORT", "Bench", "Harness", "contention", "new_data", "scenario"]

DAY = 86_400_000
"""The expiry of data, counted from the start of a test (ms), where nothing else is said."""
SHORT = 2_000
"""The same for tests that see time go by: a harness whose `advance` really waits is soon done."""
PATIENCE = 60.0
"""How far ahead (seconds) deadlines lie."""
THREADS = 16


class Harness(ABC):
    """One store under test, with data of its own. Subclass it, and give it to the suite by the fixture `harness`."""

    def __init__(self) -> None:
        self.clock: ManualClock = ManualClock()

    @abstractmethod
    async def open(self) -> Store | AsyncStore:
        """A store, sync or async, made inside the event loop of the test.

        The first is empty: on a shared server, take a new key prefix for each harness. A further call gives another
        store over the same data, as another process would open it, or, where that is impossible, the same one.
        """

    @abstractmethod
    async def plant(self, key: bytes, data: bytes) -> None:
        """Put `data` under `key` as it is, past the store, with a far expiry; over what lies there."""

    @abstractmethod
    async def raw(self, key: bytes) -> bytes | None:
        """The bytes under `key`, read past the store; None: there is nothing."""

    @property
    def now(self) -> int:
        """Milliseconds since 1970. Where the server keeps time (it removes expired data), that server's."""
        return self.clock.now_ms

    async def advance(self, seconds: float) -> None:
        """Let time go by: on `clock`, or, where the server keeps time, really."""
        self.clock.advance(seconds)

    async def clean(self) -> None:  # noqa: B027 - most have nothing to remove
        """Remove the data. Called last, in the same loop, after every store that `open` gave was closed."""


class Bench:
    """A store, and short ways to say what a test does with it.

    Attributes:
        store: The store; a sync one runs in place.
        parallel: The same store; gathered calls of a sync one run in threads, at the same time.
        start: The time (ms) at which the test began, and of every call that doesn't say another.
    """

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.start: int = harness.now

    async def __aenter__(self) -> Self:
        # The default executor is no larger than the machine, which may be too small for a race.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        store = await self.harness.open()
        self.store: AsyncStore = awaitable(store)
        self.parallel: AsyncStore = awaitable(store, threads=True)
        self._others: list[AsyncStore] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        for store in (*self._others, self.store):
            await store.close()
        await self.harness.clean()

    async def another(self) -> AsyncStore:
        """The store as another process sees it; calls of a sync one run in threads."""
        other = awaitable(await self.harness.open(), threads=True)
        self._others.append(other)
        return other

    @property
    def deadline(self) -> float:
        """One that is far enough ahead."""
        return time.monotonic() + PATIENCE

    def item(
        self, text: bytes = b"", *, key: bytes | None = None, over: Write | Found | None = None, **parts: Any
    ) -> Write:
        """A write of `text` behind 8 random bytes.

        Args:
            text: The rest of the data.
            key: The key; None: that of `over`, or else a new one.
            over: The earlier write, or the data found, that it replaces; None: it is to be the first.
            parts: The other attributes of the write, where they differ from the default.
        """
        expected: object | None = None
        if isinstance(over, Write):
            key, expected = key or over.key, revision_of(over.data)
        elif over is not None:
            expected = over.version
        given: dict[str, Any] = {
            "key": key or os.urandom(16),
            "data": new_data(text),
            "expires": self.start + DAY,
            "expected": expected,
            **parts,
        }
        return Write(**given)

    def entry(self, user: str, *, key: bytes | None = None, after: int = 0, until: int = DAY) -> Entry:
        """A sign-in of `user`, `after` milliseconds from the start, under a new key or `key`."""
        return Entry(user, key or os.urandom(16), self.start + after, self.start + until)

    async def write(self, *writes: Write, store: AsyncStore | None = None) -> Sequence[Written]:
        """Send the writes as one batch."""
        return await (store or self.store).write(writes, self.start, self.deadline)

    async def put(self, text: bytes = b"", **parts: Any) -> Write:
        """Store an `item`, and see that it was stored."""
        return await self.send(self.item(text, **parts))

    async def send(self, write: Write, store: AsyncStore | None = None) -> Write:
        """Carry out `write`, and see that it was stored."""
        (answer,) = await self.write(write, store=store)
        assert answer is None, f"the write was not stored: {answer!r}"
        return write

    async def conflict(self, write: Write) -> Found | None:
        """Carry out `write`, see that it meets something else than it expects, and return that."""
        (answer,) = await self.write(write)
        assert isinstance(answer, Conflict), f"no conflict: {answer!r}"
        return answer.found

    async def load(
        self, key: bytes, *, store: AsyncStore | None = None, now: int | None = None
    ) -> Found | None:
        """What lies under `key`."""
        (found,) = await (store or self.store).load([key], self.start if now is None else now, self.deadline)
        assert found is None or isinstance(found, Found), f"the load failed: {found!r}"
        return found

    async def data(self, key: bytes, *, store: AsyncStore | None = None) -> bytes | None:
        """The data under `key`."""
        found = await self.load(key, store=store)
        return None if found is None else found.data

    async def found(self, key: bytes) -> Found:
        """The data under `key`, of which the test knows that it is there."""
        found = await self.load(key)
        assert found is not None, "the data is gone"
        return found

    async def remove(self, *keys: bytes, store: AsyncStore | None = None) -> list[object]:
        """Remove what lies under the keys, as one batch."""
        return list(await (store or self.store).remove(keys, self.start, self.deadline))

    async def sign_in(self, entry: Entry, store: AsyncStore | None = None) -> Entry:
        """Store data with `entry`, or beside it, as the store has it; over what lies under the key."""
        store = store or self.store
        over = await self.load(entry.key, store=store)
        within = store.index == "within"
        await self.send(self.item(key=entry.key, over=over, entry=entry if within else None), store)
        if not within:
            await store.note([entry], self.start, self.deadline)
        return entry

    async def sessions_of(
        self,
        user: str,
        *,
        now: int | None = None,
        limit: int = 1_000,
        after: Entry | None = None,
        store: AsyncStore | None = None,
    ) -> list[Entry]:
        """The user's entries."""
        now = self.start if now is None else now
        return list(await (store or self.store).sessions_of(user, now, limit, after, self.deadline))

    async def sweep(self, limit: int = 100) -> int:
        """Sweep at the harness's time."""
        return await self.store.sweep(self.harness.now, limit, self.deadline)

    async def sweep_everything(self) -> None:
        """Sweep until nothing is left to sweep."""
        for _ in range(100):
            if not await self.sweep(10):
                return
        raise AssertionError("the store goes on sweeping for ever")


def new_data(text: bytes = b"") -> bytes:
    """`text` behind 8 random bytes."""
    return os.urandom(8) + text


@contextmanager
def contention() -> Generator[None]:
    """Let threads interrupt each other a hundred times as often, so that a step that is not atomic shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


S = TypeVar("S")


def scenario(test: Callable[[S, Bench], Coroutine[None, None, None]]) -> Callable[[S, Harness], None]:
    """Make a test of a coroutine function that works at a bench. It needs no plugin, and gets a loop of its own."""

    async def at_a_bench(self: S, harness: Harness) -> None:
        async with Bench(harness) as bench:
            expected = getattr(self, "index", "within")
            index = bench.store.index
            assert index == expected, f"say StoreContract, index={index!r}: this is the store's index"
            await test(self, bench)

    def run(self: S, harness: Harness) -> None:
        __tracebackhide__ = True
        asyncio.run(at_a_bench(self, harness))

    # Not functools.wraps: pytest would follow it to the coroutine, and look for a fixture `bench`.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run
