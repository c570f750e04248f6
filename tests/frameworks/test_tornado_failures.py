"""Tornado: handlers that fail, are cancelled, or meet a store that fails; and the access log of it."""

import asyncio

import pytest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.web import Finish, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from coatcheck import StoreUnavailable
from coatcheck.frameworks.tornado import SessionMixin
from tests.frameworks.tornado_apps import Count, Shop
from tests.loops import on_each_loop, quiet

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@on_each_loop
async def test_a_cancelled_handler_has_ended_the_session_that_it_ended_and_stores_nothing_else():
    begun = asyncio.Queue()

    class Page(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 2
            if self.get_argument("leave", ""):
                self.session.sign_out()
            begun.put_nowait(asyncio.current_task())
            await asyncio.Event().wait()

    async with Shop(page=Page) as shop:
        await shop.visitor(user="ada", a=1)
        for name, kept in (("page", {"a": 1}), ("page?leave=1", None)):
            cookie = shop.cookie
            asking = asyncio.create_task(shop.get(name))
            (await begun.get()).cancel()
            assert (await asking).code == 500
            shop.cookie = cookie
            assert await shop.fields() == kept


@on_each_loop
async def test_a_cancelled_wait_for_flush_does_not_cancel_the_response():
    class Page(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.write("head")
            waiting = asyncio.ensure_future(self.flush())
            await gate.wait()
            waiting.cancel()
            gate.open()
            self.write(", tail")

    async with Shop(page=Page) as shop:
        gate = shop.pausing.hold("write")
        response = await shop.get("page")
        assert (response.code, response.body) == (200, b"head, tail")
        assert await shop.fields() == {"a": 1}


@on_each_loop
async def test_an_answer_within_an_except_block_is_a_response_and_a_500_there_is_a_failure():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = code = int(self.get_argument("code"))
            try:
                {}["absent"]
            except KeyError:
                self.send_error(code)

    async with Shop(page=Page) as shop:
        await shop.visitor(a=1)
        for code, kept in ((404, 404), (500, 404)):
            assert (await shop.get(f"page?code={code}")).code == code
            assert await shop.fields() == {"a": kept}


@on_each_loop
async def test_a_500_that_a_handler_answers_or_raises_as_a_response_stores():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = self.get_argument("how")
            if self.get_argument("how") == "sent":
                self.send_error(500)
            else:
                raise HTTPError(500)

    async with Shop(page=Page) as shop:
        await shop.visitor(a="")
        for how in ("sent", "raised"):
            assert (await shop.get(f"page?how={how}")).code == 500
            assert await shop.fields() == {"a": how}


@on_each_loop
async def test_the_page_of_an_error_may_be_the_applications_own():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = 2
            raise RuntimeError

        def write_error(self, status_code, **kwargs):
            self.finish(f"sorry, {self.session['a']}")

    async with Shop(page=Page) as shop:
        await shop.visitor(a=1)
        response = await shop.get("page")
        assert (response.code, response.body) == (500, b"sorry, 2")
        assert await shop.fields() == {"a": 1}


@on_each_loop
async def test_an_error_page_that_cant_read_the_session_is_a_503_and_an_answer_of_the_handlers_own_stays():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            raise HTTPError(404)

        def write_error(self, status_code, **kwargs):
            self.write(f"no such page, {self.session.user}")

    class Own(RequestHandler, SessionMixin):
        def get(self):
            try:
                self.session.get("a")
            except StoreUnavailable as error:
                if self.get_argument("leads_on", ""):
                    self.redirect("/elsewhere")
                else:
                    raise HTTPError(404) from error

    async with Shop(page=Page, own=Own) as shop:
        await shop.visitor(user="ada")
        assert (await shop.get("page")).body == b"no such page, ada"
        shop.failing.fail("load", error=DOWN)
        response = await shop.get("page")
        assert (response.code, response.headers["Retry-After"]) == (503, "1")
        assert (await shop.get("own")).code == 404
        assert (await shop.get("own?leads_on=1")).code == 302


@pytest.mark.parametrize("base", [RequestHandler, WebSocketHandler])
@on_each_loop
async def test_prepare_may_raise(base):
    class Page(base, SessionMixin):
        def prepare(self):
            self.session["a"] = self.get_argument("how")
            raise {"refusal": HTTPError(403), "finish": Finish("fin"), "fault": RuntimeError()}[
                self.get_argument("how")
            ]

    async with Shop(page=Page) as shop:
        await shop.visitor(a="")
        for how, code, kept in (
            ("refusal", 403, "refusal"),
            ("finish", 200, "finish"),
            ("fault", 500, "finish"),
        ):
            assert (await shop.get(f"page?how={how}")).code == code
            assert await shop.fields() == {"a": kept}


@on_each_loop
async def test_a_stream_that_fails_breaks_off_and_stores_its_endings_only():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.write("head")
            await self.flush()
            self.session["a"] = 2
            if self.get_argument("leave", ""):
                self.session.sign_out()
            raise RuntimeError

    async with Shop(stream=Stream) as shop:
        await shop.visitor(user="ada", a=1)
        for name, kept in (("stream", {"a": 1}), ("stream?leave=1", None)):
            with pytest.raises(HTTPStreamClosedError):
                await shop.get(name)
            assert await shop.fields() == kept


@on_each_loop
async def test_a_stream_that_fails_breaks_off_also_if_it_never_used_its_session():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.write("head")
            await self.flush()
            raise RuntimeError

    async with Shop(stream=Stream) as shop:
        await shop.visitor(a=1)
        with pytest.raises(HTTPStreamClosedError):
            await shop.get("stream")


@on_each_loop
async def test_a_client_that_hangs_up_while_the_store_is_written_stops_nothing():
    told, over = [], asyncio.Event()

    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 2
            self.write("head")
            _ = self.flush()
            await gone.wait()
            gate.open()
            try:
                while True:
                    self.session["a"] = 3
                    self.write("x")
                    await self.flush()
            except StreamClosedError:
                told.append(1)

        def on_finish(self):
            over.set()

        def on_connection_close(self):
            gone.set()

    async with Shop(stream=Stream, count=Count) as shop:
        gone = asyncio.Event()
        await shop.visitor(a=1)
        gate = shop.pausing.hold("write")
        _, writer = await asyncio.open_connection(*shop.address.split(":"))
        writer.write(f"GET /stream HTTP/1.1\r\nHost: a\r\nCookie: {shop.cookie}\r\n\r\n".encode())
        await gate.wait()
        writer.close()
        await over.wait()
        await quiet()
        assert told == [1]
        assert await shop.fields() == {"a": 3}


@on_each_loop
async def test_a_503_leaves_the_connection_whole_whatever_the_handler_still_writes(caplog):
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.write("first")
            try:
                await self.flush()
            except StoreUnavailable:
                self.write("more")
                await self.flush()

    async with Shop(stream=Stream, count=Count) as shop:
        shop.failing.fail("write", error=DOWN)
        reader, writer = await asyncio.open_connection(*shop.address.split(":"))
        writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        body = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(body.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        shop.failing.recover()
        writer.write(b"GET /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        assert not [record for record in caplog.records if record.name.startswith("tornado")]


@on_each_loop
async def test_the_access_log_has_the_status_that_went_out():
    logged = []

    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = 1
            if self.get_argument("fails", ""):
                raise DOWN

    class Plain(RequestHandler, SessionMixin):
        def get(self):
            self.set_status(204)

    settings = {"log_function": lambda handler: logged.append(handler.get_status())}
    async with Shop(page=Page, plain=Plain, settings=settings) as shop:
        for name in ("plain", "page"):
            await shop.get(name)
        shop.cookie = ""
        shop.failing.fail("write", error=DOWN)
        for name in ("page", "page?fails=1"):
            await shop.get(name)
        assert logged == [204, 200, 503, 503]


class Faulty(WebSocketHandler, SessionMixin):
    """Raises, in a method of its own or in a task."""

    async def open(self):
        await self.act("open")

    async def on_message(self, message):
        await self.act(message)

    async def act(self, what):
        if what == self.get_argument("at"):
            self.session["a"] = 2
            if self.get_argument("leave", ""):
                self.session.sign_out()
            raise DOWN if self.get_argument("down", "") else RuntimeError


@on_each_loop
async def test_a_websocket_whose_store_fails_is_closed_with_1013():
    async with Shop(faulty=Faulty) as shop:
        await shop.visitor(a=1)
        for at in ("open", "message"):
            for down, code in (("1", 1013), ("", None)):
                socket = await shop.connect(f"faulty?at={at}&down={down}")
                if at == "message":
                    await socket.write_message("message")
                assert await socket.read_message() is None
                assert socket.close_code == code
                socket.close()


@on_each_loop
async def test_a_websocket_that_fails_stores_its_endings_only():
    async with Shop(faulty=Faulty) as shop:
        await shop.visitor(a=1)
        for leave, kept in (("", {"a": 1}), ("1", None)):
            socket = await shop.connect(f"faulty?at=message&leave={leave}")
            await socket.write_message("message")
            assert await socket.read_message() is None
            socket.close()
            await quiet()
            assert await shop.fields() == kept


@on_each_loop
async def test_a_websocket_that_fails_before_its_handshake_is_an_error_page():
    class Talk(SessionMixin, WebSocketHandler):
        def select_subprotocol(self, subprotocols):
            raise DOWN

    async with Shop(talk=Talk) as shop:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        response = await shop.get(
            "talk", headers={**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        )
        assert response.code == 500


@on_each_loop
async def test_a_page_of_an_error_keeps_the_connection():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = 1
            raise RuntimeError

    async with Shop(page=Page, count=Count) as shop:
        reader, writer = await asyncio.open_connection(*shop.address.split(":"))
        writer.write(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write(b"GET /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"HTTP/1.1 200" in answer
        writer.close()
