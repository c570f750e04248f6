"""The basket: what a visitor has taken from the rail, in his session.

Each good is a field of its own, holding how many of each choice: ``session["basket:mac"] == {"M": 1, "L": 2}``. The
dict is changed in place, and nobody has to say so. Two clicks at the same moment on different goods both count, since
requests that change different fields never undo each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coatcheck.demo.goods import GOODS, Good
from coatcheck.session import Session

__all__ = ["MOST", "Line", "add", "change", "lines", "pieces", "total"]

MOST = 9
"""How many of a kind a visitor may take."""


@dataclass(frozen=True, slots=True)
class Line:
    """So many of a good in one size or colour."""

    good: Good
    choice: str
    quantity: int

    @property
    def price(self) -> int:
        """In whole euros."""
        return self.quantity * self.good.price


def add(session: Session, good: Good, choice: str) -> int:
    """Take one more; how many of it there are then."""
    quantities: dict[str, int] = session.setdefault(_field(good), {})
    quantities[choice] = min(quantities.get(choice, 0) + 1, MOST)
    return quantities[choice]


def change(session: Session, good: Good, choice: str, quantity: int) -> bool:
    """Have so many of it, none included; False if it was not in the basket."""
    quantities: dict[str, int] = session.get(_field(good), {})
    if choice not in quantities:
        return False
    if quantity > 0:
        quantities[choice] = min(quantity, MOST)
        return True
    del quantities[choice]
    if not quantities:
        del session[_field(good)]
    return True


def lines(session: Session) -> list[Line]:
    """What is in the basket, in the order of the rail."""
    return list(_lines(session))


def pieces(session: Session) -> int:
    """How many things are in the basket."""
    return sum(line.quantity for line in _lines(session))


def total(session: Session) -> int:
    """What they cost, in whole euros."""
    return sum(line.price for line in _lines(session))


def _field(good: Good) -> str:
    return f"basket:{good.id}"


def _lines(session: Session) -> Iterator[Line]:
    for good in GOODS:
        quantities: dict[str, int] = session.get(_field(good), {})
        for choice, quantity in quantities.items():
            yield Line(good, choice, quantity)
