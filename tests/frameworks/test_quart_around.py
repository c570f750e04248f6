"""What Quart's users have around the session: blueprints, background tasks, streams, mounts, and other interfaces."""

import asyncio

import pytest
import quart
from quart.sessions import SecureCookieSessionInterface
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from coatcheck import RequestOver
from coatcheck.frameworks.quart import session
from coatcheck.frameworks.starlette import SessionMiddleware
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.frameworks.quart_apps import House
from tests.loops import on_each_loop


def house_of_a_blog():
    """The login of a blog: its user is looked up before each request, and its id stands in the session."""
    users = {1: "ada"}
    blueprint = quart.Blueprint("auth", __name__, url_prefix="/auth")

    @blueprint.before_app_request
    async def load_user():
        quart.g.user = users.get(quart.session.get("user_id"))

    @blueprint.get("/login")
    async def login():
        if quart.request.args["name"] != "ada":
            await quart.flash("Wrong name.", "error")
            return quart.redirect(quart.url_for("index"))
        quart.session.clear()
        quart.session["user_id"] = 1
        await quart.flash("Welcome.")
        return quart.redirect(quart.url_for("index"))

    @blueprint.get("/logout")
    async def logout():
        quart.session.clear()
        return quart.redirect(quart.url_for("index"))

    async def index():
        page = "{{ g.user }}{% for c, m in get_flashed_messages(with_categories=true) %} {{ c }}: {{ m }}{% endfor %}"
        return await quart.render_template_string(page)

    house = House(identity="user_id")
    house.app.register_blueprint(blueprint)
    house.app.add_url_rule("/", "index", index)
    return house


@on_each_loop
async def test_a_blogs_login_signs_in_and_its_logout_kills_a_copied_cookie():
    house = house_of_a_blog()
    wrong = await house.ask("/auth/login", query_string=b"name=eve")
    assert (await house.ask("/", wrong.cookie)).body == b"None error: Wrong name."
    cookie = (await house.ask("/auth/login", wrong.cookie, query_string=b"name=ada")).cookie
    assert cookie != wrong.cookie
    assert len(await house.sessions.of_user("1")) == 1
    assert (await house.ask("/", cookie)).body == b"ada message: Welcome."
    assert (await house.ask("/", cookie)).body == b"ada"
    await house.ask("/auth/logout", cookie)
    assert (await house.ask("/", cookie)).body == b"None"


@on_each_loop
async def test_what_a_stream_with_context_changes_is_stored_when_it_ends():
    house = House()

    async def view():
        session["before"] = 1

        @quart.stream_with_context
        async def chunks():
            yield b"one"
            session["after"] = quart.request.path
            yield b"two"

        return chunks(), {"Content-Type": "text/event-stream"}

    house.get(view)
    answer = await house.ask()
    assert answer.body == b"onetwo"
    assert await house.fields(answer.cookie) == {"before": 1, "after": "/"}


@on_each_loop
async def test_a_background_task_reads_the_session_and_is_told_that_it_can_no_longer_change_it():
    house = House()
    answered, seen = asyncio.Event(), asyncio.Queue()

    async def view():
        session["a"] = 1

        @quart.copy_current_request_context
        async def later():
            await answered.wait()
            try:
                session["a"] = session["a"] + 1
            except BaseException as error:  # noqa: BLE001 - it is looked at below
                seen.put_nowait(error)

        house.app.add_background_task(later)
        return "put"

    house.get(view)
    answer = await house.ask()
    answered.set()
    async with asyncio.timeout(PATIENCE):
        assert isinstance(await seen.get(), RequestOver)
    assert await house.fields(answer.cookie) == {"a": 1}
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*house.app.background_tasks)


@pytest.mark.parametrize("outside", [True, False])
@on_each_loop
async def test_under_a_mount_of_starlettes_it_shares_the_session_of_the_site_or_has_its_own(outside):
    house = House()

    async def view():
        session["inside"] = quart.url_for("/")
        await quart.flash("from Quart")
        return "inside"

    async def index(request):
        request.session["outside"] = 1
        messages = [flash.message for flash in await request.session.take_flashes()]
        return PlainTextResponse(",".join(messages))

    house.get(view)
    site = Starlette(routes=[Mount("/shop", house.app), Route("/", index)])
    if outside:
        site.add_middleware(SessionMiddleware, sessions=house.sessions)
        first = await Exchange(site, "/").run()
        cookie = first.cookie
    else:
        cookie = b""
    answer = await Exchange(site, "/shop/", cookies=[cookie]).run()
    assert (answer.status, answer.body) == (200, b"inside")
    cookie = cookie or answer.cookie
    expected = {"inside": "/shop/"} | ({"outside": 1} if outside else {})
    assert await house.fields(cookie) == expected
    if outside:
        assert (await Exchange(site, "/", cookies=[cookie]).run()).body == b"from Quart"


@on_each_loop
async def test_an_application_that_took_another_interface_later_fails_as_it_does_without_ours():
    house = House()

    async def view():
        quart.session["a"] = 1
        raise ZeroDivisionError

    house.get(view)
    house.app.secret_key = "of Quart"
    house.app.session_interface = SecureCookieSessionInterface()
    assert (await house.ask()).status == 500
    assert await house.sessions.count() == 0
