"""The compare-and-swap loop, driven by hand."""

from __future__ import annotations

from coatcheck.core.calls import Load, Writes, for_each
from coatcheck.core.swap import Swap, held_of
from coatcheck.errors import (
    StoreTimeout,
    StoreUnavailable,
)
from coatcheck.model.ports import Found, revision_of
from coatcheck.model.record import (
    Destroy,
    Holder,
    Update,
)
from tests.core.scene import NOW, SETTINGS, Dice, a_record, a_token

LIFETIMES = SETTINGS.lifetimes
KEY = a_token(1).key
LOST = StoreTimeout("no answer", ambiguous=True)
NOT_SENT = StoreUnavailable("refused", ambiguous=False)


def record(number=1, **parts):
    return a_record(a_token(number), **parts)


def update(number=1, **parts):
    return Update(**{"key": a_token(number).key, "at": NOW, "lifetimes": LIFETIMES, **parts})


def puts(name, value=b"\x01", number=1):
    return update(number, set={name: value})


def destroy(number=1, user=None):
    return Destroy(key=a_token(number).key, at=NOW, holder=Holder(user))


class Driven:
    """The loop on some changes. `asked` is what it waits for; `answer` goes on; `results` are there at the end."""

    def __init__(self, changes, known=None, *, max_bytes=1 << 20, lifetimes=None):
        self.swap = Swap(Dice(), max_bytes, lifetimes=lifetimes)
        self.flow = self.swap.apply(changes, known or [None] * len(changes))
        self.results = None
        self._go(lambda: next(self.flow))

    def _go(self, step):
        try:
            self.asked = step()
        except StopIteration as stop:
            self.asked, self.results = None, stop.value

    def answer(self, *answers):
        self._go(lambda: self.flow.send(for_each(self.asked, list(answers))))
        return self

    def fail(self, error):
        self._go(lambda: self.flow.send(for_each(self.asked, error)))
        return self

    @property
    def writes(self):
        assert isinstance(self.asked, Writes), self.asked
        return self.asked.writes

    @property
    def keys(self):
        assert isinstance(self.asked, Load), self.asked
        return self.asked.keys

    def state(self, at=0):
        """What the write number `at` would store."""
        write = self.writes[at]
        return held_of(write.key, Found(write.data, None)).state


def written(write):
    """What lies under the key once `write` is stored."""
    return Found(write.data, revision_of(write.data))


def fields(state):
    return dict(state.fields)
