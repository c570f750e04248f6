"""The fields that are ours: their names, and the one stored form of a flash message.

Fields whose name begins with a zero character are never shown by the session's mapping.
"""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple, Self

from coatcheck.silent import silent

__all__ = ["CSRF", "FLASH", "PRIVATE", "Flash", "flash_from", "is_private", "stored_flash"]

PRIVATE = "\x00"
"""What the names of our own fields begin with."""
FLASH = PRIVATE + "flash:"
"""What the names of flash messages begin with. The rest sorts by age: time (ms, 12 hexadecimal digits), number within
the request (4), and 8 random ones that keep parallel requests apart."""
CSRF = PRIVATE + "csrf"
"""The name of the CSRF token."""


class _Flash(NamedTuple):
    category: str
    message: Any


class Flash(_Flash):
    """A message that is shown once: a pair of its category and the message.

    Attributes:
        category: The application's word for its kind: ``info``, ``error``, …
        message: The message: any value that a field can hold.
        markup: Whether the message is HTML that needs no escaping. Only server code can make it so, by flashing an
            object with an ``__html__`` method (MarkupSafe, Django's `mark_safe`).
        tags: Further words, separated by spaces (Django's `extra_tags`).
    """

    markup: bool
    tags: str

    def __new__(cls, category: str, message: Any, markup: bool = False, tags: str = "") -> Self:
        """Make a message."""
        flash = super().__new__(cls, category, message)
        flash.markup, flash.tags = markup, tags
        return flash

    def __repr__(self) -> str:
        return silent(self)

    def __html__(self) -> str:
        """The message for a template that escapes: markup as it is, everything else escaped. ``{{ flash }}`` shows it."""
        text = str(self.message)
        return text if self.markup else escape(text)


def is_private(name: object) -> bool:
    """Whether `name` is that of a field of ours."""
    return isinstance(name, str) and name.startswith(PRIVATE)


def stored_flash(flash: Flash) -> list[Any]:
    """The field's value: ``[category, message]``, or ``[category, message, markup, tags]`` where either is set."""
    pair = [flash.category, flash.message]
    return [*pair, flash.markup, flash.tags] if flash.markup or flash.tags else pair


def flash_from(value: Any) -> Flash:
    """The message that a field's value stands for."""
    return Flash(*value)
