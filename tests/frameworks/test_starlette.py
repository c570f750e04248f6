"""Starlette and FastAPI: the shared list."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from coatcheck.frameworks import fastapi as for_fastapi
from coatcheck.frameworks import starlette as for_starlette
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.served import OnUvicorn


def response_of(answer):
    streams = not isinstance(answer.body, list)
    body = answer.body if streams else b"".join(answer.body)
    response = (StreamingResponse if streams else Response)(body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name, value)
    return response


def leave(place):
    raise HTTPException(303, headers={"Location": place})


class TestStarlette(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def play(request):
            return response_of(await perform_async(request.url.query, request.session, sessions, leave))

        middleware = [Middleware(for_starlette.SessionMiddleware, sessions=sessions)]
        return AsgiClient(Starlette(routes=[Route("/play", play)], middleware=middleware), portal)


class TestStarletteServed(OnUvicorn, TestStarlette):
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

        return AsgiClient(app, portal)


class TestFastAPIServed(OnUvicorn, TestFastAPI):
    pass
