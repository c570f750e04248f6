"""A browser without a framework: it keeps the session's cookie from one request to the next."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager

from coatcheck import AsyncSessions, Sessions
from coatcheck.model.ports import Found
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import ManualClock

SECRET = "UO7FIbsY7qm0bSo0bmE_pwa_v-MIgKEKFQtQT5DIGU8"
OLD_SECRET = "RiOlLkO9qgYpTzp307H5hzL-47uiiUJ_CGQJMOqsl5I"


class CountedStore(MemoryStore):
    """Notes which methods were called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def load(self, keys, now, deadline):
        self.calls.append("load")
        return super().load(keys, now, deadline)

    def write(self, writes, now, deadline):
        self.calls.append("write")
        return super().write(writes, now, deadline)


def stored_in(store) -> dict[bytes, bytes]:
    """All that lies in a memory store."""
    return {key: found.data for key, found in getattr(store, "_store", store)._found.items()}


def plant(store, key: bytes, data: bytes) -> None:
    """Put bytes under a key, past everything."""
    found = getattr(store, "_store", store)._found
    found[key] = Found(data, data[:8])


def make_sessions(store=None, **options) -> Sessions:
    """A manager on a store in memory, with a clock that the test moves: `sessions.settings.clock`."""
    return Sessions(store or CountedStore(), **{"secret": SECRET, "clock": ManualClock(), **options})


class Blocking:
    """An `AsyncSessions` that is called as if it were a `Sessions`: what waits is waited for."""

    def __init__(self, store=None, **options) -> None:
        self.runner = asyncio.Runner()
        self.manager = AsyncSessions(
            store or AsyncMemoryStore(), **{"secret": SECRET, "clock": ManualClock(), **options}
        )

    def __getattr__(self, name):
        attribute = getattr(self.manager, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return lambda *args, **kwargs: self.runner.run(attribute(*args, **kwargs))

    def open(self, *args, **kwargs):
        session = self.manager.open(*args, **kwargs)
        self.runner.run(self.manager.preload(session))
        return session

    @contextmanager
    def edit(self, handle):
        editing = self.manager.edit(handle)
        session = self.runner.run(editing.__aenter__())
        try:
            yield session
        except BaseException as error:
            if not self.runner.run(editing.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.runner.run(editing.__aexit__(None, None, None))

    def with_settings(self, **options):
        other = object.__new__(Blocking)
        other.runner, other.manager = self.runner, self.manager.with_settings(**options)
        return other


class Visitor:
    """One browser."""

    def __init__(self, sessions, cookie: str = "") -> None:
        self.sessions = sessions
        self.cookie = cookie
        self.outcome = None

    @contextmanager
    def request(self, sessions=None, *, client: str = "Browser/1.0", cookies: str | None = None):
        """One request and its response, in which the session is given to the body of the `with`."""
        sessions = sessions or self.sessions
        session = sessions.open((self.cookie if cookies is None else cookies).encode(), client=client)
        try:
            yield session
        except BaseException:
            sessions.fail(session)
            self.receive(sessions.close(session))
            raise
        self.receive(sessions.close(session))

    def serve(self, handler):
        """One request, answered by `handler(session)`."""
        with self.request() as session:
            return handler(session)

    def receive(self, outcome) -> None:
        """Do with the response's cookie what a browser does."""
        self.outcome = outcome
        if outcome.set_cookie is None:
            return
        pair, *attributes = outcome.set_cookie.split("; ")
        self.cookie = "" if "Max-Age=0" in attributes else pair

    @property
    def set_cookie(self) -> str | None:
        """The last response's Set-Cookie."""
        return self.outcome.set_cookie

    @property
    def token(self) -> str:
        return self.cookie.partition("=")[2]

    def signed_in(self, user: str = "ada", **fields) -> Visitor:
        """The same, after a request that signed in."""
        with self.request() as session:
            session.update(fields)
            session.sign_in(user)
        return self

    @property
    def handle(self) -> str | None:
        with self.request() as session:
            return session.handle

    def read(self) -> dict:
        with self.request() as session:
            return dict(session)
