"""Two session layers of ours in one request: the inner one shares the session of the outer one."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import flask
import pytest
from a2wsgi import ASGIMiddleware, WSGIMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from coatcheck import (
    AsyncSessions,
    ConfigurationError,
    CookieSettings,
    ForeignSessionWarning,
    Sessions,
    StoreUnavailable,
)
from coatcheck.frameworks import asgi, starlette, wsgi
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore, ManualClock
from coatcheck.testing.shim import awaitable
from tests.behaviours.aio import AsgiClient, Portal
from tests.behaviours.client import Browser, WsgiClient
from tests.behaviours.site import SECRET

HEADERS = [("Content-Type", "text/plain")]
OTHER_SECRET = "9Jm2vXw4TqLr7ZkBnYcPd5HsUfAe8GiO"


class Managers:
    """A synchronous and an asynchronous manager on one store."""

    def __init__(self, **options):
        self.store = FailingStore(MemoryStore())
        self.clock = ManualClock()
        options = {"secret": SECRET, "clock": self.clock, **options}
        self.sync = Sessions(self.store, **options)
        self.asynchronous = AsyncSessions(awaitable(self.store, threads=True), **options)

    @property
    def records(self):
        return self.sync.count()


@pytest.fixture
def managers():
    return Managers()


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


# The inner application: what it does with its session, by the query


def act(session, query):
    """The steps of the innermost handler, which answers with all that it sees."""
    if "inner" in query:
        session["inner"] = 2
    if "list" in query:
        session.setdefault("list", []).append("inner")
    if "sign_in" in query:
        session.sign_in("ada")
    if "sign_out" in query:
        session.sign_out()
    if "raise" in query:
        raise ZeroDivisionError
    return repr((sorted(session.items()), session.user)) if "untouched" not in query else ""


def inner_wsgi(managers):
    def app(environ, start_response):
        text = act(environ["coatcheck.session"], environ["QUERY_STRING"])
        if "save" in environ["QUERY_STRING"]:
            managers.sync.save(environ["coatcheck.session"])
        start_response("200 OK", HEADERS)
        return [text.encode()]

    return wsgi.SessionMiddleware(app, managers.sync)


def inner_flask(managers):
    app = flask.Flask(__name__)
    SessionInterface(managers.sync).init_app(app)

    @app.route("/play")
    @app.route("/")
    def play():
        text = act(flask.session, flask.request.query_string.decode())
        if "save" in flask.request.query_string.decode():
            flask.session.save()
        return text

    return app.wsgi_app


def inner_asgi(managers, middleware=asgi.SessionMiddleware):
    async def app(scope, receive, send):
        query, session = scope["query_string"].decode(), scope["session"]
        text = act(session, query)
        if "save" in query:
            await managers.asynchronous.save(session)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    return middleware(app, managers.asynchronous)


def inner_starlette(managers):
    async def play(request):
        text = act(request.session, request.url.query)
        if "save" in request.url.query:
            await request.session.save()
        return PlainTextResponse(text)

    return Starlette(
        routes=[Route("/play", play), Route("/", play)],
        middleware=[Middleware(starlette.SessionMiddleware, sessions=managers.asynchronous)],
    )


# The outer layers, each around any inner one


def outer_touch(session, query):
    if "outer" in query:
        session["outer"] = 1
    if "list" in query:
        session.setdefault("list", []).append("outer")


def outer_wsgi(inner, managers):
    def app(environ, start_response):
        outer_touch(environ["coatcheck.session"], environ["QUERY_STRING"])
        return inner(environ, start_response)

    return wsgi.SessionMiddleware(app, managers.sync)


def outer_flask(inner, managers):
    app = flask.Flask(__name__)
    SessionInterface(managers.sync).init_app(app)

    @app.route("/play")
    def play():
        outer_touch(flask.session, flask.request.query_string.decode())
        return flask.Response.from_app(inner, flask.request.environ)

    return app.wsgi_app


def outer_asgi(inner, managers, middleware=asgi.SessionMiddleware, **options):
    async def app(scope, receive, send):
        query = scope["query_string"].decode()
        if options and "untouched" not in query:
            await managers.asynchronous.load(scope["session"])
        outer_touch(scope["session"], query)
        await inner(scope, receive, send)

    return middleware(app, managers.asynchronous, **options)


def outer_starlette(inner, managers):
    class Touch:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http":
                outer_touch(scope["session"], scope["query_string"].decode())
            await self.app(scope, receive, send)

    return Starlette(
        routes=[Mount("/", inner)],
        middleware=[
            Middleware(starlette.SessionMiddleware, sessions=managers.asynchronous),
            Middleware(Touch),
        ],
    )


def on_demand(inner, managers):
    return outer_asgi(inner, managers, load="on_demand")


INNER = {"wsgi": inner_wsgi, "flask": inner_flask, "asgi": inner_asgi, "starlette": inner_starlette}
OUTER = {
    "wsgi": outer_wsgi,
    "flask": outer_flask,
    "asgi": outer_asgi,
    "on demand": on_demand,
    "starlette": outer_starlette,
}
SYNC = {"wsgi", "flask"}


class Both:
    """An inner application in an outer one, and a browser."""

    def __init__(self, outer, inner, managers, portal):
        self.managers = managers
        app = INNER[inner](managers)
        if outer in SYNC and inner not in SYNC:
            app = ASGIMiddleware(app)
        if outer not in SYNC and inner in SYNC:
            app = WSGIMiddleware(app)
        app = OUTER[outer](app, managers)
        self.client = WsgiClient(app) if outer in SYNC else AsgiClient(app, portal)
        self.browser = Browser(lambda request: self.client.send(request, lambda _: None))

    def play(self, *steps):
        reply = self.browser.play(*steps)
        assert len(reply.cookies("__Host-session")) <= 1, reply.headers
        return reply


@pytest.fixture(params=[(outer, inner) for outer in OUTER for inner in INNER], ids=" around ".join)
def both(request, managers, portal):
    return Both(*request.param, managers, portal)


@pytest.mark.promise("H")
def test_both_use_one_session_and_one_cookie_is_sent(both):
    reply = both.play("outer", "inner")
    assert reply.body == b"([('inner', 2), ('outer', 1)], None)", reply.raised
    assert len(reply.cookies("__Host-session")) == 1
    assert both.managers.records == 1
    assert both.play("look").body == reply.body
    assert both.play("inner").cookies("__Host-session") == []


@pytest.mark.promise("H")
def test_one_value_that_both_edit_has_both_edits(both):
    both.play("outer")
    both.play("list")
    assert b"('list', ['outer', 'inner'])" in both.play("look").body


@pytest.mark.promise("H")
def test_the_inner_layer_signs_in_and_out_for_both(both):
    both.play("outer")
    before = dict(both.browser.cookies)
    assert b"'ada'" in both.play("sign_in").body
    assert both.browser.cookies != before
    assert both.managers.records == 1
    assert b"'ada'" in both.play("look").body
    reply = both.play("sign_out")
    assert "Max-Age=0" in reply.cookies("__Host-session")[0]
    assert both.browser.cookies == {}
    assert both.managers.records == 0


@pytest.mark.promise("H", "23")
def test_an_inner_handler_that_raises_stores_nothing_of_either_layer_but_an_ending(both):
    both.play("outer", "sign_in")
    both.play("inner", "raise")
    assert b"'inner'" not in both.play("look").body
    both.play("sign_out", "raise")
    assert both.managers.records == 0


@pytest.mark.promise("H")
def test_the_inner_layer_can_save_at_once(both):
    both.play("outer", "inner", "save")
    assert both.managers.records == 1
    both.play("list", "save")
    assert b"('list', ['outer', 'inner'])" in both.play("look").body


@pytest.mark.promise("H", "20")
def test_an_outage_is_a_503_of_the_inner_layer_or_the_outer_one_and_keeps_the_cookie(both):
    both.play("outer")
    cookies = dict(both.browser.cookies)
    for operation, step in (("load", "look"), ("load", "inner"), ("write", "inner"), ("write", "sign_out")):
        both.managers.store.fail(operation, error=StoreUnavailable("the test says so"))
        reply = both.play(step)
        assert (reply.status, reply.cookies("__Host-session")) == (503, []), (operation, step)
        both.managers.store.recover()
        both.managers.clock.advance(60)
    assert both.browser.cookies == cookies
    assert both.play("look").body == b"([('outer', 1)], None)"


@pytest.mark.promise("H", "1")
def test_a_request_that_neither_touches_says_nothing(both):
    both.play("outer")
    reply = both.play("untouched")
    assert (reply.status, reply.cookies("__Host-session"), reply.all("vary")) == (200, [], [])


# Where they can't share


def two_flasks(inner, outer):
    """An application of Flask's within one of WSGI, each with its manager."""
    app = flask.Flask(__name__)
    SessionInterface(inner).init_app(app)

    @app.route("/play")
    def play():
        flask.session["inner"] = 2
        return repr(dict(flask.session))

    def outside(environ, start_response):
        environ["coatcheck.session"]["outer"] = 1
        return app.wsgi_app(environ, start_response)

    client = WsgiClient(wsgi.SessionMiddleware(outside, outer))
    return Browser(lambda request: client.send(request, lambda _: None))


def test_other_limits_are_no_reason_not_to_share_and_those_of_the_outer_layer_count():
    store, clock = MemoryStore(), ManualClock()
    outer = Sessions(store, secret=SECRET, clock=clock, idle_timeout=timedelta(minutes=5))
    inner = outer.with_settings(idle_timeout=timedelta(hours=5))
    browser = two_flasks(inner, outer)
    assert browser.play().body == b"{'outer': 1, 'inner': 2}"
    (cookie,) = browser.cookies.items()
    session = outer.open("=".join(cookie))
    assert session.expires_at - session.last_used_at == timedelta(minutes=5)


def test_whatever_the_inner_manager_is_called_for_reaches_the_outer_layers_store():
    outer, inner = (
        Sessions(MemoryStore(), secret=SECRET, idle_timeout=timedelta(minutes=n)) for n in (5, 60)
    )

    def app(environ, start_response):
        session = environ["coatcheck.session"]
        session["n"] = session.get("n", 0) + 1
        said = [inner.save(session), inner.is_live(session), inner.reload(session), session["n"]]
        said += [session.expires_at - session.last_used_at == timedelta(minutes=5)]
        start_response("200 OK", HEADERS)
        return [repr(said).encode()]

    client = WsgiClient(wsgi.SessionMiddleware(wsgi.SessionMiddleware(app, inner), outer))
    browser = Browser(partial(client.send, note=lambda _: None))
    for n in (1, 2):
        assert browser.play().body == repr([True, True, True, n, True]).encode()
    assert (outer.count(), inner.count()) == (1, 0)


def test_so_it_does_in_a_loop_also_where_the_outer_layer_has_not_loaded_it(portal):
    outer, inner = (AsyncSessions(awaitable(MemoryStore()), secret=SECRET) for _ in range(2))

    async def app(scope, _receive, send):
        session = scope["session"]
        session["n"] = session.get("n", 0) + 1
        said = [
            await inner.save(session),
            await inner.is_live(session),
            await inner.take(session, "m"),
            session["n"],
        ]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(said).encode()})

    layers = asgi.SessionMiddleware(asgi.SessionMiddleware(app, inner), outer, load="on_demand")
    client = AsgiClient(layers, portal)
    browser = Browser(partial(client.send, note=lambda _: None))
    for n in (1, 2):
        assert browser.play().body == repr([True, True, {}, n]).encode()
    assert portal.call(outer.count()) == 1
    assert portal.call(inner.count()) == 0


def test_with_another_cookie_name_each_has_a_session_of_its_own_and_nothing_is_said():
    store = MemoryStore()
    outer = Sessions(store, secret=SECRET)
    browser = two_flasks(Sessions(store, secret=SECRET, cookie=CookieSettings(name="__Host-other")), outer)
    assert browser.play().body == b"{'inner': 2}"
    assert sorted(browser.cookies) == ["__Host-other", "__Host-session"]
    assert outer.count() == 2


def test_two_asgi_layers_with_other_cookie_names_are_not_called_foreign(portal):
    store = MemoryStore()
    outer, inner = (
        AsyncSessions(awaitable(store), secret=SECRET, cookie=CookieSettings(name=f"__Host-{name}"))
        for name in ("outer", "inner")
    )

    async def app(scope, _receive, send):
        scope["session"]["inner"] = 2
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    client = AsgiClient(asgi.SessionMiddleware(asgi.SessionMiddleware(app, inner), outer), portal)
    reply = Browser(partial(client.send, note=lambda _: None)).play()
    assert len(reply.cookies("__Host-inner")) == 1
    assert reply.cookies("__Host-outer") == []


def test_with_another_secret_and_the_same_cookie_name_it_is_said_once_and_one_cookie_is_sent():
    outer, inner = Sessions(MemoryStore(), secret=SECRET), Sessions(MemoryStore(), secret=OTHER_SECRET)
    browser = two_flasks(inner, outer)
    with pytest.warns(ForeignSessionWarning, match="__Host-session") as caught:
        replies = [browser.play() for _ in range(3)]
    assert len(caught) == 1
    assert [len(reply.cookies("__Host-session")) for reply in replies] == [1, 1, 1]


def test_a_request_that_is_tried_again_after_its_handler_raised_has_a_session_of_its_own(managers, portal):
    seen = []

    def act_at_last(session):
        seen.append(session)
        session["n"] = len(seen)
        if len(seen) % 2:
            raise ZeroDivisionError

    def app(environ, start_response):
        act_at_last(environ["coatcheck.session"])
        start_response("200 OK", HEADERS)
        return []

    async def asgi_app(scope, _receive, send):
        act_at_last(scope["session"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    once = wsgi.SessionMiddleware(app, managers.sync)
    once_async = asgi.SessionMiddleware(asgi_app, managers.asynchronous)

    def twice(environ, start_response):
        with pytest.raises(ZeroDivisionError):
            once(environ, start_response)
        return once(environ, start_response)

    async def twice_async(scope, receive, send):
        with pytest.raises(ZeroDivisionError):
            await once_async(scope, receive, send)
        await once_async(scope, receive, send)

    for count, client in enumerate((WsgiClient(twice), AsgiClient(twice_async, portal)), start=1):
        browser = Browser(partial(client.send, note=lambda _: None))
        assert len(browser.play().cookies("__Host-session")) == 1
        assert managers.records == count


def test_an_environment_that_is_used_again_is_no_outer_layer():
    """Some test clients keep one environment for several requests."""
    sessions = Sessions(MemoryStore(), secret=SECRET)
    seen = []

    def app(environ, start_response):
        session = environ["coatcheck.session"]
        seen.append(session)
        session["n"] = len(seen)
        start_response("200 OK", HEADERS)
        return []

    environ = {"wsgi.url_scheme": "https"}
    for _ in range(2):
        wsgi.SessionMiddleware(app, sessions)(environ, lambda *_: None)
    assert seen[0] is not seen[1]
    assert sessions.count() == 2


# The field that names the user


SYNCHRONOUS = {"wsgi": inner_wsgi, "flask": inner_flask}


def answer_of(inner, kind, outer):
    """The reply of an inner layer with the identity field `inner`, within an outer layer with `outer`."""
    app = wsgi.SessionMiddleware(SYNCHRONOUS[kind](Managers(identity=inner)), Managers(identity=outer).sync)
    return Browser(partial(WsgiClient(app).send, note=lambda _: None)).play()


@pytest.mark.promise("25")
@pytest.mark.parametrize("kind", SYNCHRONOUS)
def test_an_inner_layer_whose_identity_field_the_outer_one_does_not_know_is_refused(kind, caplog):
    for outer in (None, "user"):
        reply = answer_of("user_id", kind, outer)
        # Flask logs it, and answers 500.
        raised = caplog.records.pop().exc_info[1] if kind == "flask" else reply.raised
        assert isinstance(raised, ConfigurationError)
        assert "Give both the same" in str(raised)


@pytest.mark.parametrize("kind", SYNCHRONOUS)
@pytest.mark.parametrize("inner", [None, "user_id"])
def test_a_layer_within_one_that_names_the_identity_field_shares_its_session(kind, inner):
    assert answer_of(inner, kind, "user_id").status == 200
