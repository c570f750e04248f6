"""Channels as it is, on uvicorn: the session and the user of a websocket."""

from tests.world.django_sockets import browser_of, new_user, served, site, socket, urlpatterns  # first

# isort: split

import json

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.sessions import SessionMiddlewareStack
from django.urls import path

from coatcheck.frameworks.django import sessions

__all__ = ["site", "urlpatterns"]


class Told(JsonWebsocketConsumer):
    """Tells the user and the basket, and adds to the basket what comes."""

    def connect(self):
        self.accept()
        self.tell()

    def receive_json(self, good):
        session = self.scope["session"]
        session["basket"] = [*session.get("basket", []), good]
        session.save()
        self.tell()

    def tell(self):
        user = self.scope.get("user")
        self.send_json([user and user.username, self.scope["session"].get("basket")])


class AsyncTold(AsyncJsonWebsocketConsumer):
    """The same without threads."""

    async def connect(self):
        await self.accept()
        await self.tell()

    async def receive_json(self, good):
        session = self.scope["session"]
        await session.aset("basket", [*await session.aget("basket", []), good])
        await session.asave()
        await self.tell()

    async def tell(self):
        user = self.scope.get("user")
        await self.send_json([user and user.username, await self.scope["session"].aget("basket")])


sockets = [path("ws/sync", Told.as_asgi()), path("ws/async", AsyncTold.as_asgi())]
STACKS = {"auth": AuthMiddlewareStack, "session": SessionMiddlewareStack}


STACKS = {"auth": AuthMiddlewareStack, "session": SessionMiddlewareStack}
PATHS = ["/ws/sync", "/ws/async"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stack", STACKS)
class TestConsumers:
    def test_they_read_and_store_the_visitors_session(self, site, stack, path):
        with served(sockets, STACKS[stack]) as address, browser_of(address) as browser:
            browser.get("/fill")
            with socket(address, path, browser) as ws:
                assert json.loads(ws.recv())[1] == ["pear"]
                for basket in (["pear", "fig"], ["pear", "fig", "fig"]):
                    ws.send('"fig"')
                    assert json.loads(ws.recv())[1] == basket
                    assert browser.get("/me").json()["basket"] == basket

    def test_a_visitor_without_a_session_has_an_empty_one(self, site, stack, path):
        with served(sockets, STACKS[stack]) as address, browser_of(address) as browser:
            with socket(address, path, browser) as ws:
                assert json.loads(ws.recv())[1] is None
            assert sessions().count() == 0


@pytest.mark.parametrize("path", PATHS)
class TestUser:
    def test_the_user_of_the_session_is_the_sockets(self, site, path):
        new_user()
        with served(sockets) as address, browser_of(address) as browser:
            with socket(address, path, browser) as ws:
                assert json.loads(ws.recv()) == ["", None]
            browser.get("/fill")
            browser.get("/in/ada")
            with socket(address, path, browser) as ws:
                assert json.loads(ws.recv()) == ["ada", ["pear"]]

    def test_a_public_name_and_an_old_cookie_are_anonymous(self, site, path):
        new_user()
        with served(sockets) as address, browser_of(address) as browser, browser_of(address) as thief:
            browser.get("/fill")
            name = browser.get("/in/ada").json()["name"]
            thief.cookies["sessionid"] = name
            with socket(address, path, thief) as ws:
                assert json.loads(ws.recv()) == ["", None]
            thief.cookies["sessionid"] = browser.cookies["sessionid"]
            browser.get("/out")
            with socket(address, path, thief) as ws:
                assert json.loads(ws.recv()) == ["", None]
