"""Django's messages on our flash messages: each is shown once, by whichever framework shows it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.messages import INFO, utils
from django.contrib.messages.storage.base import BaseStorage, Message
from django.utils.safestring import SafeString

from coatcheck.frameworks.django.engine import get_session
from coatcheck.session import Flash

__all__ = ["Storage"]


class Storage(BaseStorage):
    """``MESSAGE_STORAGE = "coatcheck.frameworks.django.messages.Storage"``.

    A message's category is the tag of its level. A category that is no level's comes as a tag of an INFO message.
    """

    _loaded_data: list[Message]
    _queued_messages: list[Message]

    def __iter__(self) -> Iterator[Message]:
        """Take the messages that wait: no other response shows them."""
        if not self.used:
            session = get_session(self.request)
            # Where none waits, an async view may look, too.
            taken = session.take_flashes() if session.peek_flashes() else []
            self._loaded_data = [_message(flash) for flash in taken]
        return super().__iter__()

    def _get(self, *_: Any, **__: Any) -> tuple[list[Message], bool]:
        """The messages that wait, for `len` and ``in``."""
        return [_message(flash) for flash in get_session(self.request).peek_flashes()], True

    def _store(self, *_: Any, **__: Any) -> list[Message]:
        """Leave the messages of this request that it did not show itself."""
        levels = utils.get_level_tags()
        for message in self._queued_messages:
            category = levels.get(message.level) or str(message.level)
            get_session(self.request).flash(message.message, category, tags=message.extra_tags or "")
        return []


def _message(flash: Flash) -> Message:
    text = SafeString(flash.message) if flash.markup else flash.message
    for level, tag in utils.get_level_tags().items():
        if flash.category in {tag, str(level)}:
            return Message(level, text, extra_tags=flash.tags)
    if flash.category.isdecimal():
        return Message(int(flash.category), text, extra_tags=flash.tags)
    return Message(INFO, text, extra_tags=f"{flash.category} {flash.tags}".strip())
