"""Litestar: the plugin keeps the shared list, without a hook that anybody would have to write."""

import litestar
from litestar.response.base import ASGIResponse

from coatcheck.frameworks.litestar import SessionPlugin
from tests.behaviours import AsyncHttpBehaviours, ErrorPages, perform_async
from tests.behaviours.served import OnUvicorn
from tests.behaviours.websockets import Websockets, talk
from tests.frameworks.test_litestar import LitestarClient, response_of


class TestLitestar(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        @litestar.route("/play", http_method=["GET", "HEAD"])
        async def play(request: litestar.Request) -> ASGIResponse:
            query = request.scope["query_string"].decode()
            return response_of(await perform_async(query, request.session, sessions))

        @litestar.websocket("/ws")
        async def socket(socket: litestar.WebSocket) -> None:
            await talk(
                socket.url.query,
                socket.session,
                sessions,
                accept=socket.accept,
                messages=socket.iter_data(),
                send=socket.send_text,
            )

        def sorry(request, exc):
            request.session["page"] = "seen"
            return litestar.Response("sorry", status_code=500, media_type="text/plain")

        app = litestar.Litestar(
            [play, socket],
            plugins=[SessionPlugin(sessions)],
            exception_handlers={500: sorry},
            openapi_config=None,
            logging_config=None,
        )
        return LitestarClient(app, portal)


class TestServed(OnUvicorn, Websockets, TestLitestar):
    pass
