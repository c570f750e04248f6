"""Editing a session outside of any request."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

import pytest

from coatcheck import CannotSendCookie, Flash, SessionGone
from tests.sessions.scene import advance


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
