"""Stores that a twin breaks in one place.

Each twin names, in `bites`, tests of the contract that turn red on it. Together they name every test there is, so
that none of them is one that can't fail.
"""

import itertools
import threading
import time
from typing import ClassVar

from msgspec.structs import replace

from coatcheck.model.ports import Conflict
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.testing.stores import SeparateIndexStore


class Bites:
    """Sound, but for what a subclass overrides."""

    bites: ClassVar[str] = ""
    """The names of the tests, without their `test_`."""
    error: ClassVar[type[BaseException]] = AssertionError
    opens: ClassVar[str] = "the same store"
    """What a second `Harness.open` gives: the same store, another with the same data, or another with a copy."""

    def __init_subclass__(cls):
        if "bites" in vars(cls):
            Twin.twins.append(cls)


class Twin(Bites, MemoryStore):
    twins: ClassVar[list[type[Bites]]] = []

    def fits(self, write, found):
        """Whether `write` may be carried out over `found`."""
        return write.expected == (None if found is None else found.version)

    def shown(self, write, found):
        """The answer to a write that does not fit."""
        return Conflict(found)

    def put(self, write, now):
        """Carry out `write`."""
        found = self._found.get(write.key)
        super()._write(replace(write, expected=found and found.version), now)

    def _write(self, write, now):
        found = self._found.get(write.key)
        if not self.fits(write, found):
            return self.shown(write, found)
        return self.put(write, now)


class BesideTwin(Bites, SeparateIndexStore):
    pass


class AsyncTwin(Bites, AsyncMemoryStore):
    pass


class Unlocked:
    """A lock that locks nothing."""

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


_meeting = threading.Condition()
_arrivals = itertools.count(1)
_latest = 0


def pause():
    """Wait until another thread comes to a pause as well, or for a moment, since there may be none."""
    global _latest
    if threading.current_thread() is threading.main_thread():
        return
    with _meeting:
        mine = _latest = next(_arrivals)
        _meeting.notify_all()
        _meeting.wait_for(lambda: _latest > mine, timeout=0.05)


def wait_until(condition):
    """Wait until `condition` holds, or for a moment, since it may never."""
    until = time.monotonic() + 0.2
    while not condition() and time.monotonic() < until:
        time.sleep(0.0005)
