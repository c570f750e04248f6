"""`AsyncSessions` where no event loop of asyncio runs: the error names what to do. The real trio: tests/world."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from coatcheck import AsyncSessions
from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from tests.visitor import SECRET

WORDS = r'asyncio \(or uvloop\).* under trio.*anyio.* backend="asyncio"'


def stepped(coroutine):
    """Run a coroutine up to its end or its first wait, outside any event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    finally:
        coroutine.close()
    raise AssertionError("it waited")


@pytest.fixture
def sessions():
    return AsyncSessions(AsyncMemoryStore(), secret=SECRET)


@pytest.fixture
def under_trio(monkeypatch):
    lowlevel = SimpleNamespace(current_trio_token=object)
    monkeypatch.setitem(sys.modules, "trio", SimpleNamespace(lowlevel=lowlevel))


CALLS = {
    "save": lambda sessions, session: sessions.save(session),
    "take": lambda sessions, session: sessions.take(session, "a"),
    "close": lambda sessions, session: sessions.close(session),
    "fail": lambda sessions, session: session.destroy() or sessions.fail(session),
    "revoke_user": lambda sessions, _: sessions.revoke_user("ada"),
    "of_user": lambda sessions, _: sessions.of_user("ada"),
    "revoke": lambda sessions, _: sessions.revoke("0" * 32),
    "count": lambda sessions, _: sessions.count(),
    "ping": lambda sessions, _: sessions.ping(),
    "sweep": lambda sessions, _: sessions.sweep(),
    "shutdown": lambda sessions, _: sessions.shutdown(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_without_a_loop_names_the_loops_that_there_may_be(sessions, call):
    async def begun():
        session = sessions.open(b"")
        await sessions.load(session)
        session["a"] = 1
        await sessions.save(session)
        session["b"] = 2
        return session

    session = asyncio.run(begun())
    with pytest.raises(ConfigurationError, match=WORDS):
        stepped(call(sessions, session))


@pytest.mark.usefixtures("under_trio")
def test_under_trio_no_session_is_opened(sessions):
    with pytest.raises(ConfigurationError, match=WORDS):
        sessions.open(b"")


@pytest.mark.usefixtures("under_trio")
def test_under_trio_a_server_does_not_start(sessions):
    async def app(scope, receive, send):
        raise AssertionError("it was called")

    with pytest.raises(ConfigurationError, match=WORDS):
        stepped(SessionMiddleware(app, sessions)({"type": "lifespan"}, None, None))


def test_an_imported_trio_that_does_not_run_is_no_hindrance(sessions, monkeypatch):
    def refuse():
        raise RuntimeError("must be called from async context")

    trio = SimpleNamespace(lowlevel=SimpleNamespace(current_trio_token=refuse))
    monkeypatch.setitem(sys.modules, "trio", trio)
    session = sessions.open(b"")  # before the loop runs

    async def used():
        await sessions.load(session)
        session["a"] = 1
        return await sessions.save(session)

    assert asyncio.run(used())
