"""A message that is flashed in one framework shows in each other as what it was."""

from __future__ import annotations

import asyncio
import html

import flask
import jinja2
import pytest
from markupsafe import Markup, escape

from coatcheck import AsyncSessions, Flash, Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.shim import awaitable
from tests.visits import SECRET, cookie_of

MESSAGES = {
    "text": ("<b>text</b>", False),
    "markup": (Markup("<b>bold</b>"), True),
    "escaped": (escape("<script>"), True),
    "number": (7, False),
    "list": (["<i>", 1], False),
    "looks like markup": ({"\0html": "<script>", "__html__": "<script>"}, False),
}


class Shop:
    """A Flask application, and an async manager, on one store."""

    def __init__(self):
        store = MemoryStore()
        options = {"secret": SECRET, "insecure_http": True}
        self.sync, self.asynchronous = Sessions(store, **options), AsyncSessions(awaitable(store), **options)
        self.app = flask.Flask(__name__)
        SessionInterface(self.sync).init_app(self.app)
        self.client = self.app.test_client()
        self.cookie = b""

        @self.app.route("/flash/<name>")
        def put(name):
            flask.flash(MESSAGES[name][0], "error")
            return ""

        @self.app.route("/page")
        def page():
            template = (
                "{% for c, m in get_flashed_messages(with_categories=True) %}{{ c }}:{{ m }};{% endfor %}"
            )
            return flask.render_template_string(template)

    def in_flask(self, path):
        response = self.client.get(path)
        return response.text

    async def in_starlette(self, work):
        """Run `work` on the session of Flask's visitor, under the async manager."""
        name = self.sync.settings.template.name
        cookie = self.client.get_cookie(name)
        session = self.asynchronous.open(b"" if cookie is None else f"{name}={cookie.value}".encode())
        await self.asynchronous.load(session)
        result = await work(session)
        outcome = await self.asynchronous.close(session)
        if outcome.set_cookie is not None:
            self.client.set_cookie(name, cookie_of(outcome).decode().partition("=")[2])
        return result


@pytest.mark.promise("V")
@pytest.mark.parametrize("name", MESSAGES)
def test_from_flask_to_starlette(name):
    shop = Shop()
    shop.in_flask(f"/flash/{name}")
    message, markup = MESSAGES[name]
    (flash,) = asyncio.run(shop.in_starlette(shop.asynchronous.take_flashes))
    assert (flash.category, flash.message, flash.markup) == ("error", message, markup)
    page = jinja2.Environment(autoescape=True).from_string("{{ flash }}").render(flash=flash)
    assert html.unescape(page) == html.unescape(str(message))
    assert ("<" in page) == (name == "markup")
    assert shop.in_flask("/page") == ""


@pytest.mark.promise("V")
@pytest.mark.parametrize("name", MESSAGES)
def test_from_starlette_to_flask(name):
    shop = Shop()
    message, markup = MESSAGES[name]

    async def put(session):
        session.flash(message, "error")

    asyncio.run(shop.in_starlette(put))
    assert shop.in_flask("/page") == f"error:{message if markup else escape(str(message))};"
    assert shop.in_flask("/page") == ""


def test_a_flash_that_is_flashed_again_is_what_its_page_showed():
    flash = Flash("info", "<b>", markup=False)
    assert str(escape(flash)) == "&lt;b&gt;"
    assert str(escape(Flash("info", "<b>", markup=True))) == "<b>"
    session = Sessions(MemoryStore(), secret=SECRET).open(b"")
    session.flash(flash)
    (again,) = session.peek_flashes()
    assert (again.message, again.markup) == ("&lt;b&gt;", True)
