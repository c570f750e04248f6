"""Requests that meet: late ones, parallel ones, several cookies."""

from __future__ import annotations

import asyncio
import random
import secrets

import pytest

from coatcheck import AsyncSessions
from tests.sessions.scene import AsyncFailing, advance, signed_in
from tests.visitor import SECRET, CountedStore, Visitor, make_sessions, stored_in


@pytest.mark.promise("12")
def test_a_late_request_neither_revives_a_session_that_was_ended_nor_says_so(visitor, sessions):
    visitor.signed_in(a=1)
    cookie = visitor.cookie
    late = Visitor(sessions, cookie)
    with late.request() as session:
        session["a"] = 2
        with visitor.request() as other:
            other.sign_out()
    assert late.set_cookie is None
    with late.request() as session:
        session["b"] = 1
    assert late.set_cookie is None
    assert sessions.count() == 0
    assert sessions.counts["dropped"] == 2


@pytest.mark.promise("13")
def test_a_late_request_can_not_undo_a_sign_in(visitor, sessions):
    with visitor.request() as session:
        session["cart"] = [1]
    late = Visitor(sessions, visitor.cookie)
    with late.request() as session:
        session["cart"].append("late")
        visitor.signed_in("ada")
    assert late.set_cookie is None
    with late.request() as session:
        assert session.user is None
        assert dict(session) == {}
        session["x"] = 1
    assert late.set_cookie is None
    assert visitor.read() == {"cart": [1]}


@pytest.mark.promise("13")
def test_two_sign_ins_at_once_both_stand_and_neither_is_dropped(visitor, sessions):
    with visitor.request() as session:
        session["cart"] = [1]
    other = Visitor(sessions, visitor.cookie)
    with other.request() as session:
        session["mine"] = 1
        session.sign_in("grace")
        visitor.signed_in("ada")
    with visitor.request() as session:
        assert (session.user, dict(session)) == ("ada", {"cart": [1]})
    with other.request() as session:
        assert (session.user, dict(session)) == ("grace", {"mine": 1})


@pytest.mark.promise("13")
def test_after_the_late_window_an_old_cookie_is_a_stranger_s(visitor, sessions):
    with visitor.request() as session:
        session["a"] = 1
    stranger = Visitor(sessions, visitor.cookie)
    visitor.signed_in("ada")
    advance(sessions, seconds=121)
    with stranger.request() as session:
        session["b"] = 1
    assert stranger.read() == {"b": 1}
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("6")
def test_requests_that_change_different_fields_both_stand(visitor):
    visitor.signed_in(a=0, b=0, c=0)
    with visitor.request() as one, visitor.request() as other:
        one["a"] = 1
        del one["c"]
        other["b"] = 2
        other["d"] = 3
    assert visitor.read() == {"a": 1, "b": 2, "d": 3}


@pytest.mark.promise("7")
def test_a_request_that_only_read_undoes_nothing(visitor):
    visitor.signed_in(a=[0], b=[0])
    with visitor.request() as one, visitor.request() as other:
        assert dict(one) == dict(other)
        other["a"].append(1)
    assert visitor.read() == {"a": [0, 1], "b": [0]}


@pytest.mark.promise("H")
def test_of_several_cookies_with_one_live_session_that_one_counts(visitor, sessions):
    visitor.signed_in("ada", a=1)
    dead = Visitor(sessions).signed_in("grace")
    dead_cookie = dead.cookie
    with dead.request() as session:
        session.sign_out()
    for cookies in (f"{visitor.cookie}; {dead_cookie}", f"{dead_cookie}; x=1; {visitor.cookie}"):
        with Visitor(sessions).request(cookies=cookies) as session:
            assert session.user == "ada"


@pytest.mark.promise("H")
def test_of_several_live_sessions_none_counts_and_a_sign_in_ends_them_all(visitor, sessions):
    one, other = (Visitor(sessions).signed_in(user) for user in ("ada", "grace"))
    cookies = f"{one.cookie}; {other.cookie}"
    with visitor.request(cookies=cookies) as session:
        assert session.user is None
    with visitor.request(cookies=cookies) as session:
        session.sign_in("eve")
    assert sessions.count() == 1
    assert (one.read(), other.read()) == ({}, {})
    with visitor.request() as session:
        assert session.user == "eve"


@pytest.mark.promise("15")
def test_a_key_that_is_taken_by_somebody_else_is_left_alone(monkeypatch):
    store = CountedStore()
    victim = Visitor(make_sessions(store)).signed_in("ada", a=1)
    before = stored_in(store)
    ((taken, _),) = before.items()
    given = iter([taken])

    def token_bytes(size):
        return (
            next(given, None)
            if size == 16 and given.__length_hint__()
            else random.SystemRandom().randbytes(size)
        )

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    other = Visitor(make_sessions(store))
    with other.request() as session:
        session["b"] = 1
    assert stored_in(store)[taken] == before[taken]
    assert store.calls.count("write") == 3
    assert other.read() == {"b": 1}
    assert victim.read() == {"a": 1}


@pytest.mark.promise("6")
def test_two_tasks_that_load_at_once_see_one_session():
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions, cart=[]))

        async def work(number):
            await sessions.load(session)
            session["cart"].append(number)
            await asyncio.sleep(0)

        await asyncio.gather(*map(work, range(5)))
        assert sorted(session["cart"]) == [0, 1, 2, 3, 4]

    asyncio.run(scenario())
