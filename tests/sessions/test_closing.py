"""Closing: a session that is used after the head of its response has left, and one that is edited from outside."""

from __future__ import annotations

import pytest

from coatcheck.errors import CannotSendCookie, SessionGone, StoreUnavailable
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from tests.visitor import Blocking, Visitor, make_sessions

pytestmark = pytest.mark.promise("23")


@pytest.fixture(params=[make_sessions, Blocking], ids=["sync", "async"])
def visitor(request):
    sessions = request.param()
    yield Visitor(sessions)
    if isinstance(sessions, Blocking):
        sessions.runner.close()


def test_what_first_uses_its_session_after_the_head_can_begin_none(visitor):
    session = visitor.sessions.open(b"")
    visitor.sessions.close(session)
    session["a"] = 1
    with pytest.raises(CannotSendCookie):
        visitor.sessions.close(session)
    assert visitor.sessions.count() == 0


def test_what_was_loaded_and_not_looked_at_is_untouched(visitor):
    with visitor.request() as session:
        session["a"] = 1
    with visitor.request():
        pass
    assert not visitor.outcome.vary


def test_what_is_edited_inside_after_the_head_is_stored_by_the_next_close(visitor):
    with visitor.request() as session:
        session["basket"] = []
    session = visitor.sessions.open(visitor.cookie.encode())
    basket = session["basket"]
    visitor.receive(visitor.sessions.close(session))
    basket.append("hat")
    visitor.receive(visitor.sessions.close(session))
    assert visitor.read() == {"basket": ["hat"]}


def test_an_edit_that_takes_longer_than_its_session_lives_is_not_stored(visitor):
    with visitor.request() as session:
        session["a"] = 1
    clock = visitor.sessions.settings.clock

    def edit_slowly():
        with visitor.sessions.edit(visitor.handle) as session:
            session["a"] = 2
            clock.advance(30 * 86_400)

    with pytest.raises(SessionGone):
        edit_slowly()
    clock.advance(-30 * 86_400)
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("20")
def test_the_outage_policy_of_a_request_is_that_of_its_path():
    store = FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store, outage={"/shop": "anonymous"})).signed_in()
    store.fail("load", error=StoreUnavailable("down"))
    assert visitor.sessions.open(visitor.cookie.encode(), path="/shop/hats").user is None
    with pytest.raises(StoreUnavailable):
        visitor.sessions.open(visitor.cookie.encode(), path="/account").user  # noqa: B018
