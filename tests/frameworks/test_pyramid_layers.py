"""Pyramid beside other layers of ours: inside of one, around one, and within a real server."""

import sys

import pytest
from a2wsgi import WSGIMiddleware

from coatcheck import AsyncSessions, CookieSettings, StoreUnavailable
from coatcheck.frameworks import asgi, wsgi
from coatcheck.testing import cookies_for
from coatcheck.testing.shim import awaitable
from tests.behaviours.aio import AsgiClient, Portal
from tests.behaviours.client import Browser, WsgiClient
from tests.behaviours.site import SECRET
from tests.frameworks.pyramid_apps import Response, app_of, configured, wsgiapp
from tests.frameworks.test_servers import Visitor, serving


def note(session, name):
    """Note what the session had, and that this layer came by."""
    text = f"{name}: {sorted(session)}\n"
    session[name] = 1
    return text


def browser_of(app):
    client = WsgiClient(app)
    return Browser(lambda request: client.send(request, lambda _: None))


def pyramid_app(sessions, view):
    return app_of(configured(sessions), play=view)


def around(app, sessions):
    """A layer of plain WSGI around `app`."""

    def outer(environ, start_response):
        note(environ["coatcheck.session"], "outer")
        return app(environ, start_response)

    return wsgi.SessionMiddleware(outer, sessions)


def test_within_another_layer_the_session_is_that_layers(sessions):
    browser = browser_of(
        around(pyramid_app(sessions, lambda request: note(request.session, "inner")), sessions)
    )
    reply = browser.play()
    assert reply.body == b"inner: ['outer']\n"
    assert len(reply.all("set-cookie")) == 1
    assert browser.play().body == b"inner: ['inner', 'outer']\n"
    assert sessions.count() == 1


def test_an_error_within_another_layer_fails_the_request_there(sessions):
    def view(request):
        note(request.session, "inner")
        raise ZeroDivisionError

    config = configured(sessions)
    config.add_exception_view(lambda request: Response("sorry", status=500))
    reply = browser_of(around(app_of(config, play=view), sessions)).play()
    assert (reply.status, reply.body, reply.all("set-cookie")) == (500, b"sorry", [])
    assert sessions.count() == 0


def test_an_outage_within_another_layer_is_a_503(sessions, store):
    app = pyramid_app(sessions, lambda request: request.session.get("a"))
    browser = browser_of(wsgi.SessionMiddleware(app, sessions))
    browser.cookies = cookies_for(sessions, {"a": 1})
    store.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
    assert browser.play().status == 503


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_wsgi_application_in_a_view_shares_the_session(sessions, looks_first):
    def inner(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [note(environ["coatcheck.session"], "inner").encode()]

    mounted = wsgiapp(wsgi.SessionMiddleware(inner, sessions))

    def view(request):
        if looks_first:
            note(request.session, "outer")
        return mounted(None, request)

    browser = browser_of(pyramid_app(sessions, view))
    reply = browser.play()
    assert len(reply.all("set-cookie")) == 1
    assert reply.body == (b"inner: ['outer']\n" if looks_first else b"inner: []\n")
    assert browser.play().body == (b"inner: ['inner', 'outer']\n" if looks_first else b"inner: ['inner']\n")


def test_one_pyramid_in_another_shares_its_session_and_with_another_cookie_has_its_own(sessions):
    for inside in (sessions, sessions.with_settings(cookie=CookieSettings(name="__Host-inner"))):
        mounted = wsgiapp(pyramid_app(inside, lambda request: note(request.session, "inner")))

        def view(request, mounted=mounted):
            note(request.session, "outer")
            return mounted(None, request)

        browser = browser_of(pyramid_app(sessions, view))
        names = {line.partition("=")[0] for line in browser.play().all("set-cookie")}
        if inside is sessions:
            assert names == {"__Host-session"}
            assert browser.play().body == b"inner: ['inner', 'outer']\n"
        else:
            assert names == {"__Host-session", "__Host-inner"}
            assert browser.play().body == b"inner: ['inner']\n"


def test_within_an_asgi_site_the_session_is_the_sites(sessions, store, clock):
    outside = AsyncSessions(awaitable(store, threads=True), secret=SECRET, clock=clock)
    app = WSGIMiddleware(pyramid_app(sessions, lambda request: note(request.session, "inner")))
    portal = Portal()
    try:
        client = AsgiClient(asgi.SessionMiddleware(app, outside), portal)
        browser = Browser(lambda request: client.send(request, lambda _: None))
        reply = browser.play()
        assert (reply.body, len(reply.all("set-cookie"))) == (b"inner: []\n", 1)
        assert browser.play().body == b"inner: ['inner']\n"
    finally:
        portal.close()
    assert sessions.count() == 1


@pytest.mark.xdist_group("servers")
def test_a_real_server_serves_it_to_a_real_client(tmp_path):
    with serving((sys.executable, "-m", "tests.frameworks.served_pyramid"), tmp_path) as port:
        visitor = Visitor(port)
        assert visitor.play("set a 1", "stream", "set b 2")[0] == 200
        assert visitor.play("get a", "get b") == (200, ["1", "2"])
        assert visitor.play("sign_in ada", "user") == (200, [None, "ada"])
        old, visitor.cookie = visitor.cookie, ""
        assert visitor.play("user") == (200, [None])
        visitor.cookie = old
        assert visitor.play("sign_out")[0] == 200
        visitor.cookie = old
        assert visitor.play("user") == (200, [None])
