"""Times, handle, repr and permanence of a session."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.session.scene import stored
from tests.visitor import Visitor, make_sessions

# What is known of it


def test_a_visitor_without_a_session_is_new_and_has_no_times(visitor):
    with visitor.request() as session:
        assert session.is_new
        for name in ("handle", "created_at", "signed_in_at", "last_used_at", "expires_at", "user"):
            assert getattr(session, name) is None
        assert session.permanent is False


def test_the_times_are_aware_and_exact():
    sessions = make_sessions()
    clock, visitor = sessions.settings.clock, Visitor(sessions)
    start = datetime.fromtimestamp(clock(), UTC)
    stored(visitor, a=1)
    clock.advance(5)
    visitor.signed_in("ada")
    clock.advance(7200)
    visitor.read()
    clock.advance(1)
    with visitor.request() as session:
        times = (session.created_at, session.signed_in_at, session.last_used_at, session.expires_at)
        assert times == (
            start,
            start + timedelta(seconds=5),
            start + timedelta(seconds=7205),
            start + timedelta(seconds=7205, days=1),
        )
        assert all(time.tzinfo is UTC for time in times)


def test_the_handle_is_stable_and_public(visitor):
    stored(visitor, a=1)
    handle = visitor.handle
    assert re.fullmatch("[0-9a-f]{32}", handle)
    visitor.signed_in("ada")
    with visitor.request() as session:
        session.rotate()
    assert visitor.handle == handle
    assert handle not in visitor.cookie


@pytest.mark.promise("18")
def test_the_handle_opens_nothing(visitor):
    stored(visitor, a=1)
    handle = visitor.handle
    for value in (handle, handle.upper(), bytes.fromhex(handle).hex() * 3, handle + visitor.token[32:]):
        other = Visitor(visitor.sessions, f"__Host-session={value}")
        assert other.read() == {}
        assert other.cookie == f"__Host-session={value}"


@pytest.mark.promise("18")
def test_its_repr_shows_the_handle_and_nothing_else(visitor):
    with stored(visitor, password="hunter2").request() as session:
        assert repr(session) == "<Session unloaded>"
        assert session["password"] == "hunter2"
        assert repr(session) == f"<Session live {session.handle}>"
        session["password"] = "hunter3"
        assert repr(session) == str(session) == f"{session}" == f"<Session live {session.handle}>"


# Permanence


def test_a_permanent_session_gets_a_lasting_cookie_and_longer_limits(visitor):
    clock = visitor.sessions.settings.clock
    with visitor.request() as session:
        session["a"] = 1
        session.permanent = True
        assert session.permanent is True
    assert f"Max-Age={90 * 86_400};" in visitor.set_cookie
    clock.advance(timedelta(days=29))
    with visitor.request() as session:
        assert session.permanent
        assert session == {"a": 1}
        session.permanent = False
    assert "Max-Age" not in visitor.set_cookie
    clock.advance(timedelta(days=2))
    assert visitor.read() == {}


def test_setting_permanent_to_what_it_is_changes_nothing(visitor):
    with stored(visitor, a=1).request() as session:
        session.permanent = False
    assert visitor.sessions.store.calls == ["load"]
