"""The recipes of the page on other frameworks, on real servers: Bottle and Falcon on wsgiref, the others on uvicorn."""

import os
import re
import sys
from contextlib import contextmanager

import falcon
import falcon.testing
import httpx
import pytest
from gradio_client import Client

from coatcheck import Sessions
from coatcheck.frameworks import wsgi
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import SignInAs
from tests.behaviours.site import SECRET
from tests.frameworks.test_servers import PATIENCE
from tests.servers.process import Server, free_port

PLAIN = ["shop_application", "api_application", "async_api_application", "star_application", "html"]


@pytest.fixture
def start(tmp_path):
    path = os.pathsep.join(sys.path)
    env = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": path}

    @contextmanager
    def start(name):
        port = free_port()
        command = [sys.executable, "-m", "tests.thirdparty.recipes", name, str(port)]
        with Server(command, directory=tmp_path, ready=lambda: answers(port), env=env, name=name):
            yield port

    return start


def answers(port):
    with httpx.Client() as client:
        return client.get(f"http://127.0.0.1:{port}/").status_code < 600


class Browser:
    """It keeps its cookie over plain http, which a browser does only on a server with https."""

    def __init__(self, port):
        self.address, self.cookie = f"http://127.0.0.1:{port}", ""

    def request(self, method, path, **how):
        answer = httpx.request(
            method, self.address + path, headers={"Cookie": self.cookie}, timeout=PATIENCE, **how
        )
        if (set_cookie := answer.headers.get("set-cookie")) is not None:
            self.cookie = set_cookie.partition(";")[0]
        return answer

    def visits(self):
        answer = self.request("GET", "/visits")
        assert answer.status_code == 200, answer.text
        assert "Cookie" in answer.headers["vary"]
        return int(re.search(r'(?:"visits": ?|<p>)(\d+)', answer.text)[1])


@pytest.mark.parametrize("name", PLAIN)
def test_each_visitor_has_a_session_that_lasts(start, name):
    with start(name) as port:
        browser, another = Browser(port), Browser(port)
        assert [browser.visits(), browser.visits(), another.visits(), browser.visits()] == [1, 2, 1, 3]


def test_an_event_of_gradio_has_the_session_of_the_visitor_who_sent_it_until_the_logout(start):
    with start("models") as port:
        browser = Browser(port)
        calls = "/ui/gradio_api/call/greet"
        assert browser.request("POST", calls, json={"data": []}).status_code == 401
        browser.request("POST", "/login")
        client = Client(f"{browser.address}/ui", headers={"Cookie": browser.cookie}, verbose=False)
        try:
            assert (
                client.predict(api_name="/greet") == "Hello Ada"
            )  # through the queue, by server-sent events
        finally:
            client.close()
        thief = Browser(port)
        thief.cookie = browser.cookie
        assert thief.request("POST", calls, json={"data": []}).status_code == 200
        browser.request("POST", "/logout")
        assert thief.request("POST", calls, json={"data": []}).status_code == 401


def test_falcons_test_client_sends_the_header_of_a_prepared_session():
    class Basket:
        def on_get(self, req, resp):
            resp.media = [req.env["coatcheck.session"].user, req.env["coatcheck.session"]["basket"]]

    sessions = Sessions(MemoryStore(), secret=SECRET, insecure_http=True)
    app = falcon.App()
    app.add_route("/basket", Basket())
    client = falcon.testing.TestClient(wsgi.SessionMiddleware(app, sessions))
    sign_in_as = SignInAs(sessions)
    headers = sign_in_as.header("ada", basket=["scarf"])
    assert client.simulate_get("/basket", headers=headers).json == ["ada", ["scarf"]]
    with pytest.raises(TypeError, match=r"sign_in_as\.header"):
        sign_in_as(client, "ada")
