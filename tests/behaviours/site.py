"""An application on a store, with everything that a test wants to see of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack

from coatcheck.config import Options
from coatcheck.core.swap import held_of
from coatcheck.events import Event
from coatcheck.model.ports import Found, Loaded, Store
from coatcheck.model.record import Record
from coatcheck.sessions import Sessions
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.failing import FailingStore
from coatcheck.testing.pausing import Gate, PausingStore, Point
from coatcheck.testing.wrappers import Call, Method, StoreWrapper
from tests.behaviours.client import Browser, Client, Reply, Request

if TYPE_CHECKING:
    from coatcheck.http.token import Token

__all__ = ["PATIENT", "SECRET", "OpenSite", "Site", "without_turns"]

SECRET = "c0d9Zt0hQx1rJYm7pKf2vN8sWb4uLgE6oAiXyTzCqRk"
PATIENT: Options = {"secret": SECRET, "deadline": timedelta(seconds=20)}  # on a busy machine, too
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

T = TypeVar("T")


class _SpiedStore(StoreWrapper):
    """Notes each call when it is done, and shows chosen records as unreadable."""

    def __init__(self, store: Store, journal: list[str], calls: list[Call]) -> None:
        super().__init__(store)
        self._journal = journal
        self._calls = calls
        self.unreadable: set[bytes] = set()

    def around(self, call: Call, send: Callable[[], T]) -> T:
        self._calls.append(call)
        answer = send()
        self._journal.append(call.method)
        return answer

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> list[Loaded]:
        found = super().load(keys, now, deadline)
        return [
            Found(b"damaged by the test", answer.version)
            if key in self.unreadable and isinstance(answer, Found)
            else answer
            for key, answer in zip(keys, found, strict=True)
        ]


class _NoTurns:
    def take(self, changes: object, known: Any, deadline: float) -> Any:
        return known

    def give_back(self, *_: object) -> None:
        pass


def without_turns(sessions: Sessions) -> Sessions:
    """`sessions`, in which every request writes at once, as if each came to another process: none waits for another."""
    sessions._runner._turns = _NoTurns()
    return sessions


class Site:
    """One application of the framework under test, on one store.

    Attributes:
        clock: The clock of the application; the test moves it.
        events: What `on_event` was told.
        journal: What happened, in order: the store's methods, as they are done, "head" when the head of the response was
            handed over, and "end" after its body.
        calls: Every call of the store, with its arguments.
        store: The store, bare.
        sessions: The manager.
    """

    def __init__(
        self, build: Callable[[Sessions], Client], store: Store, clock: ManualClock, options: Options
    ) -> None:
        self._build = build
        self._given = options
        self.store = store
        self.clock = clock
        self.events: list[Event] = []
        self.journal: list[str] = []
        self.calls: list[Call] = []
        self._spied = _SpiedStore(store, self.journal, self.calls)
        self.failing: FailingStore = FailingStore(self._spied)
        self._pausing = PausingStore(self.failing)
        settings: Options = {**PATIENT, **options, "clock": clock, "on_event": self.events.append}
        self.sessions: Sessions = without_turns(Sessions(self._pausing, **settings))
        self.client: Client = build(self.sessions)

    def another(self, **options: Unpack[Options]) -> Site:
        """The same application with other settings, on the same store: after a deployment, say."""
        return Site(self._build, self.store, self.clock, {**self._given, **options})

    def send(self, request: Request) -> Reply:
        """Send one request."""
        return self.client.send(request, self.journal.append)

    def play(self, *steps: str, cookies: bytes | str | None = None, secure: bool = True) -> Reply:
        """Play `steps` with this Cookie header."""
        header = cookies.encode("latin-1") if isinstance(cookies, str) else cookies
        return self.send(Request(steps, header, secure))

    def browser(self, *steps: str) -> Browser:
        """A new visitor, after he played `steps`, if any."""
        browser = Browser(self.send)
        if steps:
            reply = browser.play(*steps)
            assert reply.status == 200, (reply.body, reply.raised)
        return browser

    def forget(self) -> None:
        """Forget what was noted so far."""
        self.journal.clear()
        self.calls.clear()
        self.events.clear()

    # What can be seen

    @property
    def name(self) -> str:
        """The session cookie's name."""
        return self.sessions.settings.template.name

    @property
    def asked(self) -> list[str]:
        """The store's methods that were called since `forget`."""
        return [call.method for call in self.calls]

    @property
    def told(self) -> list[str]:
        """The kinds of the events since `forget`."""
        return [event.kind for event in self.events]

    def cookies_in(self, reply: Reply) -> list[str]:
        """The Set-Cookie lines of our name."""
        return reply.cookies(self.name)

    def is_silent(self, reply: Reply) -> bool:
        """Whether the response says nothing of the session, and nothing about caching."""
        return not (reply.all("set-cookie") or reply.all("vary") or reply.all("cache-control"))

    def token_of(self, browser: Browser) -> Token:
        """What the session cookie of `browser` holds."""
        token = self.sessions.settings.ring.verify(browser.cookies[self.name].encode())
        assert token is not None
        return token

    def record_of(self, browser: Browser) -> Record | None:
        """The record that lies under the key of the browser's cookie, past every spy; None: no live one."""
        return self.record(self.token_of(browser).key)

    def record(self, key: bytes) -> Record | None:
        """The live record under `key`."""
        (found,) = self.store.load([key], self.clock.now_ms, time.monotonic() + 10)
        assert not isinstance(found, Exception)
        state = held_of(key, found).state
        return state if isinstance(state, Record) and self.clock.now_ms < state.expires else None

    def is_live(self, browser: Browser, *, as_user: str | None = None) -> bool:
        """Whether the cookies of `browser` open a session, which is signed in as `as_user`, if that is given."""
        reply = browser.twin().play("is_new", "user")
        assert reply.status == 200, (reply.body, reply.raised)
        is_new, user = reply.results
        return not is_new and as_user in (None, user)

    # What can be done to it

    def hold(self, method: Method = "write", point: Point = "before") -> Gate:
        """Let the next call of `method` park before it reaches the store, or when the store has answered it."""
        return self._pausing.hold(method, point)

    def damage(self, browser: Browser) -> None:
        """Let the record of `browser` be unreadable from now on."""
        self._spied.unreadable.add(self.token_of(browser).key)

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.clock.advance(seconds)


class OpenSite(Protocol):
    """Makes a `Site` with these settings, on the store of the test."""

    def __call__(self, **options: Unpack[Options]) -> Site:
        """The site."""
        ...
