"""What a request costs in calls of Python functions of ours, and in encodings: exact, so that a change shows.

The budgets are those of the design. Python 3.12 and later inline comprehensions, so there the counts may be lower.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest

import coatcheck
from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.asgi import SessionMiddleware as AsgiMiddleware
from coatcheck.frameworks.wsgi import SessionMiddleware as WsgiMiddleware
from coatcheck.model import codec
from tests.visitor import SECRET, Visitor, make_sessions

OURS = str(Path(coatcheck.__file__).parent)


class Counted:
    """Counts the calls (and resumptions) of functions of the package while the block runs."""

    def __enter__(self):
        self.calls = Counter()
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _note(self, frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            self.calls[frame.f_code.co_qualname] += 1

    @property
    def total(self):
        return sum(self.calls.values())


def handle(session, mode):
    """A request that reads one key, or reads and writes it."""
    if mode == "read":
        assert session.get("n") is not None
    if mode == "write":
        session["n"] = session.get("n") + 1


def assert_exactly(counted, calls):
    assert counted.total <= calls, counted.calls
    if sys.version_info < (3, 12):
        assert counted.total == calls, counted.calls


@pytest.mark.promise("1", "2", "3")
@pytest.mark.parametrize(("mode", "calls"), [("none", 8), ("read", 31), ("write", 74)])
def test_wsgi_on_sqlite(mode, calls, tmp_path):
    with Sessions.from_url(f"sqlite:///{tmp_path}/s.db", secret=SECRET, insecure_http=True) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["n"] = 1

        def application(environ, start_response):
            handle(environ["coatcheck.session"], mode)
            start_response("200 OK", [])
            return [b"x"]

        middleware = WsgiMiddleware(application, sessions)

        def serve():
            environ = {"HTTP_COOKIE": visitor.cookie, "wsgi.url_scheme": "http", "PATH_INFO": "/"}
            middleware(environ, lambda *_: None)

        for _ in range(2):
            serve()
        with Counted() as counted:
            serve()
        assert_exactly(counted, calls)


@pytest.mark.promise("1", "2", "3")
@pytest.mark.servers
@pytest.mark.parametrize(("mode", "calls"), [("none", 52), ("read", 60), ("write", 142)])
def test_asgi_on_redis(mode, calls, redis_server):
    async def scenario():
        url = redis_server.url
        async with AsyncSessions.from_url(
            url, secret=SECRET, insecure_http=True, prefix="counts:"
        ) as sessions:
            session = sessions.open(b"")
            await sessions.load(session)
            session["n"] = 1
            cookie = (await sessions.close(session)).set_cookie.partition(";")[0].encode()

            async def application(scope, _receive, send):
                handle(scope["session"], mode)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"x"})

            async def send(_message):
                pass

            middleware = AsgiMiddleware(application, sessions)

            async def serve():
                scope = {"type": "http", "headers": [(b"cookie", cookie)], "path": "/", "scheme": "http"}
                await middleware(scope, None, send)

            for _ in range(2):
                await serve()
            with Counted() as counted:
                await serve()
            return counted

    assert_exactly(asyncio.run(scenario()), calls)


@pytest.mark.promise("8")
@pytest.mark.parametrize(
    ("edit", "encodings"),
    [
        (lambda session: session["basket"], 1),
        (lambda session: session["basket"].append("cap"), 1),
        # Once at the assignment, so that the error stands there, and once at the end, since it may change till then.
        (lambda session: session.update(basket=["cap"]), 2),
    ],
    ids=["read", "edited in place", "assigned"],
)
def test_a_mutable_field_is_encoded_once_where_it_was_read_or_edited(edit, encodings, monkeypatch):
    visitor = Visitor(make_sessions())
    with visitor.request() as session:
        session["basket"] = ["hat"]
    encoded = []

    def encode(value):
        encoded.append(value)
        return original(value)

    original = codec.encode
    monkeypatch.setattr(codec, "encode", encode)
    with visitor.request() as session:
        edit(session)
    assert len(encoded) == encodings
