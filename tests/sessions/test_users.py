"""The sessions of a user: listed, revoked, updated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coatcheck import NotStorable, SessionInfo
from tests.sessions.scene import advance
from tests.visitor import Visitor


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
