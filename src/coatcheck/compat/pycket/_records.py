"""One record, as a handler works on it: read at most once, written at most once, in one turn of the event loop.

The old library went to the store for each `get`, twice for each `set`, and wrote back the whole dict that it had read.
So did the request beside it, and one of the two changes was lost. Here a change is an intention: the value of a name,
or that it is gone. It is applied to what lies in the store at that moment, compared and swapped.

While a handler runs without awaiting anything, no other one runs. What it does to a record in that time may as well go
to the store in one piece: at the end of the turn, or before the response's head leaves, whichever comes first. Every
handler of the process that works on the same record in that turn works on the same `Record`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from coatcheck.compat.pycket.driver import NOTHING, Driver, Snapshot
from coatcheck.errors import DecodeError, StoreTimeout

__all__ = ["GONE", "MISSING", "Record", "leave_turn", "log", "of_turn"]

log: logging.Logger = logging.getLogger("coatcheck.compat.pycket")

GONE: bytes = b""
"""A change: the name is taken out. No pickle is empty."""
MISSING: Any = object()

_PATIENCE = 5  # seconds of losing every race for one record


class Record:
    """What lies under one id, and what is to be changed in it."""

    def __init__(
        self,
        driver: Driver,
        session_id: str | bytes,
        *,
        is_absent: bool,
        may_replace: bool,
        stored: Callable[[], None],
    ) -> None:
        """Of a driver's store, under an id.

        Args:
            driver: Where it lies.
            session_id: Under which id.
            is_absent: The id was made just now: there is nothing to be read.
            may_replace: Take what can't be read for nothing, and write over it.
            stored: Called when it has been written.
        """
        self._driver = driver
        self._id = session_id
        self._may_replace = may_replace
        self._stored = stored
        self._snapshot: Snapshot | None = NOTHING if is_absent else None
        self._changes: dict[Any, bytes] = {}
        self._must_write = False  # a change of nothing is written as well: it puts off the expiry
        self._error: Exception | None = None

    @property
    def is_absent(self) -> bool:
        """Whether nothing lies there, nor is to."""
        return self._snapshot is NOTHING and not self._must_write

    def read(self) -> dict[Any, Any]:
        """The values, as objects of the caller's own.

        Raises:
            DecodeError: What lies there can't be read.
        """
        if self._snapshot is None:
            self._snapshot = self._driver.load(self._id)
        values = self._decoded(self._snapshot)
        for name, pickled in self._changes.items():
            if pickled is GONE:
                values.pop(name, None)
            else:
                values[name] = self._driver.pickles.loads(pickled)
        return values

    def change(self, changes: dict[Any, bytes]) -> None:
        """Intend to put in these values, each pickled, or to take names out (`GONE`)."""
        self._changes.update(changes)
        self._must_write = True

    def write(self) -> None:
        """Have what was intended in the store. Does nothing where nothing was.

        If the record was there, and is there no more, its session was ended meanwhile, and stays so.

        Raises:
            StoreTimeout: Others were faster every time.
        """
        if not self._must_write:
            return
        try:
            self._write()
        except Exception as error:
            self._error, self._snapshot = error, None
            raise
        finally:
            self.forget()

    def _write(self) -> None:
        for values, before in self._tries():
            swapped = self._driver.swap(self._id, before, self._driver.pickles.dumps(values))
            self._snapshot = swapped.now
            if swapped.done:
                self._stored()
                return
            if before.raw is not None and swapped.now is not None and swapped.now.raw is None:
                log.info("A session was ended while it was being changed. The change is dropped.")
                return

    def take(self, name: Any) -> Any:
        """The value under a name, which is then gone from the store: nobody else gets it. `MISSING` if there is none."""
        taken = MISSING
        for values, before in self._tries():
            taken = values.pop(name, MISSING)
            if taken is None or taken is MISSING:
                break
            swapped = self._driver.swap(self._id, before, self._driver.pickles.dumps(values))
            self._snapshot = swapped.now
            if swapped.done:
                self._stored()
                self.forget()
                break
        return taken

    def settle(self) -> None:
        """As `write`; and if an earlier write failed, in whatever place, raise its error here as well."""
        self.write()
        if self._error is not None:
            raise self._error

    def forget(self) -> None:
        """Intend nothing any more."""
        self._changes.clear()
        self._must_write = False

    def _tries(self) -> Iterator[tuple[dict[Any, Any], Snapshot]]:
        """What is to be written, and in place of what; again and again, for as long as others come in between."""
        end = time.monotonic() + _PATIENCE
        while True:
            values = self.read()
            yield values, cast("Snapshot", self._snapshot)
            if time.monotonic() > end:
                raise StoreTimeout("Others changed the record in between, for seconds.", ambiguous=False)

    def _decoded(self, snapshot: Snapshot) -> dict[Any, Any]:
        if snapshot.raw is None:
            return {}
        try:
            return self._driver.pickles.loads_dict(snapshot.raw)
        except DecodeError as error:
            if not self._may_replace:
                raise
            log.warning("What lies under a visitor's id can't be read, and counts as empty. %s", error)
            return {}


_turns: dict[tuple[asyncio.AbstractEventLoop, int, str], Record] = {}


def of_turn(
    loop: asyncio.AbstractEventLoop,
    driver: Driver,
    session_id: str | bytes,
    *,
    is_absent: bool,
    may_replace: bool,
    stored: Callable[[], None],
) -> Record:
    """The record that every handler works on until the event loop goes on to something else."""
    key = _key(loop, driver, session_id)
    if key not in _turns:
        _turns[key] = Record(driver, session_id, is_absent=is_absent, may_replace=may_replace, stored=stored)
        loop.call_soon(_end, key)
    return _turns[key]


def leave_turn(
    loop: asyncio.AbstractEventLoop, driver: Driver, session_id: str | bytes, *, drop: bool = False
) -> None:
    """Have what this turn intends with a record in the store, or dropped, and read it anew from now on."""
    record = _turns.pop(_key(loop, driver, session_id), None)
    if record is not None:
        if drop:
            record.forget()
        record.write()


def _end(key: tuple[asyncio.AbstractEventLoop, int, str]) -> None:
    record = _turns.pop(key, None)
    if record is not None:
        try:
            record.write()
        except Exception as error:  # noqa: BLE001 - each store has its own; the handler raises it, if it still answers
            log.error("A session could not be stored: %s", type(error).__name__)  # noqa: TRY400


def _key(
    loop: asyncio.AbstractEventLoop, driver: Driver, session_id: str | bytes
) -> tuple[asyncio.AbstractEventLoop, int, str]:
    return loop, id(driver.setup_client()), driver.key(session_id)
