"""A session is a mapping, with limits on what it takes."""

from __future__ import annotations

import enum
import itertools
from collections.abc import MutableMapping

import pytest

from coatcheck import NotStorable, Session, TooLarge
from tests.session.scene import stored
from tests.visitor import Visitor, make_sessions


def test_it_is_a_mutable_mapping():
    assert issubclass(Session, MutableMapping)


def test_what_is_put_in_is_there_in_the_next_request(visitor):
    with visitor.request() as session:
        session["a"] = 1
        session.update(b=[2], c={"d": 3})
        session |= {"e": (4,)}
        assert session.setdefault("f", {5}) == {5}
        assert session.setdefault("a", 9) == 1
    assert visitor.read() == {"a": 1, "b": [2], "c": {"d": 3}, "e": (4,), "f": {5}}


def test_it_is_asked_like_a_dict(visitor):
    with stored(visitor, a=1, b=None).request() as session:
        assert "a" in session
        assert "c" not in session
        assert 1 not in session
        assert None not in session
        assert session["a"] == session.get("a") == 1
        assert session.get("b", "default") is None
        assert session.get("c") is None
        assert session.get("c", "default") == "default"
        assert len(session) == 2
        assert sorted(session) == sorted(session.keys()) == ["a", "b"]
        assert dict(session.items()) == {"a": 1, "b": None}
        assert session == {"a": 1, "b": None}
        assert session != {"a": 1}
        assert session


def test_it_is_emptied_like_a_dict(visitor):
    with stored(visitor, a=1, b=2, c=3, d=4).request() as session:
        del session["a"]
        assert session.pop("b") == 2
        assert session.pop("b", "gone") == "gone"
        assert session.popitem() == ("d", 4)
        assert len(session) == 1
        with pytest.raises(KeyError, match="no field"):
            visitor.sessions.open(b"").popitem()
    assert len(visitor.read()) == 1
    with visitor.request() as session:
        session.clear()
        assert not session
    assert visitor.read() == {}


@pytest.mark.parametrize("name", ["missing", "", 1, None, (1,), b"a", "\0csrf"])
def test_what_is_not_there_is_a_key_error(visitor, name):
    with stored(visitor, a=1).request() as session:
        session.csrf_token()
        for look in (lambda: session[name], lambda: session.__delitem__(name), lambda: session.pop(name)):
            with pytest.raises(KeyError) as caught:
                look()
            assert caught.value.args == (name,)
        assert session.get(name, "default") == "default"
        assert name not in session


def test_what_was_removed_in_this_request_is_not_there_any_more(visitor):
    with stored(visitor, a=[1]).request() as session:
        session["a"].append(2)
        del session["a"]
        assert "a" not in session
        with pytest.raises(KeyError):
            session["a"]
        with pytest.raises(KeyError):
            del session["a"]
    assert visitor.read() == {}


def test_the_same_field_is_the_same_object_within_a_request(visitor):
    with stored(visitor, a=[1]).request() as session:
        assert session["a"] is session["a"]
        value = [2]
        session["b"] = value
        assert session["b"] is value


@pytest.mark.promise("21")
@pytest.mark.parametrize("name", [1, None, b"a", ("a",), 1.5, True])
def test_a_key_that_is_no_str_is_refused_by_name(visitor, name):
    with visitor.request() as session, pytest.raises(NotStorable, match=type(name).__name__):
        session[name] = 1
    assert visitor.set_cookie is None


@pytest.mark.parametrize("name", ["\0", "\0csrf", "\0flash:x"])
def test_the_private_keys_can_not_be_set(visitor, name):
    with visitor.request() as session, pytest.raises(NotStorable):
        session[name] = 1


@pytest.mark.promise("21")
def test_a_key_that_is_no_text_is_refused_where_it_is_assigned(visitor):
    with visitor.request() as session, pytest.raises(NotStorable):
        session["\ud800"] = 1


class Name(enum.StrEnum):
    CART = "cart"


def test_a_key_of_a_kind_of_str_is_that_str(visitor):
    with visitor.request() as session:
        session[Name.CART] = 1
        assert session["cart"] == session[Name.CART] == 1
    assert [type(name) for name in visitor.read()] == [str]
    assert visitor.read() == {"cart": 1}


def test_any_text_is_a_key(visitor):
    names = ["", " ", "a b", "\N{OLD KEY}", "x" * 1000, "a\0", "_flashes", "flash:x"]
    with visitor.request() as session:
        session.update(dict.fromkeys(names, 1))
    assert set(visitor.read()) == set(names)


@pytest.mark.promise("21")
def test_what_can_not_be_stored_is_refused_where_it_is_assigned_and_the_rest_stands(visitor):
    with visitor.request() as session:
        session["a"] = 1
        with pytest.raises(NotStorable, match=r"session\['b'\].*object") as caught:
            session["b"] = object()
        assert caught.value.field == "b"
        assert "b" not in session
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("21")
def test_a_value_over_the_limit_is_refused_where_it_is_assigned():
    visitor = Visitor(make_sessions(max_bytes=1024))
    with visitor.request() as session:
        session["a"] = "x" * 900
        with pytest.raises(TooLarge) as caught:
            session["b"] = "x" * 1100
        assert caught.value.limit == 1024
        assert "xxx" not in str(caught.value)
        assert "b" not in session
    assert len(visitor.read()) == 1


@pytest.mark.promise("21")
def test_a_session_over_the_limit_is_refused_before_anything_is_written():
    def handler(session):
        session["a"] = 2
        for name in "bcd":
            session[name] = "x" * 500

    visitor = stored(Visitor(make_sessions(max_bytes=1024)), a=1)
    with pytest.raises(TooLarge):
        visitor.serve(handler)
    assert visitor.read() == {"a": 1}


def test_the_private_fields_do_not_show(visitor):
    with visitor.request() as session:
        session["a"] = 1
        session.flash("hello")
        session.csrf_token()
        assert (len(session), list(session), dict(session)) == (1, ["a"], {"a": 1})
    with visitor.request() as session:
        assert (len(session), list(session.values()), session == {"a": 1}) == (1, [1], True)


@pytest.mark.promise("V")
def test_clearing_ends_the_session_with_its_sign_in_and_private_fields(visitor):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session.flash("hello")
        token = session.csrf_token()
    cookie = visitor.cookie
    with visitor.request() as session:
        session.clear()
        assert (session.user, dict(session), session.peek_flashes()) == (None, {}, [])
        session["language"] = "de"
    assert visitor.cookie != cookie
    with visitor.request() as session:
        assert (session.user, dict(session), session.peek_flashes()) == (None, {"language": "de"}, [])
        assert not session.check_csrf(token)
    visitor.cookie = cookie
    with visitor.request() as session:
        assert (session.user, dict(session)) == (None, {})


def test_iterating_while_changing_is_no_error(visitor):
    with stored(visitor, **dict.fromkeys("abcd", 1)).request() as session:
        for name in session:
            del session[name]
        for name in itertools.islice(session, 2):
            pytest.fail(name)
    assert visitor.read() == {}


def test_a_session_can_be_copied_and_joined_as_a_dict(visitor):
    with stored(visitor, a=1, b=[2]).request() as session:
        copied = session.copy()
        assert (copied, type(copied)) == ({"a": 1, "b": [2]}, dict)
        copied["c"] = 3
        assert "c" not in session
        assert session | {"a": 9, "c": 3} == {"a": 9, "b": [2], "c": 3}
        assert {"a": 9, "c": 3} | session == {"a": 1, "b": [2], "c": 3}
        assert type({} | session) is dict
        for other in ([("a", 1)], 1):
            with pytest.raises(TypeError):
                session | other
            with pytest.raises(TypeError):
                other | session
    assert visitor.read() == {"a": 1, "b": [2]}
