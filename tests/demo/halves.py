"""A visitor of both halves of the shop."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlsplit

from starlette.testclient import TestClient

from tests.demo.visitor import Visitor


class _Answer:
    """A response, as the visitor reads it."""

    def __init__(self, response):
        self.status_code = response.status_code
        self.headers = response.headers
        self.location = response.headers.get("Location")
        self.request = SimpleNamespace(path=urlsplit(str(response.request.url)).path)
        self._text = response.text

    def get_data(self, *, as_text):
        return self._text


class _Client:
    """The calls that a visitor makes, on an ASGI application."""

    def __init__(self, client):
        self.raw = client

    def get(self, path, headers):
        return _Answer(self.raw.get(path, headers=headers, follow_redirects=False))

    def post(self, path, data, headers):
        return _Answer(self.raw.post(path, data=data, headers=headers, follow_redirects=False))

    def get_cookie(self, name):
        value = self.raw.cookies.get(name)
        return None if value is None else SimpleNamespace(value=value)


class SiteVisitor(Visitor):
    """One browser, in the whole shop."""

    def __init__(self, portal, *, agent="Mozilla/5.0 a test"):
        browser = TestClient(portal.app, base_url="http://shop.test", raise_server_exceptions=False)
        browser.headers["Accept"] = "text/html,*/*"
        browser.portal = portal.portal  # one event loop for all
        self.client = _Client(browser)
        self.agent = agent
        self.page = None

    def add(self, good="mac", choice="M"):
        """Take something at the express counter."""
        self.get("/express")
        return self.submit("/express/basket/add", {"good": good}, choice=choice)

    def sign_in_there(self, name="Ada", **filled):
        """Sign in at the express counter."""
        self.get("/express/sign-in")
        return self.submit("/express/sign-in", name=name, **filled)

    @property
    def basket(self):
        """The basket as data."""
        return self.client.raw.get("/express/api/basket").json()
