"""Signing in and out, and the CSRF token."""

from __future__ import annotations

import pytest

from coatcheck import Flash
from tests.session.scene import stored
from tests.visitor import Visitor


class Member(str):
    __slots__ = ()


# Signing in


@pytest.mark.promise("V")
@pytest.mark.parametrize(
    "user",
    [1, 0, None, "", "x" * 256, "\ud800", "ada\udcff", b"ada", 1.5, True, ["ada"], object, ("a",)],
    ids=range(13),
)
def test_a_user_is_a_text_of_1_to_255_characters_and_nothing_else(visitor, user):
    with stored(visitor, a=1).request() as session:
        with pytest.raises(TypeError, match=r"sign_in\(str\(user.id\)\)"):
            session.sign_in(user)
        assert session.user is None
    assert visitor.set_cookie is None
    assert visitor.sessions.store.calls == ["load"]


@pytest.mark.promise("V")
@pytest.mark.parametrize(
    "user", ["1", " ", "x" * 255, "\N{OLD KEY}" * 255, "a\nb", "a\0b", "*", "{}", Member("ada")]
)
def test_any_such_text_is_a_user(visitor, user):
    visitor.signed_in(user)
    with visitor.request() as session:
        assert session.user == user
        assert type(session.user) is str
    assert [info.user for info in visitor.sessions.of_user(user)] == [user]


def test_signing_in_shows_at_once(visitor):
    with visitor.request() as session:
        session.sign_in("ada")
        assert session.user == "ada"
        assert session.is_new


@pytest.mark.promise("V")
def test_what_an_anonymous_visitor_put_in_stays(visitor):
    stored(visitor, cart=[1]).signed_in("ada")
    assert visitor.read() == {"cart": [1]}


@pytest.mark.promise("V")
def test_signing_in_again_as_the_same_user_keeps_the_fields(visitor):
    visitor.signed_in("ada", a=1)
    token = visitor.token
    visitor.signed_in("ada", b=2)
    assert visitor.read() == {"a": 1, "b": 2}
    assert visitor.token != token


@pytest.mark.promise("V")
def test_signing_in_as_another_user_clears_every_field_first(visitor):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session.flash("for ada")
        token = session.csrf_token()
    with visitor.request() as session:
        session["before"] = 1
        session.sign_in("grace")
        assert dict(session) == {}
        assert session.peek_flashes() == []
        session["after"] = 2
    with visitor.request() as session:
        assert (session.user, dict(session), session.peek_flashes()) == ("grace", {"after": 2}, [])
        assert not session.check_csrf(token)


def test_changing_ones_mind_within_a_request_clears_too(visitor):
    with visitor.request() as session:
        session.sign_in("ada")
        session["a"] = 1
        session.sign_in("grace")
    with visitor.request() as session:
        assert (session.user, dict(session)) == ("grace", {})


@pytest.mark.promise("V")
def test_signing_in_renews_the_csrf_token(visitor):
    with visitor.request() as session:
        before = session.csrf_token()
    with visitor.request() as session:
        session.sign_in("ada")
        after = session.csrf_token()
        assert (session.check_csrf(before), session.check_csrf(after)) == (False, True)
    with visitor.request() as session:
        assert (session.check_csrf(before), session.check_csrf(after)) == (False, True)
        session.sign_in("ada")
    with visitor.request() as session:
        assert (session.check_csrf(before), session.check_csrf(after)) == (False, False)


def test_the_client_is_kept_shortened_and_printable(visitor):
    with visitor.request(client="Evil\r\nX: y\x1b[31m\ud800\N{OLD KEY}" + "x" * 500) as session:
        session.sign_in("ada")
    (info,) = visitor.sessions.of_user("ada")
    assert info.client.startswith("Evil X: y [31m \N{OLD KEY}xxx")
    assert len(info.client) == 200


# Ending


@pytest.mark.promise("V")
def test_signing_out_leaves_nothing(visitor):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session.sign_out()
        assert (session.user, session.is_new, session.handle, dict(session)) == (None, True, None, {})
    assert visitor.cookie == ""
    assert visitor.sessions.count() == 0


@pytest.mark.promise("V")
def test_what_is_set_after_signing_out_goes_to_a_new_session(visitor):
    visitor.signed_in("ada", a=1)
    old = visitor.cookie
    with visitor.request() as session:
        session.permanent = True
        session["b"] = 1
        session.sign_out()
        session.flash("bye")
    with visitor.request() as session:
        assert (session.user, session.permanent, dict(session)) == (None, False, {})
        assert session.peek_flashes() == [Flash("info", "bye")]
    assert Visitor(visitor.sessions, old).read() == {}
