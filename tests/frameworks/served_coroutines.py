"""The applications that test_coroutine_servers starts on their frameworks' servers: ``python -m tests.frameworks.served_coroutines quart 8000``."""

import asyncio
import os
import sys

from coatcheck import AsyncSessions
from tests.behaviours import perform_async
from tests.behaviours.site import SECRET


def on_quart(sessions, port):
    import quart
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from coatcheck.frameworks.quart import SessionInterface, session

    app = quart.Quart(__name__)
    SessionInterface(sessions).init_app(app)

    @app.get("/play")
    async def play():
        answer = await perform_async(quart.request.query_string.decode(), session, sessions)
        return quart.Response(b"".join(answer.body), answer.status, answer.headers)

    @app.websocket("/ws")
    async def news():
        while await session.is_live():
            await quart.websocket.send(session.user)
            await quart.websocket.receive()
        await quart.websocket.close(1008)

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    asyncio.run(serve(app, config))


def on_litestar(sessions, port):
    import litestar
    import uvicorn

    from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin
    from tests.frameworks.test_litestar import response_of

    @litestar.get("/play")
    async def play(request: litestar.Request, session: CurrentSession) -> litestar.response.base.ASGIResponse:
        return response_of(await perform_async(request.scope["query_string"].decode(), session, sessions))

    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        while await session.is_live():
            await socket.send_text(session.user)
            await socket.receive_text()
        await socket.close(1008)

    uvicorn.run(litestar.Litestar([play, news], plugins=[SessionPlugin(sessions)]), port=port)


if __name__ == "__main__":
    url = f"sqlite:///{os.environ['SESSIONS_DB']}"
    framework, port = sys.argv[1:]
    {"quart": on_quart, "litestar": on_litestar}[framework](
        AsyncSessions.from_url(url, secret=SECRET, insecure_http=True), int(port)
    )
