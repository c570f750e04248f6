"""What Litestar's users have around the session: its login, guards, CSRF protection, server-sent events."""

from dataclasses import dataclass
from typing import Any

import litestar
import pytest
from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody
from litestar.response import ServerSentEvent
from litestar.security.session_auth import SessionAuth
from litestar.testing import TestClient

from coatcheck import AsyncSessions
from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin
from coatcheck.stores.memory import AsyncMemoryStore
from tests.behaviours.site import SECRET
from tests.frameworks.litestar_apps import House, visits
from tests.loops import on_each_loop


@dataclass
class User:
    id: str
    name: str


@dataclass
class Login:
    name: str


USERS = {"1": User("1", "ada")}


async def user_of(session: dict[str, Any], connection: ASGIConnection) -> User | None:
    return USERS.get(session.get("user_id", ""))


@litestar.post("/login")
async def login(data: JSONBody[Login], request: litestar.Request) -> User:
    for user in USERS.values():
        if user.name == data.name:
            request.set_session({"user_id": user.id})
            return user
    raise NotAuthorizedException


@litestar.post("/logout")
async def logout(request: litestar.Request) -> None:
    request.clear_session()


@litestar.get("/user", sync_to_thread=False)
def user(request: litestar.Request[User, dict[str, Any], Any]) -> User:
    return request.user


@pytest.mark.parametrize("listed", [True, False])
def test_a_login_by_session_auth_needs_no_change_but_the_plugin(listed):
    """Also where the plugin is only the configuration of `SessionAuth`, and not in the list of plugins."""
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, identity="user_id", insecure_http=True)
    plugin = SessionPlugin(sessions)
    auth = SessionAuth[User, Any](
        retrieve_user_handler=user_of, session_backend_config=plugin, exclude=["/login", "/schema"]
    )
    plugins = [plugin] if listed else []
    app = litestar.Litestar([login, logout, user], on_app_init=[auth.on_app_init], plugins=plugins)
    with TestClient(app) as browser:
        assert browser.get("/user").status_code == 401
        assert browser.post("/login", json={"name": "eve"}).status_code == 401
        assert browser.post("/login", json={"name": "ada"}).json() == {"id": "1", "name": "ada"}
        assert browser.get("/user").json() == {"id": "1", "name": "ada"}
        copied = dict(browser.cookies)
        assert browser.post("/logout").status_code == 201
        assert browser.get("/user").status_code == 401
        browser.cookies.update(copied)
        assert browser.get("/user").status_code == 401


@on_each_loop
async def test_a_guard_reads_the_session():
    def signed_in(connection: ASGIConnection, _: BaseRouteHandler) -> None:
        if connection.session.user is None:
            raise NotAuthorizedException

    @litestar.get("/", guards=[signed_in])
    async def page(session: CurrentSession) -> str:
        return session.user

    house = House(page)
    assert (await house.ask()).status == 401
    assert (await house.ask("/", await house.visitor(user="ada"))).body == b"ada"


@on_each_loop
async def test_litestars_own_csrf_protection_stands_beside_the_session():
    @litestar.post("/")
    async def add(session: CurrentSession) -> int:
        session["visits"] += 1
        return session["visits"]

    house = House(visits, add, app=lambda _: {"csrf_config": CSRFConfig(secret="of Litestar")})
    page = await house.ask()
    cookies = [line.partition(b";")[0] for line in page.headers(b"set-cookie")]
    assert sorted(cookie.partition(b"=")[0] for cookie in cookies) == [b"__Host-session", b"csrftoken"]
    (token,) = [cookie.partition(b"=")[2] for cookie in cookies if cookie.startswith(b"csrftoken")]
    sent = [(b"host", b"shop.example"), (b"cookie", b"; ".join(cookies))]
    assert (await house.ask(method="POST", headers=sent)).status == 403
    answer = await house.ask(method="POST", headers=[*sent, (b"x-csrftoken", token)])
    assert (answer.status, answer.body) == (201, b"2")


@on_each_loop
async def test_a_stream_of_events_stores_what_it_changes_and_learns_that_the_session_has_ended():
    @litestar.get("/")
    async def events(session: CurrentSession) -> ServerSentEvent:
        session["watching"] = True

        async def news():
            yield "first"
            session["seen"] = "first"
            await session.save()
            await house.sessions.revoke_user("ada")
            while await session.is_live():
                yield "second"

        return ServerSentEvent(news())

    house = House(events)
    cookie = await house.visitor(user="ada")
    answer = await house.ask("/", cookie)
    assert answer.status == 200
    assert answer.body.split() == [b"data:", b"first"]
    assert (await house.seen(cookie)).is_new


def test_preparing_what_is_there_already_sets_no_cookie_again():
    house = House(visits, insecure_http=True)
    with TestClient(house.app, session_config=house.plugin) as client:
        client.set_session_data({"visits": 1})
        cookies = dict(client.cookies)
        client.set_session_data({"visits": 1})
        assert dict(client.cookies) == cookies
        assert client.get("/").json() == 2
