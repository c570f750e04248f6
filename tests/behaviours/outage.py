"""What a store that fails does to a request (design: 20)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coatcheck.config import OutagePolicy
from coatcheck.errors import StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.testing.wrappers import Method
from tests.behaviours.site import HOUR, OpenSite, Site

__all__ = ["Outage"]

DOWN = StoreUnavailable("the test says so")


class Outage:
    """A store that can't be reached is never an empty session."""

    def test_while_the_store_is_down_a_request_that_needs_its_session_gets_a_503(self, site: Site) -> None:
        browser = site.browser("set a 1", "sign_in ada")
        cookies = dict(browser.cookies)
        for error in (DOWN, StoreTimeout("the test says so", ambiguous=False)):
            site.failing.fail("load", "write", error=error)
            for steps in (
                ("get a",),
                ("set a 2",),
                ("sign_out",),
                ("sign_in ada",),
                ("peek",),
                ("is_new",),
                ("load",),
            ):
                reply = browser.play(*steps)
                assert reply.status == 503, steps
                assert reply.raised is None
                assert reply.all("set-cookie") == []
                assert [int(seconds) for seconds in reply.all("retry-after")] == [error.retry_after]
                assert "no-store" in reply.words("cache-control")
            site.failing.recover()
        assert browser.cookies == cookies
        assert browser.play("user", "get a").results == ["ada", "1"]

    def test_while_the_store_is_down_the_log_says_so_once(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("load", "write", error=DOWN)
        for _ in range(3):
            assert browser.play("get a").status == 503
            assert site.browser().play("set a 1").status == 503
        told = [record for record in caplog.records if record.name == "coatcheck"]
        assert [(record.levelname, record.getMessage()) for record in told] == [
            ("WARNING", f"The session store fails: {DOWN}")
        ]

    def test_while_the_store_is_down_what_does_not_need_the_session_is_answered(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("load", "write", error=DOWN)
        assert browser.play().status == 200
        assert site.is_silent(browser.play())
        assert site.play("get a").result is None  # without a cookie there is nothing to ask

    def test_a_write_that_fails_at_the_end_gets_a_503_and_no_cookie(self, site: Site) -> None:
        for error in (DOWN, StoreFull("the test says so"), StoreReadOnly("the test says so")):
            browser, new = site.browser("set a 1"), site.browser()
            cookies = dict(browser.cookies)
            site.failing.fail("write", error=error)
            for visitor in (browser, new):
                for steps in (("set a 2",), ("sign_in ada",), ("set a 2", "stream", "get a")):
                    reply = visitor.play(*steps)
                    assert reply.status == 503, steps
                    assert reply.raised is None
                    assert reply.all("retry-after")
                    assert reply.all("set-cookie") == []
            assert browser.cookies == cookies
            assert browser.play("get a").result == "1"  # reading goes on
            site.failing.recover()
            assert browser.play("get a").result == "1"

    def test_the_503_has_nothing_of_the_response_that_it_stands_for(self, site: Site) -> None:
        site.failing.fail("write", error=DOWN)
        theirs = ("header Set-Cookie: theme=dark", "header X-Mine: 1", "header Cache-Control: public")
        reply = site.play("set a 1", *theirs, "status 201")
        assert reply.status == 503
        assert reply.all("x-mine") == reply.all("set-cookie") == []
        assert reply.words("cache-control") == ["no-store"]
        assert reply.words("content-type") == ["text/plain; charset=utf-8"]
        assert b"null" not in reply.body

    def test_a_slide_that_fails_fails_no_request(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.advance(2 * HOUR)
        site.failing.fail("write", error=DOWN)
        site.forget()
        assert browser.play("get a").result == "1"
        assert site.told == ["unavailable"]

    def test_a_handler_that_catches_the_error_can_answer_by_itself(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("load", error=DOWN)
        reply = browser.play("?get a", "?set a 2", "?sign_out", "header X-Mine: 1")
        assert reply.status == 200
        assert reply.results[:3] == ["StoreUnavailable"] * 3
        assert reply.all("x-mine") == ["1"]
        assert reply.all("set-cookie") == []
        site.failing.recover()
        assert browser.play("get a").result == "1"

    def test_a_handler_that_looks_again_after_the_outage_was_answered_does_not_make_it_worse(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("load", error=DOWN)
        assert browser.play("?get a", "get a").status == 503

    def test_with_the_policy_anonymous_the_visitor_reads_an_empty_session_and_nothing_is_written(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(outage="anonymous")
        browser = site.browser("set a 1", "sign_in ada", "flash hello")
        cookies = dict(browser.cookies)
        site.failing.fail("load", "write", error=DOWN)
        site.forget()
        reply = browser.play("get a", "user", "is_new", "peek", "names")
        assert reply.results == [None, None, True, [], []]
        assert site.told == ["unavailable"]
        assert reply.words("vary") == ["cookie"]
        site.forget()
        reply = browser.play("set a 2", "get a", "flash x", "set b 1")
        assert (reply.status, reply.results[1]) == (200, "2")
        assert reply.all("set-cookie") == []
        assert site.told == ["unavailable", "dropped"]
        for step in ("sign_in ada", "sign_out", "destroy", "clear", "rotate", "save"):
            reply = browser.play(step)
            assert reply.status == 503, step
            assert reply.all("set-cookie") == []
        site.failing.recover()
        assert browser.cookies == cookies
        assert browser.play("user", "get a", "peek").results == ["ada", "1", ["hello"]]

    def test_with_the_policy_anonymous_a_write_that_fails_is_still_no_success(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(outage="anonymous")
        browser = site.browser("set a 1")
        site.failing.fail("write", error=DOWN)
        assert browser.play("set a 2").status == 503
        assert site.play("set a 2").status == 503

    def test_the_policy_may_differ_by_path_and_the_longest_prefix_counts(self, open_site: OpenSite) -> None:
        cases: list[tuple[dict[str, OutagePolicy], bool]] = [
            ({"/play": "anonymous"}, True),
            ({"/": "anonymous"}, True),
            ({"/": "closed", "/play": "anonymous"}, True),
            ({"/play": "closed", "/": "anonymous"}, False),
            ({"/pl": "anonymous", "/player": "anonymous", "/play/": "anonymous"}, False),
            ({}, False),
        ]
        for outage, tolerant in cases:
            site = open_site(outage=outage)
            browser = site.browser("set a 1")
            cookies = dict(browser.cookies)
            site.failing.fail("load", "write", error=DOWN)
            reply = browser.play("get a", "set a 2")
            if tolerant:
                assert (reply.status, reply.results[0]) == (200, None), outage
                assert browser.play("sign_in ada").status == 503
            else:
                assert (reply.status, reply.all("retry-after")) == (503, ["1"]), outage
            assert reply.all("set-cookie") == []
            site.failing.recover()
            assert browser.cookies == cookies
            assert browser.play("get a").result == "1"

    def test_the_path_that_chooses_the_policy_is_the_one_within_the_application(
        self, open_site: OpenSite
    ) -> None:
        cases: list[tuple[dict[str, OutagePolicy], int]] = [
            ({"/play": "anonymous"}, 200),
            ({"/shop/play": "anonymous", "/shop": "anonymous"}, 503),
        ]
        for outage, status in cases:
            site = open_site(outage=outage)
            browser = site.browser("set a 1")
            site.failing.fail("load", error=DOWN)
            reply = site.send(replace(browser.request("get a"), mount="/shop"))
            assert reply.status == status, (outage, reply.body, reply.raised)
            site.failing.recover()

    def test_a_500_that_the_application_makes_of_an_outage_is_a_503(self, open_site: OpenSite) -> None:
        cases: list[tuple[OutagePolicy, Method, tuple[str, ...]]] = [
            ("closed", "load", ("?get a",)),
            ("closed", "load", ("?set a 2",)),
            ("closed", "load", ("?save",)),
            ("closed", "load", ("?is_live",)),
            ("closed", "write", ("set a 2", "?save")),
            ("closed", "write", ("?take a",)),
            ("anonymous", "load", ("get a", "?sign_in ada")),
            ("anonymous", "load", ("get a", "?save")),
            ("anonymous", "load", ("get a", "?is_live")),
        ]
        for outage, method, steps in cases:
            site = open_site(outage=outage)
            browser = site.browser("set a 1", "sign_in ada")
            site.failing.fail(method, error=DOWN)
            reply = browser.play(*steps, "status 500", "header X-Mine: 1")
            assert (reply.status, reply.all("retry-after")) == (503, ["1"]), (outage, method, steps)
            assert reply.all("set-cookie") == reply.all("x-mine") == []
            site.failing.recover()
            assert browser.play("user", "get a").results == ["ada", "1"]

    def test_a_500_of_the_applications_own_stays_one(self, open_site: OpenSite) -> None:
        site = open_site(outage="anonymous")
        browser = site.browser("set a 1")
        reply = browser.play("set a 2", "status 500")
        assert (reply.status, reply.all("retry-after")) == (500, [])
        site.failing.fail("load", error=DOWN)
        assert browser.play("get a", "set a 3", "status 500").status == 500
        assert browser.play("status 500").status == 500
        site.failing.recover()
        site.failing.fail("write", error=DOWN, times=1)
        # It tried again, and it was stored: what it fails by is something else.
        assert browser.play("set a 4", "?save", "save", "status 500").status == 500
        assert browser.play("get a").result == "4"
