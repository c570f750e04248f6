"""Tools for the tests of an application that uses sessions, and of a store.

- `clock`: a clock that the test moves.
- `prepared`, `clients`: sessions that a test begins with, and test clients that have them.
- `wrappers`, `failing`: stores that count calls, or fail on request.
- `pausing`, `races`: stores that park a call at a chosen point, and races that come out the same every time.
- `contract`: the suite that every store passes (with pytest).
- `pytest`: all that the tests of an application begin with, as fixtures.

The names below need nothing but Coatcheck itself; for the suite and the fixtures, install ``coatcheck[testing]``.
"""

from __future__ import annotations

from coatcheck.testing.clients import SignInAs
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.failing import AsyncFailingStore, FailingStore
from coatcheck.testing.pausing import AsyncGate, AsyncPausingStore, Gate, PausingStore, Stuck
from coatcheck.testing.prepared import async_cookies_for, cookies_for
from coatcheck.testing.races import AsyncRace, Race
from coatcheck.testing.shim import AwaitableStore, awaitable
from coatcheck.testing.wrappers import (
    AsyncCountingStore,
    AsyncStoreWrapper,
    Call,
    CountingStore,
    StoreWrapper,
)

__all__ = [
    "AsyncCountingStore",
    "AsyncFailingStore",
    "AsyncGate",
    "AsyncPausingStore",
    "AsyncRace",
    "AsyncStoreWrapper",
    "AwaitableStore",
    "Call",
    "CountingStore",
    "FailingStore",
    "Gate",
    "ManualClock",
    "PausingStore",
    "Race",
    "SignInAs",
    "StoreWrapper",
    "Stuck",
    "async_cookies_for",
    "awaitable",
    "cookies_for",
]
