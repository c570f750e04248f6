"""The helpers that check a request's CSRF token, for plain WSGI and ASGI."""

from __future__ import annotations

import asyncio

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks import asgi, wsgi
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.visitor import SECRET


def by_wsgi(method, value, header):
    """The helper's answer about a request of a visitor who has a token."""
    sessions = Sessions(MemoryStore(), secret=SECRET)
    token, said = begin(sessions), []

    def app(environ, start_response):
        said.append(wsgi.check_csrf(environ, *value(token)))
        start_response("200 OK", [])
        return []

    environ = {"REQUEST_METHOD": method, "HTTP_COOKIE": token[1], "wsgi.url_scheme": "https"}
    if header(token):
        environ["HTTP_X_CSRF_TOKEN"] = header(token)
    wsgi.SessionMiddleware(app, sessions)(environ, lambda *_: None)
    return said


def begin(sessions):
    session = sessions.open(b"")
    token = session.csrf_token()
    return token, sessions.close(session).set_cookie.partition(";")[0]


def by_asgi(method, value, header, kind="http"):
    async def scenario():
        sessions, said = AsyncSessions(AsyncMemoryStore(), secret=SECRET), []
        session = sessions.open(b"")
        await sessions.load(session)
        token = session.csrf_token()
        cookie = (await sessions.close(session)).set_cookie.partition(";")[0]

        async def app(scope, _receive, _send):
            said.append(asgi.check_csrf(scope, *value((token, cookie))))

        headers = [(b"cookie", cookie.encode())]
        if header((token, cookie)):
            headers.append((b"x-csrf-token", header((token, cookie)).encode("latin-1")))
        scope = {"type": kind, "headers": headers, "path": "/", "scheme": "https"}
        if kind == "http":
            scope["method"] = method
        await asgi.SessionMiddleware(app, sessions)(scope, None, None)
        return said

    return asyncio.run(scenario())


def nothing(_token):
    return ()


def none(_token):
    return ""


def good(token):
    return (token[0],)


def in_header(token):
    return token[0]


BOTH = pytest.mark.parametrize("check", [by_wsgi, by_asgi])


@BOTH
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_safe_method_needs_no_token(check, method):
    assert check(method, nothing, none) == [True]


@BOTH
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "get", "X"])
def test_every_other_method_needs_one_from_the_form_or_the_header(check, method):
    assert check(method, nothing, none) == [False]
    assert check(method, good, none) == [True]
    assert check(method, nothing, in_header) == [True]
    assert check(method, lambda _: ("wrong",), in_header) == [True]
    assert check(method, lambda _: ("wrong",), none) == [False]
    assert check(method, nothing, lambda _: "x" * 86) == [False]
    assert check(method, nothing, lambda _: "\xe9" * 86) == [False]


def test_a_websocket_needs_a_token():
    assert by_asgi("", nothing, none, "websocket") == [False]
    assert by_asgi("", good, none, "websocket") == [True]
