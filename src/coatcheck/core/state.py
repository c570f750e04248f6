"""What is known of a request's session, and what its handler wants of it.

`Session` is the application's view of it; the flows carry it out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from coatcheck.errors import DecodeError, NotStorable, StoreError, TooLarge
from coatcheck.http.token import Token
from coatcheck.model import codec
from coatcheck.model.record import Record, SignIn

__all__ = [
    "CSRF",
    "FLASH",
    "PRIVATE",
    "Sent",
    "Standing",
    "State",
    "check_name",
    "check_size",
    "clear_fields",
    "encode_field",
    "has_field",
    "is_text",
    "names_in",
    "read_field",
    "remove_field",
    "write_field",
]

PRIVATE = "\x00"
"""Fields whose name begins with it are ours; the mapping does not show them."""
FLASH = PRIVATE + "flash:"
CSRF = PRIVATE + "csrf"
_NOT_READ: Any = object()
_NOTHING: frozenset[str] = frozenset()


class Standing(enum.Enum):
    """What a request's session is."""

    UNLOADED = "unloaded"
    NEW = "new"  # no record, or none that counts: what is put in goes to a new one
    LIVE = "live"
    LATE = "late"  # it came with a session that has just ended or got a new secret: what is put in is dropped
    OUTAGE = "outage"  # the store failed, and the policy is "anonymous": what is put in is dropped


class Sent(NamedTuple):
    """What was wanted when it was sent, to be told from what is wanted since.

    `life` tells whether the session was ended since, and `touched` itself whether everything was cleared.
    """

    life: int
    touched: dict[str, bytes | None]
    fields: dict[str, bytes | None]
    permanent: bool | None
    sign_in: SignIn | None
    rotate: int


class State:
    """What is known of a request's session, and what the handler wants of it."""

    # Every request that looks at its session makes one of these: what it starts with stands in the class, and only
    # what differs in the instance.
    ready = False
    looked_at = False
    path = ""  # within the application; known where the outage policy depends on it
    failure: StoreError | None = None
    met: StoreError | None = None  # what the handler was told of: a 500 that it answers is really a 503
    standing = Standing.UNLOADED
    presented: tuple[Token, ...] = ()
    refused = False
    ended_presented = False
    detached = False
    rivals: tuple[bytes, ...] = ()
    doomed: tuple[Record, ...] = ()
    cookie_set: Token | None = None
    cookie_cleared = False
    record: Record | None = None
    token: Token | None = None
    cleared: bool = False
    permanent: bool | None = None
    sign_in: SignIn | None = None
    rotate: int = 0
    life: int = 0
    turn: Any = (
        None  # what its tasks, or threads, wait for that store at the same time; made when first needed
    )

    def __init__(
        self,
        cookies: bytes,
        client: str,
        load: Callable[[State], None] | None,
        now: Callable[[], int],
        random: Callable[[int], bytes],
        max_bytes: int,
    ) -> None:
        self.cookies = cookies
        self.client = client
        self.load = load
        self.now = now
        self.random = random
        self.max_bytes = max_bytes
        self.values: dict[str, Any] = {}
        self.touched: dict[str, bytes | None] = {}

    def blank(self) -> None:
        """Forget the record, what was read of it, and every intention about it."""
        self.record = None
        self.token = None
        self.values = {}
        self.touched = {}
        self.cleared = False
        self.permanent = None
        self.sign_in = None
        self.rotate = 0
        self.life += 1

    def sent(self) -> Sent:
        """The intentions as they are sent to the store."""
        return Sent(
            life=self.life,
            touched=self.touched,
            fields=self.touched.copy(),
            permanent=self.permanent,
            sign_in=self.sign_in,
            rotate=self.rotate,
        )

    def sent_nothing(self, life: int) -> Sent:
        """What upkeep sends: none of the intentions."""
        return Sent(life=life, touched={}, fields={}, permanent=None, sign_in=None, rotate=0)

    def settled(self, sent: Sent) -> None:
        """Forget the intentions that were sent: they are carried out.

        What another thread or task of the request wanted since then stays. So does what was read, so that it can
        change again.
        """
        if self.touched is sent.touched:
            for name, data in sent.fields.items():
                wanted = self.touched.pop(name, data)
                if wanted is not data:
                    # It was set again since then; and if it was at this very moment, that counts.
                    self.touched.setdefault(name, wanted)
            self.cleared = False
        if self.permanent == sent.permanent:
            self.permanent = None
        if self.sign_in is sent.sign_in:
            self.sign_in = None
        self.rotate -= sent.rotate

    @property
    def base(self) -> Mapping[str, bytes]:
        """The stored fields, as far as this request did not clear them."""
        return {} if self.record is None or self.cleared else self.record.fields

    def is_as_stored(self) -> bool:
        """Whether nothing is wanted of it, and every value that was read is as it was. False may be wrong."""
        if (
            self.touched
            or self.doomed
            or self.cleared
            or self.rotate
            or self.sign_in is not None
            or self.permanent is not None
        ):
            return False
        for name, value in self.values.copy().items():
            if codec.is_mutable(value) and encode_field(name, value) != self.base.get(name):
                return False
        return True

    def changes(self) -> tuple[dict[str, bytes], frozenset[str]]:
        """The fields to set, each with its bytes, and those to remove.

        Every mutable value that was read or set is encoded again, which is how a change deep inside is found.

        Raises:
            NotStorable: Something that can't be stored was put into a nested value.
        """
        touched = self._encoded_anew()
        if not touched:
            return {}, _NOTHING
        base = self.base
        setting: dict[str, bytes] = {}
        removing: list[str] = []
        for name, data in touched.items():
            stored = base.get(name)
            if data is None:
                if stored is not None:
                    removing.append(name)
            elif stored is None or (stored != data and not codec.same_value(stored, data)):
                setting[name] = data
        return setting, frozenset(removing) if removing else _NOTHING

    def assigned(self) -> dict[str, bytes]:
        """What a record that starts afresh gets: the fields that this request set, were they the same as before."""
        again = {name: data for name, data in self._encoded_anew().items() if data is not None}
        setting, _ = self.changes()
        return {name: data for name, data in again.items() if name in self.touched or name in setting}

    def _encoded_anew(self) -> dict[str, bytes | None]:
        touched = dict(self.touched)
        for name, value in self.values.copy().items():
            if codec.is_mutable(value) and touched.get(name, b"") is not None:
                touched[name] = encode_field(name, value)
        return touched


def check_name(name: object) -> None:
    """Refuse a field's name that the application must not use, or that can't be stored.

    Raises:
        NotStorable: It is no str, no text, or begins with what marks our own fields.
    """
    if not isinstance(name, str):
        raise NotStorable(f"the keys of a session are str, not {type(name).__name__}")
    if name.startswith(PRIVATE):
        raise NotStorable(r"the keys of a session must not begin with '\0'", field=name)
    if not is_text(name):
        raise NotStorable("a key with a lone surrogate is not text, and can't be stored")


def is_text(text: str) -> bool:
    """Whether `text` can be encoded: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_size(name: str, data: bytes, limit: int) -> None:
    """Refuse a field that is alone too large for a session.

    Raises:
        TooLarge: It has more than `limit` bytes.
    """
    if len(data) + len(name) > limit:
        raise TooLarge(
            f"session[{name!r}] has {len(data)} bytes; a whole session may have {limit} (max_bytes).",
            size=len(data),
            limit=limit,
        )


def encode_field(name: str, value: object) -> bytes:
    """The bytes of a field's value; the error names the field."""
    try:
        return codec.encode(value)
    except NotStorable as error:
        where = "this message" if name.startswith(FLASH) else f"session[{name!r}]"
        raise NotStorable(f"{where}: {error}", field=name) from error


def has_field(state: State, name: str) -> bool:
    """Whether there is such a field, as this request sees it."""
    if name in state.touched:
        return state.touched[name] is not None
    return name in state.base


def names_in(state: State) -> list[str]:
    """The names of the fields as this request sees them, private ones included."""
    touched = state.touched
    names = [name for name in state.base if touched.get(name, b"") is not None]
    return names + [
        name for name, data in list(touched.items()) if data is not None and name not in state.base
    ]


def read_field(state: State, name: str) -> Any:
    """The value of a field, decoded once; KeyError where there is none."""
    if state.touched.get(name, b"") is None:
        raise KeyError(name)
    value = state.values.get(name, _NOT_READ)
    if value is not _NOT_READ:
        return value
    if state.record is None or state.cleared:
        raise KeyError(name)
    data = state.record.fields[name]
    try:
        value = codec.decode(data)
    except DecodeError as error:
        raise DecodeError(f"session[{name!r}]: {error}", field=name) from error
    # Two threads that read at once must get the same object, or one's nested change would be lost.
    return state.values.setdefault(name, value)


def write_field(state: State, name: str, value: Any) -> None:
    """Record a field's new value; an error where it can't be stored."""
    data = encode_field(name, value)
    check_size(name, data, state.max_bytes)
    state.values[name] = value
    state.touched[name] = data


def remove_field(state: State, name: str) -> None:
    """Record that the field is to go."""
    state.touched[name] = None
    state.values.pop(name, None)


def clear_fields(state: State) -> None:
    """Record that every field is to go."""
    state.values, state.touched = {}, {}
    state.cleared = state.cleared or (state.record is not None and bool(state.record.fields))
