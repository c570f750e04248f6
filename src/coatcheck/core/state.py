"""What is known of a request's session, and what its handler wants of it.

`Session` is the application's view of it; the flows carry it out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coatcheck.config import Settings
from coatcheck.core.calls import Held
from coatcheck.core.intentions import NOTHING_WANTED, Read, Sent, Wanted
from coatcheck.errors import DecodeError, NotStorable, RequestOver, StoreError, TooLarge
from coatcheck.http.cookie import CookieTemplate
from coatcheck.http.token import Token
from coatcheck.model import codec
from coatcheck.model.fields import FLASH, PRIVATE, Flash, flash_from
from coatcheck.model.merges import MergeRule
from coatcheck.model.record import NO_FIELDS, Edit, Record, SignIn

__all__ = [
    "HEAD_HAS_LEFT",
    "NOTHING_WANTED",
    "Sent",
    "State",
    "Status",
    "Wanted",
    "check_name",
    "check_size",
    "clear_fields",
    "encode_field",
    "flashes_in",
    "has_field",
    "is_text",
    "names_in",
    "read_field",
    "remove_field",
    "set_default",
    "write_field",
]

_NOT_READ: Any = object()
HEAD_HAS_LEFT = (
    "The session needs a new cookie, and the head of its response has left. Put something into a new session, sign in or "
    "rotate before that: while an HTTP request runs, or in a websocket before it is accepted. A socket that is open can "
    "only ask the page to do it by a request of its own (fetch), and to connect again."
)


class Status(enum.Enum):
    """The status of a request's session."""

    UNLOADED = "unloaded"
    NEW = "new"  # no record, or none that counts: what is put in goes to a new one
    LIVE = "live"
    LATE = "late"  # it came with a session that has just ended or got a new secret: what is put in is dropped
    OUTAGE = "outage"  # the store failed, and the policy is "anonymous": what is put in is dropped


class State:
    """What is known of a request's session, and what the handler wants of it."""

    # Every request that looks at its session makes one of these: what it starts with stands in the class, and only
    # what differs in the instance.
    ready: bool = False
    looked_at: bool = False
    used: bool = False  # more than its times was looked at
    path: str = ""  # within the application; known where the outage policy depends on it
    failure: StoreError | None = None
    met: StoreError | None = (
        None  # the failure that the handler was told of: a 500 that it answers is really a 503
    )
    doubt: StoreError | None = None  # edits were sent, and may be stored
    status: Status = Status.UNLOADED
    tokens: tuple[Token, ...] = ()
    adopted: Token | None = None  # of a session of another library, which the request came with
    old_ended: bool = False  # the sessions of another library that it came with are ended
    refused: bool = False
    former: tuple[CookieTemplate, ...] = ()  # the former cookies of the site that came with a token of ours
    by_former: bool = False  # no token came under the cookie's own name
    crowded: bool = False
    acted: bool = False  # the handler signed in, rotated, destroyed, …: more than fields may have changed
    mutable_reads: bool = False  # a value was handed out that the application may change inside
    ended_own: bool = False
    ended: bool = False  # a session that it came with had ended before
    restarted: bool = False  # the handler ended its session: what follows belongs to a new one
    implied: bool = False  # the sign-in is one that the identity field implies
    detached: bool = False
    competing: tuple[Held, ...] = ()  # live sessions that came together, so that none was taken
    to_destroy: tuple[Held, ...] = ()
    cookie_set: Token | None = None
    cookie_cleared: bool = False
    held: Held | None = None
    record: Record | None = None
    token: Token | None = None
    cleared: bool = False
    permanent: bool | None = None
    limits: tuple[int, int] | None = None
    sign_in: SignIn | None = None
    rotate: int = 0
    generation: int = 0
    flashes: int = 0
    selector: bytes | None = None  # the key of the next new record, if it has been told already
    create: bool = False  # a record is wanted, also without a field
    turn: Any = None  # serialises commits of this session; created on first use
    head_sent: bool = False
    over: bool = False  # the request has ended: nothing stores a change any more
    began: bool = False  # the record was made by this request
    failed: bool = False  # the handler raised: nothing but endings and explicit saves is stored
    owner: Any = None  # the manager that opened the session
    loop: Any = None  # the event loop of an async manager, to which the threads of its request turn

    def __init__(
        self, cookies: bytes, client: str, load: Callable[[State], None], settings: Settings
    ) -> None:
        self.cookies = cookies
        self.client = client
        self.load = load
        self.settings = settings
        self.values: dict[str, Any] = {}  # decoded or assigned
        self.reads: dict[str, Read] = {}
        # What was stored under a field that was assigned without being read, or found absent: take, save and maintenance
        # bring the record up to date, and the assignment still began with this.
        self.before: dict[str, bytes | None] = {}
        self.changes: dict[str, bytes | None] = {}  # assigned (bytes) or removed (None)

    def __repr__(self) -> str:
        return f"<State {self.status.value}>"

    def hold(self, token: Token | None, held: Held) -> None:
        """The record that the request holds, from now on."""
        assert isinstance(held.state, Record)
        self.token, self.held, self.record = token, held, held.state
        self.status = Status.LIVE
        self.ready = True

    def blank(self) -> None:
        """Forget the record, what was read of it, and every intention about it."""
        self.held = None
        self.record = None
        self.token = None
        self.values = {}
        self.reads = {}
        self.before = {}
        self.changes = {}
        self.cleared = False
        self.permanent = None
        self.limits = None
        self.sign_in = None
        self.rotate = 0
        self.create = False
        self.doubt = None
        self.generation += 1

    def lose(self) -> None:
        """Forget the session, which another request has ended or given another secret. No cookie goes out."""
        self.blank()
        self.status = Status.LATE
        self.cookie_set, self.cookie_cleared = None, False

    def sent(self) -> Sent:
        """The intentions as they are about to be sent to the store, without the bytes of the fields."""
        return Sent(
            generation=self.generation,
            changes=self.changes,
            recorded=self.changes.copy(),
            fields={},
            permanent=self.permanent,
            limits=self.limits,
            sign_in=self.sign_in,
            rotate=self.rotate,
        )

    def sent_nothing(self) -> Sent:
        """What maintenance sends: none of the intentions."""
        return Sent(self.generation, {}, {}, {}, None, None, None, 0)

    def settled(self, sent: Sent) -> None:
        """Forget the intentions that were sent: they are carried out.

        What another thread or task of the request wanted since then stays. What was sent is the base of what comes next.
        """
        if self.changes is sent.changes:
            for name, data in sent.fields.items():
                same = self.changes.get(name) is sent.recorded.get(name)
                self.reads[name] = Read(self.values.get(name) if same else _NOT_READ, data, data)
            for name, change in sent.recorded.items():
                if change is None:
                    self.reads.pop(name, None)
                    self.before.pop(name, None)
                wanted = self.changes.pop(name, change)
                if wanted is not change:
                    # It was set again since then; and if it was at this very moment, that counts.
                    self.changes.setdefault(name, wanted)
            self.cleared = False
        if self.permanent == sent.permanent:
            self.permanent = None
        if self.limits == sent.limits:
            self.limits = None
        if self.sign_in is sent.sign_in:
            self.sign_in = None
        self.rotate -= sent.rotate

    @property
    def base(self) -> Mapping[str, bytes]:
        """The stored fields, as far as this request did not clear them."""
        return NO_FIELDS if self.record is None or self.cleared else self.record.fields

    def began_with(self, name: str) -> bytes | None:
        """What was stored under a field when the request first read, assigned or missed it."""
        read = self.reads.get(name)
        return self.before.get(name, self.base.get(name)) if read is None else read.stored

    def wanted(self, rules: Mapping[str, MergeRule], names: Sequence[str] | None = None) -> Wanted:
        """What is wanted of the fields; with `names`, what is set of these alone.

        Each mutable value that was read or assigned is encoded here, which is how a change deep inside is found.

        Raises:
            NotStorable: Something that can't be stored was put into a nested value.
        """
        changes, reads = self.changes, self.reads
        base = NO_FIELDS if self.record is None or self.cleared else self.record.fields
        setting: dict[str, bytes] = {}
        edits: dict[str, Edit] = {}
        removing: list[str] = []
        for name, data in list(changes.items()):
            if data is None and name in base:
                removing.append(name)
        for name, value in list(self.values.items()):
            if names is not None and name not in names:
                continue
            assigned, read = changes.get(name), reads.get(name)
            data = assigned
            if type(value) not in codec.IMMUTABLE:
                data = encode_field(name, value)
            elif data is None:
                continue
            before = self.before.get(name, base.get(name)) if read is None else read.stored
            if data == before or (
                assigned is None
                and read is not None
                and len(data) == len(read.base)  # else it has changed, and need not be encoded once more
                and codec.same_value(read.base, data)
            ):
                continue
            rule = rules.get(name)
            if rule is not None:
                edits[name] = Edit(data, before if read is None else read.base, before, rule)
            elif (
                read is not None
                and read.value is value
                and name[:1] != PRIVATE
                and name != self.settings.identity_field
            ):
                edits[name] = Edit(data, read.base, read.stored)
            else:
                setting[name] = data
        return Wanted(setting, edits, frozenset(removing))


def check_name(name: object) -> None:
    """Refuse a field's name that the application must not use, or that can't be stored.

    Raises:
        NotStorable: It is no str, no text, or begins with what marks our own fields.
    """
    if not isinstance(name, str):
        raise NotStorable(f"the keys of a session are str, not {type(name).__name__}")
    if name.startswith(PRIVATE):
        raise NotStorable(r"the keys of a session must not begin with '\0'", field=name)
    if not name.isascii() and not is_text(name):
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
        where = (
            "this message" if name.startswith(FLASH) else f"session[{name!r}]{codec.path_to_refused(value)}"
        )
        raise NotStorable(f"{where}: {error}", field=name) from error


def has_field(state: State, name: str) -> bool:
    """Whether there is such a field, as this request sees it."""
    if name in state.changes:
        return state.changes[name] is not None
    return name in state.base


def names_in(state: State) -> list[str]:
    """The names of the fields as this request sees them, private ones included."""
    changes = state.changes
    names = [name for name in state.base if changes.get(name, b"") is not None]
    return names + [
        name for name, data in list(changes.items()) if data is not None and name not in state.base
    ]


def read_field(state: State, name: str) -> Any:
    """The value of a field, decoded once; KeyError where there is none."""
    change = state.changes.get(name, _NOT_READ)
    if change is None:
        raise KeyError(name)
    data = b""
    if change is _NOT_READ:
        if state.record is None or state.cleared:
            raise KeyError(name)
        stored = state.record.fields.get(name)
        if stored is None:
            state.before.setdefault(name, None)
            raise KeyError(name)
        data = stored
    value = state.values.get(name, _NOT_READ)
    if value is not _NOT_READ:
        return value
    try:
        value = codec.decode(data)
    except DecodeError as error:
        raise DecodeError(f"session[{name!r}]: {error}", field=name) from error
    # Two threads that read at once must get the same object, or one's nested change would be lost. What was read comes
    # first, so that no value is seen without it.
    read = state.reads.setdefault(name, Read(value, data, data))
    if type(value) not in codec.IMMUTABLE:
        state.mutable_reads = True
    return state.values.setdefault(name, read.value)


def write_field(state: State, name: str, value: Any) -> None:
    """Record a field's new value; an error where it can't be stored, or the request is over."""
    if state.over:
        raise RequestOver
    try:
        data = codec.encode(value)
    except NotStorable:
        data = encode_field(name, value)  # the same error, with the field's name
    if len(data) + len(name) > state.settings.max_bytes:
        check_size(name, data, state.settings.max_bytes)
    record = state.record
    state.before.setdefault(name, None if record is None or state.cleared else record.fields.get(name))
    state.values[name] = value
    state.changes[name] = data
    if type(value) not in codec.IMMUTABLE:
        state.mutable_reads = True


def set_default(state: State, name: str, default: Any) -> Any:
    """The value of a field; where there is none, `default` is put in. Edits of it are merged as if it had been read."""
    if has_field(state, name):
        return read_field(state, name)
    write_field(state, name, default)
    data = state.changes[name]
    if data is not None and name not in state.base:
        state.reads[name] = Read(default, data, None)
    return default


def flashes_in(state: State, category: str | None) -> list[tuple[str, Flash]]:
    """The waiting messages, each with its field's name, the oldest first; with a `category`, those alone."""
    flashes = [
        (name, flash_from(read_field(state, name)))
        for name in sorted(names_in(state))
        if name.startswith(FLASH)
    ]
    return [each for each in flashes if category is None or each[1].category == category]


def remove_field(state: State, name: str) -> None:
    """Record that the field is to go."""
    if state.over:
        raise RequestOver
    state.changes[name] = None
    state.values.pop(name, None)


def clear_fields(state: State) -> None:
    """Record that every field is to go."""
    state.values, state.reads, state.before, state.changes = {}, {}, {}, {}
    state.acted = True
    state.cleared = state.cleared or (state.record is not None and bool(state.record.fields))
