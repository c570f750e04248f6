"""Litestar in the plain ASGI middleware: the shared list. A hook tells that a handler raised."""

import litestar
from litestar.exceptions import HTTPException, LitestarException
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse

from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async


def response_of(answer):
    kept = {"status_code": answer.status, "headers": answer.headers}
    if not isinstance(answer.body, list):
        return ASGIStreamingResponse(iterator=answer.body, **kept)
    # Litestar refuses a body that no client would read.
    return ASGIResponse(body=b"" if answer.status == 304 else b"".join(answer.body), **kept)


class LitestarClient(AsgiClient):
    """Sees what the application raised behind what Litestar makes of it in the middle of a response."""

    def send(self, request, note):
        reply = super().send(request, note)
        while isinstance(reply.raised, ExceptionGroup) or type(reply.raised) is LitestarException:
            reply.raised = (
                reply.raised.exceptions[0]
                if isinstance(reply.raised, ExceptionGroup)
                else reply.raised.__cause__
            )
        return reply


class TestLitestar(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        @litestar.get("/play")
        async def play(request: litestar.Request) -> ASGIResponse:
            query = request.scope["query_string"].decode()
            return response_of(await perform_async(query, request.session, sessions))

        async def failed(exc, scope):
            if not isinstance(exc, HTTPException):
                await sessions.fail(scope["coatcheck.session"], exc)

        app = litestar.Litestar([play], after_exception=[failed], openapi_config=None, logging_config=None)
        return LitestarClient(SessionMiddleware(app, sessions), portal)
