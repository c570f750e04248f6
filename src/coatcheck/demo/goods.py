"""What the shop has. Nothing of it is for sale."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BESIDE", "GOODS", "Good", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """One kind of thing on the rail. Its picture is the Jinja macro of the same id."""

    id: str
    name: str
    about: str
    price: int
    """In whole euros."""
    choice: str
    """What a buyer chooses: a size, a colour."""
    choices: tuple[str, ...]


_SIZES = ("S", "M", "L", "XL")

GOODS = (
    Good(
        id="mac",
        name="Matinée mac",
        about="Rain-proof from the box office to the last tram.",
        price=160,
        choice="Size",
        choices=_SIZES,
    ),
    Good(
        id="duffle",
        name="Dress-circle duffle",
        about="Horn toggles, deep pockets, warm as applause.",
        price=190,
        choice="Size",
        choices=_SIZES,
    ),
    Good(
        id="bowler",
        name="Second-act bowler",
        about="Brushed felt. Please take it off in row F.",
        price=85,
        choice="Size",
        choices=("56", "58", "60"),
    ),
    Good(
        id="beanie",
        name="Understudy beanie",
        about="Ready to go on at a moment’s notice.",
        price=24,
        choice="Colour",
        choices=("Mustard", "Moss", "Ink"),
    ),
    Good(
        id="scarf",
        name="Long-run scarf",
        about="Two metres of lambswool. Five stars.",
        price=48,
        choice="Colour",
        choices=("Claret", "Moss", "Ink"),
    ),
    Good(
        id="foulard",
        name="Box-seat foulard",
        about="Silk twill, seen by everybody but you.",
        price=62,
        choice="Colour",
        choices=("Rose", "Mustard", "Ink"),
    ),
    Good(
        id="umbrella",
        name="Interval umbrella",
        about="Ash handle. Opens in fifteen minutes, or at once.",
        price=55,
        choice="Colour",
        choices=("Claret", "Ink"),
    ),
    Good(
        id="pocket",
        name="Encore umbrella",
        about="Folds small, comes back out when called.",
        price=32,
        choice="Colour",
        choices=("Moss", "Mustard", "Ink"),
    ),
)

_BY_ID = {good.id: good for good in GOODS}
BESIDE = frozenset(_BY_ID)
"""The categories of messages that the rail shows beside a good."""


def find(good_id: str) -> Good | None:
    """The good of that id, if there is one."""
    return _BY_ID.get(good_id)
