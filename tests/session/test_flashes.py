"""Flash messages."""

from __future__ import annotations

import pytest

from coatcheck import Flash, NotStorable
from tests.session.scene import stored
from tests.visitor import Visitor, make_sessions


@pytest.mark.promise("11")
def test_messages_wait_in_order_with_their_category(visitor):
    with visitor.request() as session:
        session.flash("one")
        session.flash("two", "error")
        session.flash({"three": [3]}, category="warning")
        assert [flash.message for flash in session.peek_flashes()] == ["one", "two", {"three": [3]}]
    with visitor.request() as session:
        assert session.peek_flashes() == [
            Flash("info", "one"),
            Flash("error", "two"),
            Flash("warning", {"three": [3]}),
        ]
        assert session.peek_flashes() == session.peek_flashes()


@pytest.mark.promise("11")
def test_messages_of_many_requests_wait_in_the_order_of_their_time():
    sessions = make_sessions()
    visitor = Visitor(sessions)
    for number in range(30):
        with visitor.request() as session:
            session.flash(number)
            session.flash(number + 0.5)
        sessions.settings.clock.advance(0.001)
    with visitor.request() as session:
        assert [flash.message for flash in session.peek_flashes()] == [number / 2 for number in range(60)]


@pytest.mark.promise("11")
def test_messages_stay_in_order_across_a_save(visitor):
    with visitor.request() as session:
        for number in range(20):
            session.flash(number)
            visitor.sessions.save(session)
    with visitor.request() as session:
        assert [flash.message for flash in session.peek_flashes()] == list(range(20))


@pytest.mark.promise("11")
def test_equal_messages_of_one_moment_all_stay(visitor):
    with visitor.request() as session:
        for _ in range(100):
            session.flash("same")
    with visitor.request() as session:
        assert len(session.peek_flashes()) == 100


@pytest.mark.promise("11")
def test_messages_of_parallel_requests_all_stay(visitor):
    stored(visitor, a=1)
    with visitor.request() as one, visitor.request() as other:
        one.flash("from one")
        other.flash("from the other")
    with visitor.request() as session:
        assert {flash.message for flash in session.peek_flashes()} == {"from one", "from the other"}


def test_a_message_that_can_not_be_stored_is_refused_by_name(visitor):
    with visitor.request() as session, pytest.raises(NotStorable, match=r"this message.*object"):
        session.flash(object())


@pytest.mark.promise("11")
def test_the_messages_of_one_category_can_be_taken_and_the_others_wait_on(visitor):
    with visitor.request() as session:
        for number, category in enumerate(["error", "info", "error", ""]):
            session.flash(number, category)
    with visitor.request() as session:
        assert [flash.message for flash in session.peek_flashes("error")] == [0, 2]
        assert session.peek_flashes("none") == []
        assert [flash.message for flash in visitor.sessions.take_flashes(session, "error")] == [0, 2]
        assert visitor.sessions.take_flashes(session, category="error") == []
        assert [flash.message for flash in session.peek_flashes()] == [1, 3]
        assert [flash.message for flash in visitor.sessions.take_flashes(session, "")] == [3]
    with visitor.request() as session:
        assert [flash.message for flash in visitor.sessions.take_flashes(session)] == [1]


def test_a_message_keeps_its_tags(visitor):
    with visitor.request() as session:
        session.flash("saved", "success", tags="sticky big")
    with visitor.request() as session:
        (flash,) = session.peek_flashes()
        assert (flash.category, flash.message, flash.markup, flash.tags) == (
            "success",
            "saved",
            False,
            "sticky big",
        )
