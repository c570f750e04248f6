"""Quart-Auth, with the user in the session."""

import pytest
import quart
from quart_auth import (
    AuthUser,
    Unauthorized,
    authenticated_client,
    current_user,
    login_required,
    login_user,
    logout_user,
    renew_login,
)

from coatcheck.frameworks.quart import session
from coatcheck.frameworks.quart_auth import SessionAuth
from tests.frameworks.quart_apps import DOWN, House, sent
from tests.loops import on_each_loop


def house_of_users(**interface):
    house = House(insecure_http=True, interface=interface)
    house.app.secret_key = "quart's own"  # QuartAuth's tokens would need it
    SessionAuth(house.app)

    async def login():
        login_user(AuthUser("ada"), remember="remember" in quart.request.args)
        return "in"

    async def logout():
        logout_user()
        return "out"

    async def renew():
        renew_login()
        return "renewed"

    @login_required
    async def me():
        return current_user.auth_id

    async def plain():
        return "plain"

    for view in (login, logout, renew, me, plain):
        house.get(view, f"/{view.__name__}")

    @house.app.errorhandler(Unauthorized)
    async def refused(_):
        return "sign in first", 401

    return house


@on_each_loop
async def test_a_copied_cookie_is_dead_after_the_logout():
    house = house_of_users()
    login = await house.ask("/login")
    assert [line.partition(b"=")[0] for line in login.headers(b"set-cookie")] == [b"coatcheck"]
    copied = login.cookie
    assert (await house.ask("/me", copied)).body == b"ada"
    assert [info.user for info in await house.sessions.of_user("ada")] == ["ada"]
    assert (await house.ask("/logout", copied)).status == 200
    assert (await house.ask("/me", copied)).status == 401
    assert await house.sessions.of_user("ada") == []


@on_each_loop
async def test_a_login_changes_the_secret_and_is_permanent_where_it_says_so():
    house = house_of_users()
    planted = await house.visitor(a=1)
    for query, permanent in ((b"", False), (b"remember=1", True), (b"", False)):
        login = await house.ask("/login", planted, query_string=query)
        assert login.cookie != planted
        assert (b"Max-Age" in login.headers(b"set-cookie")[0]) is permanent
        planted = login.cookie


@on_each_loop
async def test_renewing_a_login_makes_it_permanent():
    house = house_of_users()
    cookie = (await house.ask("/login")).cookie
    assert b"Max-Age" in (await house.ask("/renew", cookie)).headers(b"set-cookie")[0]


@on_each_loop
async def test_a_view_that_asks_for_no_user_never_looks_at_the_session():
    house = house_of_users()
    cookie = (await house.ask("/login")).cookie
    answer = await house.ask("/plain", cookie)
    assert answer.headers(b"vary") == answer.headers(b"set-cookie") == []


@on_each_loop
async def test_quart_auths_own_test_client_is_signed_in_only_within_its_block():
    house = house_of_users()
    client = house.app.test_client()
    async with authenticated_client(client, "ada"):
        assert await (await client.get("/me")).get_data() == b"ada"
    assert (await client.get("/me")).status_code == 401
    assert await house.sessions.count() == 0


@on_each_loop
async def test_a_session_that_was_signed_in_otherwise_is_the_current_user():
    house = house_of_users()

    async def other():
        session.sign_in("ada")
        return "in"

    house.get(other, "/other")
    assert (await house.ask("/me", (await house.ask("/other")).cookie)).body == b"ada"


@on_each_loop
async def test_a_socket_knows_its_user_and_one_that_does_not_ask_never_loads_the_session():
    house = house_of_users(load="on_demand")
    asks = True

    async def socket():
        await quart.websocket.accept()
        if asks:
            await session.load()
            await quart.websocket.send(current_user.auth_id)

    house.socket(socket)
    cookie = await house.visitor(user="ada")
    async with house.connection(cookie) as (exchange, serving):
        assert (await sent(exchange, "websocket.send"))["text"] == "ada"
        await serving
    asks, raised = False, []
    note = lambda app, exception: raised.append(exception)
    quart.got_websocket_exception.connect(note, house.app)
    house.store.fail("load", error=DOWN)
    async with house.connection(cookie) as (exchange, serving):
        await serving
    assert exchange.sent[-1]["type"] == "websocket.close"
    assert raised == []


@on_each_loop
async def test_a_login_that_quart_auth_refuses_signs_nobody_in():
    house = house_of_users()
    ended = []

    async def socket():
        with pytest.raises(RuntimeError, match="request context"):
            login_user(AuthUser("ada"))
        ended.append(session.user)

    house.socket(socket)
    async with house.connection() as (_, serving):
        await serving
    assert ended == [None]
    assert await house.sessions.of_user("ada") == []
