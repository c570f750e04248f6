"""What both halves of the shop say alike, and the headers that guard every page."""

from __future__ import annotations

import unicodedata

__all__ = [
    "COST",
    "FOREIGN",
    "GOODBYE",
    "GUARD",
    "LARGEST_FORM",
    "LOCKED",
    "NAME_WANTED",
    "OUR_FAULT",
    "nothing_here",
    "visitor_name",
]

LARGEST_FORM = 16 * 1024
"""How many bytes a form may have."""

# No script, nothing from elsewhere, no frame around it.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
GUARD = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""On every response."""

FOREIGN = ("That form is not ours", "It was sent by a page of another site. Nothing was changed.")
LOCKED = (
    "The cloakroom is locked",
    (
        "The place where sessions are kept can’t be reached at the moment, or has no room. What you did just now "
        "may not have been kept: please try again in a moment."
    ),
)
OUR_FAULT = ("Something fell off its hanger", "That is our fault. Nothing was changed.")
GOODBYE = "You are signed out. See you soon."

COST = "<!-- what this page cost -->"
"""Stands in a page until it is known what it cost, which is when its session is stored."""

_LONGEST_NAME = 40
NAME_WANTED = f"Please type a name of 1 to {_LONGEST_NAME} letters."


def nothing_here(where: str) -> tuple[str, str]:
    """For a page that there is not."""
    return "Nothing hangs here", f"There is no such page {where}."


def visitor_name(typed: str) -> str | None:
    """The name that a visitor typed; None if it is none."""
    name = " ".join(unicodedata.normalize("NFC", typed).split())
    return name if name and len(name) <= _LONGEST_NAME and name.isprintable() else None
