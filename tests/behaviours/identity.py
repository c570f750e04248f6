"""Code that signs in and out by a field of the session, without `sign_in` (design: `identity`, `clear`)."""

from __future__ import annotations

from functools import partial

import pytest

from coatcheck.testing import Race
from tests.behaviours.outage import DOWN
from tests.behaviours.site import OpenSite

__all__ = ["Identity"]


@pytest.mark.promise("V")
class Identity:
    """With ``identity="id"``, setting the field to another value signs in, and removing it signs out."""

    def test_a_login_by_a_field_has_a_new_secret_and_the_session_is_the_users(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(identity="id")
        browser = site.browser("set basket pear")
        planted = browser.twin()
        assert len(site.cookies_in(browser.play("set id 7"))) == 1
        assert browser.play("user", "get basket").results == ["7", "pear"]
        assert planted.play("user", "get basket").results == [None, None]
        assert [info.user for info in site.sessions.of_user("7")] == ["7"]
        assert site.sessions.revoke_user("7") == 1
        assert not site.is_live(browser)

    @pytest.mark.parametrize("logout", ["pop id", "delete id", "clear", "set id "])
    def test_a_logout_ends_the_session_for_whoever_copied_the_cookie(
        self, open_site: OpenSite, logout: str
    ) -> None:
        site = open_site(identity="id")
        browser = site.browser("set basket pear", "set id 7")
        thief = browser.twin()
        reply = browser.play(logout, "flash bye")
        assert reply.status == 200
        assert not site.is_live(thief)
        assert browser.play("user", "get basket", "peek").results == [None, None, ["bye"]]
        # And whoever logs in next in this browser has another token than before.
        browser.play("set id 8")
        assert thief.play("user").result is None
        assert browser.play("user").result == "8"

    def test_clear_and_a_new_field_are_a_login_under_a_new_token(self, open_site: OpenSite) -> None:
        site = open_site(identity="id")
        browser = site.browser("set planted 1")
        attacker = browser.twin()
        assert browser.play("clear", "set id 7").status == 200
        assert browser.play("user", "get planted").results == ["7", None]
        assert attacker.play("user", "get planted").results == [None, None]

    def test_a_late_login_by_a_field_does_not_undo_a_logout(self, open_site: OpenSite) -> None:
        site = open_site(identity="id")
        browser = site.browser("set id 7")
        with Race() as race, site.hold() as gate:
            late = race.start("late", partial(site.send, browser.request("is_new", "set id 8")))
            gate.wait()
            browser.play("clear")
            gate.open()
            reply = late.result()
        assert (reply.status, site.cookies_in(reply)) == (200, [])
        assert site.sessions.count() == 0

    def test_a_handler_that_raises_is_logged_out_by_a_field_and_never_in(self, open_site: OpenSite) -> None:
        site = open_site(identity="id")
        browser = site.browser("set id 7")
        assert browser.play("set id 8", "raise").status == 500
        assert browser.play("user").result == "7"
        assert browser.play("pop id", "raise").status == 500
        assert not site.is_live(browser)

    def test_while_the_store_is_down_nobody_logs_in_or_out(self, open_site: OpenSite) -> None:
        for outage in ("closed", "anonymous"):
            site = open_site(identity="id", outage=outage)
            browser = site.browser("set id 7")
            cookies = dict(browser.cookies)
            site.failing.fail("load", "write", error=DOWN)
            for step in ("pop id", "delete id", "clear", "set id 8", "set id "):
                reply = browser.play(step)
                assert reply.status == 503, (outage, step)
                assert reply.all("set-cookie") == []
            site.failing.recover()
            assert browser.cookies == cookies
            assert browser.play("user").result == "7"

    def test_a_value_that_names_nobody_is_an_error_and_changes_nothing(self, open_site: OpenSite) -> None:
        site = open_site(identity="id")
        browser = site.browser("set a 1")
        reply = browser.play("?unstorable id", "get id")
        assert (reply.results, site.is_live(browser)) == (["TypeError", None], True)
