"""Starlette and FastAPI: the shared list."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from coatcheck.frameworks import fastapi as for_fastapi
from coatcheck.frameworks import starlette as for_starlette
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.served import OnUvicorn
from tests.behaviours.websockets import Websockets, talk


def response_of(answer):
    streams = not isinstance(answer.body, list)
    body = answer.body if streams else b"".join(answer.body)
    response = (StreamingResponse if streams else Response)(body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name, value)
    return response


def leave(place):
    raise HTTPException(303, headers={"Location": place})


async def converse(websocket, sessions):
    await talk(
        websocket.url.query,
        websocket.session,
        sessions,
        accept=websocket.accept,
        messages=websocket.iter_text(),
        send=websocket.send_text,
    )


class TestStarlette(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def play(request):
            return response_of(await perform_async(request.url.query, request.session, sessions, leave))

        async def socket(websocket):
            await converse(websocket, sessions)

        routes = [Route("/play", play), WebSocketRoute("/ws", socket)]
        middleware = [Middleware(for_starlette.SessionMiddleware, sessions=sessions)]
        return AsgiClient(Starlette(routes=routes, middleware=middleware), portal)


class TestStarletteServed(OnUvicorn, Websockets, TestStarlette):
    pass


class TestFastAPI(AsyncHttpBehaviours):
    # FastAPI reads every cookie by http.cookies, which is quadratic in many a Python (CVE-2024-7592).
    largest_header = 1 << 13

    def build_async(self, sessions, portal):
        app = FastAPI()
        app.add_middleware(for_fastapi.SessionMiddleware, sessions=sessions)

        @app.api_route("/play", methods=["GET", "HEAD"])
        async def play(request: Request):
            return response_of(await perform_async(request.url.query, request.session, sessions, leave))

        @app.websocket("/ws")
        async def socket(websocket: WebSocket):
            await converse(websocket, sessions)

        return AsgiClient(app, portal)


class TestFastAPIServed(OnUvicorn, Websockets, TestFastAPI):
    pass
