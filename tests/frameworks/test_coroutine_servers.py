"""Quart on Hypercorn and Litestar on uvicorn, with real clients."""

import sys

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.frameworks.test_async_servers import serving
from tests.frameworks.test_servers import PATIENCE, Visitor


@pytest.fixture(scope="module", params=["quart", "litestar"])
def port(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with serving((sys.executable, "-m", "tests.frameworks.served_coroutines", request.param), folder) as port:
        yield port


def test_a_visitor_keeps_what_was_put_in(port):
    visitor = Visitor(port)
    assert visitor.play("set a 1", "sign_in ada")[0] == 200
    assert visitor.play("get a", "user") == (200, ["1", "ada"])
    assert Visitor(port).play("get a") == (200, [None])


def test_a_copied_cookie_is_dead_after_the_logout(port):
    visitor, thief = Visitor(port), Visitor(port)
    visitor.play("set a 1", "sign_in ada")
    thief.cookie = visitor.cookie
    assert thief.play("user") == (200, ["ada"])
    visitor.play("sign_out")
    assert thief.play("user") == (200, [None])


def test_a_socket_learns_that_its_session_has_ended(port):
    visitor = Visitor(port)
    visitor.play("sign_in ada")
    headers = {"Cookie": visitor.cookie}
    with connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, close_timeout=PATIENCE) as socket:
        assert socket.recv(PATIENCE) == "ada"
        visitor.play("sign_out")
        socket.send("go on")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
    assert closed.value.rcvd.code == 1008
