"""Tornado: the order of finish, the store and the head; streams; and what becomes of failures in between."""

import asyncio

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.web import Finish, RequestHandler

from coatcheck import RequestOver, StoreUnavailable
from coatcheck.frameworks.tornado import SessionMixin
from tests.frameworks.tornado_apps import Count, Shop
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@on_each_loop
async def test_finish_goes_on_at_once_and_the_head_leaves_when_the_session_is_stored():
    went_on = asyncio.Event()

    class Page(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.finish("done")
            went_on.set()

    async with Shop(page=Page) as shop:
        gate = shop.pausing.hold("write")
        asking = asyncio.create_task(shop.get("page"))
        await gate.wait()
        assert went_on.is_set()
        assert not asking.done()
        gate.open()
        assert (await asking).body == b"done"


@on_each_loop
async def test_what_on_finish_sets_is_stored_or_refused_but_never_lost_in_silence():
    refused = []

    class Page(RequestHandler, SessionMixin):
        def get(self):
            if self.get_argument("look", ""):
                self.session.get("a")

        def on_finish(self):
            try:
                self.session["late"] = 1
            except RequestOver as error:
                refused.append(error)

    async with Shop(page=Page) as shop:
        await shop.visitor(a=1)
        await shop.get("page")
        assert len(refused) == 1
        assert await shop.fields() == {"a": 1}
        await shop.get("page?look=1")
        assert len(refused) == 1
        assert await shop.fields() == {"a": 1, "late": 1}


@on_each_loop
async def test_a_change_after_the_end_of_the_request_is_an_error():
    held = []

    class Page(RequestHandler, SessionMixin):
        def get(self):
            held.append(self.session)
            self.session["a"] = 1

    async with Shop(page=Page) as shop:
        await shop.get("page")
        with pytest.raises(RequestOver):
            held[0]["b"] = 1


@on_each_loop
async def test_a_503_answers_an_outage_also_a_head_request():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = 1
            self.finish("done")

        head = get

    async with Shop(page=Page) as shop:
        shop.failing.fail("write", error=DOWN)
        for method in ("GET", "HEAD"):
            response = await shop.get("page", method=method)
            assert (response.code, response.headers["Retry-After"]) == (503, "1")
            assert bool(response.body) is (method == "GET")


@on_each_loop
async def test_a_value_that_cant_be_stored_is_a_500_and_is_logged(caplog):
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session.setdefault("list", []).append(object())
            self.finish("done")

    async with Shop(page=Page) as shop:
        response = await shop.get("page")
        assert (response.code, response.body) == (500, b"")
        assert "can't be stored" in caplog.text


@on_each_loop
async def test_a_stream_that_awaits_flush_learns_that_a_503_went_out_in_its_place():
    told = []

    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.write("first")
            try:
                await self.flush()
            except StoreUnavailable as error:
                told.append(error)
                self.write("more")

    async with Shop(stream=Stream, count=Count) as shop:
        shop.failing.fail("write", error=DOWN)
        response = await shop.get("stream")
        assert (response.code, b"first" in response.body) == (503, False)
        assert len(told) == 1
        shop.failing.recover()
        assert (await shop.get("count")).body == b"1"


@on_each_loop
async def test_a_stream_that_first_sets_something_after_the_head_can_begin_no_session():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.write("head")
            await self.flush()
            self.session["a"] = 2

    async with Shop(stream=Stream) as shop:
        with pytest.raises(HTTPStreamClosedError):
            await shop.get("stream")
        assert await shop.sessions.count() == 0
        await shop.visitor(a=1)
        assert (await shop.get("stream")).body == b"head"
        assert await shop.fields() == {"a": 2}


@on_each_loop
async def test_a_body_that_is_shorter_than_it_said_breaks_off_and_is_logged(caplog):
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = 1
            self.set_header("Content-Length", "10")
            self.write("short")

    async with Shop(page=Page) as shop:
        with pytest.raises(HTTPStreamClosedError):
            await shop.get("page")
        assert "less than Content-Length" in caplog.text


@on_each_loop
async def test_a_head_that_tornado_refuses_is_a_500_and_is_told_to_whoever_awaits_it():
    told = []

    class Page(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self._reason = "OK\r\nX-Split: b"
            try:
                await self.flush()
            except ValueError as error:
                told.append(str(error))
                raise Finish from None

    async with Shop(page=Page) as shop:
        assert (await shop.get("page")).code == 500
        assert "Illegal characters" in told[0]


@on_each_loop
async def test_an_outage_goes_by_the_path_as_people_read_it():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.write(str(self.session.get("a")))

    async with Shop(options={"outage": {"/café": "anonymous"}}, **{"caf%C3%A9": Page, "other": Page}) as shop:
        await shop.visitor(a=1)
        shop.failing.fail("load", error=DOWN)
        assert (await shop.get("caf%C3%A9")).body == b"None"
        assert (await shop.get("other")).code == 503


@on_each_loop
async def test_parts_of_a_stream_leave_in_their_order_also_those_that_wait_for_the_head():
    class Stream(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            self.write("1")
            head = self.flush()
            self.write("2")
            _ = self.flush()
            await head
            self.write("3")
            await self.flush()

    async with Shop(stream=Stream) as shop:
        assert (await shop.get("stream")).body == b"123"
