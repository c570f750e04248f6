"""What tests of sessions need: for applications, and for people who write a store of their own.

- `clock`: a clock that the test moves.
- `prepared`: sessions that a test begins with.
- `wrappers`: stores that count calls, or fail on request.
- `pausing`, `races`: stores that hold a call at a chosen point, and races that come out the same every time.
- `interleaving`: every order in which a few scripts can take their steps.
- `contract`: the suite that every store passes (with pytest).
- `http`: the HTTP behaviours that every framework module keeps (with pytest and hypothesis).
- `equivalence`: the property test for another implementation of `coatcheck.record.settle` (with hypothesis).
- `model`: a state machine against a plain dict (with hypothesis).

The names below need nothing but Coatcheck itself; for the last four, install ``coatcheck[testing]``.
"""

from __future__ import annotations

from coatcheck.testing.clock import ManualClock
from coatcheck.testing.interleaving import Interleaving, in_steps, interleavings, stepwise
from coatcheck.testing.pausing import AsyncGate, AsyncPausingStore, Gate, PausingStore, Stuck
from coatcheck.testing.prepared import async_cookies_for, cookies_for
from coatcheck.testing.races import AsyncRace, Race
from coatcheck.testing.shim import AwaitableStore, awaitable
from coatcheck.testing.wrappers import (
    AsyncCountingStore,
    AsyncFailingStore,
    AsyncStoreWrapper,
    Call,
    CountingStore,
    FailingStore,
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
    "Interleaving",
    "ManualClock",
    "PausingStore",
    "Race",
    "StoreWrapper",
    "Stuck",
    "async_cookies_for",
    "awaitable",
    "cookies_for",
    "in_steps",
    "interleavings",
    "stepwise",
]
