"""A store that fails: errors, and no lost or invented session."""

from __future__ import annotations

import asyncio
import logging

import pytest

from coatcheck import AsyncSessions, DecodeError, StoreError, StoreUnavailable
from tests.sessions.scene import AsyncFailing, advance, signed_in
from tests.visitor import SECRET, Visitor, plant, stored_in


@pytest.mark.promise("20")
def test_a_store_that_fails_is_an_error_and_never_an_empty_session(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    failing.store.failing = {"load"}
    with pytest.raises(StoreUnavailable), visitor.request() as session:
        session.get("a")
    assert visitor.set_cookie is None
    with visitor.request():
        pass  # a route that needs no session answers
    failing.store.failing = set()
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("9")
def test_a_change_that_is_not_stored_is_never_answered_with_success(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    failing.store.failing = {"write"}
    for intend in (
        lambda session: session.update(a=2),
        lambda session: session.sign_in("ada"),
        lambda session: session.sign_out(),
        lambda session: session.rotate(),
        lambda session: failing.take(session, "a"),
        lambda session: session.update(a=3) or failing.save(session),
    ):
        with pytest.raises(StoreUnavailable), visitor.request() as session:
            intend(session)
    failing.store.failing = set()
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("20")
def test_a_slide_that_fails_does_not_fail_the_request(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    advance(failing, hours=2)
    failing.store.failing = {"write"}
    assert visitor.read() == {"a": 1}
    assert failing.counts["unavailable"] == 1


@pytest.mark.promise("12")
def test_an_end_that_fails_in_a_request_that_fails_is_logged(failing, caplog):
    def handler(session):
        session.sign_out()
        raise ZeroDivisionError

    visitor = Visitor(failing).signed_in("ada")
    failing.store.failing = {"write"}
    with caplog.at_level(logging.DEBUG, logger="coatcheck"), pytest.raises(ZeroDivisionError):
        visitor.serve(handler)
    assert visitor.set_cookie is None
    assert "failed to end a session" in caplog.text


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_takes_nothing_with_it(visitor, sessions):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session["b"] = 2
    for key, data in stored_in(sessions.store).items():
        plant(sessions.store, key, data.replace(b"\xa1b\xc4\x01\x02", b"\xa1b\xc4\x01\xc1"))
    with visitor.request() as session:
        assert session["a"] == 1
        with pytest.raises(DecodeError):
            sessions.take(session, "a", "b")
        assert sessions.take(session, "a") == {"a": 1}
    with visitor.request() as session:
        assert "b" in session


@pytest.mark.promise("20")
def test_an_async_store_that_fails_is_an_error_where_somebody_looks():
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        cookie = await signed_in(sessions)
        sessions.store.failing = {"load"}
        session = sessions.open(cookie)
        await sessions.preload(session)
        assert (await sessions.close(session)).set_cookie is None  # nobody looked
        session = sessions.open(cookie)
        with pytest.raises(StoreUnavailable):
            await sessions.load(session)
        with pytest.raises(StoreUnavailable):
            session.get("a")
        assert sessions.counts["unavailable"] == 2

    asyncio.run(scenario())


def test_an_async_end_that_fails_in_a_request_that_fails_is_logged(caplog):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        session.sign_out()
        sessions.store.failing = {"write"}
        await sessions.fail(session)
        assert (await sessions.close(session)).set_cookie is None

    asyncio.run(scenario())
    assert "failed to end a session" in caplog.text


@pytest.mark.promise("12")
@pytest.mark.parametrize("end", ["sign_out", "revoke_user"])
def test_a_session_is_ended_although_the_request_that_ends_it_is_cancelled(end):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        sessions.store.held = asyncio.Event()
        if end == "sign_out":
            session.sign_out()
            ending = asyncio.create_task(sessions.close(session))
        else:
            ending = asyncio.create_task(sessions.revoke_user("ada"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert await sessions.count() == 1
        asyncio.get_running_loop().call_soon(sessions.store.held.set)
        await sessions.shutdown()  # waits for it
        assert await sessions.count() == 0

    asyncio.run(scenario())


def test_an_end_that_fails_after_its_request_was_cancelled_is_logged(caplog):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        session.sign_out()
        sessions.store.held, sessions.store.failing = asyncio.Event(), {"write"}
        ending = asyncio.create_task(sessions.close(session))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        sessions.store.held.set()
        await sessions.shutdown()
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert "changes of a cancelled request" in caplog.text


def test_a_store_error_is_what_it_is_to_every_caller(failing):
    failing.store.failing = {"write", "load"}
    for ask in (lambda: failing.revoke("0" * 32), lambda: failing.edit("0" * 32).__enter__()):
        with pytest.raises(StoreError):
            ask()
