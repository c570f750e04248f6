"""aiohttp: files, streams, bodies that are made while they are sent, and handlers that are cancelled."""

import asyncio
from contextlib import nullcontext, suppress

import pytest
from aiohttp import ClientError, ClientPayloadError, web

from coatcheck import CannotSendCookie, RequestOver, StoreUnavailable
from coatcheck.frameworks.aiohttp import get_session
from tests.frameworks.aiohttp_apps import Shop, count
from tests.loops import on_each_loop, quiet

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@on_each_loop
async def test_a_file_response_has_the_cookie_whatever_its_status(tmp_path):
    file = tmp_path / "file"
    file.write_text("0123456789")

    async def download(request):
        session = await get_session(request)
        session["downloads"] = session.get("downloads", 0) + 1
        session.rotate()
        return web.FileResponse(file)

    async with Shop(download=download) as shop:
        whole = await shop.get("download")
        part = await shop.get("download", headers={"Range": "bytes=2-4"})
        same = await shop.get("download", headers={"If-None-Match": whole.headers["ETag"]})
        assert (whole.text_is, part.text_is) == ("0123456789", "234")
        assert [each.status for each in (whole, part, same)] == [200, 206, 304]
        for response in (whole, part, same):
            assert len(response.headers.getall("Set-Cookie")) == 1
            assert response.headers["Vary"] == "Cookie"
            assert response.headers["Cache-Control"] == "no-store"
        assert await shop.fields() == {"downloads": 3}


def telling(over):
    @web.middleware
    async def around(request, handler):
        try:
            return await handler(request)
        finally:
            over.set()

    return around


async def to_the_end(request):
    """A stream that a handler ends itself, as aiohttp's documentation does."""
    session = await get_session(request)
    session["a"] = 1
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    session["a"] = 2
    await response.write_eof()
    return response


async def in_a_payload(request):
    """A body that aiohttp makes of a generator, when the handler has returned."""
    session = await get_session(request)
    session["a"] = 1

    async def body():
        yield b"x"
        session["a"] = 2

    return web.Response(body=body())


@pytest.mark.parametrize("handler", [to_the_end, in_a_payload])
@on_each_loop
async def test_what_a_stream_changes_is_stored_before_its_last_byte(handler):
    async with Shop(stream=handler) as shop:
        await shop.visitor(a=0)
        first = shop.pausing.hold("write")
        asking = asyncio.create_task(shop.client.get("/stream"))
        await first.wait()
        late = shop.pausing.hold("write")
        first.open()
        async with await asking as response:
            await late.wait()
            assert await response.content.read(1) == b"x"
            assert not response.content.is_eof()
            late.open()
            assert await response.content.read() == b""
        assert await shop.fields() == {"a": 2}


@pytest.mark.parametrize("handler", [to_the_end, in_a_payload])
@on_each_loop
async def test_a_stream_whose_late_change_cant_be_stored_breaks_off(handler):
    async with Shop(stream=handler) as shop:
        await shop.visitor(a=1)  # the value that is there before the head, so that one write comes, and late
        shop.failing.fail("write", error=DOWN)
        with pytest.raises(ClientPayloadError):
            await shop.get("stream")
        shop.failing.recover()
        assert await shop.fields() == {"a": 1}


@pytest.mark.parametrize("fails", [False, True])
@on_each_loop
async def test_a_handler_goes_on_after_the_end_of_its_stream_also_if_that_failed(fails):
    over = asyncio.Event()

    async def stream(request):
        session = await get_session(request)
        response = web.StreamResponse()
        await response.prepare(request)
        if fails:
            session["a"] = 2
            shop.failing.fail("write", error=DOWN)
        with pytest.raises(StoreUnavailable) if fails else nullcontext():
            await response.write_eof()
        shop.failing.recover()
        session["b"] = 3
        return response

    async with Shop(before=[telling(over)], stream=stream) as shop:
        await shop.visitor(a=1)
        with suppress(ClientPayloadError):
            await shop.get("stream")
        await over.wait()
        assert await shop.fields() == {"a": 2 if fails else 1, "b": 3}


@pytest.mark.parametrize("version", ["plain", "compressed"])
@on_each_loop
async def test_a_stream_that_cant_be_begun_is_a_whole_503(version):
    async def stream(request):
        (await get_session(request))["a"] = 1
        response = web.StreamResponse()
        if version == "compressed":
            response.enable_compression(force=web.ContentCoding.gzip)
        await response.prepare(request)
        raise AssertionError("it has begun")

    async with Shop(stream=stream, count=count) as shop:
        shop.failing.fail("write", error=DOWN)
        response = await shop.get("stream")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert response.text_is.startswith("The service is not available")
        shop.failing.recover()
        assert (await shop.get("count")).text_is == "1"  # on the same connection


@on_each_loop
async def test_a_change_after_the_end_of_the_request_is_an_error():
    held = []

    async def keep(request):
        held.append(await get_session(request))
        held[0]["a"] = 1
        return web.Response()

    async def stream(request):
        held[0] = await get_session(request)
        response = web.StreamResponse()
        await response.prepare(request)
        with pytest.raises(CannotSendCookie):
            held[0].sign_in("ada")
        return response

    async def ends(request):
        held[0] = await get_session(request)
        return await to_the_end(request)

    async def fails(request):
        held[0] = await get_session(request)
        held[0]["a"] = 1
        raise RuntimeError

    async def breaks(request):
        await stream(request)
        raise RuntimeError

    async with Shop(keep=keep, stream=stream, ends=ends, fails=fails, breaks=breaks) as shop:
        for name in ("keep", "stream", "ends", "fails", "breaks"):
            with suppress(ClientPayloadError):
                await shop.get(name)
            with pytest.raises(RequestOver):
                held[0]["b"] = 1


@on_each_loop
async def test_a_handler_that_is_cancelled_has_ended_the_session_that_it_ended():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def leave(request):
        session = await get_session(request)
        session["a"] = 2
        session.sign_out()
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Shop(leave=leave) as shop:
        await shop.visitor(user="ada", a=1)
        asking = asyncio.create_task(shop.client.get("/leave"))
        await begun.wait()
        gate = shop.pausing.hold("write")
        asking.cancel()
        await cancelled.wait()
        await gate.wait()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await quiet()
        assert await shop.fields() is None


@on_each_loop
async def test_a_handler_that_is_cancelled_has_a_session_that_is_over():
    held, over = [], asyncio.Event()

    async def wait(request):
        held.append(await get_session(request))
        request.task.cancel()
        await asyncio.Event().wait()

    async with Shop(before=[telling(over)], wait=wait) as shop:
        await shop.visitor(a=1)
        with suppress(ClientError):
            await shop.get("wait")
        await over.wait()
        with pytest.raises(RequestOver):
            held[0]["a"] = 2


@on_each_loop
async def test_a_stream_that_signs_out_by_its_field_and_fails_has_signed_out():
    async def leave(request):
        session = await get_session(request)
        response = web.StreamResponse()
        await response.prepare(request)
        del session["user_id"]
        session["a"] = 1
        raise RuntimeError

    async with Shop(leave=leave, options={"identity": "user_id"}) as shop:
        await shop.visitor(user_id="7")
        with pytest.raises(ClientPayloadError):
            await shop.get("leave")
        assert await shop.fields() is None


@on_each_loop
async def test_a_body_that_fails_stores_its_endings_only_and_breaks_off():
    held = []

    async def leave(request):
        session = await get_session(request)

        async def body():
            yield b"x"
            session["a"] = 2
            if request.query.get("leave"):
                session.sign_out()
            held.append(session)
            raise RuntimeError

        return web.Response(body=body())

    async with Shop(leave=leave) as shop:
        await shop.visitor(user="ada", a=1)
        for leaves, kept in (("", {"a": 1}), ("1", None)):
            with pytest.raises(ClientPayloadError):
                await shop.get("leave", params={"leave": leaves})
            assert await shop.fields() == kept
            with pytest.raises(RequestOver):
                held.pop()["b"] = 1
