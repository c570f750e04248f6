"""`get_session`: the session with its type, where `request.session` is a dict to type checkers."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from coatcheck import AsyncSessions, ConfigurationError, ForeignSessionWarning
from coatcheck.frameworks.starlette import SessionMiddleware, get_session
from coatcheck.stores.memory import AsyncMemoryStore
from tests.frameworks.asgi_driver import SECRET


async def page(request):
    session = get_session(request)
    session["n"] = session.get("n", 0) + 1
    return JSONResponse([session["n"], session is request.session])


async def socket(websocket):
    await websocket.accept()
    await websocket.send_json(dict(get_session(websocket)))
    await websocket.close()


def new_client(*inside):
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    middleware = [Middleware(SessionMiddleware, sessions=sessions), *inside]
    routes = [Route("/n", page), WebSocketRoute("/ws", socket)]
    return TestClient(Starlette(routes=routes, middleware=middleware))


def test_it_is_the_session_of_a_request_or_a_websocket():
    client = new_client()
    assert [client.get("/n").json() for _ in range(2)] == [[1, True], [2, True]]
    with client.websocket_connect("/ws") as websocket:
        assert websocket.receive_json() == {"n": 2}


def test_it_is_ours_also_where_another_middleware_has_put_its_own_in_the_place():
    client = new_client(Middleware(StarlettesOwn, secret_key="x"))
    with pytest.warns(ForeignSessionWarning):
        assert [client.get("/n").json() for _ in range(2)] == [[1, False], [2, False]]


def test_it_names_the_middleware_that_is_missing():
    with pytest.raises(ConfigurationError, match=r"app\.add_middleware"):
        get_session(HTTPConnection({"type": "http"}))
