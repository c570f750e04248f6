"""Websockets: what a session is before the handshake, during the connection and after it (design: 12, 20, F-20)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.testing.wrappers import Method
from tests.behaviours.app import perform_async, query_of
from tests.behaviours.client import Browser
from tests.behaviours.site import Site

__all__ = ["Websockets", "reply_to", "talk"]

DOWN = StoreUnavailable("the test says so", ambiguous=False)


async def talk(
    query: str,
    session: Any,
    sessions: Any,
    *,
    accept: Callable[[], Awaitable[object]],
    messages: AsyncIterable[str],
    send: Callable[[str], Awaitable[object]],
) -> None:
    """What a handler does: the script of the query before the handshake, then one step for each message."""
    await perform_async(query, session, sessions)
    await accept()
    async for step in messages:
        await send(await reply_to(step, session, sessions))


async def reply_to(step: str, session: Any, sessions: Any) -> str:
    """What a message gets back: the result of its step, as JSON."""
    answer = await perform_async(query_of((step,)), session, sessions)
    assert isinstance(answer.body, list)
    return b"".join(answer.body).decode()


class Caller:
    """The client's end of a websocket."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.headers = connection.response.headers

    def ask(self, step: str) -> Any:
        """What the handler gives back for a step."""
        self._connection.send(step)
        return json.loads(self._connection.recv(timeout=60))

    def leave(self) -> None:
        self._connection.close()


@contextmanager
def call(site: Site, browser: Browser, *steps: str) -> Iterator[Caller]:
    """A websocket whose handler plays `steps` before the handshake."""
    client: Any = site.client
    with client.connect(browser.request(*steps)) as connection:
        yield Caller(connection)


class Websockets:
    """A websocket has the session of its handshake, and learns when that session has ended."""

    @pytest.mark.promise("12", "17")
    def test_a_socket_learns_that_its_session_was_revoked(self, site: Site) -> None:
        browser = site.browser("sign_in ada")
        with call(site, browser) as caller:
            assert (caller.ask("user"), caller.ask("is_live")) == ("ada", True)
            site.sessions.revoke_user("ada")
            assert caller.ask("is_live") is False

    @pytest.mark.promise("9", "H")
    def test_the_handshake_brings_the_cookie_of_what_was_put_in_before_it(self, site: Site) -> None:
        browser = site.browser()
        with call(site, browser, "set a 1", "sign_in ada") as caller:
            (line,) = [line for line in caller.headers.get_all("Set-Cookie") if line.startswith(site.name)]
            browser.cookies[site.name] = line.split(";")[0].partition("=")[2]
            assert site.is_live(browser, as_user="ada")
            assert caller.ask("get a") == "1"

    @pytest.mark.promise("H")
    def test_a_handshake_that_touches_no_session_sends_no_cookie(self, site: Site) -> None:
        for browser in (site.browser(), site.browser("set a 1")):
            with call(site, browser) as caller:
                assert caller.headers.get_all("Set-Cookie") == []

    @pytest.mark.promise("6")
    def test_what_a_socket_saves_is_stored_at_once_and_the_rest_when_its_client_leaves(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        with call(site, browser) as caller:
            caller.ask("set a 2")
            assert caller.ask("save") is True
            assert browser.play("get a").result == "2"
            caller.ask("set a 3")
            with site.hold("write", "after") as stored:
                caller.leave()
                stored.wait()
                assert browser.play("get a").result == "3"

    @pytest.mark.promise("13", "F-20")
    def test_a_sign_in_after_the_handshake_is_refused_and_the_socket_goes_on(self, site: Site) -> None:
        for browser in (site.browser(), site.browser("set a 1")):
            with call(site, browser) as caller:
                assert caller.ask("?sign_in ada") == "CannotSendCookie"
                assert caller.ask("user") is None
        assert site.sessions.of_user("ada") == []

    @pytest.mark.promise("12")
    def test_a_socket_can_end_its_session(self, site: Site) -> None:
        browser = site.browser("sign_in ada")
        with call(site, browser) as caller:
            caller.ask("sign_out")
            with site.hold("write", "after") as stored:
                caller.leave()
                stored.wait()
                assert not site.is_live(browser)

    @pytest.mark.promise("20")
    def test_a_handshake_that_needs_its_session_is_refused_while_the_store_is_down(self, site: Site) -> None:
        _is_refused(site, "load", "get a")

    @pytest.mark.promise("9", "20")
    def test_a_handshake_is_refused_when_a_change_before_it_cant_be_stored(self, site: Site) -> None:
        _is_refused(site, "write", "set a 2")


def _is_refused(site: Site, method: Method, step: str) -> None:
    from websockets.exceptions import InvalidStatus

    browser = site.browser("set a 1")
    site.failing.fail(method, error=DOWN)
    with pytest.raises(InvalidStatus) as refused, call(site, browser, step):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers.get_all("Retry-After")) == (503, ["1"])
    site.failing.recover()
    with call(site, browser) as caller:
        assert caller.ask("get a") == "1"
