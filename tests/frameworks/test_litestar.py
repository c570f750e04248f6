"""Litestar with the plain ASGI middleware: the shared list. A hook tells that a handler raised."""

import litestar
from litestar.exceptions import HTTPException, LitestarException
from litestar.middleware import DefineMiddleware
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, ErrorPages, perform_async


def response_of(answer):
    kept = {"status_code": answer.status, "headers": answer.headers}
    if not isinstance(answer.body, list):
        return ASGIStreamingResponse(iterator=answer.body, **kept)
    return ASGIResponse(body=b"".join(answer.body), **kept)


class LitestarClient(AsgiClient):
    """Sees what the application raised behind what Litestar makes of it in the middle of a response."""

    def send(self, request, note):
        reply = super().send(request, note)
        while type(error := reply.raised) in (ExceptionGroup, LitestarException):
            reply.raised = error.__cause__ if isinstance(error, LitestarException) else error.exceptions[0]
        return reply


def application(sessions, **options):
    @litestar.route("/play", http_method=["GET", "HEAD"])
    async def play(request: litestar.Request) -> ASGIResponse:
        query = request.scope["query_string"].decode()
        return response_of(await perform_async(query, request.session, sessions))

    return litestar.Litestar([play], openapi_config=None, logging_config=None, **options)


class TestAround(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return LitestarClient(SessionMiddleware(application(sessions), sessions), portal)


class TestInsideWithAPageThatUsesTheSession(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def failed(exc, scope):
            if not isinstance(exc, HTTPException):
                await sessions.fail(scope["coatcheck.session"], exc)

        def sorry(request, exc):
            request.session["page"] = "seen"
            return litestar.Response("sorry", status_code=500, media_type="text/plain")

        app = application(
            sessions,
            middleware=[DefineMiddleware(SessionMiddleware, sessions=sessions)],
            after_exception=[failed],
            exception_handlers={500: sorry},
        )
        return LitestarClient(app, portal)
