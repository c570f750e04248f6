"""What every program that has a login promises its visitors once its sessions are ours."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import PausingStore
from coatcheck.testing.shim import awaitable
from tests.behaviours.site import without_turns

BASE = "https://site.test"


class Managers:
    """The managers of one site on one store."""

    def __init__(self, identity: object, **more: Any) -> None:
        self.store = PausingStore(MemoryStore())
        options = {"secret": secrets.token_urlsafe(32), "identity": identity, **more}
        self.sync = without_turns(Sessions(self.store, **options))
        self.asynchronous = AsyncSessions(awaitable(self.store), **options)


class Browser:
    """A browser, whose redirects the test follows itself."""

    def __init__(self, app: Any, *, wsgi: bool, jar: httpx.Cookies | None = None) -> None:
        self.app, self.wsgi, self.jar = app, wsgi, httpx.Cookies(jar)

    def get(self, path: str) -> httpx.Response:
        return self._send("GET", path)

    def post(self, path: str, **form: str) -> httpx.Response:
        return self._send("POST", path, data=form)

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        if self.wsgi:
            with httpx.Client(
                transport=httpx.WSGITransport(self.app), base_url=BASE, cookies=self.jar
            ) as client:
                answer = client.request(method, path, **how)
        else:
            answer, client = asyncio.run(self._send_in_loop(method, path, **how))
        self.jar = client.cookies
        assert answer.status_code < 500, answer.text
        return answer

    async def _send_in_loop(
        self, method: str, path: str, **how: Any
    ) -> tuple[httpx.Response, httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, cookies=self.jar) as client:
            return await client.request(method, path, **how), client

    def twin(self) -> Browser:
        """A browser with a copy of the cookies: a thief's, or whoever planted them."""
        return type(self)(self.app, wsgi=self.wsgi, jar=self.jar)

    def another(self) -> Browser:
        """A browser without a cookie."""
        return type(self)(self.app, wsgi=self.wsgi)

    @property
    def token(self) -> str | None:
        return self.jar.get("__Host-session")


class Logins:
    """The behaviours. A subclass says what the program is, and how its visitors log in and out."""

    IDENTITY: ClassVar[object]
    """What the setting must be for this program."""
    WSGI = False
    CLEARS = False
    """Whether its logout is `session.clear()`, which ends the session without the setting, too."""

    def app(self, managers: Managers) -> Any:
        """The program. ``/basket/{good}`` puts something into the session, and answers all that is in it."""
        raise NotImplementedError

    def log_in(self, browser: Browser, who: str) -> None:
        raise NotImplementedError

    def log_out(self, browser: Browser) -> None:
        raise NotImplementedError

    def shown(self, browser: Browser) -> str | None:
        """Whom the program takes the visitor for."""
        raise NotImplementedError

    def user(self, who: str) -> str:
        """The id that the field names for `who`."""
        return f"{who}-1"

    @pytest.fixture
    def open_site(self) -> Callable[[object], tuple[Managers, Browser]]:
        def open_one(identity: object) -> tuple[Managers, Browser]:
            managers = Managers(identity)
            return managers, Browser(self.app(managers), wsgi=self.WSGI)

        return open_one

    @pytest.fixture
    def opened(self, open_site) -> tuple[Managers, Browser]:
        return open_site(self.IDENTITY)

    @pytest.fixture
    def site(self, opened) -> Managers:
        return opened[0]

    @pytest.fixture
    def browser(self, opened) -> Browser:
        return opened[1]

    def users_of(self, site: Managers, who: str) -> list[str | None]:
        return [info.user for info in site.sync.of_user(self.user(who))]

    @pytest.mark.parametrize("named", [False, True])
    def test_it_logs_in_and_out_and_keeps_the_basket(self, open_site, named):
        site, browser = open_site(self.IDENTITY if named else None)
        assert self.shown(browser) is None
        browser.get("/basket/pear")
        self.log_in(browser, "ada")
        assert self.shown(browser) == "ada"
        assert browser.get("/basket/apple").json() == ["pear", "apple"]
        self.log_out(browser)
        assert self.shown(browser) is None
        self.log_in(browser, "bob")
        assert self.shown(browser) == "bob"
        assert self.users_of(site, "bob") == ([self.user("bob")] if named else [])

    @pytest.mark.parametrize("named", [False, True])
    def test_a_logout_ends_the_session_and_no_other(self, open_site, named):
        _, browser = open_site(self.IDENTITY if named else None)
        self.log_in(browser, "ada")
        browser.get("/basket/pear")
        thief, device = browser.twin(), browser.another()
        self.log_in(device, "ada")
        assert self.shown(thief) == "ada"
        self.log_out(browser)
        assert (self.shown(thief), self.shown(device)) == (None, "ada")
        # Without the setting, `pop` only removes a field.
        ended = named or self.CLEARS
        assert browser.token == (None if ended else thief.token)
        assert thief.get("/basket/x").json() == (["x"] if ended else ["pear", "x"])

    def test_a_cookie_from_before_the_login_is_worthless(self, site, browser):
        browser.get("/basket/pear")
        planted = browser.twin()
        self.log_in(browser, "ada")
        assert self.shown(planted) is None
        assert planted.get("/basket/x").json() == ["x"]
        assert (self.shown(browser), browser.get("/basket/apple").json()) == ("ada", ["pear", "apple"])

    def test_one_users_old_cookie_never_becomes_anothers(self, site, browser):
        self.log_in(browser, "ada")
        old = browser.twin()
        self.log_out(browser)
        self.log_in(browser, "bob")
        assert old.token.partition(".")[0] != browser.token.partition(".")[0]
        assert (self.shown(old), self.shown(browser)) == (None, "bob")

    def test_the_session_is_listed_and_can_be_revoked(self, site, browser):
        self.log_in(browser, "ada")
        device = browser.another()
        self.log_in(device, "ada")
        assert self.users_of(site, "ada") == [self.user("ada")] * 2
        assert self.users_of(site, "bob") == []
        assert site.sync.revoke_user(self.user("ada")) == 2
        assert (self.shown(browser), self.shown(device)) == (None, None)
