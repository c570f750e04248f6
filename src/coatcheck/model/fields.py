"""The fields that are ours: their names, and the one stored form of a flash message.

Fields whose name begins with a zero character are never shown by the session's mapping.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["CSRF", "FLASH", "PRIVATE", "Flash", "flash_from", "is_private", "stored_flash"]

PRIVATE = "\x00"
"""What the names of our own fields begin with."""
FLASH = PRIVATE + "flash:"
"""What the names of flash messages begin with. The rest sorts by age: time (ms, 12 hexadecimal digits), number within
the request (4), and 8 random ones that keep parallel requests apart."""
CSRF = PRIVATE + "csrf"
"""The name of the CSRF token."""


class Flash(NamedTuple):
    """A message that is shown once.

    Attributes:
        category: The application's word for its kind: ``info``, ``error``, …
        message: The message: any value that a field can hold.
        markup: Whether the message is HTML that needs no escaping. Only server code can make it so, by flashing an
            object with an ``__html__`` method (MarkupSafe, Django's `mark_safe`).
        tags: Further words, separated by spaces (Django's `extra_tags`).
    """

    category: str
    message: Any
    markup: bool = False
    tags: str = ""


def is_private(name: object) -> bool:
    """Whether `name` is that of a field of ours."""
    return isinstance(name, str) and name.startswith(PRIVATE)


def stored_flash(flash: Flash) -> list[Any]:
    """The field's value: ``[category, message]``, or ``[category, message, markup, tags]`` where either is set."""
    return list(flash) if flash.markup or flash.tags else [flash.category, flash.message]


def flash_from(value: Any) -> Flash:
    """The message that a field's value stands for."""
    return Flash(*value)
