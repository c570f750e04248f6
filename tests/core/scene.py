"""What the tests of the core set up: settings, records, tokens, one request driven by hand, and several on a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from coatcheck.config import Settings
from coatcheck.core.admin import Admin
from coatcheck.core.calls import Apply, Call, Done, Held, Load, Writes, for_each
from coatcheck.core.requests import Requests
from coatcheck.core.state import State, Status
from coatcheck.core.swap import NOTHING, Swap, held_of
from coatcheck.core.users import Users
from coatcheck.errors import StoreError
from coatcheck.events import Event
from coatcheck.http.token import Ring, Token
from coatcheck.model import codec
from coatcheck.model.format import encode
from coatcheck.model.ports import Entry, Found
from coatcheck.model.record import Applied, Create, Destroy, Holder, Record, Tombstone, Unreadable, settle
from coatcheck.outages import Outages
from coatcheck.runner import Runner
from coatcheck.session import Session
from coatcheck.stores.memory import MemoryStore

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOW = 2_000_000_000_000
NEW_SECRET = "UO7FIbsY7qm0bSo0bmE_pwa_v-MIgKEKFQtQT5DIGU8"
OLD_SECRET = "RiOlLkO9qgYpTzp307H5hzL-47uiiUJ_CGQJMOqsl5I"


def make_settings(**options) -> Settings:
    return Settings(**{"secret": NEW_SECRET, **options})


SETTINGS = make_settings()
ROTATING = make_settings(rotate_every=timedelta(hours=2), rotation_grace=timedelta(minutes=1))


def a_token(key=1, secret=1, *, current=True) -> Token:
    return Token(bytes([key]) * 16, bytes([secret]) * 32, current=current)


def a_record(
    token: Token | None = None, *, settings: Settings = SETTINGS, fields=None, **bookkeeping
) -> Record:
    """A record of `token`, just created and used unless `bookkeeping` says otherwise; `fields` as plain values."""
    token = token or a_token()
    created = bookkeeping.pop("created", NOW)
    record = {
        "key": token.key,
        "secret_hash": token.secret_hash,
        "secret_at": created,
        "created": created,
        "last_used": bookkeeping.get("last_used", created),
        "permanent": False,
        "signed_in": 0,
        "fields": {name: codec.encode(value) for name, value in (fields or {}).items()},
        **bookkeeping,
    }
    idle, absolute = settings.lifetimes.limits(
        permanent=record["permanent"], idle=record.get("idle", 0), absolute=record.get("absolute", 0)
    )
    record.setdefault("expires", min(record["last_used"] + idle, (record["signed_in"] or created) + absolute))
    return Record(**record)


def packed(**fields):
    return {name: codec.encode(value) for name, value in fields.items()}


_revisions = iter(range(1, 1 << 62))


def found(state: Record | Tombstone | Unreadable | None) -> Found | None:
    """`state` as a store gives it back, in a version of its own."""
    if state is None:
        return None
    revision = next(_revisions).to_bytes(8, "big")
    data = revision + b"damaged" if isinstance(state, Unreadable) else encode(state, revision)
    return Found(data, revision)


def held(state: Record | Tombstone | Unreadable | None) -> Held:
    """`state` as a request holds it that has loaded it."""
    return NOTHING if state is None else Held(found(state), state)


class Dice:
    """Gives other bytes at every call, and notes how many were asked for. Can be made to repeat itself."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.next: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.asked.append(size)
        if self.next:
            return self.next.pop(0)
        # The first are easy to name; none repeats itself, as no revision or key may.
        number = len(self.asked)
        return bytes([0x80 + number]) * size if number < 0x80 else number.to_bytes(size, "big")


class Scene:
    """One request: its state, its session, and the flows of its manager."""

    def __init__(self, settings: Settings = SETTINGS, index: str = "within", random=None) -> None:
        self.settings = settings
        self.dice = random or Dice()
        self.users = Users(settings, index, self.dice)
        self.requests = Requests(settings, self.users, self.dice)
        self.admin = Admin(settings, self.users, self.requests, self.dice)
        self.state = self.a_state(b"")
        self.session = Session(lambda _: self.state)

    def a_state(self, cookies: bytes) -> State:
        return State(cookies, "Browser/1.0", None, replace(self.settings, clock=lambda: NOW / 1000))

    def comes_with(self, *tokens: Token | bytes, secret=None) -> Scene:
        """Let the request come with these cookies of our name."""
        ring = self.settings.ring if secret is None else Ring(secret, purpose=self.settings.template.name)
        values = [ring.sign(token).encode() if isinstance(token, Token) else token for token in tokens]
        name = self.settings.cookie_name
        self.state.cookies = b"; ".join(name + b"=" + value for value in values)
        return self

    def holds(self, record: Record, token: Token | None = None) -> Scene:
        """Let the request be loaded, and hold `record` by `token`."""
        state = self.state
        token = token or a_token()
        state.tokens = (token,)
        state.hold(token, held(record))
        state.looked_at = state.used = True
        return self

    def is_in(self, status: Status, *tokens: Token) -> Scene:
        """Let the request be loaded, without a record."""
        state = self.state
        state.status, state.tokens = status, tokens
        state.ready = state.looked_at = state.used = True
        return self

    def edits(self, record: Record) -> Scene:
        """Let the session be held from outside a request."""
        self.holds(record)
        self.state.token, self.state.tokens, self.state.detached = None, (), True
        return self


class Played:
    """What a flow asked, told and returned."""

    def __init__(self, flow: Generator, answers: tuple, otherwise: Callable[[Call], object] | None) -> None:
        self.asked: list[Call] = []
        self.told: list[Event] = []
        self.result = None
        remaining = list(answers)
        step, sent = flow.send, None
        try:
            while True:
                wish = step(sent)
                step, sent = flow.send, None
                if isinstance(wish, Event):
                    self.told.append(wish)
                    continue
                self.asked.append(wish)
                assert remaining or otherwise, f"asked once more than expected: {wish}"
                sent = answered(wish, remaining.pop(0) if remaining else otherwise(wish))
                if isinstance(sent, StoreError) and isinstance(wish, Load | Writes):
                    sent = for_each(wish, sent)
                elif isinstance(sent, Exception):
                    step = flow.throw
        except StopIteration as stop:
            self.result = stop.value
        assert not remaining, "asked less than expected"

    @property
    def calls(self) -> list[str]:
        return [type(call).__name__ for call in self.asked]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def changes(self, at=0):
        """The changes of the call number `at`."""
        assert isinstance(self.asked[at], Apply)
        return list(self.asked[at].changes)


def answered(call: Call, answer):
    """An answer as a runner gives it: what lies under the keys of a `Load` as bytes, and a result of an `Apply` with
    what lies there since.
    """
    if isinstance(call, Load) and isinstance(answer, list):
        return [found(state) if not isinstance(state, Found | Exception) else state for state in answer]
    if isinstance(call, Apply) and isinstance(answer, list):
        return [
            done(change, known, result) if isinstance(result, Applied) else result
            for change, known, result in zip(call.changes, call.known, answer, strict=True)
        ]
    return answer


def done(change, known: Held | None, answer: Applied) -> Done:
    """`answer`, with what the change makes of what its caller knew."""
    settled = settle(None if known is None else known.state, change)
    state = settled.state or Tombstone(change.key, change.at)
    return Done(answer, held(state))


def play(flow: Generator, *answers, otherwise=None) -> Played:
    """Drive `flow`, answering what it asks with `answers`, one by one, then with what `otherwise` makes of it.

    An answer that is an exception is thrown in.
    """
    return Played(flow, answers, otherwise)


# Several requests on one store


class BesideStore(MemoryStore):
    """A store whose index lies apart from the records."""

    index = "beside"

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, bytes], Entry] = {}
        self.doubt: str | None = None

    def note(self, entries, now, deadline):
        for entry in entries:
            old = self.entries.get((entry.user, entry.key))
            if old is not None and old.signed_in > entry.signed_in:
                entry = old  # noqa: PLW2901
            self.entries[entry.user, entry.key] = entry

    def sessions_of(self, user, now, limit, after, deadline):
        rank = sorted(
            (-entry.signed_in, entry.key)
            for (of, _), entry in self.entries.items()
            if of == user and entry.until > now
        )
        start = None if after is None else (-after.signed_in, after.key)
        behind = [key for at, key in rank if start is None or (at, key) > start]
        return [self.entries[user, key] for key in islice(behind, limit)]

    def index_may_be_incomplete(self, deadline):
        return self.doubt

    def forget(self, entries, deadline):
        for entry in entries:
            if self.entries.get((entry.user, entry.key)) == entry:
                del self.entries[entry.user, entry.key]


class BareStore(MemoryStore):
    """A store without an index."""

    index = "none"


STORES = {"within": MemoryStore, "beside": BesideStore, "none": BareStore}


class World:
    """Flows that meet each other on one store, at one time: each can be stopped before a call."""

    def __init__(self, settings: Settings = SETTINGS, index: str = "within") -> None:
        self.settings = settings
        self.store = STORES[index]()
        self.now = NOW
        self.told: list[Event] = []
        self.dice = Dice()
        self.users = Users(settings, index, self.dice)
        self.requests = Requests(settings, self.users, self.dice)
        self.admin = Admin(settings, self.users, self.requests, self.dice)
        lifetimes = settings.lifetimes if index == "within" else None
        self.runner = Runner(
            self.store,
            Swap(self.dice, settings.max_bytes, lifetimes=lifetimes),
            60,
            self.told.append,
            Outages(self.store),
        )

    @property
    def deadline(self) -> float:
        return time.monotonic() + 60

    def run(self, flow: Generator):
        return self.runner.run(flow, self.now)

    def answer(self, call: Call):
        """The store's answer to one call."""

        def flow():
            return (yield call)

        return self.run(flow())

    def until(self, flow: Generator, call: type):
        """Run `flow` up to its next call of that class; what is left of it runs with `run`."""
        answer = None
        while True:
            wish = flow.send(answer)
            answer = None
            if isinstance(wish, call):
                return _left_of(flow, wish)
            if isinstance(wish, Event):
                self.told.append(wish)
            else:
                answer = self.answer(wish)

    def put(self, record: Record) -> Record:
        """Let `record` lie in the store, entered into the index as its sign-in would be."""

        def flow():
            (result,) = yield Apply([Create(record)], [None])
            assert isinstance(result, Done), result
            if record.user is not None:
                return (yield from self.users.entered(result.held, self.now))
            return result.held

        return self.run(flow()).state

    def state_of(self, key: bytes):
        """What lies under a key, epochs aside."""
        (data,) = self.store.load([key], self.now, self.deadline)
        return held_of(key, data).state

    def counts(self, record: Record):
        """What a request finds under the record's key."""

        def flow():
            (data,) = yield Load([record.key])
            return (yield from self.users.judged([held_of(record.key, data)]))

        return self.run(flow())[0].state

    def request(self, *tokens: Token) -> Visit:
        """A request with these cookies, loaded."""
        return Visit(self, *tokens)

    def kinds(self):
        return [event.kind for event in self.told]


def _left_of(flow: Generator, wish):
    try:
        while True:
            try:
                answer = yield wish
            except Exception as error:  # noqa: BLE001 - the flow's to handle
                failed = isinstance(wish, Load | Writes)
                wish = flow.send(for_each(wish, error)) if failed else flow.throw(error)
            else:
                wish = flow.send(answer)
    except StopIteration as stop:
        return stop.value


class Visit:
    """One request in a world."""

    def __init__(self, world: World, *tokens: Token) -> None:
        self.world = world
        scene = Scene(world.settings, world.store.index, world.dice).comes_with(*tokens)
        self.state, self.session = scene.state, scene.session
        world.run(world.requests.load(self.state, world.now))
        self.state.looked_at = self.state.used = True

    def closing(self, *, failed=False, head_sent=False) -> Generator:
        return self.world.requests.close(self.state, self.world.now, failed=failed, head_sent=head_sent)

    def close(self, **how):
        """The response's outcome."""
        return self.world.run(self.closing(**how))

    def save(self):
        return self.world.run(self.world.requests.save(self.state, self.world.now, head_sent=False))

    @property
    def token(self) -> Token | None:
        return self.state.token


# One request, driven by hand


def load(scene, *answers, now=NOW):
    return play(scene.requests.load(scene.state, now), *answers)


def close(scene, *answers, now=NOW, failed=False, head_sent=False, otherwise=None):
    flow = scene.requests.close(scene.state, now, failed=failed, head_sent=head_sent)
    return play(flow, *answers, otherwise=otherwise)


def save(scene, *answers, now=NOW, head_sent=False):
    return play(scene.requests.save(scene.state, now, head_sent=head_sent), *answers)


def take(scene, names, *answers, now=NOW):
    return play(scene.requests.take(scene.state, now, names), *answers)


def cookie_of(played):
    return played.result.set_cookie


def sets(played, token, settings=SETTINGS):
    """Whether the response sets the cookie to `token`."""
    value = settings.ring.sign(token)
    return (cookie_of(played) or "").startswith(f"{settings.template.name}={value};")


def ending(token: Token | None = None, *, user: str | None = None, at: int = NOW) -> Destroy:
    """What a request stores that ends the session of `token`, whose `user` it saw."""
    return Destroy(key=(token or a_token()).key, at=at, holder=Holder(user))
