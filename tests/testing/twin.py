"""A store that a twin breaks in one place.

Each twin names, in `bites`, tests of the contract that turn red on it. Together they name every test there is, so
that none of them is one that can't fail.
"""

import itertools
import threading
import time
from typing import ClassVar

from coatcheck.model.record import settle
from coatcheck.stores.memory import MemoryStore


class Twin(MemoryStore):
    """Sound, but for what a subclass overrides."""

    bites: ClassVar[str] = ""
    """The names of the tests, without their `test_`."""
    error: ClassVar[type[BaseException]] = AssertionError
    twins: ClassVar[list[type["Twin"]]] = []

    def __init_subclass__(cls):
        if cls.bites:
            Twin.twins.append(cls)

    def settle(self, data, change):
        return settle(data, change)

    def _apply(self, change):
        settled = self.settle(self._data.get(change.key), change)
        if settled.state is not None:
            self._put(settled.state)
        return settled.answer

    def _remove(self, key):
        self._data.pop(key, None)
        self._withdraw(key)


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
    """Until another thread comes to a pause as well, or for a moment, since there may be none."""
    global _latest
    if threading.current_thread() is threading.main_thread():
        return
    with _meeting:
        mine = _latest = next(_arrivals)
        _meeting.notify_all()
        _meeting.wait_for(lambda: _latest > mine, timeout=0.05)


def wait_until(condition):
    """Until `condition` holds, or for a moment, since it may never."""
    until = time.monotonic() + 0.2
    while not condition() and time.monotonic() < until:
        time.sleep(0.0005)
