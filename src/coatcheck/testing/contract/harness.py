"""What the suite must be told about a store, and the bench that each test works at."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from msgspec.structs import replace

from coatcheck.model.ports import AsyncStore, Found, Life, Store
from coatcheck.model.record import (
    Applied,
    Change,
    Create,
    Destroy,
    Lifetimes,
    Record,
    Refused,
    SignIn,
    Update,
)
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.shim import awaitable

__all__ = ["LIFETIMES", "Bench", "Harness", "hashed", "scenario"]

HOUR = 3_600_000
LIFETIMES = Lifetimes(
    idle=24 * HOUR, absolute=30 * 24 * HOUR, remember_idle=30 * 24 * HOUR, remember_absolute=90 * 24 * HOUR
)
SHORT = Lifetimes(idle=2_000, absolute=10_000, remember_idle=4_000, remember_absolute=20_000)
"""For the tests that see time go by, so that a harness whose `advance` really waits is soon done."""
THREADS = 16


class Harness(ABC):
    """One store under test, with data of its own. Subclass it, and give it to the suite by the fixture `harness`."""

    def __init__(self) -> None:
        self.clock: ManualClock = ManualClock()

    @abstractmethod
    async def open(self) -> Store | AsyncStore:
        """A store, of either colour, made inside the event loop of the test.

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
        """Milliseconds since 1970. Where the server keeps time (it removes what has expired), that server's."""
        return self.clock.now_ms

    async def advance(self, seconds: float) -> None:
        """Let time go by: on `clock`, or, where the server keeps time, in truth."""
        self.clock.advance(seconds)

    async def clean(self) -> None:  # noqa: B027 - most have nothing to remove
        """Remove the data. Called last, in the same loop, after every store that `open` gave was closed."""


class Bench:
    """A store, and short ways to say what a test does with it.

    Attributes:
        store: The store; a sync one runs in place.
        parallel: The same store; calls of a sync one that are gathered run in threads, at the same time.
        start: The time (ms) at which the test began, and of everything that doesn't say another.
    """

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.start: int = harness.now

    async def __aenter__(self) -> Self:
        # The default one is no larger than the machine, and a race needs company.
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
        """The store as another process sees it."""
        other = awaitable(await self.harness.open())
        self._others.append(other)
        return other

    def record(self, **parts: Any) -> Record:
        """A record under a new key, of an anonymous visitor; `parts` say what differs."""
        start = self.start
        plain = Record(
            key=os.urandom(16),
            secret=hashed("secret"),
            secret_at=start,
            created=start,
            last_used=start,
            expires=0,
            fields={"theme": b"dark", "cart": b"apples"},
        )
        record = replace(plain, **parts)
        if record.expires:
            return record
        return replace(record, expires=expiry(record, LIFETIMES))

    def signed_in(self, user: str, **parts: Any) -> Record:
        """A record of one who signed in at `start`."""
        return self.record(**{"user": user, "signed_in": self.start, **parts})

    def rich(self, **parts: Any) -> Record:
        """A record in which every part is there: signed in, permanent, in grace, with fields."""
        everything: dict[str, Any] = {
            "permanent": True,
            "client": "Browser/1.0",
            "previous": hashed("previous"),
            "seen": self.start,
            "last_used": self.start + 5,
        }
        return self.signed_in("ada", **{**everything, **parts})

    def update(self, record: Record, **parts: Any) -> Update:
        """A change of `record` at `start`, asking nothing; `parts` say what differs."""
        given: dict[str, Any] = {"key": record.key, "at": self.start, "lifetimes": LIFETIMES, **parts}
        return Update(**given)

    def destroy(self, record: Record, **parts: Any) -> Destroy:
        """The end of `record` at `start`, asking nothing; `parts` say what differs."""
        given: dict[str, Any] = {"key": record.key, "at": self.start, **parts}
        return Destroy(**given)

    async def create(self, record: Record | None = None, /, **parts: Any) -> Record:
        """Store `record` (default: a plain one), and see that it was."""
        record = record or self.record(**parts)
        assert await self.apply(Create(record)) == Applied(), "a record under a new key was not created"
        return record

    async def apply(self, change: Change, store: AsyncStore | None = None) -> Applied | Refused:
        """Apply one change. A sign-in is enrolled, where the store wants that."""
        store = store or self.store
        (answer,) = await store.apply([change])
        if isinstance(answer, Applied) and store.capabilities.separate_index:
            user = _signs_in(change)
            if user is not None:
                (found,) = await store.load([change.key], self.start)
                at = found.signed_in if isinstance(found, Record) else self.start
                # As long as it can ever live: it may slide, and become permanent, without being enrolled again.
                await store.enroll(user, Life(change.key, at), at + LIFETIMES.remember_absolute)
        return answer

    async def load(self, record: Record, *, now: int | None = None) -> Found:
        """What lies under the key of `record`."""
        (found,) = await self.store.load([record.key], self.start if now is None else now)
        return found

    async def is_live(self, record: Record, *, now: int | None = None) -> bool:
        """Whether a live record lies under the key of `record`, as a caller judges it."""
        now = self.start if now is None else now
        found = await self.load(record, now=now)
        return isinstance(found, Record) and now < found.expires

    async def fields(self, record: Record) -> dict[str, bytes]:
        """The fields of the record under the key of `record`."""
        found = await self.load(record)
        assert isinstance(found, Record)
        return dict(found.fields)

    async def raw(self, record: Record) -> bytes | None:
        """The bytes under the key of `record`, read past the store."""
        return await self.harness.raw(record.key)

    async def lives_of(self, user: str, *, now: int | None = None) -> list[Life]:
        """The user's live sessions."""
        return list(await self.store.lives_of(user, self.start if now is None else now))

    async def keys_of(self, user: str, *, now: int | None = None) -> list[bytes]:
        """The keys of the user's live sessions."""
        return [life.key for life in await self.lives_of(user, now=now)]


def _signs_in(change: Change) -> str | None:
    match change:
        case Create(record=record):
            return record.user
        case Update(sign_in=SignIn(user=user)):
            return user
        case _:
            return None


def expiry(record: Record, lifetimes: Lifetimes) -> int:
    """When `record` ends under `lifetimes`."""
    return lifetimes.expiry(start=record.start, last_used=record.last_used, permanent=record.permanent)


def hashed(secret: str) -> bytes:
    """The SHA-256 of a secret that a test calls by a name."""
    return hashlib.sha256(secret.encode()).digest()


@contextmanager
def contention() -> Generator[None]:
    """Let threads interrupt each other a hundred times as often, so that what is not atomic shows."""
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
            for capability in getattr(self, "lacks", ()):
                has = getattr(bench.store.capabilities, capability)
                assert not has, f"the suite was told that the store lacks {capability}, and it has it"
            await test(self, bench)

    def run(self: S, harness: Harness) -> None:
        __tracebackhide__ = True
        asyncio.run(at_a_bench(self, harness))

    # Not functools.wraps: pytest would follow it to the coroutine, and look for a fixture `bench`.
    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run
