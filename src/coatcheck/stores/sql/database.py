"""The database of a store: its engine, and the state that the store's calls share."""

from __future__ import annotations

import os
import threading
import time
from functools import cached_property
from typing import Any
from weakref import WeakSet

from sqlalchemy import Engine, event

from coatcheck.stores.breaker import Breaker
from coatcheck.stores.sql.bounds import Bounds, bounds_for
from coatcheck.stores.sql.engines import CONNECTIONS, shown
from coatcheck.stores.sql.statements import Statements
from coatcheck.stores.sql.table import Tables, tables

__all__ = ["Database"]

_PATIENCE = 2.0  # seconds that the breaker's trial may take


class Database:
    """An engine with the tables of one prefix.

    Attributes:
        own: Whether the engine was made for this store alone.
        checked: Whether the format of the tables was looked at.
        packet: The server's limit for the size of a statement in bytes, if it has one. Known once checked.
        suspect: Connections made before this moment (`time.monotonic`) are closed, not used: another of that time was
            found dead, or the store was closed since.
        slots: Lets a call wait for one of the pool's connections until its deadline, which the pool can't be told.
            None where the wait is cancelled (async), or is the application's to limit.
    """

    def __init__(self, engine: Engine, prefix: str, *, own: bool) -> None:
        self.engine = engine
        self.own = own
        self.name: str = shown(engine.url)
        self.prefix = prefix
        self.tables: Tables = tables(prefix)
        self.bounds: type[Bounds] = bounds_for(engine.dialect)
        self.breaker: Breaker = Breaker(self.name, patience=_PATIENCE)
        self.checked: bool = False
        self.packet: int | None = None
        self.suspect: float = 0.0
        self.slots: threading.BoundedSemaphore | None = self._all_free()
        self._pid = os.getpid()
        self._leaving = threading.Lock()
        self._inherited: list[Any] = []
        self._drivers: WeakSet[Any] = (
            WeakSet()
        )  # the drivers' connections, where an event loop may go without them
        if own and engine.dialect.is_async:
            event.listen(engine, "connect", self._connected)

    @cached_property
    def statements(self) -> Statements:
        """The statements in the words of the server. Its version is known once there was a connection."""
        return Statements(self.tables, self.engine.dialect)

    def notice_fork(self) -> None:
        """In a child, leave inherited connections alone: two processes on one would read each other's answers."""
        if self._pid == os.getpid():
            return
        with self._leaving:
            if self._pid == os.getpid():
                return
            self.slots = self._all_free()
            # Kept, since a pool that is collected ends its connections, which the parent uses.
            self._inherited.append(self.engine.pool)
            self.engine.dispose(close=False)
            # The last: another thread that sees it takes its connection from the new pool.
            self._pid = os.getpid()

    def close(self) -> None:
        """Close the connections, those in use when their calls end. The application's engine is left alone."""
        if self.own:
            self.suspect = time.monotonic()
            self.engine.dispose()

    def abandon(self) -> None:
        """Close the connections whose event loop is closed already: the server would keep them open."""
        for driver in self._drivers:
            self.bounds.abandon(driver)

    def _connected(self, connection: Any, _record: Any) -> None:
        self._drivers.add(connection.driver_connection)

    def _all_free(self) -> threading.BoundedSemaphore | None:
        return (
            threading.BoundedSemaphore(CONNECTIONS) if self.own and not self.engine.dialect.is_async else None
        )
