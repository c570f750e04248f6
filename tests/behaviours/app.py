"""The one handler that every framework's application has: it plays the script that stands in the query string.

A request is ``/play?step=set+a+1&step=get+a``. Each step is a word of the tables below and its arguments; what it gives
back is one line of JSON in the body. Some steps shape the response::

    status 500                  answer with this status
    header Set-Cookie: a=b      add this header
    raise                       raise `Deliberate`
    leave /there                raise the framework's redirect with 303, or answer with one where there is none to raise
    stream                      send the head now; the steps that follow run while the body streams

A step with a question mark in front (``?set a 1``) gives back the name of the exception that it raised, as a handler
that catches it would. Without steps, the session is not touched.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from coatcheck.session import Session
from coatcheck.sessions import AsyncSessions, Sessions

__all__ = [
    "LOOKS",
    "STEPS",
    "WAITING",
    "Answer",
    "AsyncAnswer",
    "Deliberate",
    "looks",
    "perform",
    "perform_async",
    "query_of",
    "ways_to_look",
]


class Deliberate(Exception):
    """What the step ``raise`` raises."""


@dataclass
class _Head:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("Content-Type", "application/jsonl")])


@dataclass
class Answer(_Head):
    """What the handler answers. The framework's application makes its own kind of response of it."""

    body: list[bytes] | Iterator[bytes] = field(default_factory=list[bytes])
    """A list, or, for a stream, an iterator that goes on with the script."""


@dataclass
class AsyncAnswer(_Head):
    """The same of an asynchronous handler."""

    body: list[bytes] | AsyncIterator[bytes] = field(default_factory=list[bytes])
    """A list, or, for a stream, an iterator that goes on with the script."""


Step: TypeAlias = Callable[[Session, list[str]], object]
Leave: TypeAlias = Callable[[str], object]


def _set(session: Session, name: str, value: object) -> None:
    session[name] = value


def _delete(session: Session, name: str) -> None:
    del session[name]


def _push(session: Session, name: str, value: object) -> None:
    session.setdefault(name, []).append(value)


def _permanent(session: Session, value: str = "on") -> None:
    session.permanent = value == "on"


def _mixed() -> object:
    return {"a": {3, 1, 2}, "b": [{"c": ({"d"}, frozenset("xyz"))}]}


ADDED_BY_ZOPE = frozenset({"__implemented__", "__provides__", "__providedBy__"})
"""Methods that zope.interface adds to the classes that it declares, `collections.abc.MutableMapping` among them."""

# What a class has that is no way to look at an instance.
NO_LOOKS = ADDED_BY_ZOPE | {
    *("__new__", "__init__", "__repr__", "__subclasshook__", "__class_getitem__", "__init_subclass__"),
}

STEPS: Mapping[str, Step] = {
    "get": lambda session, words: session.get(words[0]),
    "set": lambda session, words: _set(session, *words),
    "list": lambda session, words: _set(session, words[0], []),
    "tree": lambda session, words: _set(session, words[0], {"inner": {"list": []}}),
    "mixed": lambda session, words: _set(session, words[0], _mixed()),
    "push": lambda session, words: _push(session, *words),
    "push_deep": lambda session, words: session[words[0]]["inner"]["list"].append(words[1]),
    "delete": lambda session, words: _delete(session, words[0]),
    "pop": lambda session, words: session.pop(words[0], None),
    "clear": lambda session, _: session.clear(),
    "names": lambda session, _: sorted(session),
    "len": lambda session, _: len(session),
    "is_new": lambda session, _: session.is_new,
    "handle": lambda session, _: session.handle,
    "user": lambda session, _: session.user,
    "expires_at": lambda session, _: session.expires_at and session.expires_at.timestamp(),
    "sign_in": lambda session, words: session.sign_in(words[0]),
    "sign_out": lambda session, _: session.sign_out(),
    "destroy": lambda session, _: session.destroy(),
    "rotate": lambda session, _: session.rotate(),
    "permanent": lambda session, words: _permanent(session, *words),
    "is_permanent": lambda session, _: session.permanent,
    "flash": lambda session, words: session.flash(" ".join(words)),
    "peek": lambda session, _: [flash.message for flash in session.peek_flashes()],
    "csrf": lambda session, _: session.csrf_token(),
    "check_csrf": lambda session, words: session.check_csrf(words[0]),
    "repr": lambda session, _: repr(session),
    "fill": lambda session, words: _set(session, words[0], "x" * int(words[1])),
    "push_big": lambda session, words: _push(session, words[0], "x" * int(words[1])),
    "unstorable": lambda session, words: _set(session, words[0], object()),
    "push_unstorable": lambda session, words: _push(session, words[0], object()),
    "look": lambda session, words: _look(session, words[0]),
    "ways": lambda session, _: sorted(ways_to_look(session.__class__)),
}
"""What a script can do with a session at once; the words are what stands behind the name."""

_RESPONSE = frozenset({"status", "header", "raise", "leave"})

WAITING = frozenset({"load", "save", "reload", "take", "take_flashes", "is_live"})
"""What waits for the store: the manager's methods of these names."""


def _merge(session: Session) -> None:
    session |= {"put": 1}


def _look(session: Session, way: str) -> object:
    """Look at the session by a public name of it; the framework's own are called with what `ARGUMENTS` has for them."""
    if way not in LOOKS:
        found = getattr(session, way)
        return found(*ARGUMENTS.get(way, ())) if callable(found) else found
    with suppress(KeyError):
        LOOKS[way](session)
    return None


LOOKS: Mapping[str, Callable[[Session], object]] = {
    "__getitem__": lambda session: session["absent"],
    "__setitem__": lambda session: _set(session, "put", 1),
    "__delitem__": lambda session: _delete(session, "absent"),
    "__contains__": lambda session: "absent" in session,
    "__iter__": lambda session: list(iter(session)),
    "__len__": len,
    "__eq__": lambda session: session == {"absent": 1},
    "__ior__": _merge,
    "__or__": lambda session: session | {"absent": 1},
    "__ror__": lambda session: {"absent": 1} | session,
    "copy": lambda session: session.copy(),
    "get": lambda session: session.get("absent"),
    "keys": lambda session: list(session.keys()),
    "values": lambda session: list(session.values()),
    "items": lambda session: list(session.items()),
    "pop": lambda session: session.pop("absent", None),
    "popitem": lambda session: session.popitem(),
    "setdefault": lambda session: session.setdefault("absent", 1),
    "update": lambda session: session.update({"put": 1}),
    "clear": lambda session: session.clear(),
    "handle": lambda session: session.handle,
    "is_new": lambda session: session.is_new,
    "created_at": lambda session: session.created_at,
    "signed_in_at": lambda session: session.signed_in_at,
    "last_used_at": lambda session: session.last_used_at,
    "expires_at": lambda session: session.expires_at,
    "user": lambda session: session.user,
    "permanent": lambda session: session.permanent,
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
    "mark": lambda session: session.mark,
}
"""Every way to look at a session, by the name of what does it: a response after any of them depends on the cookie."""


ARGUMENTS: Mapping[str, tuple[object, ...]] = {
    "take": ("absent",),
}
"""What the public methods of the frameworks' own sessions are called with."""


def ways_to_look(kind: type) -> set[str]:
    """The name of everything public that an instance of `kind` has and `object` has not, or has another."""
    names = {name for base in kind.__mro__ for name in dir(base)} - NO_LOOKS
    return {
        name
        for name in names
        if getattr(kind, name) is not None
        and (name.startswith("__") or not name.startswith("_"))
        and getattr(kind, name) is not getattr(object, name, None)
        and (callable(getattr(kind, name)) or isinstance(getattr(kind, name), property))
        and not isinstance(getattr(kind, name), type)
    }


def looks(query: str) -> bool:
    """Whether the script in `query` does anything with the session."""
    before, during = _script(query)
    return any(step.name not in _RESPONSE for step in (*before, *(during or ())))


def query_of(steps: tuple[str, ...]) -> str:
    """The query string that plays `steps`."""
    return urlencode([("step", step) for step in steps])


class _Step:
    """One step of a script."""

    def __init__(self, text: str) -> None:
        self._caught = text.startswith("?")
        self.name, *self.arguments = text.removeprefix("?").split(" ", 2)
        self.waits = self.name in WAITING

    def act(self, session: Session, sessions: object, answer: _Head, leave: Leave | None) -> Any:
        """What it gives back; of an async manager, what is to be awaited."""
        name, arguments = self.name, self.arguments
        match name:
            case "raise":
                raise Deliberate("raised on purpose")
            case "status":
                answer.status = int(arguments[0])
            case "header":
                answer.headers.append((arguments[0].removesuffix(":"), arguments[1]))
            case "leave" if leave is None:
                answer.status = 303
                answer.headers.append(("Location", arguments[0]))
            case "leave":
                leave(arguments[0])
            case _ if self.waits:
                return getattr(sessions, name)(session, *arguments)
            case _:
                return STEPS[name](session, arguments)
        return None

    def excuse(self, error: Exception) -> str:
        """What a handler makes of `error` that catches it; others raise it."""
        if not self._caught:
            raise error
        return type(error).__name__


def _script(query: str) -> tuple[list[_Step], list[_Step] | None]:
    """The steps before the head, and those during the stream; None: it does not stream."""
    steps = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "step"]
    if "stream" not in steps:
        return [_Step(step) for step in steps], None
    at = steps.index("stream")
    return [_Step(step) for step in steps[:at]], [_Step(step) for step in steps[at + 1 :]]


def _line(result: object) -> bytes:
    return json.dumps(result, default=str).encode() + b"\n"


def perform(query: str, session: Session, sessions: Sessions, leave: Leave | None = None) -> Answer:
    """What a synchronous handler does: play the script in `query` on `session`. `leave` raises a redirect."""
    before, during = _script(query)
    answer = Answer()

    def play(step: _Step) -> bytes:
        try:
            result = step.act(session, sessions, answer, leave)
        except Exception as error:  # noqa: BLE001 - it is raised again where the script does not catch it
            result = step.excuse(error)
        return _line(result)

    def stream(first: bytes, steps: list[_Step]) -> Iterator[bytes]:
        yield first
        for step in steps:
            yield play(step)

    lines = b"".join([play(step) for step in before])
    lines *= answer.status != 304  # has no body (RFC 9110 §15.4.5)
    answer.body = [lines] if during is None else stream(lines or b"\n", during)
    return answer


async def perform_async(
    query: str, session: Session, sessions: AsyncSessions, leave: Leave | None = None
) -> AsyncAnswer:
    """What an asynchronous handler does: play the script in `query` on `session`. `leave` raises a redirect."""
    before, during = _script(query)
    answer = AsyncAnswer()

    async def play(step: _Step) -> bytes:
        try:
            result = step.act(session, sessions, answer, leave)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:  # noqa: BLE001 - it is raised again where the script does not catch it
            result = step.excuse(error)
        return _line(result)

    async def stream(first: bytes, steps: list[_Step]) -> AsyncIterator[bytes]:
        yield first
        for step in steps:
            yield await play(step)

    lines = b"".join([await play(step) for step in before])
    lines *= answer.status != 304  # has no body (RFC 9110 §15.4.5)
    answer.body = [lines] if during is None else stream(lines or b"\n", during)
    return answer
