"""Quart's own ways: the mapping, messages, settings, views that fail or whose client leaves, and two layers."""

import asyncio
import warnings

import pytest
import quart
from markupsafe import Markup

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, Session, StoreError
from coatcheck.frameworks import asgi
from coatcheck.frameworks.quart import QuartSession, SessionInterface, session
from coatcheck.stores.memory import AsyncMemoryStore
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.frameworks.quart_apps import DOWN, House
from tests.loops import on_each_loop


@on_each_loop
async def test_quarts_session_is_a_session_of_ours_also_through_the_proxy():
    house = House()

    async def view():
        assert isinstance(quart.session, Session)
        session["list"] = []
        session["list"].append(1)
        session.modified = True  # what Quart's documentation tells people to set
        assert await session.save()
        assert (await session.is_live(), session.new, session.modified) == (True, False, True)
        session.sign_in("ada")
        return await session.take("list")

    house.get(view)
    answer = await house.ask()
    assert answer.body == b'{"list":[1]}\n'
    assert [info.current for info in await house.sessions.of_user("ada")] == [False]


@on_each_loop
async def test_views_without_await_run_in_threads_and_use_the_session_too():
    house = House()

    def view():
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    house.get(view)
    cookie = (await house.ask()).cookie
    assert (await house.ask("/", cookie)).body == b"2"


@on_each_loop
async def test_a_view_loads_the_session_where_the_interface_loads_on_demand():
    house = House(interface={"load": "on_demand"})

    async def view():
        await session.load()
        return str(session.get("a"))

    house.get(view)
    cookie = await house.visitor(a=1)
    assert (await house.ask("/", cookie)).body == b"1"


@on_each_loop
async def test_each_flashed_message_is_shown_once_with_its_category_and_markup():
    house = House()

    async def flash():
        await quart.flash("one", "error")
        await quart.flash(Markup("<b>two</b>"))
        return "flashed"

    async def show():
        return await quart.render_template_string(
            "{% for category, text in get_flashed_messages(with_categories=true) %}{{ category }} {{ text }}, {% endfor %}"
        )

    house.get(flash, "/flash")
    house.get(show)
    cookie = (await house.ask("/flash")).cookie
    house.clock.advance(1)
    await house.ask("/flash", cookie)
    shown = b"error one, message <b>two</b>, "
    assert (await house.ask("/", cookie)).body == shown * 2
    assert (await house.ask("/", cookie)).body == b""


@on_each_loop
async def test_messages_of_parallel_requests_are_all_kept():
    house, both = House(), asyncio.Barrier(2)

    async def flash():
        await quart.flash("hello")
        await both.wait()
        return "flashed"

    house.get(flash)
    cookie = await house.visitor(a=1)
    await asyncio.gather(house.ask("/", cookie), house.ask("/", cookie))
    session = house.sessions.open(cookie)
    assert len(await house.sessions.take_flashes(session)) == 2


# Settings


def cookie_of(app):
    return app.extensions["coatcheck"].middleware().sessions.settings


def test_quarts_own_settings_count_also_those_changed_later():
    house = House({"SESSION_COOKIE_NAME": "own", "PERMANENT_SESSION_LIFETIME": 3600})
    assert cookie_of(house.app).template.name == "own"
    assert cookie_of(house.app).remember_idle.total_seconds() == 3600
    house.app.config["SESSION_COOKIE_SAMESITE"] = "Strict"
    assert cookie_of(house.app).cookie.samesite == "Strict"
    assert house.sessions.settings.template.name == "__Host-session"


@pytest.mark.parametrize(
    "config", [{"SESSION_COOKIE_SAMESITE": "None"}, {"SESSION_COOKIE_HTTPONLY": False}], ids=str
)
def test_a_setting_that_contradicts_ours_is_refused_when_the_application_is_built(config):
    with pytest.raises(ConfigurationError):
        House(config, cookie=CookieSettings(samesite="Strict"))


@on_each_loop
async def test_an_interface_that_was_assigned_and_not_set_up_is_refused():
    app = quart.Quart("bare")
    app.session_interface = SessionInterface(AsyncSessions(AsyncMemoryStore(), secret=SECRET))
    with pytest.raises(ConfigurationError, match="init_app"):
        async with app.test_request_context("/"):
            pass


@on_each_loop
async def test_setting_up_again_replaces_the_manager():
    house = House()
    other = AsyncSessions(AsyncMemoryStore(), secret=SECRET, cookie=CookieSettings(name="other"))
    SessionInterface(other).init_app(house.app)

    async def view():
        session["a"] = 1
        return "put"

    house.get(view)
    assert (await house.ask()).cookie.startswith(b"other=")


# Failing


async def leaves(exchange, reached):
    """Serve a request whose client leaves as soon as its view has got so far."""
    serving = exchange.start()
    async with asyncio.timeout(PATIENCE):
        await reached.wait()
        exchange.incoming.put_nowait({"type": "http.disconnect"})
        await serving


@on_each_loop
async def test_a_view_whose_client_leaves_stores_nothing_but_endings():
    house, reached = House(), asyncio.Event()

    async def view():
        session["a"] = 2
        if "end" in quart.request.args:
            session.sign_out()
        reached.set()
        await asyncio.Event().wait()

    house.get(view)
    cookie = await house.visitor(a=1)
    await leaves(house.exchange("/", cookie), reached)
    assert await house.fields(cookie) == {"a": 1}
    reached.clear()
    await leaves(house.exchange("/", cookie, query_string=b"end=1"), reached)
    assert await house.fields(cookie) is None


@on_each_loop
async def test_a_stream_whose_client_leaves_has_stored_what_it_did():
    house, reached = House(), asyncio.Event()

    async def view():
        session["a"] = 2

        @quart.stream_with_context
        async def body():
            session["a"] = 3
            yield b"first"
            reached.set()
            await asyncio.Event().wait()

        return body()

    house.get(view)
    cookie = await house.visitor(a=1)
    await leaves(house.exchange("/", cookie), reached)
    assert await house.fields(cookie) == {"a": 3}


@on_each_loop
async def test_a_handler_of_the_applications_own_may_drop_the_changes():
    house = House()

    @house.app.errorhandler(LookupError)
    async def sorry(_):
        if "drop" in quart.request.args:
            await session.fail()
        return "sorry", 409

    async def view():
        session["a"] = 2
        raise LookupError

    house.get(view)
    cookie = await house.visitor(a=1)
    answer = await house.ask("/", cookie, query_string=b"drop=1")
    assert (answer.status, await house.fields(cookie)) == (409, {"a": 1})
    answer = await house.ask("/", cookie)
    assert (answer.status, await house.fields(cookie)) == (409, {"a": 2})


@on_each_loop
async def test_an_outage_is_a_503_also_in_debug_mode_and_never_runs_the_page_for_500():
    house, ran = House(), []

    @house.app.errorhandler(500)
    async def sorry(_):
        ran.append("page")
        return "sorry", 500

    async def view():
        return str(session.get("a"))

    house.get(view)
    cookie = await house.visitor(a=1)
    house.store.fail("load", error=DOWN)
    for debug in (False, True):
        house.app.debug = debug
        answer = await house.ask("/", cookie)
        assert answer.status == 503
        assert answer.headers(b"retry-after") != []
    assert ran == []


@on_each_loop
async def test_the_applications_own_page_for_an_outage_stands_also_where_it_came_first():
    async def out_of_order(error):
        return "back in a moment", 503, {"Retry-After": str(error.retry_after)}

    house = House(first=lambda app: app.register_error_handler(StoreError, out_of_order))

    async def view():
        return str(session.get("a"))

    house.get(view)
    cookie = await house.visitor(a=1)
    house.store.fail("load", error=DOWN)
    answer = await house.ask("/", cookie)
    assert (answer.status, answer.body) == (503, b"back in a moment")


# Two layers


@on_each_loop
async def test_inside_another_layer_of_ours_both_have_one_session():
    house = House()

    async def view():
        assert isinstance(session._get_current_object(), QuartSession)
        await quart.flash("from inside")
        session["inside"] = session["outside"]
        return "put"

    house.get(view)

    async def site(scope, receive, send):
        scope["session"]["outside"] = 1
        await house.app(scope, receive, send)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = await Exchange(asgi.SessionMiddleware(site, house.sessions)).run()
    assert await house.fields(answer.cookie) == {"outside": 1, "inside": 1}
