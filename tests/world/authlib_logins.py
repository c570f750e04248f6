"""What Authlib's demos promise in each framework: OpenID Connect's login, and a logout that forgets the user."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from coatcheck.testing import Race
from tests.world.logins import Browser, Logins
from tests.world.provider import CLIENT_ID, CLIENT_SECRET, WithProvider

__all__ = ["AuthlibLogins"]


class AuthlibLogins(WithProvider, Logins):
    """``/login``, ``/auth`` and ``/logout``; ``/`` shows the claims about the user."""

    IDENTITY = ("user", lambda user: user["sub"])
    FORGETS_OLDER_LOGINS = False
    """Whether Authlib's client for this framework itself forgets a login that another tab has begun before."""

    def registered(self, oauth: Any) -> Any:
        """`oauth` with the provider, under the name that the demos use."""
        oauth.register(
            name="google",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            server_metadata_url=f"{self.provider.url}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid email profile"},
        )
        return oauth

    def begin(self, browser: Browser) -> str:
        """Click on "log in": where the provider asks for consent."""
        return browser.get("/login").headers["location"]

    def come_back(self, browser: Browser, there: str, who: str) -> None:
        assert browser.get(self.provider.consent(there, who)).headers["location"] == "/"

    def log_in(self, browser: Browser, who: str) -> None:
        self.come_back(browser, self.begin(browser), who)

    def log_out(self, browser: Browser) -> None:
        assert browser.get("/logout").headers["location"] == "/"

    def shown(self, browser: Browser) -> str | None:
        user = browser.get("/").json()
        if user is None:
            return None
        assert user["email"] == f"{user['sub'].removesuffix('-1')}@example.com"
        return user["sub"].removesuffix("-1")

    @pytest.mark.parametrize("named", [False, True])
    def test_two_tabs_that_begin_at_the_same_time_can_both_finish(self, open_site, named):
        site, browser = open_site(self.IDENTITY if named else None)
        browser.get("/basket/pear")
        # Both read the session before either of them is stored.
        with Race() as race, site.store.hold("write", "before") as gate:
            first = race.start("first tab", partial(self.begin, browser.twin()))
            gate.wait()
            second = self.begin(browser.twin())
            gate.open()
            tabs = [first.result(), second]
        assert tabs[0] != tabs[1]
        for there in tabs:
            self.come_back(browser, there, "ada")
            assert self.shown(browser) == "ada"
        assert browser.get("/basket/x").json() == ["pear", "x"]
        assert self.users_of(site, "ada") == (["ada-1"] if named else [])

    @pytest.mark.parametrize("named", [False, True])
    def test_a_tab_that_began_before_another(self, open_site, named):
        _, browser = open_site(self.IDENTITY if named else None)
        browser.get("/basket/pear")
        first, second = self.begin(browser), self.begin(browser)
        self.come_back(browser, second, "ada")
        if self.FORGETS_OLDER_LOGINS:
            refused = browser.get(self.provider.consent(first, "ada"))
            assert "mismatching_state" in refused.text
        else:
            self.come_back(browser, first, "ada")
        assert self.shown(browser) == "ada"

    def test_another_account_in_the_second_tab_is_another_users_login(self, site, browser):
        self.log_in(browser, "ada")
        browser.get("/basket/pear")
        old, there = browser.twin(), self.begin(browser)
        self.come_back(browser, there, "bob")
        assert (self.shown(old), self.shown(browser)) == (None, "bob")
        assert browser.get("/basket/x").json() == ["x"]
        assert (self.users_of(site, "ada"), self.users_of(site, "bob")) == ([], ["bob-1"])

    def test_the_state_of_one_browser_is_no_other_ones(self, site, browser):
        browser.get("/basket/pear")
        attacker = browser.another()
        there = self.begin(attacker)
        answer = browser.get(self.provider.consent(there, "bob"))
        assert "mismatching_state" in answer.text
        assert self.shown(browser) is None

    def test_a_login_that_was_begun_leaves_nothing_behind(self, site, browser):
        self.log_in(browser, "ada")
        info = site.sync.of_user("ada-1")[0]
        with site.sync.edit(info.handle) as session:
            assert set(session) == {"user"}
