"""The methods of Pyramid's ``ISession`` that a mapping lacks."""

from __future__ import annotations

import os
from abc import abstractmethod
from binascii import hexlify
from collections.abc import MutableMapping
from typing import Any

__all__ = ["PyramidSession"]


class PyramidSession(MutableMapping[Any, Any]):
    """Flash messages and a CSRF token, stored among the session's values."""

    @abstractmethod
    def save(self) -> None:
        """Mark values that were changed in place for writing."""

    def changed(self) -> None:
        """Pyramid's name of `save`."""
        self.save()

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:
        """Add a message to a queue."""
        messages = self.peek_flash(queue)
        if allow_duplicate or msg not in messages:
            self["_f_" + queue] = [*messages, msg]

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Remove the messages of a queue and return them."""
        messages: list[Any] = self.pop("_f_" + queue, [])
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue."""
        messages: list[Any] = self.get("_f_" + queue, [])
        return messages

    def new_csrf_token(self) -> str:
        """Make a new token and store it in the session."""
        token = hexlify(os.urandom(20)).decode()
        self["_csrft_"] = token
        return token

    def get_csrf_token(self) -> str:
        """The session's token, or a new one if it has none."""
        token: str | None = self.get("_csrft_", None)
        return self.new_csrf_token() if token is None else token
