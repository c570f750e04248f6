"""Sessions by their public name, records without a field, and what `save` and `reload` tell."""

from __future__ import annotations

import pytest

from coatcheck import CannotSendCookie, StoreUnavailable
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from tests.visitor import Visitor, make_sessions


def test_save_tells_whether_it_stored(visitor, sessions):
    session = sessions.open("")
    assert sessions.save(session) is False
    session["a"] = 1
    assert sessions.save(session) is True
    assert sessions.save(session) is False
    session["a"] = 2
    sessions.revoke(session.handle)
    assert sessions.save(session) is False


@pytest.mark.parametrize("meanwhile", ["another user signs in", "it is ended"])
def test_save_tells_that_an_ending_came_too_late(visitor, sessions, meanwhile):
    with visitor.request() as session:
        session.sign_in("ada")
    with visitor.request() as session:
        session.sign_out()
        if meanwhile == "it is ended":
            sessions.revoke(visitor.handle)
        else:
            with visitor.request() as other:
                other.sign_in("grace")
        assert sessions.save(session) is False
    with visitor.request() as session:
        session.sign_in("ada")
        sessions.save(session)
        session.sign_out()
        assert sessions.save(session) is True


def test_a_record_can_be_made_without_a_field(sessions):
    session = sessions.open("")
    assert (session.handle, session.mark) == (None, None)
    assert sessions.save(session, create=True) is True
    handle = session.handle
    assert sessions.save(session, create=True) is False
    cookie = sessions.close(session).set_cookie.partition(";")[0]
    again = sessions.open(cookie)
    assert (again.handle, again.is_new, dict(again)) == (handle, False, {})
    assert sessions.count() == 1


def test_a_record_without_a_field_needs_a_head_that_can_carry_its_cookie(sessions):
    session = sessions.open("")
    sessions.close(session)
    with pytest.raises(CannotSendCookie):
        sessions.save(session, create=True)
    assert sessions.count() == 0
    assert sessions.close(session).set_cookie is None


def test_a_late_request_makes_no_record(visitor, sessions):
    visitor.signed_in("ada")
    late = sessions.open(visitor.cookie)
    assert late.user == "ada"
    sessions.revoke(late.handle)
    assert sessions.save(late, create=True) is False
    assert sessions.count() == 0


def test_the_mark_changes_with_sign_in_and_rotate_and_with_nothing_else(visitor):
    marks = []
    for act in (
        lambda session: session.update(a=1),
        lambda session: session.update(a=2),
        lambda session: session.rotate(),
        lambda session: session.sign_in("ada"),
        lambda session: session.sign_in("ada"),
        lambda session: session.update(a=3),
    ):
        with visitor.request() as session:
            act(session)
        with visitor.request() as session:
            marks.append(session.mark)
    assert marks[0] == marks[1]
    assert marks[4] == marks[5]
    assert len(set(marks)) == 4
    assert all(len(mark) == 8 for mark in marks)


def test_the_cookie_of_a_session_opens_it(visitor, sessions):
    assert sessions.cookie_of(sessions.open("")) == {}
    session = sessions.open("")
    session["a"] = 1
    sessions.save(session)
    ((name, value),) = sessions.cookie_of(session).items()
    assert dict(sessions.open(f"{name}={value}")) == {"a": 1}
    found = sessions.find(session.handle)
    assert sessions.cookie_of(found) == {}


def test_a_session_is_found_by_its_public_name_read_and_changed(visitor, sessions):
    visitor.signed_in("ada", a=1)
    handle = sessions.of_user("ada")[0].handle
    found = sessions.find(handle)
    assert (found.user, dict(found), sessions.exists(handle)) == ("ada", {"a": 1}, True)
    found["a"] = 2
    assert sessions.save(found) is True
    assert visitor.read() == {"a": 2}
    with pytest.raises(CannotSendCookie):
        found.sign_in("grace")


def test_what_is_found_and_ends_meanwhile_is_not_stored(visitor, sessions):
    visitor.signed_in("ada", a=1)
    found = sessions.find(sessions.of_user("ada")[0].handle)
    sessions.revoke_user("ada")
    found["a"] = 2
    assert sessions.save(found) is False
    assert sessions.count() == 0


@pytest.mark.parametrize("handle", ["", "x", "0" * 32, "é", "../../x", "a" * 10_000])
def test_what_names_no_session_finds_none(sessions, handle):
    assert sessions.find(handle) is None
    assert not sessions.exists(handle)


def test_a_cookie_is_no_public_name(visitor, sessions):
    visitor.signed_in("ada")
    assert sessions.find(visitor.cookie.partition("=")[2]) is None


def test_none_in_place_of_a_handle_is_an_error_that_says_why(sessions):
    for call in (
        sessions.revoke,
        sessions.find,
        sessions.exists,
        lambda handle: sessions.edit(handle).__enter__(),
    ):
        with pytest.raises(TypeError, match=r"not NoneType.*`save\(session, create=True\)`"):
            call(sessions.open(b"").handle)


def test_a_handle_opens_nothing_as_a_cookie(visitor, sessions):
    visitor.signed_in("ada")
    (info,) = sessions.of_user("ada")
    name = visitor.cookie.partition("=")[0]
    assert sessions.open(f"{name}={info.handle}").user is None


def test_revoking_with_a_user_ends_only_his(visitor, sessions):
    visitor.signed_in("ada")
    (info,) = sessions.of_user("ada")
    assert sessions.revoke(info.handle, user="grace") is False
    assert sessions.exists(info.handle)
    assert sessions.revoke(info.handle, user="ada") is True
    assert not sessions.exists(info.handle)
    with pytest.raises(TypeError):
        sessions.revoke(info.handle, user="")


# A sign-in of the request itself


@pytest.mark.parametrize("known", [True, False], ids=["with a record", "without one"])
def test_the_list_of_devices_has_the_sign_in_of_its_own_request(visitor, sessions, known):
    Visitor(sessions).signed_in("ada")
    sessions.settings.clock.advance(1)
    if known:
        with visitor.request() as session:
            session["a"] = 1
    with visitor.request(client="Mine/1.0") as session:
        session.sign_in("ada")
        listed = sessions.of_user("ada", current=session)
        assert [info.current for info in listed] == [True, False]
        assert (listed[0].client, listed[0].user) == ("Mine/1.0", "ada")
        assert sessions.of_user("ada", current=session, limit=1) == listed[:1]
        assert [info.current for info in sessions.of_user("grace", current=session)] == []
    with visitor.request() as session:
        after = sessions.of_user("ada", current=session)
    assert [info.handle for info in after] == [info.handle for info in listed]
    assert after[0] == listed[0]


@pytest.mark.promise("V")
def test_a_sign_in_by_a_field_is_listed_once_it_is_saved(make):
    sessions = make(identity="user_id")
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    with visitor.request() as session:
        session["user_id"] = 7
        assert sessions.of_user("7", current=session) == []
        assert sessions.save(session) is True
        assert session.user == "7"
        (info,) = sessions.of_user("7", current=session)
        assert (info.handle, info.user, info.current) == (session.handle, "7", True)
        del session["user_id"]
        assert sessions.save(session) is True
        assert (session.user, sessions.of_user("7", current=session)) == (None, [])


def test_signing_in_once_more_lists_the_session_once(visitor, sessions):
    visitor.signed_in("ada")
    with visitor.request() as session:
        session.sign_in("ada")
        (info,) = sessions.of_user("ada", current=session)
        assert (info.handle, info.current) == (session.handle, True)


@pytest.mark.promise("17")
@pytest.mark.parametrize("known", [False, True], ids=["a new session", "once more"])
def test_the_pages_of_a_list_go_on_behind_a_sign_in_that_is_not_stored_yet(visitor, sessions, known):
    if known:
        with visitor.request() as session:
            session.sign_in("ada")
        sessions.settings.clock.advance(1)
    others = []
    for _ in range(3):
        with Visitor(sessions).request() as session:
            session.sign_in("ada")
        others.append(session.handle)
        sessions.settings.clock.advance(1)
    with visitor.request() as session:
        session.sign_in("ada")
        for limit in (1, 2, 4):
            seen, after = [], None
            while page := sessions.of_user("ada", current=session, limit=limit, after=after):
                seen += [info.handle for info in page]
                after = seen[-1]
                assert len(page) == limit or len(seen) == 4
            assert seen[1:] == others[::-1]
    assert seen[0] == visitor.handle


def test_signing_in_as_another_keeps_only_the_fields_to_keep(visitor):
    visitor.signed_in("ada", language="de", basket=["hat"])
    with visitor.request() as session:
        session.sign_in("grace", keep=("language", "absent"))
        assert dict(session) == {"language": "de"}
    assert visitor.read() == {"language": "de"}
    with visitor.request() as session:
        session.sign_in("ada", keep="language")
    assert visitor.read() == {"language": "de"}


# Reading again


def test_reload_reads_what_others_stored_and_keeps_what_this_request_wants(visitor, sessions):
    with visitor.request() as session:
        session.update(theirs=1, mine=1, list=[1], read=[1])
    session = sessions.open(visitor.cookie)
    session["mine"] = 2
    session["list"].append("mine")
    assert session["read"] == [1]
    with visitor.request() as other:
        other.update(theirs=2, mine=3, new=1)
        other["list"].append("theirs")
        other["read"].append(2)
    assert session["theirs"] == 1
    assert sessions.reload(session) is True
    assert (session["theirs"], session["new"], session["read"]) == (2, 1, [1, 2])
    assert (session["mine"], session["list"]) == (2, [1, "mine"])
    sessions.close(session)
    assert visitor.read() == {"theirs": 2, "mine": 2, "new": 1, "read": [1, 2], "list": [1, "theirs", "mine"]}


def test_reload_of_a_session_that_ended_leaves_an_anonymous_visitor(visitor, sessions):
    visitor.signed_in("ada", a=1)
    session = sessions.open(visitor.cookie)
    assert session["a"] == 1
    sessions.revoke_user("ada")
    assert sessions.reload(session) is False
    assert (session.user, dict(session)) == (None, {})
    session["a"] = 2
    assert sessions.close(session).set_cookie is None
    assert sessions.count() == 0


def test_reload_of_a_visitor_without_a_record_asks_nothing(sessions):
    session = sessions.open("")
    session["a"] = 1
    assert sessions.reload(session) is False
    assert session["a"] == 1


def test_reload_of_an_anonymous_visitor_in_an_outage_raises():
    store = FailingStore(MemoryStore())
    sessions = make_sessions(store, outage="anonymous")
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    store.fail("load", error=StoreUnavailable("the test says so"))
    session = sessions.open(visitor.cookie)
    assert dict(session) == {}
    for call in (sessions.reload, sessions.save):
        with pytest.raises(StoreUnavailable):
            call(session)


def test_reload_while_the_store_fails_raises_and_loses_nothing():
    store = FailingStore(MemoryStore())
    sessions = make_sessions(store)
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    session = sessions.open(visitor.cookie)
    session["a"] = 2
    store.fail("load", error=StoreUnavailable("the test says so"))
    with pytest.raises(StoreUnavailable):
        sessions.reload(session)
    store.recover()
    sessions.close(session)
    assert visitor.read() == {"a": 2}
    store.fail("load", error=StoreUnavailable("the test says so"))
    session = sessions.open(visitor.cookie)
    with pytest.raises(StoreUnavailable):
        sessions.reload(session)
