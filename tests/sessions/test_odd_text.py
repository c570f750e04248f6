"""Users, handles and names that are no text, too long, or full of odd characters: typed errors, on every store alike."""

import asyncio
import inspect

import pytest

from coatcheck import AsyncSessions, NotStorable, SessionGone, Sessions
from tests.visitor import SECRET

URLS = {"memory": "memory://", "sqlite": "sqlite:///{path}/sessions.db"}
NO_USERS = ["", "\ud800", "a\udfffb", "x" * 256, 5, None, b"ada", ["ada"]]
ODD_USERS = ["é", "\0", "a b\n", "x" * 255, "😀" * 255, "'; DROP TABLE x; --", "%s{0}"]
NO_HANDLES = ["", "\ud800", "../..", "f" * 31, "F" * 32, "f" * 32 + "\n", "\0", "x" * 100_000]
UNKNOWN = "f" * 32

OF_A_USER = {
    "of_user": lambda sessions, user: sessions.of_user(user),
    "revoke_user": lambda sessions, user: sessions.revoke_user(user),
    "update_user": lambda sessions, user: sessions.update_user(user, {"a": 1}),
    "revoke with a user": lambda sessions, user: sessions.revoke(UNKNOWN, user=user),
}


@pytest.fixture(params=URLS)
def url(request, tmp_path):
    return URLS[request.param].format(path=tmp_path)


@pytest.fixture(params=["sync", "async"])
def asked(request, url):
    """Gives the answer of a call to a manager of either kind."""
    kind = Sessions if request.param == "sync" else AsyncSessions
    with asyncio.Runner() as runner:

        async def of(call):
            answer = call(sessions)
            return await answer if inspect.isawaitable(answer) else answer

        sessions = kind.from_url(url, secret=SECRET)
        yield lambda call: runner.run(of(call))
        runner.run(of(lambda sessions: sessions.shutdown()))


@pytest.mark.parametrize("user", NO_USERS, ids=lambda user: ascii(user)[:12])
@pytest.mark.parametrize("call", OF_A_USER.values(), ids=OF_A_USER)
def test_what_is_no_user_is_a_type_error(asked, call, user):
    if user is None and call is OF_A_USER["revoke with a user"]:
        assert asked(lambda sessions: call(sessions, None)) is False
        return
    with pytest.raises(TypeError, match="1 to 255 characters"):
        asked(lambda sessions: call(sessions, user))


@pytest.mark.parametrize("user", NO_USERS, ids=lambda user: ascii(user)[:12])
def test_nobody_of_that_kind_signs_in(url, user):
    with (
        Sessions.from_url(url, secret=SECRET) as sessions,
        pytest.raises(TypeError, match="1 to 255 characters"),
    ):
        sessions.open(b"").sign_in(user)


@pytest.mark.parametrize("user", ODD_USERS, ids=lambda user: ascii(user)[:12])
def test_a_user_of_odd_characters_is_like_any_other(url, user):
    with Sessions.from_url(url, secret=SECRET) as sessions:
        session = sessions.open(b"")
        session.sign_in(user)
        sessions.close(session)
        assert [info.user for info in sessions.of_user(user)] == [user]
        assert sessions.revoke(session.handle, user="another") is False
        assert sessions.update_user(user, {"a": 1}) == 1
        assert sessions.revoke_user(user) == 1
        assert sessions.of_user(user) == []


@pytest.mark.parametrize("handle", NO_HANDLES, ids=lambda handle: f"{len(handle)} {ascii(handle)[:8]}")
def test_what_is_no_handle_finds_nothing(asked, handle):
    assert asked(lambda sessions: sessions.revoke(handle)) is False
    assert asked(lambda sessions: sessions.exists(handle)) is False
    assert asked(lambda sessions: sessions.find(handle)) is None
    assert asked(lambda sessions: sessions.of_user("ada", after=handle)) == []
    assert asked(lambda sessions: sessions.revoke_user("ada", keep=handle)) == 0

    async def edited(sessions):
        if isinstance(sessions, Sessions):
            with sessions.edit(handle):
                raise AssertionError
        async with sessions.edit(handle):
            raise AssertionError

    with pytest.raises(SessionGone) as caught:
        asked(edited)
    assert not handle or handle not in str(caught.value)


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"], ids=ascii)
def test_a_field_without_text_for_a_name_is_refused_and_never_there(url, name):
    with Sessions.from_url(url, secret=SECRET) as sessions:
        session = sessions.open(b"")
        for put in (
            lambda: session.__setitem__(name, 1),
            lambda: session.setdefault(name, 1),
            lambda: session.update({name: 1}),
            lambda: session.__setitem__("a", name),
            lambda: session.__setitem__("a", {name: 1}),
            lambda: session.flash(name),
            lambda: session.flash("a", name),
            lambda: session.flash("a", tags=name),
            lambda: sessions.update_user("ada", {name: 1}),
            lambda: sessions.update_user("ada", {"a": name}),
        ):
            with pytest.raises(NotStorable):
                put()
        assert (name in session, session.get(name), session.pop(name, None)) == (False, None, None)
        with pytest.raises(KeyError):
            del session[name]
        session["kept"] = 1
        sessions.close(session)
        assert sessions.take(session, name) == {}
        assert sessions.take_flashes(session, name) == []
        assert session.check_csrf(name) is False
