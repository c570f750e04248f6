"""What stands around the express counter's FastAPI application, on both sides of its session.

The outer part writes down what a request made the session layer do, into the page and into the visitor's history; the
inner part sees the response as it is before the session layer adds to it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import HTTPException

from coatcheck.core.epochs import epoch_key
from coatcheck.demo.express_pages import Pages
from coatcheck.demo.history import History
from coatcheck.demo.steps import Request, Step, redacted
from coatcheck.demo.wording import COST, GUARD, LARGEST_FORM
from coatcheck.errors import StoreError
from coatcheck.frameworks.asgi import App, Message, Receive, Scope, Send
from coatcheck.http.token import handle_of, key_of
from coatcheck.session import Session, is_untouched, state_of

__all__ = ["Inner", "Outer", "note"]

_steps: ContextVar[list[Step] | None] = ContextVar("steps", default=None)
_under_way: list[list[Step]] = []
"""The steps of each request that is being served."""
_HEAD = "coatcheck.demo.head"


def note(step: Step) -> None:
    """Take note of what the traced store tells.

    A batch is sent outside any request, and may carry the calls of several: each gets it, and picks its own part.
    """
    steps = _steps.get()
    if steps is not None:
        steps.append(replace(step, parts={}))
    elif step.parts:
        for each in _under_way:
            each.append(step)


class Inner:
    """Inside the session: notes the response's head as the application sends it, and bounds what it is sent."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        received = 0

        async def receive_some() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_FORM:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def note_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope[_HEAD] = list(message["headers"])
            await send(message)

        if scope["type"] == "http":
            await self._app(scope, receive_some, note_head)
        else:
            await self._app(scope, receive, send)


class Outer:
    """Outside the session: when a response comes by here, its session is stored."""

    def __init__(self, app: App, *, pages: Pages, history: History) -> None:
        self._app = app
        self._pages = pages
        self._history = history

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        steps: list[Step] = []
        response = _Response(scope, send, steps, self._pages, self._history)
        token = _steps.set(steps)
        _under_way.append(steps)
        try:
            await self._app(scope, receive, response.send)
        finally:
            _under_way[:] = [each for each in _under_way if each is not steps]
            _steps.reset(token)


class _Response:
    """One response. Its head waits for the body, whose length may change."""

    def __init__(
        self,
        scope: Scope,
        send: Send,
        steps: list[Step],
        pages: Pages,
        history: History,
    ) -> None:
        self._began = time.perf_counter()
        self._scope = scope
        self._send = send
        self._steps = steps
        self._pages = pages
        self._history = history
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """What the application calls as ``send``."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            body = self._finished(start, bytes(message.get("body", b"")))
            message = {**message, "body": body}
            await self._send(start)
        await self._send(message)

    def _finished(self, start: Message, body: bytes) -> bytes:
        """Write down what it came to; the body with what it cost."""
        headers: dict[bytes, bytes] = dict(start["headers"])
        request = self._request(start)
        self._keep(request)
        kind = headers.get(b"content-type", b"")
        if start["status"] == HTTPStatus.SERVICE_UNAVAILABLE and self._wants_html():
            # The session layer's own answer, in plain text: what failed is not tried again.
            kind, body = b"text/html; charset=utf-8", self._pages.locked()
        elif kind.startswith(b"text/html"):
            body = body.replace(COST.encode(), self._pages.cost(request).encode())
        changed = {b"content-type": kind, b"content-length": str(len(body)).encode()}
        guard = {name.lower().encode(): value.encode() for name, value in GUARD.items()}
        sent = {name: value for name, value in changed.items() if name in headers}
        sent |= {name: value for name, value in guard.items() if name not in headers}
        kept = [(name, value) for name, value in start["headers"] if name not in sent]
        start["headers"] = [*kept, *sent.items()]
        return body

    def _request(self, start: Message) -> Request:
        before: list[tuple[bytes, bytes]] = self._scope.get(_HEAD, [])
        keys = _keys_of(self._scope.get("session"))
        added = [
            (name.decode("latin-1").title(), value.decode("latin-1"))
            for name, value in start["headers"]
            if (name, value) not in before
        ]
        return Request(
            at=datetime.now(UTC),
            by="FastAPI",
            method=self._scope["method"],
            path=self._scope["path"],
            status=start["status"],
            milliseconds=(time.perf_counter() - self._began) * 1000,
            steps=tuple(own for step in self._steps if (own := step.of(keys)) is not None),
            headers=tuple((name, redacted(name, value)) for name, value in added),
        )

    def _keep(self, request: Request) -> None:
        session: Session | None = self._scope.get("session")
        # Whether a session was looked at must not depend on our looking.
        if session is None or is_untouched(session):
            return
        record = state_of(session).record
        if record is not None:
            self._history.keep(handle_of(record.key), request)

    def _wants_html(self) -> bool:
        return b"text/html" in dict(self._scope["headers"]).get(b"accept", b"")


def _keys_of(session: Session | None) -> set[bytes]:
    """The keys under which the store has something of this request's visitor."""
    # Whether a session was looked at must not depend on our looking.
    if session is None or is_untouched(session):
        return set()
    keys = {token.key for token in state_of(session).tokens}
    with suppress(StoreError):
        if session.handle is not None and (key := key_of(session.handle)) is not None:
            keys.add(key)
        if session.user is not None:
            keys.add(epoch_key(session.user))
    return keys
