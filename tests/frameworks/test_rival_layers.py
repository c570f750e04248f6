"""Two layers of ours that can't see each other, since what stands between them hands nothing on."""

from __future__ import annotations

import flask
import pytest
from asgiref.wsgi import WsgiToAsgi

from coatcheck import AsyncSessions, Sessions, StoreUnavailable
from coatcheck.frameworks import asgi, wsgi
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from coatcheck.testing.shim import awaitable
from tests.behaviours.aio import AsgiClient, Portal
from tests.behaviours.client import Browser, WsgiClient
from tests.behaviours.site import SECRET


def act(session, words):
    """Does what the words say."""
    for word in words:
        if word == "in":
            session.sign_in("ada")
        elif word != "look":
            session[word] = 1


def inner_flask(sessions):
    """Answers with what it sees."""
    app = flask.Flask(__name__)
    SessionInterface(sessions).init_app(app)

    @app.route("/play")
    def play():
        words = flask.request.args.getlist("step")
        act(flask.session, [word.removeprefix("inner ") for word in words if word.startswith("inner ")])
        return repr((sorted(flask.session.items()), flask.session.user)) if "inner look" in words else ""

    return app.wsgi_app


def own(words):
    return [word.removeprefix("outer ") for word in words if word.startswith("outer ")]


def in_wsgi(store, told):
    sessions = Sessions(store, secret=SECRET, on_event=told.append)
    inner = inner_flask(Sessions(store, secret=SECRET))

    def app(environ, start_response):
        act(environ["coatcheck.session"], own(_steps(environ["QUERY_STRING"])))
        bare = {name: value for name, value in environ.items() if name != "coatcheck.session"}
        return inner(bare, start_response)

    return WsgiClient(wsgi.SessionMiddleware(app, sessions))


def in_asgi(store, told, portal):
    sessions = AsyncSessions(awaitable(store), secret=SECRET, on_event=told.append)
    inner = WsgiToAsgi(inner_flask(Sessions(store, secret=SECRET)))

    async def app(scope, receive, send):
        act(scope["session"], own(_steps(scope["query_string"].decode())))
        await inner(scope, receive, send)

    return AsgiClient(asgi.SessionMiddleware(app, sessions), portal)


def _steps(query):
    from urllib.parse import parse_qsl

    return [value for name, value in parse_qsl(query) if name == "step"]


class House:
    def __init__(self, kind, portal):
        self.store, self.told = FailingStore(MemoryStore()), []
        client = in_wsgi(self.store, self.told) if kind == "wsgi" else in_asgi(self.store, self.told, portal)
        self.browser = Browser(lambda request: client.send(request, lambda _: None))
        self.sessions = Sessions(self.store, secret=SECRET)

    def play(self, *steps):
        reply = self.browser.play(*steps)
        assert len(reply.cookies("__Host-session")) <= 1, reply.headers
        return reply

    @property
    def seen(self):
        return self.play("inner look").body.decode()


@pytest.fixture(params=["wsgi", "asgi"])
def house(request):
    portal = Portal()
    yield House(request.param, portal)
    portal.close()


@pytest.mark.promise("H")
def test_of_two_new_sessions_the_one_that_signed_in_stands_and_the_other_is_destroyed(house):
    house.play("outer a", "inner in", "inner b")
    assert house.seen == "([('b', 1)], 'ada')"
    assert house.sessions.count() == 1
    assert [event.kind for event in house.told] == ["created", "destroyed"]


@pytest.mark.promise("H")
@pytest.mark.parametrize("also", [(), ("inner in",)], ids=["alone", "as the inner one does"])
def test_a_sign_in_of_the_outer_layer_stands_in_any_case(house, also):
    house.play("outer a", "outer in", "inner b", *also)
    assert house.seen == "([('a', 1)], 'ada')"
    assert house.sessions.count() == 1


@pytest.mark.promise("H")
def test_where_neither_signs_in_the_outer_one_stands(house):
    house.play("outer a", "inner b")
    assert house.seen == "([('a', 1)], None)"
    assert house.sessions.count() == 1


@pytest.mark.promise("H")
def test_a_sign_in_of_the_inner_layer_changes_the_secret_under_the_outer_one(house):
    house.play("outer a")
    house.play("outer c", "inner in", "inner b")
    assert "'ada'" in house.seen
    assert house.sessions.count() == 1


@pytest.mark.promise("H", "20")
def test_where_the_other_can_not_be_looked_at_the_answer_is_a_503_without_a_cookie(house):
    house.store.fail("load", error=StoreUnavailable("the test says so"))
    reply = house.play("outer a", "inner in")
    assert (reply.status, house.browser.cookies) == (503, {})


@pytest.mark.promise("H")
def test_another_cookie_of_the_name_that_is_none_of_ours_does_not_count(house):
    """An application that sets the cookie itself, to something."""
    sessions = Sessions(MemoryStore(), secret=SECRET)

    def app(environ, start_response):
        environ["coatcheck.session"]["a"] = 1
        headers = [("X-Other", "1"), ("Set-Cookie", "b=1"), ("set-cookie", "__Host-session=mine; Path=/")]
        start_response("200 OK", headers)
        return []

    client = WsgiClient(wsgi.SessionMiddleware(app, sessions))
    reply = Browser(lambda request: client.send(request, lambda _: None)).play()
    assert reply.cookies("__Host-session") != ["mine"]
    assert (len(reply.cookies("__Host-session")), sessions.count()) == (1, 1)
