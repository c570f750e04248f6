from __future__ import annotations

import copy
import enum
import itertools
import re
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from coatcheck import (
    AsyncSessions,
    DecodeError,
    Flash,
    NotLoaded,
    NotStorable,
    Session,
    StoreUnavailable,
    TooLarge,
)
from coatcheck.model import codec
from coatcheck.model.format import decode, encode
from coatcheck.session import state_of
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.model.values import form
from tests.visitor import SECRET, CountedStore, Visitor, make_sessions, plant, stored_in


@pytest.fixture
def sessions():
    return make_sessions()


@pytest.fixture
def visitor(sessions):
    return Visitor(sessions)


def stored(visitor, **fields):
    """The visitor, after a request that put `fields` in."""
    with visitor.request() as session:
        session.update(fields)
    visitor.sessions.store.calls.clear()
    return visitor


# A mapping


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
        name, value = session.popitem()
        assert (name, value) in [("c", 3), ("d", 4)]
        assert len(session) == 1
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
def test_clearing_takes_the_private_fields_too_and_leaves_the_sign_in(visitor):
    visitor.signed_in("ada", a=1)
    with visitor.request() as session:
        session.flash("hello")
        token = session.csrf_token()
    with visitor.request() as session:
        session.clear()
    with visitor.request() as session:
        assert session.user == "ada"
        assert session.peek_flashes() == []
        assert session.csrf_token() != token


# Changes inside a value


@pytest.mark.promise("8")
def test_a_change_five_levels_deep_is_kept(visitor):
    deep = {"1": [{"2": ({"3": [{"4": {"5"}}]},)}]}
    with stored(visitor, deep=deep).request() as session:
        session["deep"]["1"][0]["2"][0]["3"][0]["4"].add("6")
    assert visitor.read() == {"deep": {"1": [{"2": ({"3": [{"4": {"5", "6"}}]},)}]}}


@pytest.mark.promise("8")
def test_a_change_inside_a_tuple_is_kept(visitor):
    with stored(visitor, pair=([1], {"a": 1})).request() as session:
        session["pair"][0].append(2)
    assert visitor.read() == {"pair": ([1, 2], {"a": 1})}


@pytest.mark.promise("8")
@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ([1], lambda value: value.append(2), [1, 2]),
        ([2, 1], lambda value: value.sort(), [1, 2]),
        ({"a": 1}, lambda value: value.update(b=2), {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, lambda value: value.update(a=value.pop("a")), {"b": 2, "a": 1}),
        ({1}, lambda value: value.add(2), {1, 2}),
        ([1], lambda value: value.__setitem__(0, True), [True]),
        ([1], lambda value: value.__setitem__(0, 1.0), [1.0]),
        ([0.0], lambda value: value.__setitem__(0, -0.0), [-0.0]),
        ([b"a"], lambda value: value.__setitem__(0, "a"), ["a"]),
    ],
    ids=range(9),
)
def test_every_change_inside_a_value_is_kept(visitor, before, change, after):
    with stored(visitor, value=before).request() as session:
        change(session["value"])
    assert form(visitor.read()["value"]) == form(after)


@pytest.mark.promise("8")
def test_a_value_that_is_changed_after_it_was_assigned_is_stored_as_it_is_at_the_end(visitor):
    with visitor.request() as session:
        cart = []
        session["cart"] = cart
        cart.append("hat")
    assert visitor.read() == {"cart": ["hat"]}


@pytest.mark.promise("8")
def test_a_value_that_is_held_beyond_a_save_still_counts(visitor):
    with stored(visitor, cart=["hat"]).request() as session:
        cart = session["cart"]
        cart.append("coat")
        visitor.sessions.save(session)
        cart.append("scarf")
        assert session["cart"] is cart
    assert visitor.read() == {"cart": ["hat", "coat", "scarf"]}


def test_a_value_that_was_replaced_or_removed_does_not_count_any_more(visitor):
    with stored(visitor, a=[1], b=[1], c=[1]).request() as session:
        old = [session["a"], session["b"], session["c"]]
        session["a"] = ["new"]
        del session["b"]
        session.sign_out()
        session["a"] = ["newer"]
        for value in old:
            value.append("lost")
    assert visitor.read() == {"a": ["newer"]}


@pytest.mark.promise("8")
def test_reading_never_writes(visitor):
    values = {
        "set": {3, 1, 2, "a", (1, 2)},
        "dict": {"b": {1: [2.5, None]}, "a": frozenset({1})},
        "when": [datetime(2026, 1, 1, tzinfo=UTC), timedelta(1)],
        "big": [2**70],
    }
    with stored(visitor, **values).request() as session:
        assert dict(session) == values
        assert session.peek_flashes() == []
        session["set"].add(1)
        session["dict"]["a"] = frozenset([1])
    assert visitor.sessions.store.calls == ["load"]
    assert visitor.set_cookie is None


@pytest.mark.promise("8")
def test_a_field_that_is_set_to_what_it_was_is_not_written(visitor):
    with stored(visitor, a=1, b=[{2}]).request() as session:
        session["a"] = 1
        session["b"] = [{2}]
        session["c"] = 1
        del session["c"]
    assert visitor.sessions.store.calls == ["load"]


def test_bytes_of_another_release_that_mean_the_same_are_not_written(visitor):
    stored(visitor, tags={1, 2})
    tamper(visitor, tags=b"\xc7\x03\x02\x92\x02\x01")  # the same set, its members the other way round
    with visitor.request() as session:
        assert session["tags"] == {1, 2}
    assert visitor.sessions.store.calls == ["load"]


def tamper(visitor, **fields):
    """Put other bytes into the stored record."""
    ((key, data),) = stored_in(visitor.sessions.store).items()
    record = decode(key, data)
    plant(
        visitor.sessions.store, key, encode(replace(record, fields={**record.fields, **fields}), b"tampered")
    )


@pytest.mark.promise("10")
def test_one_field_that_can_not_be_read_is_named_and_the_others_work(visitor):
    tamper(stored(visitor, good=1, bad=2), bad=b"\xc1")
    with visitor.request() as session:
        assert session["good"] == 1
        assert len(session) == 2
        assert "bad" in session
        for look in (
            lambda: session["bad"],
            lambda: session.get("bad"),
            lambda: session.pop("bad"),
            lambda: dict(session),
        ):
            with pytest.raises(DecodeError, match=r"session\['bad'\]") as caught:
                look()
            assert caught.value.field == "bad"
        session["good"] = 2
    with visitor.request() as session:
        assert session["good"] == 2
        session["bad"] = "mended"
    assert visitor.read() == {"good": 2, "bad": "mended"}


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_can_be_removed(visitor):
    tamper(stored(visitor, good=1, bad=2), bad=b"\xc1")
    with visitor.request() as session:
        del session["bad"]
    assert visitor.read() == {"good": 1}


# Threads


def in_threads(work, count=8):
    """Run `work(number)` in threads that begin together."""
    barrier = threading.Barrier(count)
    failures = []

    def run(number):
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


class SlowStore(CountedStore):
    """Lets other threads run while it loads."""

    def load(self, keys, now, deadline):
        found = super().load(keys, now, deadline)
        threading.Event().wait(0.02)
        return found


@pytest.mark.promise("6")
def test_threads_that_share_a_session_load_it_once_and_get_the_same_objects():
    visitor = stored(Visitor(make_sessions(SlowStore())), cart=[])
    seen = []
    with visitor.request() as session:
        in_threads(lambda number: seen.append(session["cart"]))
        assert len({id(cart) for cart in seen}) == 1
        assert visitor.sessions.store.calls == ["load"]
        in_threads(session["cart"].append)
    assert sorted(visitor.read()["cart"]) == list(range(8))


def test_threads_that_begin_at_once_get_one_state(sessions):
    session = sessions.open("")
    state = state_of(session)
    assert session._begin(session) is state  # the thread that came second


@pytest.mark.promise("6")
def test_what_threads_put_in_is_all_stored():
    visitor = stored(Visitor(make_sessions(SlowStore())), a=1)
    with visitor.request() as session:
        in_threads(lambda number: session.update({f"n{number}": number}))
        in_threads(session.flash)
    with visitor.request() as session:
        assert dict(session) == {"a": 1, **{f"n{number}": number for number in range(8)}}
        assert sorted(flash.message for flash in session.peek_flashes()) == list(range(8))


@pytest.mark.promise("6")
def test_a_field_that_one_thread_removes_while_another_reads_it_stays_removed(visitor, monkeypatch):
    with stored(visitor, cart=[1]).request() as session:
        session.get("other")

        def decode_late(data, decode=codec.decode):
            del session["cart"]  # the other thread, in the middle of this one's reading
            return decode(data)

        monkeypatch.setattr("coatcheck.core.state.codec.decode", decode_late)
        session.get("cart")
        monkeypatch.undo()
        assert "cart" not in session
    assert visitor.read() == {}


def test_two_threads_that_read_a_field_at_the_same_moment_get_the_same_object(visitor, monkeypatch):
    with stored(visitor, cart=[1]).request() as session:
        session.get("other")
        seen = []

        def decode_late(data, decode=codec.decode):
            value = decode(data)
            monkeypatch.undo()
            seen.append(session["cart"])  # the other thread, in the middle of this one's reading
            return value

        monkeypatch.setattr("coatcheck.core.state.codec.decode", decode_late)
        assert session["cart"] is seen[0]


# Looking


LOOKS = {
    "__getitem__": lambda session: session.get("a"),
    "__setitem__": lambda session: session.__setitem__("a", 1),
    "__delitem__": lambda session: session.pop("a", None),
    "__contains__": lambda session: "a" in session,
    "__iter__": iter,
    "__len__": len,
    "__bool__": bool,
    "__eq__": lambda session: session == {},
    "__ior__": lambda session: session.__ior__({}) and session.__ior__({"a": 1}),
    "get": lambda session: session.get("a"),
    "keys": lambda session: list(session.keys()),
    "values": lambda session: list(session.values()),
    "items": lambda session: list(session.items()),
    "pop": lambda session: session.pop("a", None),
    "popitem": lambda session: session.setdefault("a", 1) and session.popitem(),
    "setdefault": lambda session: session.setdefault("a", 1),
    "update": lambda session: session.update(a=1),
    "clear": lambda session: session.clear(),
    "sign_in": lambda session: session.sign_in("ada"),
    "sign_out": lambda session: session.sign_out(),
    "destroy": lambda session: session.destroy(),
    "rotate": lambda session: session.rotate(),
    "flash": lambda session: session.flash("hello"),
    "peek_flashes": lambda session: session.peek_flashes(),
    "csrf_token": lambda session: session.csrf_token(),
    "permanent=": lambda session: setattr(session, "permanent", True),
    **{
        name: lambda session, name=name: getattr(session, name)
        for name in (
            *("handle", "is_new", "created_at", "signed_in_at", "last_used_at", "expires_at"),
            *("user", "permanent"),
        )
    },
}
NO_LOOKS = {
    "__repr__",
    "__init__",
    "__class_getitem__",
    "__reversed__",
    "__hash__",
    "__new__",
    "__subclasshook__",
}


@pytest.mark.promise("H")
def test_the_table_of_looks_names_every_public_method():
    public = {
        name
        for base in Session.__mro__[:-1]
        for name, member in vars(base).items()
        if (callable(member) or isinstance(member, property | classmethod))
        and (not name.startswith("_") or re.fullmatch("__.*__", name))
    }
    assert public - LOOKS.keys() - NO_LOOKS == set()
    settable = {
        name + "=" for name, member in vars(Session).items() if isinstance(member, property) and member.fset
    }
    assert settable <= LOOKS.keys()


@pytest.mark.promise("H")
@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("known", [False, True])
def test_whoever_looks_in_any_way_makes_the_response_vary(visitor, name, known):
    if known:
        stored(visitor, a=1)
    with visitor.request() as session:
        assert not state_of(session).looked_at
        LOOKS[name](session)
    assert visitor.outcome.vary


@pytest.mark.promise("5")
def test_a_session_that_nobody_looks_at_costs_nothing(visitor):
    with stored(visitor, a=1).request() as session:
        repr(session)
    assert visitor.sessions.store.calls == []
    assert (visitor.outcome.vary, visitor.set_cookie) == (False, None)


def test_an_async_session_that_is_not_loaded_names_both_ways_to_load_it():
    session = AsyncSessions(AsyncMemoryStore(), secret=SECRET).open(b"")
    for look in (lambda: session.get("a"), lambda: len(session), lambda: session.sign_in("ada")):
        with pytest.raises(NotLoaded) as caught:
            look()
        assert "await sessions.load(session)" in str(caught.value)
        assert 'load="eager"' in str(caught.value)


# What is known of it


def test_a_visitor_without_a_session_is_new_and_has_no_times(visitor):
    with visitor.request() as session:
        assert session.is_new
        for name in ("handle", "created_at", "signed_in_at", "last_used_at", "expires_at", "user"):
            assert getattr(session, name) is None
        assert session.permanent is False


def test_the_times_are_aware_and_exact():
    sessions = make_sessions()
    clock, visitor = sessions.settings.clock, Visitor(sessions)
    start = datetime.fromtimestamp(clock(), UTC)
    stored(visitor, a=1)
    clock.advance(5)
    visitor.signed_in("ada")
    clock.advance(7200)
    visitor.read()
    clock.advance(1)
    with visitor.request() as session:
        times = (session.created_at, session.signed_in_at, session.last_used_at, session.expires_at)
        assert times == (
            start,
            start + timedelta(seconds=5),
            start + timedelta(seconds=7205),
            start + timedelta(seconds=7205, days=1),
        )
        assert all(time.tzinfo is UTC for time in times)


def test_the_handle_is_stable_and_public(visitor):
    stored(visitor, a=1)
    handle = visitor.handle
    assert re.fullmatch("[0-9a-f]{32}", handle)
    visitor.signed_in("ada")
    with visitor.request() as session:
        session.rotate()
    assert visitor.handle == handle
    assert handle not in visitor.cookie


@pytest.mark.promise("18")
def test_the_handle_opens_nothing(visitor):
    stored(visitor, a=1)
    handle = visitor.handle
    for value in (handle, handle.upper(), bytes.fromhex(handle).hex() * 3, handle + visitor.token[32:]):
        other = Visitor(visitor.sessions, f"__Host-session={value}")
        assert other.read() == {}
        assert other.cookie == f"__Host-session={value}"


@pytest.mark.promise("18")
def test_its_repr_shows_the_handle_and_nothing_else(visitor):
    with stored(visitor, password="hunter2").request() as session:
        assert repr(session) == "<Session unloaded>"
        assert session["password"] == "hunter2"
        assert repr(session) == f"<Session live {session.handle}>"
        session["password"] = "hunter3"
        assert repr(session) == str(session) == f"{session}" == f"<Session live {session.handle}>"


# Signing in


class Member(str):
    __slots__ = ()


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
        assert session.csrf_token() != token


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
        assert after != before
    with visitor.request() as session:
        assert session.csrf_token() == after
        session.sign_in("ada")
    with visitor.request() as session:
        assert session.csrf_token() not in (before, after)


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


# Messages


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


# The CSRF token


def test_the_csrf_token_is_made_once_and_stays(visitor):
    with visitor.request() as session:
        token = session.csrf_token()
        assert session.csrf_token() == token
        assert re.fullmatch("[A-Za-z0-9_-]{43}", token)
    with visitor.request() as session:
        assert session.csrf_token() == token
    assert visitor.set_cookie is None
    with Visitor(visitor.sessions).request() as session:
        assert session.csrf_token() != token


# Permanence


def test_a_permanent_session_gets_a_lasting_cookie_and_longer_limits(visitor):
    clock = visitor.sessions.settings.clock
    with visitor.request() as session:
        session["a"] = 1
        session.permanent = True
        assert session.permanent is True
    assert f"Max-Age={90 * 86_400};" in visitor.set_cookie
    clock.advance(timedelta(days=29))
    with visitor.request() as session:
        assert session.permanent
        assert session == {"a": 1}
        session.permanent = False
    assert "Max-Age" not in visitor.set_cookie
    clock.advance(timedelta(days=2))
    assert visitor.read() == {}


def test_setting_permanent_to_what_it_is_changes_nothing(visitor):
    with stored(visitor, a=1).request() as session:
        session.permanent = False
    assert visitor.sessions.store.calls == ["load"]


# Without the store


class Down(MemoryStore):
    def load(self, keys, now, deadline):
        raise StoreUnavailable("down", ambiguous=False)


@pytest.mark.promise("20")
def test_while_the_store_fails_every_look_says_so(visitor):
    stored(visitor, a=1)
    down = make_sessions(Down())
    for look in LOOKS.values():
        session = down.open(visitor.cookie)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                look(session)
        assert down.close(session).set_cookie is None


@pytest.mark.promise("20")
def test_with_the_policy_anonymous_it_can_be_read_and_what_is_put_in_is_dropped(visitor):
    stored(visitor, a=1)
    session = make_sessions(Down(), outage="anonymous").open(visitor.cookie)
    assert dict(session) == {}
    assert (session.user, session.is_new, session.permanent) == (None, True, False)
    session["b"] = 1
    session.flash("hello")
    session.permanent = True
    assert session["b"] == 1
    for end in (session.sign_out, session.destroy, session.rotate, lambda: session.sign_in("ada")):
        with pytest.raises(StoreUnavailable):
            end()


# Against a dict, over many requests

HOUR = 3600
NAMES = st.sampled_from(["a", "b"])
VALUES = st.one_of(
    st.sampled_from([0, 1, True, 1.0, "", None]),
    st.lists(st.integers(0, 2), max_size=2),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(st.sampled_from(["k", "l"]), st.lists(st.integers(0, 1), max_size=1), max_size=2),
    st.sets(st.integers(0, 2), max_size=2),
    st.tuples(st.lists(st.integers(0, 1), max_size=1)),
)


class OneVisitor(RuleBasedStateMachine):
    """A visitor's session beside a plain dict: whatever he does, they agree, and the store is asked no more than
    the design allows. Times are seconds since the start.
    """

    def __init__(self):
        super().__init__()
        self.sessions = make_sessions(
            idle_timeout=timedelta(hours=1),
            absolute_timeout=timedelta(hours=5),
            remember_idle=timedelta(hours=10),
            remember_absolute=timedelta(hours=20),
        )
        self.clock = self.sessions.settings.clock
        self.calls = self.sessions.store.calls
        self.visitor = Visitor(self.sessions)
        self.now = 0
        self.live = 0  # the number of the record that he holds, 0 for none
        self.records = 0  # how many there were
        self.in_cookie = 0  # the number of the record that the browser's cookie names
        self.stored = {}
        self.user = None
        self.permanent = False
        self.start = self.used = 0
        self.session = None

    # Requests

    def idle(self):
        return 10 * HOUR if self.permanent else HOUR

    def absolute(self):
        return 20 * HOUR if self.permanent else 5 * HOUR

    @initialize()
    def first(self):
        self.begin()

    def begin(self):
        if self.live and self.now >= min(self.used + self.idle(), self.start + self.absolute()):
            self.live = 0
        if not self.live:
            self.stored, self.user, self.permanent = {}, None, False
        self.calls.clear()
        self.session = self.sessions.open(self.visitor.cookie)
        self.presented = self.in_cookie
        self.work = self.fresh_copy()
        self.wish = self.signing = None
        self.cleared = self.due_clear = False
        self.ended = self.due_cookie = 0  # the numbers of records
        self.held = []
        self.writes = 0
        self.agree()

    def fresh_copy(self):
        # Field by field: two fields that share an object within a request don't beyond it.
        return {name: copy.deepcopy(value) for name, value in self.stored.items()}

    def agree(self):
        session = self.session
        assert form(dict(sorted(session.items()))) == form(dict(sorted(self.work.items())))
        assert (len(session), set(session)) == (len(self.work), set(self.work))
        assert session.user == (self.signing or self.user)
        assert session.is_new is (self.live == 0)
        assert session.permanent is (self.permanent if self.wish is None else self.wish)

    def carry_out(self):
        """What storing the intentions does, in the model."""
        changed = {name: form(value) for name, value in self.work.items()} != {
            name: form(value) for name, value in self.stored.items()
        }
        wish = None if self.wish == self.permanent else self.wish
        if self.live:
            write = changed or (self.cleared and self.stored) or self.signing or wish is not None
        else:
            write = self.work or self.signing
        self.writes += bool(write or self.ended)
        if self.ended:
            self.due_clear = self.due_clear or self.ended == self.presented
            self.due_cookie = 0 if self.due_cookie == self.ended else self.due_cookie
            self.ended = 0
        if not write:
            return
        if not self.live or self.signing or wish is not None:
            self.live = self.live or self.new_record()
            self.due_cookie = self.live
        if self.signing:
            # Two sign-ins never look the same: the second of one millisecond counts as one later.
            again = 0 if self.user is None else self.start + 0.001
            self.user, self.start = self.signing, max(self.now, again)
        self.used = self.now
        self.permanent = self.permanent if wish is None else wish
        self.wish, self.signing, self.cleared = None, None, False
        self.stored = self.work
        self.stored = self.fresh_copy()

    def new_record(self):
        self.records += 1
        self.start = self.now
        return self.records

    def respond(self, outcome):
        self.visitor.receive(outcome)
        assert self.calls.count("load") == bool(self.presented)
        assert self.calls.count("write") == self.writes
        if self.due_cookie:
            assert self.visitor.cookie.startswith("__Host-session=")
            assert ("Max-Age" in self.visitor.set_cookie) is self.permanent
            self.in_cookie = self.due_cookie
        elif self.due_clear:
            assert self.visitor.set_cookie == self.sessions.settings.template.clear()
            self.in_cookie = 0
        else:
            assert self.visitor.set_cookie is None

    @rule()
    def answer_and_ask_again(self):
        self.answer(0)

    @rule(seconds=st.sampled_from([1, 359, 360, HOUR - 1, HOUR, 4 * HOUR, 10 * HOUR]))
    def answer_and_wait(self, seconds):
        self.answer(seconds)

    @rule(hours=st.integers(1, 12))
    def come_back_every_half_hour(self, hours):
        for _ in range(2 * hours):
            self.answer(HOUR // 2)

    def answer(self, seconds):
        before = self.writes
        self.carry_out()
        if self.live and self.writes == before and self.now - self.used >= min(self.idle() // 10, HOUR):
            self.used = self.now
            self.writes += 1
        self.respond(self.sessions.close(self.session))
        self.clock.advance(seconds)
        self.now += seconds
        self.begin()

    @rule()
    def fail(self):
        self.work, self.wish, self.signing, self.cleared = self.fresh_copy(), None, None, False
        self.carry_out()
        self.respond(self.sessions.abandon(self.session))
        self.begin()

    @rule()
    def save(self):
        self.sessions.save(self.session)
        self.carry_out()
        self.agree()

    # What a handler does

    @rule(name=NAMES, value=VALUES)
    def put(self, name, value):
        self.session[name] = copy.deepcopy(value)
        self.work[name] = value
        self.agree()

    @rule(name=NAMES, value=VALUES)
    def setdefault(self, name, value):
        mine = copy.deepcopy(value)
        assert form(self.session.setdefault(name, mine)) == form(self.work.setdefault(name, value))
        self.agree()

    @rule(values=st.dictionaries(NAMES, VALUES, max_size=3), operator=st.booleans())
    def update(self, values, operator):
        if operator:
            self.session |= copy.deepcopy(values)
            self.work |= values
        else:
            self.session.update(copy.deepcopy(values))
            self.work.update(values)
        self.agree()

    @rule(name=NAMES, other=NAMES)
    def share(self, name, other):
        if name in self.work:
            self.session[other] = self.session[name]
            self.work[other] = self.work[name]
        self.agree()

    @rule(name=NAMES)
    def pop(self, name):
        assert form(self.session.pop(name, "nothing")) == form(self.work.pop(name, "nothing"))
        self.agree()

    @precondition(lambda self: self.work)
    @rule(one=st.booleans())
    def remove(self, one):
        name = next(iter(self.session))
        if one:
            del self.session[name]
            del self.work[name]
        else:
            assert self.session.popitem()[0] == name
            del self.work[name]
        with pytest.raises(KeyError):
            del self.session[name]
        self.agree()

    @rule()
    def clear(self):
        self.session.clear()
        self.work = {}
        self.cleared = self.cleared or bool(self.stored)
        self.agree()

    @precondition(lambda self: self.work)
    @rule(item=st.integers(0, 2), answered=st.booleans())
    def change_inside(self, item, answered):
        for name, value in self.work.items():
            self.held.append((self.session[name], value))
            change(self.session[name], item)
            change(value, item)
        self.agree()
        if answered:
            self.answer(0)

    @precondition(lambda self: self.held)
    @rule(item=st.integers(0, 2))
    def change_what_was_held(self, item):
        """What a handler's local variables still hold, also beyond a save."""
        for mine, model in self.held:
            change(mine, item)
            change(model, item)
        self.agree()

    @rule(names=st.lists(NAMES, max_size=3))
    def take(self, names):
        expected = {name: self.work[name] for name in names if name in self.work}
        base = {} if self.cleared or not self.live else self.stored
        taken = self.sessions.take(self.session, *names)
        assert form(dict(sorted(taken.items()))) == form(dict(sorted(expected.items())))
        if any(name in base for name in expected):
            self.writes += 1
            self.used = self.now
        for name in expected:
            del self.work[name]
            base.pop(name, None)
        self.agree()

    @rule(wish=st.booleans())
    def set_permanent(self, wish):
        if self.live and not wish and self.now >= self.start + 5 * HOUR:
            return  # past the limit of those that are not permanent, it would end there and then
        self.session.permanent = wish
        self.wish = wish
        self.agree()

    @rule(user=st.sampled_from(["ada", "grace"]))
    def sign_in(self, user):
        before = self.signing or self.user
        self.session.sign_in(user)
        if before not in (None, user):
            self.work = {}
            self.cleared = self.cleared or bool(self.stored)
        self.signing = user
        self.agree()

    @rule()
    def sign_out(self):
        self.session.sign_out()
        self.ended = self.live or self.ended
        self.work, self.stored, self.live = {}, {}, 0
        self.user, self.permanent, self.wish, self.signing, self.cleared = None, False, None, None, False
        self.agree()


def change(value, item):
    match value:
        case list():
            value.append(item)
        case set():
            value.symmetric_difference_update({item})
        case dict():
            value.setdefault("k", []).append(item)
        case (list() as inner,):
            inner.append(item)


def test_a_session_is_a_dict_over_many_requests():
    run_state_machine_as_test(
        OneVisitor, settings=hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
    )


def test_iterating_while_changing_is_no_error(visitor):
    with stored(visitor, **dict.fromkeys("abcd", 1)).request() as session:
        for name in session:
            del session[name]
        for name in itertools.islice(session, 2):
            pytest.fail(name)
    assert visitor.read() == {}
