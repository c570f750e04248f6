"""Adoption: the record that is made of an old session, and what stays behind."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from coatcheck.config import Settings
from coatcheck.core.identity import client_of, named_in
from coatcheck.core.old_sessions import Old
from coatcheck.core.state import State, check_name
from coatcheck.errors import NotStorable
from coatcheck.http.token import Token
from coatcheck.model import codec
from coatcheck.model.fields import FLASH, stored_flash
from coatcheck.model.format import encode
from coatcheck.model.lifetimes import LONGEST_COOKIE, milliseconds
from coatcheck.model.ports import REVISION_BYTES
from coatcheck.model.record import MARK_BYTES, Record

__all__ = ["Adoption"]

_A_MESSAGE = "a message"
_NAMES_TOLD = 20
_LONGEST_NAME = 40


class Adoption:
    """What becomes of an old session.

    Attributes:
        record: The record that is made of it. The derived token has its previous secret, as after a periodic rotation.
        lost: The names of what stays behind.
    """

    __slots__ = ("_settings", "lost", "record")

    def __init__(
        self,
        state: State,
        token: Token,
        old: Old,
        now: int,
        settings: Settings,
        random: Callable[[int], bytes],
    ) -> None:
        self._settings = settings
        self.lost: list[str] = list(old.lost)
        own_idle, own_absolute = self._limits_of(old)
        idle, absolute = settings.lifetimes.limits(
            permanent=old.permanent, idle=own_idle, absolute=own_absolute
        )
        self.record: Record = Record(
            key=token.key,
            secret_hash=settings.ring.successor(token).secret_hash,
            secret_at=now,
            created=now,
            last_used=now,
            expires=now + min(idle, absolute),
            mark=random(MARK_BYTES),
            permanent=old.permanent,
            previous=token.secret_hash,
            idle=own_idle,
            absolute=own_absolute,
            covered=settings.lifetimes.longest(own_absolute),
            fields=self._fields_of(old, now),
        )
        user = None
        try:
            user = named_in(self.record, settings)
        except Exception:  # noqa: BLE001 - the application's function may raise anything about an old value
            self.lost.append(f"the user in {settings.identity_field}")
        if user is not None:
            self.record = replace(self.record, user=user, client=client_of(state), signed_in=now)
        self._fit()

    def reason(self, name: str) -> str:
        """The reason of the event: where it came from, and what stayed behind. A client may have chosen those names."""
        if not self.lost:
            return f"from {name}"
        names = sorted(self.lost)
        shown = [(each if each.isprintable() else ascii(each)[1:-1])[:_LONGEST_NAME] for each in names]
        more = len(shown) - _NAMES_TOLD
        told = ", ".join(shown[:_NAMES_TOLD]) + (f", and {more} more" if more > 0 else "")
        return f"from {name}; not carried over: {told}"

    def _limits_of(self, old: Old) -> tuple[int, int]:
        """The idle and the absolute limit that the record has of its own (ms); 0: none."""
        usual_idle, usual_absolute = self._settings.lifetimes.limits(permanent=old.permanent)
        idle, rest, longest_idle = [
            0 if span is None else max(1, milliseconds(span))
            for span in (old.idle, old.rest, old.longest_idle)
        ]
        if not idle and 0 < longest_idle < usual_idle:
            idle = longest_idle
        if old.exceeds:
            if not rest and idle > usual_absolute:
                rest = idle
            longest = milliseconds(LONGEST_COOKIE)
        else:
            longest = usual_absolute
        return min(idle, rest or usual_absolute, longest), min(rest, longest)

    def _fields_of(self, old: Old, now: int) -> dict[str, bytes]:
        fields: dict[str, bytes] = {}
        for name, value in old.fields.items():
            try:
                check_name(name)
                fields[name] = codec.encode(value)
            except NotStorable:
                is_text = isinstance(name, str)
                self.lost.append(name if is_text else f"a field with a {type(name).__name__} as its name")
        for number, flash in enumerate(old.flashes[-self._settings.max_flashes :]):
            try:
                data = codec.encode(stored_flash(flash))
            except NotStorable:
                self.lost.append(_A_MESSAGE)
            else:
                fields[f"{FLASH}{now:012x}{number:04x}{'0' * 8}"] = data
        return fields

    def _fit(self) -> None:
        """Drop the largest fields until the record is small enough."""
        fields, most = dict(self.record.fields), self._settings.max_bytes
        # Dropped from the end: the largest first, and the one that names the user last of all.
        order = sorted(fields, key=lambda name: (name != self._settings.identity_field, len(fields[name])))
        while order and (excess := len(encode(self.record, bytes(REVISION_BYTES))) - most) > 0:
            while order and excess > 0:
                name = order.pop()
                excess -= len(name.encode()) + len(fields.pop(name))
                self.lost.append(_A_MESSAGE if name.startswith(FLASH) else name)
            self.record = replace(self.record, fields=dict(fields))
