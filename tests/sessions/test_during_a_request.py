"""Calls in the middle of a request: take, is_live, save after the head, fail."""

from __future__ import annotations

import pytest

from coatcheck import CannotSendCookie, Flash, RequestOver
from coatcheck.session import end_of_request, head_has_left
from tests.sessions.scene import advance
from tests.visitor import Visitor


@pytest.mark.promise("11")
def test_taking_gives_each_value_to_one_request_only(visitor, sessions):
    visitor.signed_in(a=1, b=[2], c=3)
    with visitor.request() as one, visitor.request() as other:
        assert dict(one) == dict(other)
        assert sessions.take(one, "a", "b", "missing") == {"a": 1, "b": [2]}
        assert sessions.take(other, "b", "c") == {"c": 3}
    assert visitor.read() == {}


def test_what_was_taken_is_gone_whatever_becomes_of_the_request(visitor, sessions):
    def handler(session):
        assert sessions.take(session, "a") == {"a": 1}
        raise ZeroDivisionError

    visitor.signed_in(a=1)
    with pytest.raises(ZeroDivisionError):
        visitor.serve(handler)
    assert visitor.read() == {}


@pytest.mark.promise("11")
def test_messages_are_shown_by_one_response_only(visitor, sessions):
    with visitor.request() as session:
        session.flash("one")
        session.flash("two", "error")
    with visitor.request() as one, visitor.request() as other:
        assert one.peek_flashes() == other.peek_flashes()
        assert sessions.take_flashes(one) == [Flash("info", "one"), Flash("error", "two")]
        assert sessions.take_flashes(other) == []
        other.flash("three")
    with visitor.request() as session:
        assert sessions.take_flashes(session) == [Flash("info", "three")]
        assert sessions.take_flashes(session) == []


@pytest.mark.promise("F-20")
def test_a_long_connection_learns_of_a_revocation(visitor, sessions):
    visitor.signed_in("ada")
    with visitor.request() as session:
        assert sessions.is_live(session) is True
        sessions.revoke_user("ada")
        assert sessions.is_live(session) is False


@pytest.mark.promise("F-20")
def test_a_long_connection_learns_of_a_sign_in_elsewhere_and_of_time_passing(visitor, sessions):
    visitor.signed_in("ada")
    with visitor.request() as session:
        Visitor(sessions, visitor.cookie).signed_in("ada")
        assert sessions.is_live(session) is False
    visitor = Visitor(sessions).signed_in("grace")
    with visitor.request() as session:
        advance(sessions, days=2)
        assert sessions.is_live(session) is False


@pytest.mark.promise("23")
def test_after_the_head_what_needs_a_cookie_is_an_error_and_the_rest_is_stored(visitor, sessions):
    visitor.signed_in("ada")
    session = sessions.open(visitor.cookie)
    session["a"] = 1
    sessions.close(session)
    session["b"] = 2
    sessions.save(session)
    session["c"] = 3
    sessions.close(session)
    assert visitor.read() == {"a": 1, "b": 2, "c": 3}
    for act in (session.rotate, lambda: session.sign_in("grace")):
        with pytest.raises(CannotSendCookie, match="before it is accepted"):
            act()
    session.permanent = True
    for store in (sessions.save, sessions.close):
        with pytest.raises(CannotSendCookie):
            store(session)


def test_failing_never_raises_not_even_after_the_head(visitor, sessions):
    visitor.signed_in("ada")
    session = sessions.open(visitor.cookie)
    sessions.close(session)
    session.permanent = True
    session["a"] = [1]
    session["a"].append(object())
    sessions.fail(session)
    assert sessions.close(session).set_cookie is None
    with visitor.request() as session:
        assert not session.permanent


def test_failing_does_not_mind_what_can_not_be_stored(visitor, sessions):
    visitor.signed_in("ada", a=[1])
    session = sessions.open(visitor.cookie)
    session["a"].append(object())
    sessions.fail(session)
    assert sessions.close(session).set_cookie is None
    assert visitor.read() == {"a": [1]}


def test_a_session_that_nobody_looked_at_takes_no_sign_in_after_the_head_and_no_change_after_the_end(
    sessions,
):
    session = sessions.open(b"")
    head_has_left(session)
    with pytest.raises(CannotSendCookie):
        session.sign_in("ada")
    session = sessions.open(b"")
    end_of_request(session)
    with pytest.raises(RequestOver):
        session["a"] = 1
