"""What the basket's forms do, whichever framework read them."""

from __future__ import annotations

from coatcheck.demo import basket
from coatcheck.demo.goods import Good, find
from coatcheck.session import Session

__all__ = ["BadOrder", "change", "take"]


class BadOrder(ValueError):
    """What a form asks for is not to be had; its text is for the visitor."""


def take(session: Session, good: str, choice: str) -> tuple[Good, str]:
    """One more of something: what it was, and what to say of it."""
    chosen = _chosen(good, choice)
    quantity = basket.add(session, chosen, choice)
    more = f", {quantity} of them now" if quantity > 1 else ""
    return chosen, f"{chosen.name} ({choice}) is in your basket{more}."


def change(session: Session, good: str, choice: str, quantity: str, *, remove: bool) -> str:
    """So many of something, none with `remove`: what to say of it."""
    chosen = _chosen(good, choice)
    wanted = _number(quantity, remove=remove)
    if not basket.change(session, chosen, choice, wanted):
        return f"{chosen.name} ({choice}) was not in your basket any more."
    if wanted:
        return f"{chosen.name} ({choice}): {wanted} in your basket."
    return f"{chosen.name} ({choice}) is back on the rail."


def _number(quantity: str, *, remove: bool) -> int:
    if remove:
        return 0
    if quantity.isdecimal() and int(quantity) <= basket.MOST:
        return int(quantity)
    raise BadOrder(f"A quantity is a number from 0 to {basket.MOST}.")


def _chosen(good: str, choice: str) -> Good:
    found = find(good)
    if found is None:
        raise BadOrder("There is no such thing on the rail.")
    if choice not in found.choices:
        raise BadOrder(f"{found.name} comes in {', '.join(found.choices)}.")
    return found
