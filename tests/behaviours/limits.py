"""How long a session lives (design: 16), and how many a user may have (design: 17)."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.testing.races import Race
from tests.behaviours.site import DAY, HOUR, OpenSite, Site

__all__ = ["Limits"]

SECOND = 1.0


class Limits:
    """Idle and absolute limits hold on the server, to the second, whatever the client does."""

    @pytest.mark.promise("16")
    def test_a_session_ends_when_it_was_idle_for_its_idle_limit_to_the_second(self, site: Site) -> None:
        for steps, limit in ((("set a 1",), DAY), (("set a 1", "permanent"), 30 * DAY)):
            dead, alive = site.browser(*steps), site.browser(*steps)
            site.advance(limit - SECOND)
            assert alive.play("get a").result == "1"
            site.advance(SECOND)
            site.forget()
            reply = dead.play("get a", "is_new", "user")
            assert reply.results == [None, True, None]
            assert reply.all("set-cookie") == []
            assert site.told == ["expired"]
            assert alive.play("get a").result == "1"
            dead.play("sign_out")
            assert len(site.cookies_in(dead.play("set a 2"))) == 1
            assert dead.play("names").result == ["a"]

    @pytest.mark.promise("16")
    def test_a_session_that_is_used_all_the_time_ends_at_its_absolute_limit_to_the_second(
        self, site: Site
    ) -> None:
        for steps, days in ((("set a 1",), 30), (("set a 1", "permanent"), 90), (("sign_in ada",), 30)):
            browser = site.browser(*steps)
            for _ in range(days * 2 - 1):
                site.advance(DAY / 2)
                assert not browser.play("is_new").result
            browser.play("set b 1", "rotate")  # nothing but a sign-in moves it
            site.advance(DAY / 2 - SECOND)
            assert not browser.play("is_new", "set c 1").results[0]
            site.advance(SECOND)
            assert browser.play("is_new").result

    @pytest.mark.promise("16")
    def test_signing_in_starts_a_new_life(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for _ in range(58):
            site.advance(DAY / 2)
            browser.play("get a")
        browser.play("sign_in ada")
        for _ in range(59):
            site.advance(DAY / 2)
            assert browser.play("user").result == "ada"
        site.advance(DAY / 2 - SECOND)
        assert site.is_live(browser)
        site.advance(SECOND)
        assert not site.is_live(browser)

    @pytest.mark.promise("4")
    def test_looking_at_the_times_of_a_session_does_not_prolong_it(self, site: Site) -> None:
        browser = site.browser("set a 1")
        ends = browser.play("expires_at").result
        site.advance(20 * HOUR)
        site.forget()
        reply = browser.play("look created_at", "look signed_in_at", "look last_used_at", "expires_at")
        assert (reply.results[3], site.asked) == (ends, ["load"])
        assert reply.words("vary") == ["cookie"]
        # Any other look is a use.
        browser.play("expires_at", "user")
        assert browser.play("expires_at").result == site.clock() + DAY

    @pytest.mark.promise("16")
    def test_expires_at_tells_the_nearer_limit(self, site: Site) -> None:
        browser = site.browser("set a 1")
        start = site.clock()
        assert browser.play("expires_at").result == start + DAY
        for _ in range(59):
            site.advance(DAY / 2)
            browser.play("get a")
        assert browser.play("expires_at").result == start + 30 * DAY
        browser.play("permanent")
        assert browser.play("expires_at").result == site.clock() + 30 * DAY

    @pytest.mark.promise("16")
    def test_becoming_permanent_and_no_longer_so_changes_the_limits_at_once(self, site: Site) -> None:
        browser = site.browser("set a 1")
        browser.play("permanent")
        site.advance(20 * DAY)
        assert browser.play("is_permanent").result is True
        browser.play("permanent off")
        site.advance(DAY - SECOND)
        assert site.is_live(browser)
        site.advance(DAY)
        assert not site.is_live(browser)

    @pytest.mark.promise("16")
    def test_the_limits_in_force_count_also_where_a_record_was_stored_with_longer_ones(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        stricter = site.another(idle_timeout=timedelta(minutes=10))
        site.advance(600)
        header = browser.request().cookies
        assert stricter.play("is_new", cookies=header).result is True
        assert site.play("is_new", cookies=header).result is False

    @pytest.mark.promise("16")
    def test_a_reply_that_a_client_keeps_sending_does_not_outlive_the_record(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(idle_timeout=timedelta(hours=2))
        browser = site.browser("set a 1", "permanent off")
        old = browser.request("get a")
        for _ in range(10):
            site.advance(HOUR)
            assert site.send(old).result == "1"
        site.advance(2 * HOUR)
        assert site.send(old).result is None
        site.sessions.sweep()
        assert site.sessions.count() == 0

    # How many

    @pytest.mark.promise("17")
    def test_a_sign_in_beyond_the_limit_ends_the_session_that_signed_in_longest_ago(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(max_sessions_per_user=2)
        first, second, third = site.browser("set a 1"), site.browser(), site.browser()
        grace, anonymous = site.browser("sign_in grace"), site.browser("set a 1")
        for browser in (first, second):
            browser.play("sign_in ada")
            site.advance(1)
        for steps in (("get a",), ("rotate",), ("set b 2",)):
            first.play(*steps)  # no use of it makes it newer
        assert site.is_live(first, as_user="ada")
        late = first.request("set late 1")
        site.forget()
        third.play("sign_in ada")
        assert site.told == ["revoked", "created", "signed_in"]
        assert [site.is_live(browser) for browser in (first, second, third)] == [False, True, True]
        reply = site.send(late)
        assert (reply.status, site.cookies_in(reply)) == (200, [])
        site.advance(1)
        second.play("sign_in ada")  # it is the newest now
        site.advance(1)
        first.play("sign_in ada")
        assert [site.is_live(browser) for browser in (first, second, third)] == [True, True, False]
        assert site.is_live(grace, as_user="grace")
        assert site.is_live(anonymous)

    @pytest.mark.promise("17")
    def test_of_many_sign_ins_at_once_as_many_stand_as_may_and_they_are_the_newest(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(max_sessions_per_user=3)
        old = [site.browser("sign_in ada") for _ in range(3)]
        site.advance(1)
        browsers = [site.browser("set a 1") if number % 2 else site.browser() for number in range(20)]
        with Race() as race:
            for browser in browsers:
                race.start("sign-in", partial(browser.play, "sign_in ada"))
        lives = site.store.sessions_of("ada", site.clock.now_ms, 100, None, time.monotonic() + 10)
        assert len(lives) == 3
        keys = sorted(site.token_of(browser).key for browser in browsers)
        assert {life.key for life in lives} == set(keys[:3])  # all in one millisecond: by their keys
        assert sum(site.is_live(browser, as_user="ada") for browser in browsers) == 3
        assert not any(site.is_live(browser) for browser in old)

    @pytest.mark.promise("17")
    def test_a_sign_in_that_can_not_be_brought_under_the_limit_is_not_answered_and_leaves_nothing(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(max_sessions_per_user=1)
        device = site.browser("sign_in ada")
        for browser in (site.browser("set a 1"), site.browser()):
            site.advance(1)
            site.failing.fail("sessions_of", error=StoreUnavailable("the test says so"))
            reply = browser.play("sign_in ada")
            assert (reply.status, reply.all("set-cookie")) == (503, [])
            site.failing.recover()
            assert site.is_live(device, as_user="ada")
            assert (
                len(site.store.sessions_of("ada", site.clock.now_ms, 100, None, time.monotonic() + 10)) == 1
            )
            site.advance(1)
            browser.play("sign_in ada")
            assert not site.is_live(device)
            device = browser
