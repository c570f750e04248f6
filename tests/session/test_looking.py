"""Which calls look at a session: they load it, make the response vary, and say so when the store fails."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, NotLoaded, Session, StoreUnavailable
from coatcheck.session import state_of
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.behaviours.app import ADDED_BY_ZOPE
from tests.session.scene import stored
from tests.visitor import SECRET, make_sessions

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
    "__or__": lambda session: session | {},
    "__ror__": lambda session: {} | session,
    "copy": lambda session: session.copy(),
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
    "new_csrf_token": lambda session: session.new_csrf_token(),
    "check_csrf": lambda session: session.check_csrf("x"),
    "set_lifetime": lambda session: session.set_lifetime(idle=timedelta(hours=1)),
    "permanent=": lambda session: setattr(session, "permanent", True),
    **{
        name: lambda session, name=name: getattr(session, name)
        for name in (
            *("handle", "mark", "is_new", "created_at", "signed_in_at", "last_used_at", "expires_at"),
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
    *ADDED_BY_ZOPE,
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
