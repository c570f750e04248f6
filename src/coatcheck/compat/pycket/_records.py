"""One record in one iteration of the event loop: it is read at most once and written at most once.

pycket called the store once for each `get` and twice for each `set`, and wrote back the whole dict, so that one of two
parallel requests lost its change. Here a change is the new value of a name, or its removal. It is applied to the record
that is stored at that moment, by compare-and-swap.

While a handler runs without awaiting, no other handler runs. Its changes of a record are written together at the end of
the loop's iteration, or before the response's headers are sent, whichever comes first. All handlers of the process that
use the same record in that iteration share one `Record`.
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
"""A change that removes the name. No pickle is empty."""
MISSING: Any = object()

_PATIENCE = 5  # seconds after which a write that always meets another writer fails


class Record:
    """The record of one id, and the changes that are not written yet."""

    def __init__(
        self,
        driver: Driver,
        session_id: str | bytes,
        *,
        is_absent: bool,
        may_replace: bool,
        stored: Callable[[], None],
    ) -> None:
        """A record in a driver's store.

        Args:
            driver: The driver of the store.
            session_id: The record's id.
            is_absent: Whether the id is new, so that nothing needs to be read.
            may_replace: Whether an unreadable record counts as empty and is overwritten.
            stored: Called after each write.
        """
        self._driver = driver
        self._id = session_id
        self._may_replace = may_replace
        self._stored = stored
        self._snapshot: Snapshot | None = NOTHING if is_absent else None
        self._changes: dict[Any, bytes] = {}
        self._must_write = False  # also for an empty change, which renews the expiry
        self._error: Exception | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the record does not exist, and no write would create it."""
        return self._snapshot is NOTHING and not self._must_write

    def read(self) -> dict[Any, Any]:
        """New copies of the values, with the changes applied.

        Raises:
            DecodeError: The record can't be read.
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
        """Add changes for the next write: the pickled values of names, or `GONE` to remove a name."""
        self._changes.update(changes)
        self._must_write = True

    def write(self) -> None:
        """Write the changes, if there are any.

        If the record existed when it was read but no longer does, its session was ended, and the changes are dropped.

        Raises:
            StoreTimeout: Other writers changed the record first each time.
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
        """Remove and return the value of `name`; no other request gets it. `MISSING` if there is none."""
        tries = self._tries()
        while True:
            values, before = next(tries)
            taken = values.pop(name, MISSING)
            if taken is None or taken is MISSING:
                return taken
            swapped = self._driver.swap(self._id, before, self._driver.pickles.dumps(values))
            self._snapshot = swapped.now
            if swapped.done:
                self._stored()
                self.forget()
                return taken

    def settle(self) -> None:
        """As `write`. Also raises the error of an earlier write, which had no caller to raise it in."""
        self.write()
        if self._error is not None:
            raise self._error

    def forget(self) -> None:
        """Drop the changes."""
        self._changes.clear()
        self._must_write = False

    def _tries(self) -> Iterator[tuple[dict[Any, Any], Snapshot]]:
        """The values to write and the snapshot that they replace, once for each attempt."""
        end = time.monotonic() + _PATIENCE
        while True:
            values = self.read()
            yield values, cast("Snapshot", self._snapshot)
            if time.monotonic() > end:
                raise StoreTimeout(
                    f"Other requests changed the record first for {_PATIENCE} seconds.", ambiguous=False
                )

    def _decoded(self, snapshot: Snapshot) -> dict[Any, Any]:
        if snapshot.raw is None:
            return {}
        try:
            return self._driver.pickles.loads_dict(snapshot.raw)
        except DecodeError as error:
            if not self._may_replace:
                raise
            log.warning("A visitor's record can't be read, and counts as empty. %s", error)
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
    """The record that all handlers share in this iteration of the event loop."""
    key = _key(loop, driver, session_id)
    if key not in _turns:
        _turns[key] = Record(driver, session_id, is_absent=is_absent, may_replace=may_replace, stored=stored)
        loop.call_soon(_end, key)
    return _turns[key]


def leave_turn(
    loop: asyncio.AbstractEventLoop, driver: Driver, session_id: str | bytes, *, drop: bool = False
) -> None:
    """Write or drop the changes of a record in this iteration. The next use reads the record again."""
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
        except Exception as error:  # noqa: BLE001 - any driver's; `settle` raises it in the handler
            log.error("A session could not be stored: %s", type(error).__name__)  # noqa: TRY400


def _key(
    loop: asyncio.AbstractEventLoop, driver: Driver, session_id: str | bytes
) -> tuple[asyncio.AbstractEventLoop, int, str]:
    return loop, id(driver.setup_client()), driver.key(session_id)
