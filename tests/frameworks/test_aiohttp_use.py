"""aiohttp: its idioms, its kinds of responses, and what users of aiohttp-session write."""

import json
import time
from datetime import timedelta

import pytest
from aiohttp import hdrs, web
from aiohttp.test_utils import make_mocked_request

from coatcheck import (
    AsyncSessions,
    ConfigurationError,
    SessionGone,
    Sessions,
    StoreUnavailable,
)
from coatcheck.frameworks.aiohttp import (
    SESSIONS,
    AiohttpSession,
    check_csrf,
    get_session,
    new_session,
    setup,
)
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.behaviours.app import LOOKS, ways_to_look
from tests.behaviours.site import SECRET
from tests.frameworks.aiohttp_apps import Shop, count
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@on_each_loop
async def test_a_handler_counts_its_visitors_visits():
    async with Shop(count=count) as shop:
        assert [(await shop.get("count")).text_is for _ in range(3)] == ["1", "2", "3"]


@on_each_loop
async def test_the_manager_stands_in_the_application():
    async def devices(request):
        session = await get_session(request)
        return web.json_response(
            [d.current for d in await request.config_dict[SESSIONS].of_user("ada", current=session)]
        )

    async with Shop(devices=devices) as shop:
        await shop.visitor(user="ada")
        assert await (await shop.get("devices")).json() == [True]


@on_each_loop
async def test_a_redirect_that_a_handler_raises_stores_its_sign_in():
    async def enter(request):
        (await get_session(request)).sign_in("ada")
        raise web.HTTPFound("/me")

    async def me(request):
        return web.Response(text=str((await get_session(request)).user))

    async with Shop(enter=enter, me=me) as shop:
        assert (await shop.get("enter")).text_is == "ada"


@on_each_loop
async def test_a_signal_before_ours_stores_also_where_the_handler_raises_a_response():
    async def leave(request):
        await get_session(request)
        raise web.HTTPFound("/")

    async def seen(request, response):
        (await get_session(request))["status"] = response.status

    shop = Shop(leave=leave)
    shop.app.on_response_prepare.insert(0, seen)
    async with shop:
        await shop.visitor(a=1)
        await shop.get("leave", allow_redirects=False)
        assert await shop.fields() == {"a": 1, "status": 302}


@on_each_loop
async def test_a_refusal_that_a_handler_raises_stores_what_it_has_set():
    async def refuse(request):
        (await get_session(request))["tries"] = 1
        raise web.HTTPInternalServerError

    async with Shop(refuse=refuse) as shop:
        assert (await shop.get("refuse")).status == 500
        assert await shop.fields() == {"tries": 1}


@on_each_loop
async def test_a_handler_that_forgets_to_return_a_response_stores_nothing_and_is_told(caplog):
    async def forgets(request):
        (await get_session(request))["a"] = 1

    async with Shop(forgets=forgets) as shop:
        assert (await shop.get("forgets")).status == 500
        assert await shop.sessions.count() == 0
        assert "returned a NoneType in place of a response" in caplog.text


@on_each_loop
async def test_an_outage_is_a_503_also_where_the_handler_raises_a_response():
    async def enter(request):
        (await get_session(request))["a"] = 1
        raise web.HTTPFound("/")

    async with Shop(enter=enter) as shop:
        shop.failing.fail("write", error=DOWN)
        response = await shop.get("enter", allow_redirects=False)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "Location" not in response.headers


@on_each_loop
async def test_a_cookie_of_our_name_that_a_response_sets_or_deletes_gives_way_to_ours():
    async def both(request):
        (await get_session(request))["a"] = 1
        response = web.Response()
        response.set_cookie("coatcheck", "theirs")
        response.set_cookie("theme", "dark")
        return response

    async with Shop(both=both) as shop:
        lines = (await shop.get("both")).headers.getall("Set-Cookie")
        assert [line.split("=")[0] for line in sorted(lines)] == ["coatcheck", "theme"]
        assert await shop.fields() == {"a": 1}


# The page of an error


@web.middleware
async def page(request, handler):
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=f"page of {error.status}")
    except RuntimeError:
        return web.Response(status=500, text="page of an error")


@on_each_loop
async def test_a_middleware_around_ours_makes_the_page_and_the_cookie_goes_out_with_it():
    async def lost(request):
        (await get_session(request))["a"] = 1
        raise web.HTTPNotFound

    async def fails(request):
        session = await get_session(request)
        session["a"] = 2
        session.sign_out()
        raise RuntimeError

    async with Shop(before=[page], lost=lost, fails=fails) as shop:
        response = await shop.get("lost")
        assert (response.status, response.text_is) == (404, "page of 404")
        assert len(response.headers.getall("Set-Cookie")) == 1
        assert await shop.fields() == {"a": 1}
        response = await shop.get("fails")
        assert (response.status, response.text_is) == (500, "page of an error")
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert await shop.fields() is None


@on_each_loop
async def test_aiohttps_own_page_of_a_500_clears_the_cookie_of_a_session_that_was_ended():
    async def fails(request):
        session = await get_session(request)
        session.sign_out()
        session["a"] = 2
        raise RuntimeError

    async with Shop(fails=fails) as shop:
        await shop.visitor(user="ada")
        response = await shop.get("fails")
        assert response.status == 500
        assert "Max-Age=0" in response.headers["Set-Cookie"]


# What users of aiohttp-session write


@on_each_loop
async def test_the_example_of_aiohttp_session_runs_as_it_is():
    async def visited(request):
        session = await get_session(request)
        before = session["last_visit"] if "last_visit" in session else None  # noqa: SIM401 - as people write it
        session["last_visit"] = time.time()
        return web.json_response([before, session["last_visit"]])

    async with Shop(visited=visited) as shop:
        first, second = [await (await shop.get("visited")).json() for _ in range(2)]
        assert first[0] is None
        assert second[0] == first[1]


@on_each_loop
async def test_new_session_ends_the_old_one_and_what_is_set_then_is_another():
    async def login(request):
        session = await new_session(request)
        assert session.empty
        session["user"] = "ada"
        return web.Response()

    async with Shop(login=login) as shop:
        old = await shop.visitor(basket=["scarf"])
        await shop.get("login")
        assert await shop.fields() == {"user": "ada"}
        with pytest.raises(SessionGone):
            async with shop.sessions.edit(old):
                pass


@on_each_loop
async def test_the_names_of_aiohttp_session_mean_the_same():
    async def use(request):
        session = await get_session(request)
        was_new = session.new
        session["a"] = 1
        session.changed()
        assert not session.empty
        return web.json_response(was_new)

    async def leave(request):
        (await get_session(request)).invalidate()
        return web.Response()

    async with Shop(use=use, leave=leave) as shop:
        assert [await (await shop.get("use")).json() for _ in range(2)] == [True, False]
        await shop.get("leave")
        assert await shop.fields() is None


@on_each_loop
async def test_max_age_limits_one_session_as_in_aiohttp_session():
    async def login(request):
        session = await get_session(request)
        session["user"] = "ada"
        session.max_age = json.loads(request.query["max_age"])
        assert session.max_age == json.loads(request.query["max_age"])
        return web.Response()

    async def limit(request):
        return web.json_response((await get_session(request)).max_age)

    async with Shop(login=login, limit=limit, options={"idle_timeout": timedelta(hours=2)}) as shop:
        for wanted, seconds, persistent in (("300", 300, True), ("null", 7200, False)):
            cookie = (await shop.get("login", params={"max_age": wanted})).headers.get("Set-Cookie", "")
            assert ("Max-Age" in cookie) is persistent
            session = shop.sessions.open(shop.cookie)
            await shop.sessions.load(session)
            assert session.expires_at - session.last_used_at == timedelta(seconds=seconds)
            assert json.loads(await (await shop.get("limit")).text()) == json.loads(wanted)


@on_each_loop
async def test_every_way_to_look_makes_the_response_depend_on_the_cookie():
    own = {
        "new": lambda session: session.new,
        "max_age": lambda session: session.max_age,
        "empty": lambda session: session.empty,
        "invalidate": lambda session: session.invalidate(),
    }
    waits = {"load": (), "save": (), "reload": (), "take": ("absent",), "take_flashes": (), "is_live": ()}
    assert ways_to_look(AiohttpSession) == {*LOOKS, *own, *waits, "changed"}

    async def look(request):
        session, way = await get_session(request), request.query["way"]
        if way in waits:
            await getattr(session, way)(*waits[way])
        else:
            own[way](session)
        return web.Response()

    async with Shop(look=look) as shop:
        for way in (*own, *waits):
            assert (await shop.get("look", params={"way": way})).headers["Vary"] == "Cookie", way


@on_each_loop
async def test_a_form_without_a_token_of_its_session_is_refused():
    async def form(request):
        return web.Response(text=(await get_session(request)).csrf_token())

    async def post(request):
        return web.json_response(await check_csrf(request, (await request.post()).get("csrf_token")))

    async with Shop(form=form, post=post) as shop:
        token = (await shop.get("form")).text_is
        for data, headers, good in (
            ({"csrf_token": token}, {}, True),
            ({}, {"X-CSRF-Token": token}, True),
            ({"csrf_token": "x" * 86}, {}, False),
            ({}, {}, False),
        ):
            async with shop.client.post("/post", data=data, headers=headers) as response:
                assert await response.json() is good
        assert await (await shop.get("post")).json() is True
        assert await (await shop.get("post", headers={hdrs.UPGRADE: "websocket"})).json() is False


# Setting up


@on_each_loop
async def test_what_is_set_up_wrong_is_told():
    async def early(request):
        await get_session(request)

    app = web.Application()
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    setup(app, sessions)
    with pytest.raises(ConfigurationError, match="call setup once"):
        setup(app, sessions)
    with pytest.raises(ConfigurationError, match="sweep_every"):
        setup(web.Application(), sessions, sweep_every=timedelta(0))
    with pytest.raises(ConfigurationError, match="AsyncSessions, not a Sessions"):
        setup(web.Application(), Sessions(MemoryStore(), secret=SECRET))
    with pytest.raises(ConfigurationError, match="call setup"):
        await early(make_mocked_request("GET", "/"))


@on_each_loop
async def test_the_manager_is_shut_down_with_the_application_unless_others_use_it():
    for shutdown in (True, False):
        app, closed = web.Application(), []
        sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)

        async def close(closed=closed):
            closed.append(1)

        sessions.store.close = close
        setup(app, sessions, shutdown=shutdown)
        runner = web.AppRunner(app)
        await runner.setup()
        await runner.cleanup()
        assert bool(closed) is shutdown
