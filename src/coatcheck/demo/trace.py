"""Stores that tell what they are asked: what the demo shows at the foot of its pages comes from here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from coatcheck.demo.steps import (
    Step,
    apply_step,
    enroll_step,
    failed_step,
    lives_step,
    load_step,
    plain_step,
    revoke_step,
    sweep_step,
)
from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncRevokesAll, AsyncStore, Capabilities, Found, Life, RevokesAll, Store
from coatcheck.model.record import Applied, Change, Refused

__all__ = ["AsyncTracedStore", "TracedStore"]

_T = TypeVar("_T")


class TracedStore:
    """A store that passes everything on, and tells of each call when it is answered."""

    def __init__(self, store: Store, tell: Callable[[Step], None]) -> None:
        self._store = store
        self._tell = _honest(tell, store.capabilities)

    @property
    def capabilities(self) -> Capabilities:
        """What the store behind can do."""
        return self._store.capabilities

    def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """See `Store.load`."""
        found, took = self._timed("load", lambda: self._store.load(keys, now))
        self._tell(load_step(found, took))
        return found

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """See `Store.apply`."""
        answers, took = self._timed("apply", lambda: self._store.apply(changes))
        self._tell(apply_step(changes, answers, took))
        return answers

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """See `Store.enroll`."""
        _, took = self._timed("enroll", lambda: self._store.enroll(user, life, expires))
        self._tell(enroll_step(took))

    def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `RevokesAll.revoke_all`."""
        store = cast("RevokesAll", self._store)
        _, took = self._timed("revoke_all", lambda: store.revoke_all(user, at, until, keep))
        self._tell(revoke_step(took))

    def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """See `Store.lives_of`."""
        lives, took = self._timed("lives_of", lambda: self._store.lives_of(user, now))
        self._tell(lives_step(lives, took))
        return lives

    def count(self, now: int) -> int:
        """See `Store.count`."""
        counted, took = self._timed("count", lambda: self._store.count(now))
        self._tell(plain_step("count", took))
        return counted

    def sweep(self, now: int, limit: int) -> int:
        """See `Store.sweep`."""
        swept, took = self._timed("sweep", lambda: self._store.sweep(now, limit))
        self._tell(sweep_step(swept, took))
        return swept

    def ping(self) -> None:
        """See `Store.ping`."""
        _, took = self._timed("ping", self._store.ping)
        self._tell(plain_step("ping", took))

    def close(self) -> None:
        """See `Store.close`."""
        self._store.close()

    def _timed(self, call: str, ask: Callable[[], _T]) -> tuple[_T, float]:
        began = time.perf_counter()
        try:
            answer = ask()
        except StoreError as error:
            self._tell(failed_step(call, error, _since(began)))
            raise
        return answer, _since(began)


class AsyncTracedStore:
    """The same for an event loop."""

    def __init__(self, store: AsyncStore, tell: Callable[[Step], None]) -> None:
        self._store = store
        self._tell = _honest(tell, store.capabilities)

    @property
    def capabilities(self) -> Capabilities:
        """What the store behind can do."""
        return self._store.capabilities

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """See `Store.load`."""
        found, took = await self._timed("load", lambda: self._store.load(keys, now))
        self._tell(load_step(found, took))
        return found

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """See `Store.apply`."""
        answers, took = await self._timed("apply", lambda: self._store.apply(changes))
        self._tell(apply_step(changes, answers, took))
        return answers

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """See `Store.enroll`."""
        _, took = await self._timed("enroll", lambda: self._store.enroll(user, life, expires))
        self._tell(enroll_step(took))

    async def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `RevokesAll.revoke_all`."""
        store = cast("AsyncRevokesAll", self._store)
        _, took = await self._timed("revoke_all", lambda: store.revoke_all(user, at, until, keep))
        self._tell(revoke_step(took))

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """See `Store.lives_of`."""
        lives, took = await self._timed("lives_of", lambda: self._store.lives_of(user, now))
        self._tell(lives_step(lives, took))
        return lives

    async def count(self, now: int) -> int:
        """See `Store.count`."""
        counted, took = await self._timed("count", lambda: self._store.count(now))
        self._tell(plain_step("count", took))
        return counted

    async def sweep(self, now: int, limit: int) -> int:
        """See `Store.sweep`."""
        swept, took = await self._timed("sweep", lambda: self._store.sweep(now, limit))
        self._tell(sweep_step(swept, took))
        return swept

    async def ping(self) -> None:
        """See `Store.ping`."""
        _, took = await self._timed("ping", self._store.ping)
        self._tell(plain_step("ping", took))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    async def _timed(self, call: str, ask: Callable[[], Awaitable[_T]]) -> tuple[_T, float]:
        began = time.perf_counter()
        try:
            answer = await ask()
        except StoreError as error:
            self._tell(failed_step(call, error, _since(began)))
            raise
        return answer, _since(began)


def _honest(tell: Callable[[Step], None], capabilities: Capabilities) -> Callable[[Step], None]:
    """`tell`, which hears of a store that looks up a user's epoch that its calls are more than a round trip."""
    if not capabilities.revokes_all:
        return tell
    return lambda step: tell(replace(step, several=True))


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
