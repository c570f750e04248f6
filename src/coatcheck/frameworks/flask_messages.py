"""What Flask's and Quart's own functions expect of a session: ``_flashes``, ``modified``, ``new``, ``accessed``."""

from __future__ import annotations

from typing import Any

from flask.sessions import SessionMixin
from markupsafe import Markup

from coatcheck.core.state import State, names_in, remove_field
from coatcheck.model.fields import FLASH
from coatcheck.session import Flash, Session

__all__ = ["FLASHES", "MessageFields", "shown"]

FLASHES = "_flashes"


class MessageFields(Session, SessionMixin):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A `Session` that keeps each flashed message in a field of its own.

    `flash` and `get_flashed_messages` keep their list under ``_flashes``; here that name stands for the messages, so that
    those of parallel requests all stay.
    """

    accessed = False
    """Set by Flask; what counts for the headers is whether the session was looked at."""

    _waiting: list[tuple[str, Any]] | None = None
    """The messages as Flask has them, kept so that n messages in a request cost O(n)."""
    _waiting_as_of: tuple[int, object, object] = (0, None, None)
    """`_as_of` the state they were made of. While that is the same, no message has come or gone."""

    _marked = False

    @property
    def modified(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether this request has set something, or was told so. Edits inside a value are found without it."""
        state = self._state
        return self._marked or (state is not None and bool(state.changes or state.acted))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._marked = bool(value)

    @property
    def new(self) -> bool:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether nothing is stored for this visitor yet."""
        return self.is_new

    def __getitem__(self, name: str) -> Any:
        """A field's value; under ``_flashes``, the messages that wait."""
        if name != FLASHES:
            return super().__getitem__(name)
        waiting = self._messages()
        if not waiting:
            raise KeyError(name)
        return waiting.copy()

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a field; under ``_flashes``, add what is new in the list, or put the list in place of what waits."""
        if name != FLASHES:
            super().__setitem__(name, value)
            return
        waiting, messages = self._messages(), list(value)
        if messages[: len(waiting)] == waiting:
            messages = messages[len(waiting) :]
        else:
            self.pop(FLASHES, None)
        for category, message in messages:
            self.flash(message, category)

    def __delitem__(self, name: str) -> None:
        """Remove a field; under ``_flashes``, every message that waits."""
        if name != FLASHES:
            super().__delitem__(name)
            return
        state = self._look()
        for field in names_in(state):
            if field.startswith(FLASH):
                remove_field(state, field)
        state.flashes += 1

    def __contains__(self, name: object) -> bool:
        """Whether there is such a field; under ``_flashes``, whether a message waits."""
        if name != FLASHES:
            return super().__contains__(name)
        return bool(self.peek_flashes())

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a field and return its value; under ``_flashes``, the messages that wait."""
        if name != FLASHES:
            return super().pop(name, *default)
        taken = self._messages().copy()
        del self[FLASHES]
        return taken or (default[0] if default else [])

    def flash(self, message: Any, category: str = "message", *, tags: str = "") -> None:
        """Leave a message; markup stays markup, a lazily translated text becomes the text that it is now."""
        markup = hasattr(message, "__html__")
        if not markup and not _is_plain(message):
            message = str(message)
        waiting = self._messages()
        super().flash(message, category, tags=tags)
        waiting.append(shown(Flash(category, str(message.__html__()) if markup else message, markup)))
        self._waiting_as_of = _as_of(self._look())

    def _messages(self) -> list[tuple[str, Any]]:
        """The messages that wait, as Flask has them. The list is the session's own."""
        as_of, before = _as_of(self._look()), self._waiting_as_of
        if (
            self._waiting is None
            or as_of[0] != before[0]
            or as_of[1] is not before[1]
            or as_of[2] is not before[2]
        ):
            self._waiting, self._waiting_as_of = [shown(flash) for flash in self.peek_flashes()], as_of
        return self._waiting


_PLAIN = (int, float, bytes, list, dict, tuple, set, frozenset, type(None))


def _is_plain(message: object) -> bool:
    return type(message) is str or (not isinstance(message, str) and isinstance(message, _PLAIN))


def _as_of(state: State) -> tuple[int, object, object]:
    """Parts of the state of which at least one changes whenever a message comes or goes."""
    return state.flashes, state.record, state.changes


def shown(flash: Flash) -> tuple[str, Any]:
    """A message as Flask has it: category first, markup as `Markup`."""
    message = flash.message
    return flash.category, Markup(message) if flash.markup else message  # noqa: S704 - it was markup when it was flashed
