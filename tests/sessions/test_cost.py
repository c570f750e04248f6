"""The number of calls that a request makes to its store."""

from __future__ import annotations

import pytest

from tests.sessions.scene import advance
from tests.visitor import Visitor, make_sessions


@pytest.mark.promise("2", "3")
def test_reading_is_one_round_trip_and_writing_one_more():
    sessions = make_sessions()
    visitor, calls = Visitor(sessions).signed_in(a=1, b=[1]), sessions.store.calls
    calls.clear()
    with visitor.request():
        pass
    assert calls == []
    visitor.read()
    assert calls == ["load"]
    calls.clear()
    with visitor.request() as session:
        session["b"].append(2)
        session["c"] = 3
        del session["a"]
        session.flash("hello")
        session.permanent = True
        session.rotate()
    assert calls == ["load", "write"]


@pytest.mark.promise("4")
def test_use_is_written_once_an_hour_however_many_requests_come():
    sessions = make_sessions()
    visitor = Visitor(sessions).signed_in(a=1)
    sessions.store.calls.clear()
    for _ in range(10 * 60):
        advance(sessions, minutes=1)
        visitor.read()
    assert sessions.store.calls.count("write") == 10


def test_no_cookie_of_ours_asks_the_store_nothing():
    sessions = make_sessions()
    for cookies in ("", "a=1", "__Host-session=x", "__Host-session=" + "A" * 86):
        Visitor(sessions, cookies).read()
    assert sessions.store.calls == []
