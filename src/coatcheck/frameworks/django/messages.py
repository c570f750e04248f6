"""Django's messages on our flash messages: each is shown once, by whichever framework shows it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.messages import INFO, utils
from django.contrib.messages.storage.base import BaseStorage, Message
from django.utils.safestring import SafeString

from coatcheck.frameworks.django.engine import get_session, refuse_loop
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
        refuse_loop()
        session = get_session(self.request)
        taken: list[Flash] = [] if self.used else session.sessions.take_flashes(session)
        self._loaded_data = [
            *(self._loaded_data if self.used else map(_message, taken)),
            *self._queued_messages,
        ]
        self._queued_messages, self.used = [], True
        return iter(self._loaded_data)

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
    levels = {tag: level for level, tag in utils.get_level_tags().items()}
    text = SafeString(flash.message) if flash.markup else flash.message
    level, tags = levels.get(flash.category), flash.tags
    if level is None and flash.category.isdecimal():
        level = int(flash.category)
    elif level is None:
        level, tags = INFO, f"{flash.category} {tags}".strip()
    return Message(level, text, extra_tags=tags)
