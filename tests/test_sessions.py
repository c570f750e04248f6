from __future__ import annotations

import asyncio
import inspect
import logging
import random
import re
import secrets
import subprocess
import sys
import threading
import time
import traceback
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import coatcheck
from coatcheck import (
    AsyncSessions,
    CannotSendCookie,
    DecodeError,
    Event,
    Flash,
    InsecureTransportWarning,
    NotStorable,
    SessionGone,
    SessionInfo,
    Sessions,
    StoreError,
    StoreUnavailable,
)
from coatcheck.errors import ConfigurationError
from coatcheck.http.token import Ring, Token
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AwaitableStore, CountingStore, ManualClock
from coatcheck.testing.wrappers import AsyncStoreWrapper
from tests.interleaving import in_steps, interleavings
from tests.visitor import OLD_SECRET, SECRET, Blocking, CountedStore, Visitor, make_sessions, plant, stored_in


@pytest.fixture(params=["sync", "async"])
def make(request):
    """Makes managers of either colour, called in the same way."""
    runners = []

    def make(**options):
        if request.param == "sync":
            return make_sessions(**options)
        sessions = Blocking(**options)
        runners.append(sessions.runner)
        return sessions

    yield make
    for runner in runners:
        runner.close()


@pytest.fixture
def sessions(make):
    return make()


@pytest.fixture
def visitor(sessions):
    return Visitor(sessions)


def advance(sessions, **span):
    sessions.settings.clock.advance(timedelta(**span))


# A request


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


# Late requests


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


# Tokens


def test_tokens_never_repeat_and_seeding_has_no_effect(sessions):
    tokens = set()
    for _ in range(300):
        random.seed(0)
        tokens.add(Visitor(sessions).signed_in().token)
    assert len(tokens) == 300
    for at in range(64):  # of 86 characters, all but those of the MAC
        assert len({token[at] for token in tokens}) > 10


def test_tokens_and_the_other_secrets_come_from_the_secrets_module(monkeypatch):
    sizes = []

    def token_bytes(size):
        sizes.append(size)
        return random.SystemRandom().randbytes(size)

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    visitor = Visitor(make_sessions())
    with visitor.request() as session:
        session["a"] = 1
    assert sizes == [16, 32, 4, 8]  # selector, secret, mark, revision
    sizes.clear()
    with visitor.request() as session:
        session.rotate()
        session.csrf_token()
        session.flash("hello")
    assert sorted(sizes) == [4, 8, 32]  # mark, revision, secret


@pytest.mark.promise("18")
def test_the_store_holds_no_token_and_no_secret(make):
    sessions = make_sessions()
    visitor = Visitor(sessions).signed_in("ada")
    raw = sessions.settings.ring.verify(visitor.token.encode())
    dump = b"".join(stored_in(sessions.store).values())
    assert raw.secret not in dump
    assert raw.secret_hash in dump
    assert visitor.token.encode() not in dump


@pytest.mark.promise("F-21")
def test_a_secret_can_be_replaced_without_ending_sessions(make):
    old = make(secret=OLD_SECRET)
    visitor = Visitor(old).signed_in("ada", a=1)
    both = old.with_settings(secret=[SECRET, OLD_SECRET])
    with visitor.request(both):
        pass
    assert visitor.set_cookie is None
    before = visitor.token
    with visitor.request(both) as session:
        assert session["a"] == 1
    assert visitor.token != before
    assert visitor.token[:60] == before[:60]
    new = old.with_settings(secret=SECRET)
    with visitor.request(new) as session:
        assert (session.user, dict(session)) == ("ada", {"a": 1})
    assert visitor.set_cookie is None


@pytest.mark.promise("F-21")
def test_parallel_requests_sign_anew_to_the_same_token(make):
    old = make(secret=OLD_SECRET)
    visitor = Visitor(old).signed_in("ada")
    both = old.with_settings(secret=[SECRET, OLD_SECRET])
    others = [Visitor(both, visitor.cookie) for _ in range(3)]
    for other in others:
        other.read()
    assert len({other.token for other in others}) == 1


# Periodic rotation


@pytest.mark.promise("14")
def test_a_rotation_logs_nobody_out_whichever_response_is_lost(make):
    sessions = make(rotate_every=timedelta(hours=1), rotation_grace=timedelta(minutes=1))
    visitor = Visitor(sessions).signed_in("ada", a=1)
    advance(sessions, hours=1)
    first, second, lost = (Visitor(sessions, visitor.cookie) for _ in range(3))
    for other in (first, second, lost):
        assert other.read() == {"a": 1}
    assert first.token == second.token == lost.token != visitor.token
    # The visitor's response was lost: he still shows the old token, for hours.
    advance(sessions, hours=3)
    assert visitor.read() == {"a": 1}
    assert visitor.token == first.token
    # Now the new one has been seen: the old one is good for a minute.
    old = Visitor(sessions, lost.cookie)
    assert visitor.read() == {"a": 1}
    assert old.read() == {"a": 1}


@pytest.mark.promise("14")
def test_the_old_token_of_a_rotation_dies_after_its_grace(make):
    sessions = make(rotate_every=timedelta(hours=5), rotation_grace=timedelta(minutes=1))
    visitor = Visitor(sessions).signed_in("ada", a=1)
    old = visitor.cookie
    advance(sessions, hours=5)
    visitor.read()
    assert visitor.cookie != old
    visitor.read()
    advance(sessions, seconds=59)
    with Visitor(sessions).request(cookies=old) as session:
        assert session.user == "ada"
    advance(sessions, seconds=1)
    with Visitor(sessions).request(cookies=old) as session:
        assert session.user is None
    assert visitor.read() == {"a": 1}


# What waits


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
    for intend in (session.rotate, lambda: session.sign_in("grace")):
        intend()
        with pytest.raises(CannotSendCookie):
            sessions.save(session)
    with pytest.raises(CannotSendCookie):
        sessions.close(session)


def test_abandoning_never_raises_not_even_after_the_head(visitor, sessions):
    visitor.signed_in("ada")
    session = sessions.open(visitor.cookie)
    sessions.close(session)
    session.sign_in("grace")
    session["a"] = [1]
    session["a"].append(object())
    sessions.abandon(session)
    with visitor.request() as session:
        assert session.user == "ada"


def test_abandoning_does_not_mind_what_can_not_be_stored(visitor, sessions):
    visitor.signed_in("ada", a=[1])
    session = sessions.open(visitor.cookie)
    session["a"].append(object())
    sessions.abandon(session)
    assert visitor.read() == {"a": [1]}


# From outside


@pytest.mark.promise("17")
def test_the_sessions_of_a_user_are_listed_the_newest_sign_in_first(make):
    sessions = make()
    start = datetime.fromtimestamp(sessions.settings.clock(), UTC)
    visitors = []
    for number in range(5):
        visitor = Visitor(sessions)
        with visitor.request(client=f"Browser/{number}") as session:
            session.permanent = number == 4
            session.sign_in("ada")
        visitors.append(visitor)
        advance(sessions, seconds=1)
    Visitor(sessions).signed_in("grace")
    with visitors[2].request() as current:
        infos = sessions.of_user("ada", current=current)
        handle = current.handle
    assert [info.client for info in infos] == [f"Browser/{number}" for number in (4, 3, 2, 1, 0)]
    assert [info.current for info in infos] == [False, False, True, False, False]
    assert infos[2] == SessionInfo(
        handle=handle,
        user="ada",
        created_at=start + timedelta(seconds=2),
        signed_in_at=start + timedelta(seconds=2),
        last_used_at=start + timedelta(seconds=2),
        expires_at=start + timedelta(seconds=2, days=1),
        permanent=False,
        client="Browser/2",
        current=True,
    )
    assert infos[0].permanent
    assert infos[0].expires_at == start + timedelta(seconds=4, days=30)


@pytest.mark.promise("17")
def test_a_long_list_comes_in_pages(make):
    sessions = make()
    for _ in range(7):
        Visitor(sessions).signed_in("ada")
        advance(sessions, seconds=1)
    everything = [info.handle for info in sessions.of_user("ada")]
    assert len(everything) == 7
    pages, after = [], None
    while page := sessions.of_user("ada", limit=3, after=after):
        pages.append([info.handle for info in page])
        after = page[-1].handle
    assert pages == [everything[:3], everything[3:6], everything[6:]]


def test_a_list_has_a_hundred_at_most_unless_more_is_asked_for(make):
    sessions = make()
    for _ in range(105):
        Visitor(sessions).signed_in("ada")
    assert len(sessions.of_user("ada")) == 100
    assert len(sessions.of_user("ada", limit=1000)) == 105


def test_a_page_behind_a_session_that_has_ended_meanwhile_repeats_nothing(make):
    sessions = make()
    for _ in range(6):
        Visitor(sessions).signed_in("ada")
        advance(sessions, seconds=1)
    first = [info.handle for info in sessions.of_user("ada", limit=3)]
    sessions.revoke(first[-1])
    second = [info.handle for info in sessions.of_user("ada", limit=3, after=first[-1])]
    assert set(first).isdisjoint(second)


def test_a_session_is_listed_under_whoever_signed_in_last(sessions):
    visitor = Visitor(sessions).signed_in("ada").signed_in("grace")
    assert sessions.of_user("ada") == []
    assert [info.handle for info in sessions.of_user("grace")] == [visitor.handle]
    with visitor.request() as session:
        session.sign_out()
    assert sessions.of_user("grace") == []


@pytest.mark.promise("V")
@pytest.mark.parametrize("user", ["", None, 1, b"ada"], ids=repr)
def test_what_can_not_be_a_user_is_a_type_error(sessions, user):
    for ask in (
        lambda: sessions.of_user(user),
        lambda: sessions.revoke_user(user),
        lambda: sessions.update_user(user, {"a": 1}),
    ):
        with pytest.raises(TypeError, match="sign_in"):
            ask()


def test_one_and_the_text_of_one_are_the_same_user_only_as_text(sessions):
    Visitor(sessions).signed_in("1")
    assert len(sessions.of_user("1")) == 1
    with pytest.raises(TypeError):
        sessions.of_user(1)


def test_revoking_ends_one_session_for_good(visitor, sessions):
    visitor.signed_in("ada", a=1)
    other = Visitor(sessions).signed_in("ada", a=2)
    handle = visitor.handle
    assert sessions.revoke(handle) is True
    assert sessions.revoke(handle) is False
    assert (visitor.read(), other.read()) == ({}, {"a": 2})
    assert sessions.revoke("no handle") is False
    assert sessions.revoke("0" * 32) is False


@pytest.mark.promise("17")
def test_revoking_a_user_is_complete_and_touches_nobody_else(sessions):
    ada = [Visitor(sessions).signed_in("ada") for _ in range(5)]
    grace = Visitor(sessions).signed_in("grace", a=1)
    ada[0].signed_in("ada")
    with ada[1].request() as session:
        session.rotate()
    assert sessions.revoke_user("ada") == 5
    assert sessions.revoke_user("ada") == 0
    assert [visitor.handle for visitor in ada] == [None] * 5
    assert grace.read() == {"a": 1}


@pytest.mark.promise("17")
@pytest.mark.parametrize("by_handle", [True, False])
def test_revoking_a_user_can_leave_the_current_session_alone(sessions, by_handle):
    visitors = [Visitor(sessions).signed_in("ada", n=number) for number in range(3)]
    with visitors[1].request() as session:
        assert sessions.revoke_user("ada", keep=session.handle if by_handle else session) == 2
    assert [visitor.read() for visitor in visitors] == [{}, {"n": 1}, {}]


@pytest.mark.promise("V")
def test_resetting_a_password_and_signing_in_is_one_request(visitor, sessions):
    stolen = Visitor(sessions).signed_in("ada")
    with visitor.request() as session:
        assert sessions.revoke_user("ada") == 1
        session.sign_in("ada")
    with visitor.request() as session:
        assert session.user == "ada"
    assert stolen.handle is None


@pytest.mark.promise("17")
def test_a_request_under_way_does_not_survive_the_revocation_of_its_user(visitor, sessions):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session["a"] = 2
        sessions.revoke_user("ada")
    assert visitor.set_cookie is None
    assert visitor.read() == {}


def test_updating_a_user_reaches_each_of_his_sessions_and_no_other(sessions):
    ada = [Visitor(sessions).signed_in("ada", n=number) for number in range(3)]
    grace = Visitor(sessions).signed_in("grace")
    before = [info.last_used_at for info in sessions.of_user("ada")]
    advance(sessions, minutes=30)
    assert sessions.update_user("ada", {"role": "admin", "groups": {1, 2}}) == 3
    assert [info.last_used_at for info in sessions.of_user("ada")] == before
    assert [visitor.read() for visitor in ada] == [
        {"n": n, "role": "admin", "groups": {1, 2}} for n in range(3)
    ]
    assert grace.read() == {}
    assert sessions.update_user("nobody", {"a": 1}) == 0
    with pytest.raises(NotStorable, match="role"):
        sessions.update_user("ada", {"role": object()})


@pytest.mark.promise("6")
def test_an_update_of_a_user_does_not_undo_what_a_request_under_way_writes(visitor, sessions):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session["a"] = 2
        sessions.update_user("ada", {"role": "admin"})
    assert visitor.read() == {"a": 2, "role": "admin"}


def test_an_edit_changes_a_session_from_outside_and_is_no_use(visitor, sessions):
    visitor.signed_in("ada", cart=[1])
    handle = visitor.handle
    advance(sessions, minutes=30)
    with sessions.edit(handle) as session:
        assert (session.user, session.handle) == ("ada", handle)
        session["cart"].append(2)
        session.flash("your order is on its way")
        used = session.last_used_at
    (info,) = sessions.of_user("ada")
    assert info.last_used_at == used == datetime.fromtimestamp(sessions.settings.clock() - 1800, UTC)
    with visitor.request() as session:
        assert session["cart"] == [1, 2]
        assert session.peek_flashes() == [Flash("info", "your order is on its way")]
    assert visitor.set_cookie is None


@pytest.mark.parametrize("store", [None, "save", "take"])
def test_an_edit_never_reaches_another_user_who_has_signed_in_since(visitor, sessions, store):
    visitor.signed_in("ada", a=1)

    def work():
        with sessions.edit(visitor.handle) as session:
            session["plan"] = "Ada's"
            with visitor.request() as browser:
                browser.sign_in("grace")
                browser["a"] = 2
            if store == "save":
                sessions.save(session)
            if store == "take":
                sessions.take(session, "a")

    with pytest.raises(SessionGone):
        work()
    assert visitor.read() == {"a": 2}


def test_an_edit_reaches_the_user_who_has_signed_in_to_an_anonymous_session_since(visitor, sessions):
    visitor.serve(lambda session: session.update(a=1))
    with sessions.edit(visitor.handle) as session:
        visitor.signed_in("ada")
        session["b"] = 2
    assert visitor.read() == {"a": 1, "b": 2}


def test_an_edit_whose_block_fails_changes_nothing(visitor, sessions):
    def worker():
        with sessions.edit(visitor.handle) as session:
            session["a"] = 2
            raise ZeroDivisionError

    visitor.signed_in("ada", a=1)
    with pytest.raises(ZeroDivisionError):
        worker()
    assert visitor.read() == {"a": 1}


def test_an_edit_can_save_and_take_on_the_way(visitor, sessions):
    visitor.signed_in("ada", a=1, b=2)
    with sessions.edit(visitor.handle) as session:
        session["c"] = 3
        sessions.save(session)
        assert visitor.read() == {"a": 1, "b": 2, "c": 3}
        assert sessions.take(session, "b") == {"b": 2}
        assert sessions.is_live(session)
    assert visitor.read() == {"a": 1, "c": 3}


def test_an_edit_of_what_is_gone_is_an_error(visitor, sessions):
    def worker(handle):
        with sessions.edit(handle) as session:
            session["a"] = 2
            sessions.revoke(handle)

    visitor.signed_in("ada", a=1)
    handle = visitor.handle
    with pytest.raises(SessionGone) as caught:
        worker(handle)
    assert caught.value.handle == handle
    with pytest.raises(SessionGone), sessions.edit(handle):
        pytest.fail("the block must not run")
    assert visitor.read() == {}


@pytest.mark.parametrize(
    "intend", [lambda s: s.sign_in("grace"), lambda s: s.rotate()], ids=["sign_in", "rotate"]
)
def test_an_edit_can_not_change_the_secret(visitor, sessions, intend):
    visitor.signed_in("ada")
    with pytest.raises(CannotSendCookie), sessions.edit(visitor.handle) as session:
        intend(session)
    with visitor.request() as session:
        assert session.user == "ada"


def test_an_edit_can_end_the_session(visitor, sessions):
    visitor.signed_in("ada")
    with sessions.edit(visitor.handle) as session:
        session.destroy()
    assert visitor.handle is None


@pytest.mark.promise("18")
def test_a_token_that_is_mistaken_for_a_handle_is_not_repeated(visitor, sessions):
    visitor.signed_in("ada")
    with pytest.raises(SessionGone) as caught, sessions.edit(visitor.token):
        pass
    assert visitor.token not in "".join(traceback.format_exception(caught.value))


def test_counting_and_sweeping(make):
    sessions = make(idle_timeout=timedelta(hours=1))
    visitors = [Visitor(sessions).signed_in(f"user {number}") for number in range(4)]
    assert sessions.count() == 4
    assert sessions.sweep() == 0
    advance(sessions, minutes=40)
    visitors[0].read()
    advance(sessions, minutes=30)
    assert sessions.count() == 1
    assert sessions.sweep() == 3
    assert sessions.sweep() == 0
    assert sessions.count() == 1
    with visitors[0].request() as session:
        assert session.user == "user 0"


def test_the_store_can_be_pinged_and_closed_twice(make):
    sessions = make()
    assert sessions.ping() is None
    sessions.shutdown()
    sessions.shutdown()


def test_a_manager_closes_its_store_at_the_end():
    closed = []

    class Closing(MemoryStore):
        def close(self):
            closed.append("sync")

    class AsyncClosing(AsyncMemoryStore):
        async def close(self):
            closed.append("async")

    with Sessions(Closing(), secret=SECRET) as sessions:
        assert isinstance(sessions, Sessions)

    async def scenario():
        async with AsyncSessions(AsyncClosing(), secret=SECRET) as sessions:
            assert isinstance(sessions, AsyncSessions)

    asyncio.run(scenario())
    assert closed == ["sync", "async"]


# A limit of a user's sessions


@pytest.mark.promise("17")
def test_a_sign_in_ends_the_oldest_beyond_the_limit_and_tells(make):
    events = []
    sessions = make(max_sessions_per_user=2, on_event=events.append)
    devices = []
    for _ in range(4):
        devices.append(Visitor(sessions).signed_in("ada"))
        advance(sessions, seconds=1)
    assert [device.handle is not None for device in devices] == [False, False, True, True]
    assert len(sessions.of_user("ada")) == 2
    revoked = [
        (event.handle is None, event.user, event.reason) for event in events if event.kind == "revoked"
    ]
    assert revoked == [(False, "ada", "the user has 2 newer ones")] * 2
    assert sessions.counts["revoked"] == 2


@pytest.mark.promise("17")
def test_where_the_limit_was_lowered_the_next_sign_in_ends_all_that_are_too_many(make):
    sessions = make()
    devices = [Visitor(sessions).signed_in("ada") for _ in range(150)]
    advance(sessions, seconds=1)
    strict = sessions.with_settings(max_sessions_per_user=1)
    newest = Visitor(strict).signed_in("ada")
    assert [info.handle for info in sessions.of_user("ada")] == [newest.handle]
    assert {device.handle for device in devices} == {None}


def test_signing_in_again_takes_no_second_place(make):
    sessions = make(max_sessions_per_user=2)
    first, second = Visitor(sessions).signed_in("ada"), Visitor(sessions).signed_in("ada")
    for _ in range(3):
        advance(sessions, seconds=1)
        first.signed_in("ada")
    assert None not in (first.handle, second.handle)


def test_a_sign_in_as_another_user_frees_a_place(make):
    sessions = make(max_sessions_per_user=1)
    visitor = Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=1)
    visitor.signed_in("grace")
    other = Visitor(sessions).signed_in("ada")
    assert visitor.handle != other.handle
    assert None not in (visitor.handle, other.handle)


def test_a_sign_in_by_a_clock_that_is_behind_is_the_older_one(make):
    # All must agree on an order, or two sign-ins could end each other; the clocks are all there is.
    sessions = make(max_sessions_per_user=1)
    ahead = Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=-1)
    behind = Visitor(sessions).signed_in("ada")
    assert (ahead.handle is None, behind.handle is None) == (False, True)


@pytest.mark.promise("25")
def test_the_limit_needs_a_store_that_knows_the_users():
    class WithoutUsers(MemoryStore):
        index = "none"

    assert make_sessions(WithoutUsers())
    for build in (
        lambda: make_sessions(WithoutUsers(), max_sessions_per_user=1),
        lambda: make_sessions(WithoutUsers()).with_settings(max_sessions_per_user=1),
        lambda: AsyncSessions(AwaitableStore(WithoutUsers()), secret=SECRET, max_sessions_per_user=1),
    ):
        with pytest.raises(ConfigurationError, match="max_sessions_per_user needs a store"):
            build()


def test_a_sign_in_under_the_limit_takes_two_round_trips_more_and_no_other_request_any():
    sessions = make_sessions(CountingStore(MemoryStore()), max_sessions_per_user=1)
    Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=1)
    visitor = Visitor(sessions)
    for visit, calls in (
        (lambda session: session.update(a=1), ["write"]),
        (lambda session: session.sign_in("ada"), ["load", "write", "sessions_of", "load", "write"]),
        (lambda session: session.sign_in("ada"), ["load", "write", "sessions_of", "load"]),
        (lambda session: session.update(a=2), ["load", "write"]),
        (lambda session: session.rotate(), ["load", "write"]),
    ):
        sessions.store.reset()
        visitor.serve(visit)
        assert sessions.store.sequence == calls


@pytest.mark.promise("17")
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("apart", [0, 1], ids=["in one millisecond", "one after the other"])
def test_in_every_order_of_sign_ins_as_many_stand_as_may(limit, apart):
    class World:
        def __init__(self):
            self.clock, self.store, self.signed_in = ManualClock(), MemoryStore(), 0
            Visitor(self.sessions(self.store)).signed_in("ada")
            self.clock.advance(10)

        def sessions(self, store):
            return Sessions(store, secret=SECRET, clock=self.clock, max_sessions_per_user=limit)

        def sign_in(self, store):
            self.clock.advance(apart)
            return Visitor(self.sessions(store)).signed_in("ada").cookie

    def signs_in(world):
        return in_steps(world.sign_in, world.store)

    runs = 0
    for run in interleavings(World, signs_in, signs_in):
        runs += 1
        world = run.world
        lives = world.store.sessions_of("ada", world.clock.now_ms, 100, None, time.monotonic() + 9)
        assert len(lives) == limit, run
        cookies = [Visitor(world.sessions(world.store), cookie) for cookie in run.results.values()]
        standing = [visitor.handle for visitor in cookies if visitor.handle is not None]
        assert len(standing) == limit, run
    assert runs >= 50


@pytest.mark.promise("17")
@pytest.mark.parametrize("seed", range(5))
def test_of_20_async_sign_ins_at_once_as_many_stand_as_may(seed):
    async def scenario():
        shuffled = random.Random(seed)
        store = AsyncMemoryStore()

        class Slow(AsyncStoreWrapper):
            async def around(self, call, send):
                for _ in range(shuffled.randrange(6)):
                    await asyncio.sleep(0)
                answer = await send()
                for _ in range(shuffled.randrange(6)):
                    await asyncio.sleep(0)
                return answer

        sessions = AsyncSessions(Slow(store), secret=SECRET, max_sessions_per_user=4)
        cookies = await asyncio.gather(*(signed_in(sessions) for _ in range(20)))
        held = []
        for cookie in cookies:
            session = sessions.open(cookie)
            await sessions.load(session)
            held += [session.handle] if session.user == "ada" else []
        assert len(held) == len(await sessions.of_user("ada")) == 4

    asyncio.run(scenario())


# Both colours


def test_both_managers_have_the_same_methods_parameters_and_promises():
    def public(manager):
        return {name: member for name, member in inspect.getmembers(manager) if not name.startswith("_")}

    sync, other = public(Sessions), public(AsyncSessions)
    assert sync.keys() - other.keys() == set()
    assert other.keys() - sync.keys() <= {"preload"}
    for name, method in sync.items():
        if not callable(method):
            continue
        assert (
            str(inspect.signature(method)).replace("Generator", "AsyncGenerator").partition("->")[0]
            == str(inspect.signature(other[name])).partition("->")[0]
        ), name
        assert inspect.getdoc(method) == inspect.getdoc(other[name]), name


def test_what_asks_the_store_is_awaited_and_nothing_else():
    store_asking = {
        name
        for name, member in vars(AsyncSessions).items()
        if not name.startswith("_") and inspect.iscoroutinefunction(member)
    }
    assert store_asking == {
        *("close", "abandon", "preload", "load", "save", "take", "take_flashes", "is_live", "shutdown"),
        *("of_user", "revoke", "revoke_user", "update_user", "count", "ping", "sweep"),
    }


# Events


def events_of(make, **options):
    told = []
    sessions = make(on_event=told.append, **options)
    return sessions, told


def test_the_life_of_a_session_is_told(make):
    sessions, told = events_of(make, idle_timeout=timedelta(hours=2), rotate_every=timedelta(hours=1))
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    handle = visitor.handle
    visitor.signed_in("ada")
    with visitor.request() as session:
        session.rotate()
    advance(sessions, minutes=61)
    visitor.read()
    with visitor.request() as session:
        session.sign_out()
    revoked = Visitor(sessions).signed_in("grace")
    revoked_handle = revoked.handle
    sessions.revoke(revoked_handle)
    Visitor(sessions).signed_in("grace")
    sessions.revoke_user("grace")
    expired = Visitor(sessions).signed_in("eve")
    advance(sessions, hours=3)
    expired.read()
    Visitor(sessions, "__Host-session=junk").read()
    ambiguous = [Visitor(sessions).signed_in(user) for user in ("x", "y")]
    Visitor(sessions, "; ".join(visitor.cookie for visitor in ambiguous)).read()

    summary = [(event.kind, event.user, event.reason) for event in told]
    assert summary == [
        ("created", None, ""),
        ("signed_in", "ada", ""),
        ("rotated", "ada", ""),
        ("rotated", "ada", "periodic"),
        ("destroyed", "ada", ""),
        ("created", "grace", ""),
        ("signed_in", "grace", ""),
        ("revoked", None, ""),
        ("created", "grace", ""),
        ("signed_in", "grace", ""),
        ("revoked", "grace", "the user's all"),
        ("created", "eve", ""),
        ("signed_in", "eve", ""),
        ("expired", "eve", ""),
        ("refused", None, "no token of ours in the cookie"),
        ("created", "x", ""),
        ("signed_in", "x", ""),
        ("created", "y", ""),
        ("signed_in", "y", ""),
        ("ambiguous", None, "2 live sessions in one request"),
    ]
    assert [event.handle for event in told[:5]] == [handle] * 5
    assert told[7].handle == revoked_handle
    assert all(event.at.tzinfo is UTC for event in told)
    assert all(isinstance(event, Event) for event in told)
    assert sessions.counts == {
        kind: sum(event.kind == kind for event in told) for kind in {event.kind for event in told}
    }


def test_a_late_write_and_an_unreadable_record_are_told():
    sessions, told = events_of(make_sessions)
    visitor = Visitor(sessions).signed_in("ada")
    late = Visitor(sessions, visitor.cookie)
    handle = visitor.handle
    with late.request() as session:
        session["a"] = 1
        visitor.signed_in("ada")
    assert (told[-1].kind, told[-1].handle, told[-1].user, told[-1].reason) == (
        "dropped",
        handle,
        "ada",
        "changed",
    )
    (key,) = stored_in(sessions.store)
    damaged = b"\x80\x04garbage"
    plant(sessions.store, key, damaged)
    with visitor.request() as session:
        assert session.is_new
        session["b"] = 1
    assert (told[-2].kind, told[-2].handle) == ("unreadable", handle)
    assert stored_in(sessions.store)[key] is damaged
    assert visitor.read() == {"b": 1}


def test_a_store_that_fails_is_told():
    class Down(MemoryStore):
        def load(self, keys, now, deadline):
            raise StoreUnavailable("down", ambiguous=False)

    told = []
    cookie = Visitor(make_sessions()).signed_in().cookie
    sessions = make_sessions(Down(), on_event=told.append)
    session = sessions.open(cookie)
    with pytest.raises(StoreUnavailable):
        session.get("a")
    assert [event.kind for event in told] == ["unavailable"]
    assert sessions.counts == {"unavailable": 1}


@pytest.mark.promise("F-24")
def test_a_listener_that_fails_is_logged_and_harms_nothing(make, caplog):
    def listen(event):
        raise ZeroDivisionError("listener")

    sessions = make(on_event=listen)
    visitor = Visitor(sessions)
    with caplog.at_level(logging.DEBUG, logger="coatcheck"):
        visitor.signed_in("ada", password="hunter2")
        assert visitor.read() == {"password": "hunter2"}
    assert sessions.counts == {"created": 1, "signed_in": 1}
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "on_event" in caplog.text
    assert "ZeroDivisionError: listener" in caplog.text
    assert visitor.token not in caplog.text
    assert "hunter2" not in caplog.text


def test_a_listener_may_look_at_the_session_that_it_is_told_about():
    # It asks who is signed in, for its audit log; the event came while the session was being loaded.
    current = []
    seen = []

    def listen(event):
        seen.append((event.kind, current[-1].user))

    sessions = make_sessions(on_event=listen)
    current.append(sessions.open(b"__Host-session=junk"))
    thread = threading.Thread(target=lambda: current[-1].get("a"), daemon=True)
    thread.start()
    thread.join(2)
    assert not thread.is_alive(), "the listener waits for the request, and the request for the listener"
    assert seen == [("refused", None)]


def test_a_listener_may_look_at_an_async_session_that_it_is_told_about():
    current, seen = [], []
    manager = AsyncSessions(
        AsyncMemoryStore(), secret=SECRET, on_event=lambda event: seen.append((event.kind, current[-1].user))
    )
    current.append(manager.open(b"__Host-session=junk"))
    asyncio.run(manager.load(current[-1]))
    assert seen == [("refused", None)]


def test_counts_of_many_threads_add_up():
    sessions = make_sessions()

    def work():
        for _ in range(50):
            Visitor(sessions).signed_in()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions.counts == {"created": 200, "signed_in": 200}
    assert sessions.count() == 200


def test_the_counts_are_a_copy(sessions):
    sessions.counts["created"] = 5
    assert sessions.counts == {}


# Plain http


@pytest.mark.promise("H")
def test_the_first_cookie_on_plain_http_warns_and_names_the_setting(make):
    sessions = make()
    for _ in range(2):
        session = sessions.open(b"")
        session["a"] = 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sessions.close(session, secure=False)
        if caught:
            (warning,) = caught
            assert warning.category is InsecureTransportWarning
            assert "insecure_http=True" in str(warning.message)
            assert "X-Forwarded-Proto" in str(warning.message)
        assert bool(caught) is (_ == 0)


@pytest.mark.parametrize("options", [{"insecure_http": True}, {}], ids=["insecure_http", "https"])
def test_where_it_is_meant_or_secure_nothing_warns(make, options):
    sessions = make(**options)
    session = sessions.open(b"")
    session["a"] = 1
    sessions.close(session, secure=not options)


def test_a_response_without_a_cookie_of_ours_does_not_warn(make):
    sessions = make()
    session = sessions.open(b"")
    session.get("a")
    sessions.close(session, secure=False)


# When the store fails


class Failing(CountedStore):
    """Fails at the operations in `failing`."""

    def __init__(self):
        super().__init__()
        self.failing = set()

    def load(self, keys, now, deadline):
        if "load" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return super().load(keys, now, deadline)

    def write(self, writes, now, deadline):
        if "write" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return super().write(writes, now, deadline)


@pytest.fixture
def failing():
    return make_sessions(Failing())


@pytest.mark.promise("20")
def test_a_store_that_fails_is_an_error_and_never_an_empty_session(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    failing.store.failing = {"load"}
    with pytest.raises(StoreUnavailable), visitor.request() as session:
        session.get("a")
    assert visitor.set_cookie is None
    with visitor.request():
        pass  # a route that needs no session answers
    failing.store.failing = set()
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("9")
def test_a_change_that_is_not_stored_is_never_answered_with_success(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    failing.store.failing = {"write"}
    for intend in (
        lambda session: session.update(a=2),
        lambda session: session.sign_in("ada"),
        lambda session: session.sign_out(),
        lambda session: session.rotate(),
        lambda session: failing.take(session, "a"),
        lambda session: session.update(a=3) or failing.save(session),
    ):
        with pytest.raises(StoreUnavailable), visitor.request() as session:
            intend(session)
    failing.store.failing = set()
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("20")
def test_a_slide_that_fails_does_not_fail_the_request(failing):
    visitor = Visitor(failing).signed_in("ada", a=1)
    advance(failing, hours=2)
    failing.store.failing = {"write"}
    assert visitor.read() == {"a": 1}
    assert failing.counts["unavailable"] == 1


@pytest.mark.promise("12")
def test_an_end_that_fails_in_a_request_that_fails_is_logged(failing, caplog):
    def handler(session):
        session.sign_out()
        raise ZeroDivisionError

    visitor = Visitor(failing).signed_in("ada")
    failing.store.failing = {"write"}
    with caplog.at_level(logging.DEBUG, logger="coatcheck"), pytest.raises(ZeroDivisionError):
        visitor.serve(handler)
    assert visitor.set_cookie is None
    assert "failed to end a session" in caplog.text


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_takes_nothing_with_it(visitor, sessions):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session["b"] = 2
    store = getattr(getattr(sessions, "manager", sessions), "store")  # noqa: B009 - of either colour
    for key, data in stored_in(store).items():
        plant(store, key, data.replace(b"\xa1b\xc4\x01\x02", b"\xa1b\xc4\x01\xc1"))
    with visitor.request() as session:
        assert session["a"] == 1
        with pytest.raises(DecodeError):
            sessions.take(session, "a", "b")
        assert sessions.take(session, "a") == {"a": 1}
    with visitor.request() as session:
        assert "b" in session


class AsyncFailing(AsyncMemoryStore):
    """Fails at the operations in `failing`; waits, at applying, while it is `held`."""

    def __init__(self):
        super().__init__()
        self.failing = set()
        self.held = None

    async def load(self, keys, now, deadline):
        if "load" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return await super().load(keys, now, deadline)

    async def write(self, writes, now, deadline):
        if self.held is not None:
            await self.held.wait()
        if "write" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return await super().write(writes, now, deadline)


async def signed_in(sessions, **fields):
    """The cookie of a session that has signed in."""
    session = sessions.open("")
    await sessions.load(session)
    session.update(fields)
    session.sign_in("ada")
    return (await sessions.close(session)).set_cookie.partition(";")[0]


@pytest.mark.promise("20")
def test_an_async_store_that_fails_is_an_error_where_somebody_looks():
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        cookie = await signed_in(sessions)
        sessions.store.failing = {"load"}
        session = sessions.open(cookie)
        await sessions.preload(session)
        assert (await sessions.close(session)).set_cookie is None  # nobody looked
        session = sessions.open(cookie)
        with pytest.raises(StoreUnavailable):
            await sessions.load(session)
        with pytest.raises(StoreUnavailable):
            session.get("a")
        assert sessions.counts["unavailable"] == 2

    asyncio.run(scenario())


def test_an_async_end_that_fails_in_a_request_that_fails_is_logged(caplog):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        session.sign_out()
        sessions.store.failing = {"write"}
        assert (await sessions.abandon(session)).set_cookie is None

    asyncio.run(scenario())
    assert "failed to end a session" in caplog.text


@pytest.mark.promise("12")
@pytest.mark.parametrize("end", ["sign_out", "revoke_user"])
def test_a_session_is_ended_although_the_request_that_ends_it_is_cancelled(end):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        sessions.store.held = asyncio.Event()
        if end == "sign_out":
            session.sign_out()
            ending = asyncio.create_task(sessions.close(session))
        else:
            ending = asyncio.create_task(sessions.revoke_user("ada"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert await sessions.count() == 1
        asyncio.get_running_loop().call_soon(sessions.store.held.set)
        await sessions.shutdown()  # waits for it
        assert await sessions.count() == 0

    asyncio.run(scenario())


def test_an_end_that_fails_after_its_request_was_cancelled_is_logged(caplog):
    async def scenario():
        sessions = AsyncSessions(AsyncFailing(), secret=SECRET)
        session = sessions.open(await signed_in(sessions))
        await sessions.load(session)
        session.sign_out()
        sessions.store.held, sessions.store.failing = asyncio.Event(), {"write"}
        ending = asyncio.create_task(sessions.close(session))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        sessions.store.held.set()
        await sessions.shutdown()
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert "changes of a cancelled request" in caplog.text


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


# Cost


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


@pytest.mark.promise("F-18")
def test_a_fork_makes_other_tokens():
    program = f"""
import os, random, sys
from coatcheck import Sessions
from coatcheck.stores.memory import MemoryStore
sessions = Sessions(MemoryStore(), secret={SECRET!r})
def make():
    random.seed(0)
    session = sessions.open(b"")
    session["a"] = 1
    print(sessions.close(session).set_cookie.partition(";")[0], flush=True)
make()
child = os.fork()
make()
make()
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(coatcheck.__file__).parent.parent)},
        timeout=60,
    )
    tokens = done.stdout.split()
    assert len(tokens) == len(set(tokens)) == 5


# What never shows


@pytest.mark.promise("18")
def test_neither_tokens_nor_secrets_nor_values_show_anywhere(make, caplog, capfd):
    shown = []
    sessions = make(on_event=lambda event: shown.append(repr(event)), secret=[SECRET, OLD_SECRET])
    visitor = Visitor(sessions)
    with caplog.at_level(logging.DEBUG), visitor.request() as session:
        session["password"] = "hunter2"
        session["nested"] = {"deep": ["hunter2"]}
        session.flash("hunter2")
        csrf = session.csrf_token()
        session.sign_in("ada")
        shown += [repr(session), str(session), repr(sessions), repr(sessions.settings)]
        for wrong in (
            lambda: session.__setitem__("hunter2's", object()),
            lambda: session.__setitem__("x", {"hunter2": object()}),
            lambda: session["missing"],
            lambda: session.sign_in(5),
        ):
            with pytest.raises(Exception) as caught:
                wrong()
            shown.append("".join(traceback.format_exception(caught.value)))
    shown += [repr(sessions.of_user("ada")), repr(visitor.outcome.vary), caplog.text, *capfd.readouterr()]
    raw = Ring(SECRET, purpose="__Host-session").verify(visitor.token.encode())
    text = "\n".join(shown).replace("hunter2's", "")
    for secret in (
        SECRET,
        OLD_SECRET,
        visitor.token,
        raw.secret.hex(),
        repr(raw.secret)[2:-1],
        raw.secret_hash.hex(),
        csrf,
    ):
        assert secret not in text
    # The source lines of this test stand in the tracebacks; the values must not stand anywhere else.
    lines = [
        line
        for line in text.splitlines()
        if "hunter2" in line and "lambda" not in line and "wrong()" not in line
    ]
    assert lines == []


def test_a_store_error_is_what_it_is_to_every_caller(failing):
    failing.store.failing = {"write", "load"}
    for ask in (lambda: failing.revoke("0" * 32), lambda: failing.edit("0" * 32).__enter__()):
        with pytest.raises(StoreError):
            ask()
