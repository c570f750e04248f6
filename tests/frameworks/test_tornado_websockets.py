"""Tornado: websockets."""

import asyncio

from tornado.websocket import WebSocketHandler

from coatcheck import CannotSendCookie, StoreUnavailable
from coatcheck.frameworks.tornado import SessionMixin, get_session
from tests.frameworks.tornado_apps import Shop
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so", ambiguous=False)


class Watch(WebSocketHandler, SessionMixin):
    """Says at each message whose session it is, and closes when that has ended."""

    async def on_message(self, message):
        if not await self.session.is_live():
            self.close(4401)
            return
        self.session["said"] = message
        await self.write_message(self.session.user or "nobody")


@on_each_loop
async def test_a_socket_learns_that_its_session_has_ended():
    async with Shop(watch=Watch) as shop:
        await shop.visitor(user="ada")
        socket = await shop.connect("watch")
        await socket.write_message("?")
        assert await socket.read_message() == "ada"
        await shop.sessions.revoke_user("ada")
        await socket.write_message("?")
        assert await socket.read_message() is None
        assert socket.close_code == 4401
        socket.close()


@on_each_loop
async def test_a_socket_brings_its_cookie_with_the_handshake_and_stores_the_rest_at_its_end():
    refused, closed = [], asyncio.Event()

    class Talk(SessionMixin, WebSocketHandler):
        def prepare(self):
            self.session["before"] = 1

        def open(self):
            try:
                self.session.sign_in("ada")
            except CannotSendCookie as error:
                refused.append(error)

        def on_message(self, message):
            self.session["said"] = message
            self.close()

        def on_close(self):
            self.session["closed"] = True
            closed.set()

    async with Shop(talk=Talk) as shop:
        socket = await shop.connect("talk")
        (line,) = socket.headers.get_list("Set-Cookie")
        shop.cookie = line.split(";")[0]
        assert await shop.fields() == {"before": 1}
        gate = shop.pausing.hold("write", "after")
        await socket.write_message("hello")
        assert await socket.read_message() is None
        await closed.wait()
        await gate.wait()
        assert await shop.fields() == {"before": 1, "said": "hello", "closed": True}
        gate.open()
        socket.close()
        assert len(refused) == 1


@on_each_loop
async def test_a_store_that_fails_refuses_the_handshake():
    class Enter(WebSocketHandler):
        async def prepare(self):
            (await get_session(self))["a"] = 1

    async with Shop(enter=Enter) as shop:
        shop.failing.fail("write", error=DOWN)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        response = await shop.get(
            "enter", headers={**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        )
        assert (response.code, response.headers["Retry-After"]) == (503, "1")
