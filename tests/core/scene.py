"""What the tests of the life cycle and of the flows set up: settings, records, tokens, a request, and a hand-driven flow."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import timedelta

from coatcheck.core.flows import Ask, Flows

from coatcheck.config import Settings
from coatcheck.core.state import Standing, State
from coatcheck.events import Event
from coatcheck.http.token import Ring, Token
from coatcheck.model import codec
from coatcheck.model.ports import Capabilities
from coatcheck.model.record import Record
from coatcheck.session import Session

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
        "secret": token.hashed,
        "secret_at": created,
        "created": created,
        "last_used": bookkeeping.get("last_used", created),
        "permanent": False,
        "signed_in": 0,
        "fields": {name: codec.encode(value) for name, value in (fields or {}).items()},
        **bookkeeping,
    }
    record.setdefault(
        "expires",
        settings.lifetimes.expiry(
            start=record["signed_in"] or created, last_used=record["last_used"], permanent=record["permanent"]
        ),
    )
    return Record(**record)


class Dice:
    """Gives other bytes at every call, and notes how many were asked for. Can be made to repeat itself."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.next: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.asked.append(size)
        return self.next.pop(0) if self.next else (0x80 + len(self.asked)).to_bytes(1, "big") * size


class Scene:
    """One request: its state, its session, and the flows of its manager."""

    def __init__(self, settings: Settings = SETTINGS, capabilities: Capabilities | None = None) -> None:
        self.settings = settings
        self.dice = Dice()
        self.flows = Flows(settings, capabilities or Capabilities(), self.dice)
        self.state = self.a_state(b"")
        self.session = Session(lambda _: self.state)

    def a_state(self, cookies: bytes) -> State:
        return State(
            cookies=cookies,
            client="Browser/1.0",
            load=None,
            now=lambda: NOW,
            random=self.dice,
            max_bytes=self.settings.max_bytes,
        )

    def presents(self, *tokens: Token | bytes, secret=None) -> None:
        """Let the request come with these cookies of our name."""
        ring = self.settings.ring if secret is None else Ring(secret, purpose=self.settings.template.name)
        values = [ring.sign(token).encode() if isinstance(token, Token) else token for token in tokens]
        name = self.settings.cookie_name
        self.state.cookies = b"; ".join(name + b"=" + value for value in values)

    def holds(self, record: Record, token: Token | None = None) -> Scene:
        """Let the request be loaded, and hold `record` by `token`."""
        state = self.state
        state.token = token or a_token()
        state.presented = (state.token,)
        state.record, state.standing = record, Standing.LIVE
        state.ready = state.looked_at = True
        return self

    def stands(self, standing: Standing, *presented: Token) -> Scene:
        """Let the request be loaded, without a record."""
        state = self.state
        state.standing, state.presented = standing, presented
        state.ready = state.looked_at = True
        return self

    def edits(self, record: Record) -> Scene:
        """Let the session be held from outside a request."""
        self.holds(record)
        self.state.token, self.state.presented, self.state.detached = None, (), True
        return self


class Played:
    """What a flow asked, told and returned."""

    def __init__(self, flow: Generator, answers: tuple, otherwise: Callable[[Ask], object] | None) -> None:
        self.asked: list[Ask] = []
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
                assert remaining or otherwise, f"asked once more than expected: {wish.operation}"
                sent = remaining.pop(0) if remaining else otherwise(wish)
                if isinstance(sent, Exception):
                    step = flow.throw
        except StopIteration as stop:
            self.result = stop.value
        assert not remaining, "asked less than expected"

    @property
    def operations(self) -> list[str]:
        return [ask.operation for ask in self.asked]

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def changes(self, at=0):
        """The changes of the ask number `at`."""
        assert self.asked[at].operation == "apply"
        return list(self.asked[at].arguments[0])


def play(flow: Generator, *answers, otherwise=None) -> Played:
    """Drive `flow`, answering what it asks with `answers`, one by one, then with what `otherwise` makes of it.

    An answer that is an exception is thrown in.
    """
    return Played(flow, answers, otherwise)
