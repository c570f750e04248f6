"""Quart: the shared list, in place."""

import quart
from quart import websocket

from coatcheck.frameworks.quart import SessionInterface
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, ErrorPages, perform_async
from tests.behaviours.served import OnHypercorn
from tests.behaviours.websockets import Websockets, talk


def leave(place):
    quart.abort(quart.redirect(place, 303))


class TestQuart(ErrorPages, AsyncHttpBehaviours):
    no_looks = frozenset({"fail", "modified"})
    refused_bytes = b"\r\n"  # werkzeug's Headers raise a ValueError; a server has refused the request before

    def build_async(self, sessions, portal):
        app = quart.Quart(__name__)
        SessionInterface(sessions).init_app(app)

        @app.get("/play")
        async def play():
            answer = await perform_async(quart.request.query_string.decode(), quart.session, sessions, leave)
            if isinstance(answer.body, list):
                body = b"".join(answer.body)
            else:
                body = quart.stream_with_context(lambda: answer.body)()
            return quart.Response(body, answer.status, answer.headers)

        @app.websocket("/ws")
        async def socket():
            async def messages():
                while True:
                    yield await websocket.receive()

            await talk(
                websocket.query_string.decode(),
                quart.session,
                sessions,
                accept=websocket.accept,
                messages=messages(),
                send=websocket.send,
            )

        @app.errorhandler(500)
        async def sorry(error):
            quart.session["page"] = "seen"
            return "sorry", 500

        return AsgiClient(app, portal)


class TestServed(OnHypercorn, Websockets, TestQuart):
    pass
