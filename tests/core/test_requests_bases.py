"""Each change is measured against what the request began with, also where its record was brought up to date meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coatcheck import merges
from coatcheck.errors import StoreTimeout
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from tests.visitor import Visitor, make_sessions


def visitor_of(**options) -> Visitor:
    """A visitor with a session, and a flash message waiting in it."""
    visitor = Visitor(make_sessions(MemoryStore(), **options))
    with visitor.request() as session:
        session["name"] = "Ada"
        session.flash("welcome")
    return visitor


def broken(_base, _theirs, _ours):
    raise ZeroDivisionError


def count_visit(session) -> None:
    session["visits"] = session.get("visits", 0) + 1


@pytest.mark.promise("6")
def test_a_counter_that_began_absent_counts_both_visits_where_messages_are_taken_in_between():
    visitor = visitor_of(merge={"visits": merges.add})
    with visitor.request() as session:
        count_visit(session)
        with visitor.request() as other:
            count_visit(other)
        visitor.sessions.take_flashes(session)
    assert visitor.read()["visits"] == 2


@pytest.mark.promise("6")
def test_a_counter_that_was_found_absent_and_is_set_only_later_counts_both_visits():
    visitor = visitor_of(merge={"visits": merges.add})
    with visitor.request() as session:
        visits = session.get("visits", 0)
        with visitor.request() as other:
            count_visit(other)
        visitor.sessions.take_flashes(session)
        session["visits"] = visits + 1
    assert visitor.read()["visits"] == 2


@pytest.mark.promise("7")
def test_a_field_that_was_set_to_what_it_was_undoes_nothing_at_the_end_of_a_streamed_response():
    visitor = visitor_of()
    clock = visitor.sessions.settings.clock
    clock.advance(timedelta(hours=2))
    with visitor.request() as session:
        session["name"] = "Ada"
        with visitor.request() as other:
            other["name"] = "Grace"
        clock.advance(timedelta(hours=2))
        visitor.sessions.close(session)  # the slide that is due brings the record up to date
    assert visitor.read()["name"] == "Grace"


@pytest.mark.promise("6")
def test_what_was_removed_and_saved_is_set_again_even_to_its_old_value():
    visitor = visitor_of()
    with visitor.request() as session:
        session["name"] = "Ada"
        del session["name"]
        visitor.sessions.save(session)
        session["name"] = "Ada"
    assert visitor.read()["name"] == "Ada"


@pytest.mark.promise("6")
def test_for_a_merge_rule_too_the_default_of_setdefault_is_what_was_read():
    visitor = visitor_of(merge={"left": merges.add})
    with visitor.request() as session, visitor.request() as other:
        for each in (session, other):
            each.setdefault("left", 10)
            each["left"] -= 1
    assert visitor.read()["left"] == 8


@pytest.mark.promise("6")
def test_the_default_of_setdefault_in_place_of_a_removed_field_is_a_change_of_what_was_there():
    visitor = visitor_of(merge={"left": merges.add})
    with visitor.request() as session:
        session["left"] = 10
    with visitor.request() as session:
        del session["left"]
        with visitor.request() as other:
            other["left"] += 1
        session.setdefault("left", 5)
    assert visitor.read()["left"] == 11 + (5 - 10)


def by_taking(session, visitor) -> None:
    session["name"] = "Ada"
    visitor.sessions.take(session, "name")


def by_clearing(session, visitor) -> None:
    session["name"] = "Ada"
    session.clear()


def by_ending(session, visitor) -> None:
    session["name"] = "Ada"
    session.sign_out()


def by_a_sign_in_that_starts_afresh(session, visitor) -> None:
    session.update(name="Ada", other=1)
    visitor.sessions.save(session)
    with visitor.request() as other:
        other.sign_in("grace")
    session.sign_in("ada")
    visitor.sessions.save(session)


@pytest.mark.promise("6")
@pytest.mark.parametrize("gone", [by_taking, by_clearing, by_ending, by_a_sign_in_that_starts_afresh])
def test_what_is_gone_is_set_again_even_to_its_old_value(gone):
    visitor = visitor_of()
    with visitor.request() as session:
        gone(session, visitor)
        assert "name" not in session
        session["name"] = "Ada"
    assert visitor.read()["name"] == "Ada"


@pytest.mark.promise("6")
@pytest.mark.promise("11")
@pytest.mark.parametrize("before", [None, "name"], ids=["at once", "after another take"])
def test_what_is_taken_holds_the_edits_of_both(before):
    visitor = visitor_of(merge={"visits": merges.add, "best": broken})
    take = visitor.sessions.take
    with visitor.request() as session:
        session.update(basket=["scarf"], visits=1, best=1, chosen=1, seen=[1])
    with visitor.request() as session:
        session["basket"].append("mac")
        session["chosen"] = 2
        session.get("seen")
        with visitor.request() as other:
            other["basket"].append("hat")
            other.update(visits=5, best=5, chosen=3, seen=[1, 2])
        session.update(visits=2, best=2)
        if before is not None:
            take(session, before)
        taken = take(session, "basket", "visits", "best", "chosen", "seen")
    assert taken == {"basket": ["scarf", "hat", "mac"], "visits": 6, "best": 2, "chosen": 2, "seen": [1, 2]}
    assert visitor.read() == ({} if before else {"name": "Ada"})


@pytest.mark.promise("11")
def test_what_another_request_has_taken_is_not_given_back_with_an_edit():
    visitor = visitor_of()
    with visitor.request() as session:
        session["basket"] = ["scarf"]
    with visitor.request() as session:
        session["basket"].append("mac")
        with visitor.request() as other:
            visitor.sessions.take(other, "basket")
        assert visitor.sessions.take(session, "basket") == {}


@pytest.mark.promise("4")
@pytest.mark.parametrize("lost", ["edit", "assignment"])
def test_an_edit_that_may_be_stored_is_not_sent_again_and_the_response_is_no_success(lost):
    store = FailingStore(memory := MemoryStore())
    visitor = Visitor(make_sessions(store))
    with visitor.request() as session:
        session["basket"] = ["scarf"]

    def another_request():
        with visitor.request(make_sessions(memory)) as other:
            other["name"] = "Ada"

    session = visitor.sessions.open(visitor.cookie)
    if lost == "edit":
        session["basket"].append("hat")
    else:
        session["basket"] = ["scarf", "hat"]
    store.fail("write", error=StoreTimeout("lost"), times=1, done=True, then=another_request)
    with pytest.raises(StoreTimeout):
        visitor.sessions.save(session)
    if lost == "edit":
        for again in (visitor.sessions.save, visitor.sessions.close):
            with pytest.raises(StoreTimeout) as told:
                again(session)
            assert told.value.ambiguous
    else:
        visitor.sessions.close(session)
    assert visitor.read() == {"basket": ["scarf", "hat"], "name": "Ada"}


@pytest.mark.promise("12")
@pytest.mark.parametrize("failed", [True, False])
def test_a_session_whose_edit_may_be_stored_can_be_ended(failed):
    store = FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store))
    with visitor.request() as session:
        session["basket"] = ["scarf"]
    session = visitor.sessions.open(visitor.cookie)
    session["basket"].append("hat")
    store.fail("write", "load", error=StoreTimeout("lost"))
    with pytest.raises(StoreTimeout):
        visitor.sessions.save(session)
    store.recover()
    session.sign_out()
    if failed:
        visitor.sessions.fail(session)
    assert "Max-Age=0" in visitor.sessions.close(session).set_cookie
    assert visitor.sessions.count() == 0


@pytest.mark.promise("12")
def test_an_ending_that_may_be_stored_is_tried_again_with_what_was_put_in_behind_it():
    store = FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store)).signed_in()
    session = visitor.sessions.open(visitor.cookie)
    session.sign_out()
    session.setdefault("basket", []).append("hat")
    store.fail("write", "load", error=StoreTimeout("lost"))
    with pytest.raises(StoreTimeout):
        visitor.sessions.close(session)
    store.recover()
    visitor.receive(visitor.sessions.close(session))
    assert visitor.read() == {"basket": ["hat"]}
    assert visitor.sessions.count() == 1


@pytest.mark.promise("13")
def test_a_sign_in_that_may_be_stored_is_tried_again():
    store = FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store))
    with visitor.request() as session:
        session["basket"] = ["scarf"]
    session = visitor.sessions.open(visitor.cookie)
    session["basket"].append("hat")
    session.sign_in("ada")
    store.fail("load", error=StoreTimeout("lost"))
    store.fail("write", error=StoreTimeout("lost"), times=1, done=True)
    with pytest.raises(StoreTimeout):
        visitor.sessions.close(session)
    store.recover()
    visitor.receive(visitor.sessions.close(session))
    with visitor.request() as session:
        assert (session.user, session["basket"]) == ("ada", ["scarf", "hat"])


@pytest.mark.promise("12")
def test_a_session_that_another_thread_ended_while_its_edit_was_lost_is_ended():
    store = FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store))
    with visitor.request() as session:
        session["basket"] = ["scarf"]
    session = visitor.sessions.open(visitor.cookie)
    session["basket"].append("hat")
    store.fail("load", error=StoreTimeout("lost"))
    store.fail("write", error=StoreTimeout("lost"), times=1, then=session.destroy)
    with pytest.raises(StoreTimeout):
        visitor.sessions.save(session)
    store.recover()
    visitor.sessions.close(session)
    assert visitor.sessions.count() == 0
