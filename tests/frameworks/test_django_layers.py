"""Django beside other frameworks on the same sessions: inside of their layers, across messages, and in real servers."""

from tests.frameworks.django_use import (  # first, since it configures Django
    a_site,
    me,
    new_user,
    views,
    visit,
)

# isort: split

import html
import sys

import flask
import pytest
from django.contrib import messages
from django.contrib.auth import login, logout
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.template import engines
from django.test import Client
from django.test.utils import override_settings
from django.utils.safestring import mark_safe
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from coatcheck import AsyncSessions, StoreUnavailable
from coatcheck.frameworks import asgi, starlette, wsgi
from coatcheck.frameworks import flask as ours
from coatcheck.testing.shim import awaitable
from tests.behaviours.aio import AsgiClient, Portal
from tests.behaviours.client import Browser, WsgiClient
from tests.frameworks.test_servers import Visitor, serving


@pytest.fixture(autouse=True)
def manager(store, clock):
    with a_site(store, clock) as manager, override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
        yield manager


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


def noted(session, name):
    """What the session had before this layer came by."""
    before = sorted(session.keys())
    session[name] = 1
    return str(before)


def inner(request):
    return HttpResponse(noted(request.session, "inner"))


def within_wsgi(manager, store, portal):
    def outer(environ, start_response):
        noted(environ["coatcheck.session"], "outer")
        return django(environ, start_response)

    django = WSGIHandler()
    return WsgiClient(wsgi.SessionMiddleware(outer, manager))


def within_flask(manager, store, portal):
    app = flask.Flask(__name__)
    ours.SessionInterface(manager).init_app(app)

    @app.route("/play")
    def outer():
        noted(flask.session, "outer")
        return flask.Response.from_app(WSGIHandler(), flask.request.environ)

    return WsgiClient(app.wsgi_app)


def awaiting(manager, store):
    """The async manager of the same sessions."""
    kept = {name: getattr(manager.settings, name) for name in ("secret", "identity", "clock", "cookie")}
    return AsyncSessions(awaitable(store), insecure_http=True, **kept)


def asgi_app(django):
    async def outer(scope, receive, send):
        noted(scope["session"], "outer")
        await django(scope, receive, send)

    return outer


def within_asgi(manager, store, portal):
    return AsgiClient(asgi.SessionMiddleware(asgi_app(ASGIHandler()), awaiting(manager, store)), portal)


def within_starlette(manager, store, portal):
    layer = Middleware(starlette.SessionMiddleware, sessions=awaiting(manager, store))
    app = Starlette(routes=[Mount("/", asgi_app(ASGIHandler()))], middleware=[layer])
    return AsgiClient(app, portal)


LAYERS = [within_wsgi, within_flask, within_asgi, within_starlette]


def browser_within(layer, manager, store, portal):
    client = layer(manager, store, portal)
    return Browser(lambda request: client.send(request, lambda _: None))


@pytest.mark.parametrize("layer", LAYERS)
def test_within_another_layer_the_session_is_that_layers(manager, store, portal, layer):
    views["play"] = inner
    browser = browser_within(layer, manager, store, portal)
    reply = browser.play()
    assert reply.body == b"['outer']"
    assert len(reply.all("set-cookie")) == 1
    assert browser.play().body == b"['inner', 'outer']"
    assert manager.count() == 1


@pytest.mark.parametrize("layer", LAYERS)
def test_a_login_within_another_layer_is_that_layers_and_a_name_is_known_at_once(
    manager, store, portal, layer
):
    user = new_user("ada")

    def view(request):
        login(request, user)
        return HttpResponse(request.session.session_key)

    views["play"] = view
    browser = browser_within(layer, manager, store, portal)
    name = browser.play().body.decode()
    (info,) = manager.of_user(str(user.pk))
    assert name[:32] == info.handle
    views["play"] = me
    assert browser.play().body == b"ada"
    views["play"] = logout
    browser.play()
    assert manager.of_user(str(user.pk)) == []


@pytest.mark.parametrize("layer", [within_wsgi, within_asgi])
def test_an_outage_within_another_layer_is_a_503(manager, store, portal, layer):
    views["play"] = inner
    browser = browser_within(layer, manager, store, portal)
    browser.play()
    store.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
    assert browser.play().status == 503


# Messages

TEMPLATE = "{% for m in messages %}{{ m.tags }}:{{ m }};{% endfor %}"


class FlaskHalf:
    """The Flask half of the site, for the visitor of a client of Django's."""

    def __init__(self, manager, client):
        self.client = client
        self.app = flask.Flask(__name__)
        ours.SessionInterface(manager).init_app(self.app)

        @self.app.route("/page")
        def page():
            each = "{% for c, m in get_flashed_messages(with_categories=True) %}{{ c }}:{{ m }};{% endfor %}"
            return flask.render_template_string(each)

    def get(self, view=None):
        if view is not None:
            self.app.add_url_rule("/view", view_func=view)
        browser = self.app.test_client()
        if "sessionid" in self.client.cookies:
            browser.set_cookie("sessionid", self.client.cookies["sessionid"].value)
        text = browser.get("/page" if view is None else "/view").text
        self.client.cookies["sessionid"] = browser.get_cookie("sessionid").value
        return text


def page(request):
    return HttpResponse(engines["django"].from_string(TEMPLATE).render({}, request))


@pytest.mark.parametrize(
    ("message", "shown"),
    [("<b>saved</b>", "&lt;b&gt;saved&lt;/b&gt;"), (Markup("<b>saved</b>"), "<b>saved</b>")],
)
def test_what_flask_flashed_is_shown_once_by_django_as_what_it_was(manager, message, shown):
    client = Client()
    half = FlaskHalf(manager, client)

    def leave():
        flask.flash(message, "success")
        flask.flash("plain")
        return ""

    half.get(leave)
    assert visit("page", page, client).content.decode() == f"success:{shown};message info:plain;"
    assert visit("page", page, client).content == b""
    assert half.get() == ""


@pytest.mark.parametrize(
    ("message", "shown"),
    [("<b>saved</b>", "&lt;b&gt;saved&lt;/b&gt;"), (mark_safe("<b>saved</b>"), "<b>saved</b>")],
)
def test_what_django_left_is_shown_once_by_flask_as_what_it_was(manager, message, shown):
    client = Client()
    half = FlaskHalf(manager, client)
    visit("leave", lambda request: messages.warning(request, message, extra_tags="big"), client)
    assert half.get() == f"warning:{shown};"
    assert half.get() == ""
    assert visit("page", page, client).content == b""


def test_a_visitors_own_words_are_never_markup(manager):
    said = '{"\0html": "<script>", "markup": true}<script>'
    client = Client()
    half = FlaskHalf(manager, client)
    visit("leave", lambda request: messages.info(request, said), client)
    assert "<script>" not in half.get()
    visit("leave", lambda request: messages.info(request, said), client)
    text = visit("page", page, client).content.decode()
    assert "<script>" not in text
    assert html.unescape(text) == f"info:{said};"


# Real servers


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_real_server_keeps_each_change_and_ends_what_is_signed_out(kind, tmp_path):
    with serving((sys.executable, "-m", "tests.frameworks.served_django", kind), tmp_path) as port:
        visitor = Visitor(port)
        assert visitor.play("set a 1", "sign_in ada")[0] == 200
        assert visitor.play("push list 1", "flash hello")[0] == 200
        assert visitor.play("get a", "get list", "user", "take_flashes") == (
            200,
            ["1", ["1"], "ada", [["info", "hello"]]],
        )
        thief = Visitor(port)
        thief.cookie = visitor.cookie
        assert visitor.play("sign_out")[0] == 200
        assert thief.play("is_new", "user") == (200, [True, None])
