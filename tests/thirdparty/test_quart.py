"""Quart in the plain ASGI middleware: the shared list. A signal tells that a handler raised."""

import quart

from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, ErrorPages, perform_async


class TestQuart(ErrorPages, AsyncHttpBehaviours):
    refused_bytes = b"\r\n"  # werkzeug's Headers raise a ValueError; a server has refused the request before

    def build_async(self, sessions, portal):
        app = quart.Quart(__name__)

        @app.get("/play")
        async def play():
            request = quart.request
            query, session = request.query_string.decode(), request.scope["session"]
            answer = await perform_async(query, session, sessions)
            body = b"".join(answer.body) if isinstance(answer.body, list) else answer.body
            return quart.Response(body, answer.status, answer.headers)

        @quart.got_request_exception.connect_via(app)
        async def failed(sender, exception, **_):
            await sessions.fail(quart.request.scope["session"], exception)

        @app.errorhandler(500)
        async def sorry(error):
            quart.request.scope["session"]["page"] = "seen"
            return "sorry", 500

        app.asgi_app = SessionMiddleware(app.asgi_app, sessions)
        return AsgiClient(app, portal)
