"""Frameworks that catch what a handler raises and answer a page of their own: the shared list, and what holds for the page.

Each page also puts something into the session, as a middleware of the framework may do after the failure.
"""

import sys
from contextlib import suppress

import flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from werkzeug.exceptions import HTTPException

from coatcheck import StoreError
from coatcheck.frameworks import asgi, starlette, wsgi
from coatcheck.frameworks.flask import SessionInterface
from tests.behaviours import (
    AsgiClient,
    AsyncHttpBehaviours,
    ErrorPages,
    HttpBehaviours,
    WsgiClient,
    perform,
    perform_async,
)
from tests.frameworks.test_starlette import response_of

PAGE = [("Content-Type", "text/plain")]


class TestWsgiWithExcInfo(ErrorPages, HttpBehaviours):
    def build(self, sessions):
        def handler(environ, start_response):
            session = environ["coatcheck.session"]
            try:
                answer = perform(environ["QUERY_STRING"], session, sessions)
            except Exception:  # noqa: BLE001 - as such a framework does
                start_response("500 Sorry", PAGE, sys.exc_info())
                session["page"] = "seen"
                return [b"sorry"]
            start_response(f"{answer.status} -", answer.headers)
            return answer.body

        return WsgiClient(wsgi.SessionMiddleware(handler, sessions))


class TestAsgiWithFail(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def respond(scope, send):
            answer = await perform_async(scope["query_string"].decode(), scope["session"], sessions)
            await send(head_of(answer.status, answer.headers))
            if isinstance(answer.body, list):
                await send({"type": "http.response.body", "body": b"".join(answer.body)})
                return
            async for chunk in answer.body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})

        async def handler(scope, receive, send):
            started = False

            async def send_and_note(message):
                nonlocal started
                await send(message)
                started = True

            try:
                await respond(scope, send_and_note)
                return
            except Exception as error:
                await sessions.fail(scope["session"], error)
                if started:
                    raise
            # Not while the exception is being handled: the middleware would see it.
            scope["session"]["page"] = "seen"
            await send(head_of(500, PAGE))
            await send({"type": "http.response.body", "body": b"sorry"})

        return AsgiClient(asgi.SessionMiddleware(handler, sessions), portal)


class TestStarletteWithin(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def play(request):
            return response_of(await perform_async(request.url.query, request.session, sessions))

        async def sorry(request, error):
            with suppress(StoreError):
                request.session["page"] = "seen"
            return PlainTextResponse("sorry", 500)

        app = Starlette(routes=[Route("/play", play)], exception_handlers={Exception: sorry})
        return AsgiClient(starlette.SessionMiddleware(app, sessions), portal)


class TestFlaskWithAHandlerOfExceptions(ErrorPages, HttpBehaviours):
    no_looks = frozenset({"fail", "modified"})

    def build(self, sessions):
        app = flask.Flask(__name__)
        SessionInterface(sessions).init_app(app)

        @app.route("/play")
        def play():
            answer = perform(flask.request.query_string.decode(), flask.session, sessions)
            body = (
                flask.stream_with_context(answer.body) if not isinstance(answer.body, list) else answer.body
            )
            return flask.Response(body, answer.status, answer.headers)

        @app.errorhandler(Exception)
        def sorry(error):
            if isinstance(error, HTTPException):
                return error
            flask.session.fail()
            flask.session["page"] = "seen"
            return flask.Response(b"sorry", 500, PAGE)

        return WsgiClient(app)


def head_of(status, headers):
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": raw}
