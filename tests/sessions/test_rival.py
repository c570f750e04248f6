"""Of two sessions that two layers began for one response, one stands: `wins_over`."""

from __future__ import annotations

import pytest

from tests.visitor import Visitor


def token_of(sessions, cookie):
    return sessions.settings.ring.verify(cookie.partition("=")[2].encode())


def another(sessions, *, user=None):
    """The cookie of a session that another layer began."""
    other = Visitor(sessions)
    with other.request() as session:
        session["theirs"] = 1
        if user is not None:
            session.sign_in(user)
    return other.cookie


def opened(sessions, cookie):
    """Whether a cookie still opens a session."""
    return not sessions.open(cookie.encode()).is_new


@pytest.mark.promise("H")
def test_an_older_session_of_the_visitor_gives_way_to_a_sign_in_and_is_not_destroyed(visitor, sessions):
    with visitor.request() as session:
        session["a"] = 1
    session = sessions.open(visitor.cookie.encode())
    session.permanent = True
    sessions.save(session)
    rival = another(sessions, user="ada")
    assert sessions.wins_over(session, token_of(sessions, rival)) is False
    assert sessions.close(session).set_cookie is None
    assert opened(sessions, rival)
    assert opened(sessions, visitor.cookie)


@pytest.mark.promise("H")
def test_a_session_that_this_response_began_gives_way_and_is_destroyed(sessions):
    session = sessions.open(b"")
    session["a"] = 1
    sessions.save(session)
    handle, rival = session.handle, another(sessions, user="ada")
    assert sessions.wins_over(session, token_of(sessions, rival)) is False
    assert not sessions.exists(handle)
    assert opened(sessions, rival)


@pytest.mark.promise("H")
def test_against_an_anonymous_one_it_stands_and_that_one_is_destroyed(visitor, sessions):
    visitor.signed_in("ada")
    session, rival = sessions.open(visitor.cookie.encode()), another(sessions)
    assert sessions.wins_over(session, token_of(sessions, rival)) is True
    assert not opened(sessions, rival)
    assert opened(sessions, visitor.cookie)


def test_a_token_that_opens_nothing_any_more_is_no_rival_and_ends_nothing(visitor, sessions):
    visitor.signed_in("ada")
    session = sessions.open(visitor.cookie.encode())
    old = another(sessions, user="grace")
    other = Visitor(sessions, old)
    with other.request() as rotated:
        rotated.rotate()
    assert sessions.wins_over(session, token_of(sessions, old)) is True
    assert opened(sessions, other.cookie)
    sessions.revoke_user("grace")
    assert sessions.wins_over(session, token_of(sessions, other.cookie)) is True
    assert opened(sessions, visitor.cookie)


def test_a_visitor_without_a_session_ends_nothing_and_neither_does_the_same_session(visitor, sessions):
    visitor.signed_in("ada")
    token = token_of(sessions, visitor.cookie)
    assert sessions.wins_over(sessions.open(b""), token) is True
    assert sessions.wins_over(sessions.open(visitor.cookie.encode()), token) is True
    assert opened(sessions, visitor.cookie)
