"""The SQLite store for an event loop.

Reading takes microseconds and, thanks to the write-ahead log, waits for nobody: it is done in place, and where
several ask in the same turn of the loop, once for all of them. Only when SQLite is busy all the same does it move to
the thread. Writing waits for other writers and for the file system: it is done by one thread of the store's own, and
what arrives meanwhile goes as one transaction (`coatcheck.stores.coalesce`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar

from coatcheck.errors import StoreTimeout, StoreUnavailable, twin_of
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.sqlite import SQLiteStore, path_of

__all__ = ["AsyncSQLiteStore", "from_url"]

_T = TypeVar("_T")
_Batch: TypeAlias = "list[tuple[Sequence[bytes], asyncio.Future[Sequence[Found]]]]"
# Who asks alone reads at once: to wait for others costs a turn of the loop. Now and then one waits all the same, to
# see whether there are others; while there are, all wait, since a statement for many costs each of them little.
_TURNS_ALONE = 16
_AT_A_TIME = 128  # so that the loop is not kept from other things


class AsyncSQLiteStore:
    """`SQLiteStore`, with the same arguments, for asyncio. It has one thread, for what would make the loop wait."""

    capabilities: Capabilities = Capabilities(coalesce_loads=False)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "coatcheck:",
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        deadline: timedelta = timedelta(seconds=5),
        ballast: int = 1 << 20,
    ) -> None:
        """Open the file; see `SQLiteStore`."""
        self._store = SQLiteStore(
            path, prefix=prefix, synchronous=synchronous, deadline=deadline, ballast=ballast
        )
        self._alone = _TURNS_ALONE
        self._asking: dict[asyncio.AbstractEventLoop, _Batch] = {}
        self._reading: set[asyncio.Task[None]] = set()
        self._start()

    def _start(self) -> None:
        # The thread itself starts with the first write.
        self._pid, self._thread = os.getpid(), ThreadPoolExecutor(1, thread_name_prefix="coatcheck-sqlite")

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """What lies under each key."""
        if self._alone:
            self._alone -= 1
            try:
                return self._store.load(keys, now, wait=False)
            except StoreTimeout:
                return await self._in_thread(lambda: self._store.load(keys, now))
        loop = asyncio.get_running_loop()
        batch = self._asking.get(loop)
        if batch is None:
            batch = self._asking[loop] = []
            loop.call_soon(self._read_for_all, loop, now)
        found: asyncio.Future[Sequence[Found]] = loop.create_future()
        batch.append((keys, found))
        return await found

    def _read_for_all(self, loop: asyncio.AbstractEventLoop, now: int) -> None:
        """Read, in one statement, for all who asked in this turn of the loop."""
        batch = self._asking.pop(loop)
        self._alone = _TURNS_ALONE if len(batch) == 1 else 0
        for start in range(0, len(batch), _AT_A_TIME):
            some = batch[start : start + _AT_A_TIME]
            keys = [key for wanted, _ in some for key in wanted]
            try:
                _answer(some, self._store.load(keys, now, wait=False))
            except StoreTimeout:
                task = loop.create_task(self._read_in_thread(some, keys, now))
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)
            except Exception as error:  # noqa: BLE001 - it goes to the callers, who would wait for ever
                _answer(some, error)

    async def _read_in_thread(self, some: _Batch, keys: Sequence[bytes], now: int) -> None:
        try:
            _answer(some, await self._in_thread(lambda: self._store.load(keys, now)))
        except Exception as error:  # noqa: BLE001 - as above
            _answer(some, error)
        except BaseException:
            _answer(some, StoreUnavailable("the reading was cancelled"))
            raise

    async def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply all changes in one transaction."""
        return await self._in_thread(lambda: self._store.apply(changes))

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is written with the record."""

    async def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        return await self._in_thread(lambda: self._store.lives_of(user, now))

    async def count(self, now: int) -> int:
        """How many live records there are."""
        return await self._in_thread(lambda: self._store.count(now))

    async def sweep(self, now: int, limit: int) -> int:
        """Remove at most `limit` expired records and tombstones."""
        return await self._in_thread(lambda: self._store.sweep(now, limit))

    async def ping(self) -> None:
        """Return if the file can be read, else raise a `StoreError`."""
        await self._in_thread(self._store.ping)

    async def close(self) -> None:
        """Wait for what this loop's callers were promised, and close the connections."""
        loop = asyncio.get_running_loop()
        if loop in self._asking:
            await asyncio.sleep(0)  # they read in this turn
        if reading := [task for task in self._reading if task.get_loop() is loop]:
            await asyncio.wait(reading)
        # The thread does it as its last work: SQLite then moves its log into the file, and that takes a while.
        try:
            closing = self._hand_over(self._store.close)
        except StoreUnavailable:  # closed already
            return
        self._thread.shutdown(wait=False)
        await asyncio.shield(closing)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await self._hand_over(work)

    def _hand_over(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        if self._pid != os.getpid():  # forked: the thread stayed with the parent
            self._start()
        try:
            return asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError as error:
            raise StoreUnavailable("the store is closed") from error


def _answer(batch: _Batch, answer: Sequence[Found] | Exception) -> None:
    """Give each caller its part, or all of them the error; one that was cancelled is past caring."""
    start = 0
    for keys, found in batch:
        end = start + len(keys)
        if not found.done():
            if isinstance(answer, Exception):
                found.set_exception(twin_of(answer))
            else:
                found.set_result(answer[start:end])
        start = end


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    deadline: timedelta = timedelta(seconds=5),
    ballast: int = 1 << 20,
) -> Coalesced:
    """The store in the file that a URL names, with coalescing in front; see `SQLiteStore`."""
    store = AsyncSQLiteStore(
        path_of(url), prefix=prefix, synchronous=synchronous, deadline=deadline, ballast=ballast
    )
    return Coalesced(store)
