"""One request after another: cookies, limits of time, handlers that fail."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

import coatcheck
from coatcheck.http.token import Token
from tests.sessions.scene import advance
from tests.visitor import OLD_SECRET, Visitor, make_sessions


def test_a_visitor_gets_a_cookie_with_the_first_thing_put_in_and_keeps_it(visitor):
    visitor.read()
    assert visitor.set_cookie is None
    with visitor.request() as session:
        session["a"] = 1
    first = visitor.cookie
    assert re.fullmatch(r"__Host-session=[A-Za-z0-9_-]{86}", first)
    with visitor.request() as session:
        session["a"] = 2
    assert visitor.set_cookie is None
    assert visitor.read() == {"a": 2}


@pytest.mark.promise("5")
def test_anonymous_visits_store_nothing(visitor, sessions):
    planted = sessions.settings.ring.sign(Token(b"k" * 16, b"s" * 32))
    for cookie in ("", "theme=dark", "__Host-session=x", f"__Host-session={planted}"):
        for visit in (
            dict,
            lambda session: session.get("a"),
            lambda session: session.clear(),
            lambda session: session.sign_out(),
            lambda session: session.pop("a", None),
            lambda session: session.peek_flashes(),
            lambda session: session.rotate(),
        ):
            with visitor.request(cookies=cookie) as session:
                visit(session)
            assert visitor.set_cookie is None
        with visitor.request(cookies=cookie) as session:
            sessions.save(session)
            assert sessions.take(session, "a") == {}
            assert sessions.take_flashes(session) == []
            assert sessions.is_live(session) is False
    assert sessions.count() == 0


@pytest.mark.promise("15")
def test_a_token_that_we_signed_but_never_stored_is_not_adopted(visitor, sessions):
    planted = sessions.settings.ring.sign(Token(b"k" * 16, b"s" * 32))
    with visitor.request(cookies=f"__Host-session={planted}") as session:
        assert session.is_new
        session["a"] = 1
    assert planted not in visitor.cookie
    assert visitor.handle != (b"k" * 16).hex()
    assert sessions.revoke((b"k" * 16).hex()) is False


@pytest.mark.promise("15")
def test_a_token_of_another_cookie_name_or_application_is_not_adopted(visitor, make):
    visitor.signed_in()
    for other in (make(insecure_http=True), make(secret=OLD_SECRET)):
        name = other.settings.template.name
        assert Visitor(other, f"{name}={visitor.token}").read() == {}


def test_cookies_come_as_bytes_or_as_their_latin_1_text(visitor, sessions):
    visitor.signed_in("ada", a=1)
    for cookies in (
        visitor.cookie.encode(),
        visitor.cookie,
        f"é=ÿ; {visitor.cookie}",
        f"\u2028; {visitor.cookie}",
    ):
        assert dict(sessions.open(cookies)) == {"a": 1}


def test_the_application_can_have_a_session_class_of_its_own(sessions):
    class Mine(coatcheck.Session):
        pass

    session = sessions.open(b"", session_type=Mine)
    assert type(session) is Mine
    assert "Mine" in repr(session)


@pytest.mark.promise("23")
def test_an_explicit_save_stands_although_the_handler_fails(visitor, sessions):
    def handler(session):
        session["a"] = 1
        sessions.save(session)
        session["b"] = 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visitor.serve(handler)
    assert visitor.cookie
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("23")
def test_of_a_handler_that_fails_only_the_end_of_the_session_stands(visitor, sessions):
    def changes(session):
        session["a"] = 2
        session.flash("hello")
        raise ZeroDivisionError

    def ends(session):
        session.sign_out()
        session["b"] = 1
        raise ZeroDivisionError

    visitor.signed_in("ada", a=1)
    with pytest.raises(ZeroDivisionError):
        visitor.serve(changes)
    assert visitor.read() == {"a": 1}
    with pytest.raises(ZeroDivisionError):
        visitor.serve(ends)
    assert visitor.cookie == ""
    assert sessions.count() == 0


@pytest.mark.promise("16")
def test_a_session_lives_as_long_as_it_is_used_and_no_longer_than_its_absolute_limit(make):
    sessions = make(idle_timeout=timedelta(hours=1), absolute_timeout=timedelta(hours=5))
    visitor, idle = (Visitor(sessions).signed_in(a=1) for _ in range(2))
    for _ in range(9):
        advance(sessions, minutes=33)
        assert visitor.read() == {"a": 1}
    assert idle.read() == {}
    advance(sessions, minutes=3)
    assert visitor.read() == {}
    assert sessions.count() == 0


@pytest.mark.promise("16")
def test_limits_are_exact_to_the_second(make):
    sessions = make(idle_timeout=timedelta(seconds=1000))
    visitor = Visitor(sessions).signed_in(a=1)
    advance(sessions, milliseconds=999_999)
    assert visitor.read() == {"a": 1}
    advance(sessions, milliseconds=1_000_000)
    assert visitor.read() == {}


def test_a_visitor_whose_session_has_expired_gets_a_new_one(visitor, sessions):
    visitor.signed_in(a=1)
    old, handle = visitor.cookie, visitor.handle
    advance(sessions, days=2)
    with visitor.request() as session:
        session["b"] = 1
    assert visitor.cookie != old
    assert visitor.handle != handle
    assert visitor.read() == {"b": 1}


def test_a_handler_that_fails_without_a_look_at_its_session_costs_nothing():
    def handler(session):
        raise ZeroDivisionError

    sessions = make_sessions()
    visitor = Visitor(sessions).signed_in()
    sessions.store.calls.clear()
    with pytest.raises(ZeroDivisionError):
        visitor.serve(handler)
    assert sessions.store.calls == []
    assert (visitor.set_cookie, visitor.outcome.vary) == (None, False)
