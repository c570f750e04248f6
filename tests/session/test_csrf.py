"""The CSRF token: masked for each page, renewed by a sign-in, compared without telling where it differs."""

from __future__ import annotations

import re

from tests.visitor import Visitor


def test_each_call_gives_another_token_of_one_secret_and_all_of_them_are_good(visitor):
    with visitor.request() as session:
        tokens = [session.csrf_token() for _ in range(3)]
        assert len(set(tokens)) == 3
        assert all(re.fullmatch("[A-Za-z0-9_-]{86}", token) for token in tokens)
    with visitor.request() as session:
        assert all(session.check_csrf(token) for token in (*tokens, tokens[0].encode(), session.csrf_token()))
    assert visitor.set_cookie is None


def test_no_byte_of_the_secret_stands_in_two_tokens_at_the_same_place(visitor):
    """The mask covers all of it: two tokens agree by chance only, one byte in 256."""
    with visitor.request() as session:
        one, other = session.csrf_token(), session.csrf_token()
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 20


def test_reading_the_token_and_checking_it_writes_nothing(visitor):
    with visitor.request() as session:
        token = session.csrf_token()
    visitor.sessions.store.calls.clear()
    with visitor.request() as session:
        session.csrf_token()
        assert session.check_csrf(token)
    assert visitor.sessions.store.calls == ["load"]


JUNK = [
    None,
    "",
    b"",
    7,
    "x",
    "é" * 86,
    "\ud800" * 86,
    "=" * 86,
    "*" * 86,
    "A" * 86,
    "A" * 85,
    "A" * 87,
    "A" * 43,
    "A" * 85 + "?",
    "A" * 84 + "=A",
    "A" * 85 + "\n",
    "A" * 86 + "\n",
]


def test_what_is_no_token_of_the_session_is_refused_and_raises_nothing(visitor):
    with visitor.request() as session:
        assert not any(session.check_csrf(token) for token in JUNK)  # there is none at all
        session.csrf_token()
        assert not any(session.check_csrf(token) for token in JUNK)


def test_a_token_with_one_character_changed_is_refused(visitor):
    with visitor.request() as session:
        token = session.csrf_token()
        for place in range(85):
            other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            assert not session.check_csrf(other), place


def test_another_visitors_token_is_refused(visitor):
    with Visitor(visitor.sessions).request() as session:
        theirs = session.csrf_token()
    with visitor.request() as session:
        session.csrf_token()
        assert not session.check_csrf(theirs)


def test_a_new_token_makes_the_earlier_ones_worthless(visitor):
    with visitor.request() as session:
        before = session.csrf_token()
    with visitor.request() as session:
        after = session.new_csrf_token()
    with visitor.request() as session:
        assert (session.check_csrf(before), session.check_csrf(after)) == (False, True)


def test_checking_a_token_of_a_visitor_without_one_begins_no_session(visitor):
    with visitor.request() as session:
        assert not session.check_csrf("x" * 86)
    assert visitor.set_cookie is None
    assert visitor.sessions.count() == 0
