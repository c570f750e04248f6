"""Events, and the counts of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta

import pytest

from coatcheck import AsyncSessions, Event, Sessions, StoreUnavailable
from coatcheck.manager import teller_of
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.sessions.scene import advance
from tests.visitor import SECRET, Visitor, make_sessions, plant, stored_in


def events_of(make, **options):
    told = []
    sessions = make(on_event=told.append, **options)
    return sessions, told


def test_the_life_of_a_session_is_told(make):
    sessions, told = events_of(make, idle_timeout=timedelta(hours=2), rotate_every=timedelta(hours=1))
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    handle = visitor.handle
    visitor.signed_in("ada")
    with visitor.request() as session:
        session.rotate()
    advance(sessions, minutes=61)
    visitor.read()
    with visitor.request() as session:
        session.sign_out()
    revoked = Visitor(sessions).signed_in("grace")
    revoked_handle = revoked.handle
    sessions.revoke(revoked_handle)
    Visitor(sessions).signed_in("grace")
    sessions.revoke_user("grace")
    expired = Visitor(sessions).signed_in("eve")
    advance(sessions, hours=3)
    expired.read()
    Visitor(sessions, "__Host-session=junk").read()
    ambiguous = [Visitor(sessions).signed_in(user) for user in ("x", "y")]
    Visitor(sessions, "; ".join(visitor.cookie for visitor in ambiguous)).read()

    summary = [(event.kind, event.user, event.reason) for event in told]
    assert summary == [
        ("created", None, ""),
        ("signed_in", "ada", ""),
        ("rotated", "ada", ""),
        ("rotated", "ada", "periodic"),
        ("destroyed", "ada", ""),
        ("created", "grace", ""),
        ("signed_in", "grace", ""),
        ("revoked", None, ""),
        ("created", "grace", ""),
        ("signed_in", "grace", ""),
        ("revoked", "grace", "the user's all"),
        ("created", "eve", ""),
        ("signed_in", "eve", ""),
        ("expired", "eve", ""),
        ("refused", None, "no token of ours in the cookie"),
        ("created", "x", ""),
        ("signed_in", "x", ""),
        ("created", "y", ""),
        ("signed_in", "y", ""),
        ("ambiguous", None, "2 live sessions in one request"),
    ]
    assert [event.handle for event in told[:5]] == [handle] * 5
    assert told[7].handle == revoked_handle
    assert all(event.at.tzinfo is UTC for event in told)
    assert all(isinstance(event, Event) for event in told)
    assert sessions.counts == {
        kind: sum(event.kind == kind for event in told) for kind in {event.kind for event in told}
    }


def test_a_late_write_and_an_unreadable_record_are_told():
    sessions, told = events_of(make_sessions)
    visitor = Visitor(sessions).signed_in("ada")
    late = Visitor(sessions, visitor.cookie)
    handle = visitor.handle
    with late.request() as session:
        session["a"] = 1
        visitor.signed_in("ada")
    assert (told[-1].kind, told[-1].handle, told[-1].user, told[-1].reason) == (
        "dropped",
        handle,
        "ada",
        "changed",
    )
    (key,) = stored_in(sessions.store)
    damaged = b"\x80\x04garbage"
    plant(sessions.store, key, damaged)
    with visitor.request() as session:
        assert session.is_new
        session["b"] = 1
    assert (told[-2].kind, told[-2].handle) == ("unreadable", handle)
    assert stored_in(sessions.store)[key] is damaged
    assert visitor.read() == {"b": 1}


def test_a_store_that_fails_is_told():
    class Down(MemoryStore):
        def load(self, keys, now, deadline):
            raise StoreUnavailable("down", ambiguous=False)

    told = []
    cookie = Visitor(make_sessions()).signed_in().cookie
    sessions = make_sessions(Down(), on_event=told.append)
    session = sessions.open(cookie)
    with pytest.raises(StoreUnavailable):
        session.get("a")
    assert [event.kind for event in told] == ["unavailable"]
    assert sessions.counts == {"unavailable": 1}


@pytest.mark.promise("F-24")
def test_a_listener_that_fails_is_logged_and_harms_nothing(make, caplog):
    def listen(event):
        raise ZeroDivisionError("listener")

    sessions = make(on_event=listen)
    visitor = Visitor(sessions)
    with caplog.at_level(logging.DEBUG, logger="coatcheck"):
        visitor.signed_in("ada", password="hunter2")
        assert visitor.read() == {"password": "hunter2"}
    assert sessions.counts == {"created": 1, "signed_in": 1}
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "on_event" in caplog.text
    assert "ZeroDivisionError: listener" in caplog.text
    assert visitor.token not in caplog.text
    assert "hunter2" not in caplog.text


def test_a_listener_may_look_at_the_session_that_it_is_told_about():
    # It asks who is signed in, for its audit log; the event came while the session was being loaded.
    current = []
    seen = []

    def listen(event):
        seen.append((event.kind, current[-1].user))

    sessions = make_sessions(on_event=listen)
    current.append(sessions.open(b"__Host-session=junk"))
    thread = threading.Thread(target=lambda: current[-1].get("a"), daemon=True)
    thread.start()
    thread.join(2)
    assert not thread.is_alive(), "the listener waits for the request, and the request for the listener"
    assert seen == [("refused", None)]


def test_a_listener_may_look_at_an_async_session_that_it_is_told_about():
    current, seen = [], []
    manager = AsyncSessions(
        AsyncMemoryStore(), secret=SECRET, on_event=lambda event: seen.append((event.kind, current[-1].user))
    )
    current.append(manager.open(b"__Host-session=junk"))
    asyncio.run(manager.load(current[-1]))
    assert seen == [("refused", None)]


def test_counts_of_many_threads_add_up():
    sessions = make_sessions()

    def work():
        for _ in range(50):
            Visitor(sessions).signed_in()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions.counts == {"created": 200, "signed_in": 200}
    assert sessions.count() == 200


def test_the_counts_are_a_copy(sessions):
    sessions.counts["created"] = 5
    assert sessions.counts == {}


def test_an_event_of_a_manager_that_is_gone_is_told_to_nobody():
    told = []
    sessions = Sessions(MemoryStore(), secret=SECRET, on_event=told.append)
    tell = teller_of(sessions)
    event = Event(kind="created", handle=None, user=None, reason="", at=datetime.now(UTC))
    tell(event)
    del sessions
    tell(event)
    assert told == [event]
