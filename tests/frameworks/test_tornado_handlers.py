"""Tornado: its kinds of handlers, connections and websockets, each with a session."""

import asyncio

import pytest
from flask import Flask, session
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.web import (
    FallbackHandler,
    RedirectHandler,
    RequestHandler,
    StaticFileHandler,
    authenticated,
    stream_request_body,
)
from tornado.websocket import WebSocketHandler
from tornado.wsgi import WSGIContainer

from coatcheck import CookieSettings, Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.tornado import NotificationMixin, SessionMixin
from coatcheck.stores.memory import MemoryStore
from tests.behaviours.site import SECRET
from tests.frameworks.tornado_apps import Count, Shop
from tests.loops import on_each_loop, quiet


class Counts:
    """Counts in `prepare`, whatever the handler does then."""

    def prepare(self):
        self.session["n"] = self.session.get("n", 0) + 1


async def raw(shop, *requests):
    """What the server sends to these requests, written at once, on one connection that it closes."""
    reader, writer = await asyncio.open_connection(*shop.address.split(":"))
    writer.write("".join(requests).encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@on_each_loop
async def test_a_body_that_is_streamed_in_finds_the_session_before_it_comes():
    @stream_request_body
    class Upload(RequestHandler, SessionMixin):
        def prepare(self):
            self.session["parts"] = []

        def data_received(self, chunk):
            self.session["parts"].append(len(chunk))

        def post(self):
            self.write(str(sum(self.session["parts"])))

    async with Shop(upload=Upload) as shop:
        response = await shop.get("upload", method="POST", body=b"x" * 200_000)
        assert response.body == b"200000"
        assert sum((await shop.fields())["parts"]) == 200_000


@on_each_loop
async def test_a_file_has_the_cookie_whatever_its_status(tmp_path):
    (tmp_path / "file").write_text("0123456789")

    class File(Counts, StaticFileHandler, SessionMixin):
        pass

    async with Shop(**{"(file)": (File, {"path": tmp_path})}) as shop:
        whole = await shop.get("file")
        assert (whole.code, whole.body, len(whole.headers.get_list("Set-Cookie"))) == (200, b"0123456789", 1)
        part = await shop.get("file", headers={"Range": "bytes=2-4"})
        same = await shop.get("file", headers={"If-None-Match": whole.headers["Etag"]})
        head = await shop.get("file", method="HEAD")
        assert [each.code for each in (part, same, head)] == [206, 304, 200]
        assert (part.body, head.headers["Content-Length"]) == (b"234", "10")
        assert await shop.fields() == {"n": 4}


@on_each_loop
async def test_a_redirecting_handler_has_a_session():
    class Moved(Counts, SessionMixin, RedirectHandler):
        pass

    async with Shop(moved=(Moved, {"url": "/new"})) as shop:
        response = await shop.get("moved")
        assert (response.code, response.headers["Location"]) == (301, "/new")
        assert await shop.fields() == {"n": 1}


@on_each_loop
async def test_flask_within_tornado_keeps_its_own_session():
    store = MemoryStore()
    flask = Flask("within")
    options = {"secret": SECRET, "insecure_http": True, "cookie": CookieSettings(name="flask")}
    flask.session_interface = SessionInterface(Sessions(store, **options))

    @flask.get("/flask")
    def page():
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    async with Shop(flask=(FallbackHandler, {"fallback": WSGIContainer(flask)}), count=Count) as shop:
        response = await shop.get("flask")
        (line,) = response.headers.get_list("Set-Cookie")
        cookie = line.split(";")[0]
        assert (await shop.get("flask", headers={"Cookie": cookie})).body == b"2"
        assert (await shop.get("count")).body == b"1"


@on_each_loop
async def test_tornados_own_cookies_and_xsrf_check_stand_beside_the_session():
    class Form(RequestHandler, SessionMixin):
        def get(self):
            self.set_signed_cookie("signed", "1")
            self.write(self.xsrf_token)

        def post(self):
            self.session["a"] = self.get_signed_cookie("signed").decode()

    settings = {"xsrf_cookies": True, "cookie_secret": "x" * 32}
    async with Shop(form=Form, settings=settings) as shop:
        response = await shop.get("form")
        cookies = "; ".join(line.split(";")[0] for line in response.headers.get_list("Set-Cookie"))
        for token, code in ((response.body.decode(), 200), ("x", 403)):
            headers = {"Cookie": cookies, "X-XSRFToken": token}
            assert (await shop.get("form", method="POST", body="", headers=headers)).code == code
        assert await shop.fields() == {"a": "1"}


@on_each_loop
async def test_requests_of_a_pipeline_are_answered_in_turn():
    async with Shop(count=Count) as shop:
        await shop.visitor(n=0)
        get = f"GET /count HTTP/1.1\r\nHost: a\r\nCookie: {shop.cookie}\r\n"
        answer = await raw(shop, f"{get}\r\n", f"{get}\r\n", f"{get}Connection: close\r\n\r\n")
        assert [part[-1] for part in answer.split("HTTP/1.1 200 OK")[1:]] == ["1", "2", "3"]


@on_each_loop
async def test_http_1_0_gets_a_whole_response_also_of_a_stream():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.write("first")
            await self.flush()
            self.write(", last")

    async with Shop(stream=Stream) as shop:
        answer = await raw(shop, "GET /stream HTTP/1.0\r\n\r\n")
        assert answer.endswith("\r\n\r\nfirst, last")
        assert "Set-Cookie: coatcheck=" in answer


@pytest.mark.parametrize("bases", [(RequestHandler, NotificationMixin), (NotificationMixin, RequestHandler)])
@on_each_loop
async def test_a_handler_of_several_bases_loads_its_session_once(bases):
    class Base(*bases):
        pass

    class Other(SessionMixin):
        pass

    class Page(Base, Other):
        def get(self):
            self.notifications.set("notice", self.session.get("a"))

    async with Shop(page=Page) as shop:
        await shop.visitor(a=1)
        shop.counting.reset()
        assert (await shop.get("page")).code == 200
        assert shop.counting.sequence == ["load", "write"]


@on_each_loop
async def test_a_page_that_never_looks_at_its_session_costs_no_call_and_no_header_but_the_load_of_the_mixin():
    class Mixed(RequestHandler, SessionMixin):
        async def get(self):
            for _ in range(2):
                self.write("x")
                await self.flush()

    class Plain(RequestHandler):
        def get(self):
            self.write("x")

    async with Shop(mixed=Mixed, plain=Plain) as shop:
        await shop.visitor(a=1)
        for name, calls in (("mixed", ["load"]), ("plain", [])):
            shop.counting.reset()
            response = await shop.get(name)
            assert not {"Set-Cookie", "Vary", "Cache-Control"} & {*response.headers}
            assert shop.counting.sequence == calls


@on_each_loop
async def test_a_stream_and_a_websocket_cost_one_load_and_one_write_for_what_comes_late():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            for n in range(3):
                self.write("x")
                await self.flush()
                self.session["n"] = n

    class Talk(WebSocketHandler, SessionMixin):
        def on_message(self, message):
            self.session["n"] = message
            self.close()

    class Quiet(WebSocketHandler, SessionMixin):
        def open(self):
            self.close()

    async with Shop(stream=Stream, talk=Talk, quiet=Quiet) as shop:
        await shop.visitor(a=1)
        shop.counting.reset()
        await shop.get("stream")
        assert shop.counting.sequence == ["load", "write"]
        for name, calls in (("talk", ["load", "write"]), ("quiet", ["load"])):
            shop.counting.reset()
            socket = await shop.connect(name)
            if name == "talk":
                await socket.write_message("hello")
            assert await socket.read_message() is None
            socket.close()
            await quiet()
            assert shop.counting.sequence == calls


@on_each_loop
async def test_a_websocket_with_compression_and_a_subprotocol_has_its_cookie():
    class Talk(WebSocketHandler, SessionMixin):
        def prepare(self):
            self.session["a"] = 1

        def select_subprotocol(self, subprotocols):
            return subprotocols[0]

        def get_compression_options(self):
            return {}

        async def on_message(self, message):
            await self.write_message(message * 2)

    async with Shop(talk=Talk) as shop:
        socket = await shop.connect("talk", subprotocols=["chat"], compression_options={})
        assert socket.selected_subprotocol == "chat"
        assert "permessage-deflate" in socket.headers["Sec-WebSocket-Extensions"]
        assert len(socket.headers.get_list("Set-Cookie")) == 1
        await socket.write_message("x" * 1000)
        assert await socket.read_message() == "x" * 2000
        socket.close()


@on_each_loop
async def test_a_page_of_a_websocket_handler_is_a_page():
    held = []

    class Talk(WebSocketHandler, SessionMixin):
        def post(self):
            held.append(self.session)
            self.session["a"] = 1
            self.write("page")

    async with Shop(talk=Talk) as shop:
        assert (await shop.get("talk", method="POST", body="")).body == b"page"
        assert await shop.fields() == {"a": 1}
        response = await shop.get("talk")
        assert (response.code, response.body) == (400, b'Can "Upgrade" only to "WebSocket".')


# Tornado's own documentation of user authentication


class BaseHandler(RequestHandler, SessionMixin):
    def get_current_user(self):
        return self.session.user


class Main(BaseHandler):
    @authenticated
    def get(self):
        self.write("Hello, " + self.current_user)


class Login(BaseHandler):
    def get(self):
        self.write('<form action="/login" method="post">Name: <input name="name"></form>')

    def post(self):
        self.session.sign_in(self.get_body_argument("name"))
        self.redirect(self.get_query_argument("next", "/"))


class Logout(BaseHandler):
    def post(self):
        self.session.sign_out()
        self.redirect("/login")


@on_each_loop
async def test_the_example_of_user_authentication_and_a_replayed_cookie_opens_nothing():
    settings = {"login_url": "/login"}
    async with Shop(main=Main, login=Login, logout=Logout, settings=settings) as shop:
        response = await shop.get("main")
        assert (response.code, response.headers["Location"]) == (302, "/login?next=%2Fmain")
        assert b"<form" in (await shop.get("login?next=%2Fmain")).body
        response = await shop.get("login?next=%2Fmain", method="POST", body="name=ada")
        assert (response.code, response.headers["Location"]) == (302, "/main")
        assert (await shop.get("main")).body == b"Hello, ada"
        kept = shop.cookie
        assert (await shop.get("logout", method="POST", body="")).code == 302
        for cookie in (shop.cookie, kept):
            shop.cookie = cookie
            assert (await shop.get("main")).code == 302


@on_each_loop
async def test_a_handler_that_fails_after_its_response_is_logged_and_the_response_stands():
    class Page(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            await self.finish("done")
            raise RuntimeError

    class Short(RequestHandler, SessionMixin):
        async def get(self):
            self.set_header("Content-Length", "10")
            self.write("short")
            await self.flush()
            self.session.get("a")

    async with Shop(page=Page, short=Short) as shop:
        assert (await shop.get("page")).body == b"done"
        assert await shop.fields() == {"a": 1}
        with pytest.raises(HTTPStreamClosedError):
            await shop.get("short")
