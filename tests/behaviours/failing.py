"""Handlers that raise: only endings and explicit saves are stored, whatever the framework answers (design: 12, 23)."""

from __future__ import annotations

import pytest

from coatcheck.errors import StoreUnavailable
from tests.behaviours.client import Browser
from tests.behaviours.site import HOUR, Site

__all__ = ["ErrorPages", "Failing"]

LOST = StoreUnavailable("the test says so", ambiguous=False)


class Failing:
    """If a handler raises, only its explicit saves and the ending of its session are stored."""

    @pytest.mark.promise("23")
    def test_a_handler_that_raises_writes_nothing(self, site: Site) -> None:
        browser = site.browser("set a 1", "list l")
        before = site.record_of(browser)
        site.advance(2 * HOUR)
        for steps in (
            ("set a 2", "push l x", "flash x", "delete a"),
            ("rotate",),
            ("sign_in ada",),
            ("permanent",),
            ("push_unstorable l",),
        ):
            site.forget()
            reply = browser.play(*steps, "raise")
            assert reply.status == 500
            assert "write" not in site.asked
            assert reply.all("set-cookie") == []
        assert site.record_of(browser) == before

    @pytest.mark.promise("12", "23")
    def test_a_handler_that_ends_the_session_and_raises_has_ended_it(self, site: Site) -> None:
        for end in ("destroy", "sign_out", "clear"):
            browser = site.browser("set a 1", "sign_in ada")
            late = browser.twin()
            assert browser.play("set a 2", end, "set b 1", "raise").status == 500
            assert not site.is_live(late)
            assert site.sessions.of_user("ada") == []

    @pytest.mark.promise("23")
    def test_what_was_saved_before_the_handler_raised_stays(self, site: Site) -> None:
        browser = site.browser("set a 1")
        assert browser.play("set a 2", "save", "set a 3", "raise").status == 500
        assert browser.play("get a").result == "2"

    @pytest.mark.promise("23")
    def test_an_error_that_the_handler_returned_is_a_response_like_any_other(self, site: Site) -> None:
        for status in (302, 404, 500, 503):
            browser = Browser(site.send)
            reply = browser.play("set a 1", f"status {status}")
            assert reply.status == status
            assert len(site.cookies_in(reply)) == 1
            assert browser.play("get a").result == "1"

    @pytest.mark.promise("12", "20", "23")
    def test_a_sign_out_that_cant_be_stored_while_the_handler_raises_leaves_its_error_alone(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("write", error=LOST, times=1)
        reply = browser.play("sign_out", "raise")
        assert reply.status == 500
        assert site.is_live(browser)

    @pytest.mark.promise("20", "23")
    def test_a_store_that_fails_while_the_handler_raises_leaves_the_error_alone(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("load", error=LOST)
        reply = browser.play("?get a", "raise")
        assert reply.status == 500
        assert reply.all("set-cookie") == []


class ErrorPages:
    """The framework's own error page, which it sends after a handler has raised.

    For frameworks that catch what a handler raises. The page of the application under test sets the field ``page``.
    """

    @pytest.mark.promise("23")
    def test_the_page_of_a_failed_request_stores_nothing_and_sends_no_cookie(self, site: Site) -> None:
        browser = site.browser("set a 1")
        before = site.record_of(browser)
        for visitor in (browser, site.browser()):
            for steps in (("set a 2",), ("sign_in ada",), ("permanent", "flash x"), ()):
                site.forget()
                reply = visitor.play(*steps, "raise")
                assert (reply.status, reply.body) == (500, b"sorry"), steps
                assert reply.all("set-cookie") == []
                assert reply.words("vary") == ["cookie"]
                assert "write" not in site.asked
        assert site.record_of(browser) == before
        assert site.sessions.count() == 1

    @pytest.mark.promise("12", "23")
    def test_the_page_of_a_failed_request_clears_the_cookie_of_the_session_that_it_ended(
        self, site: Site
    ) -> None:
        for steps in (
            ("sign_out",),
            ("set a 2", "destroy", "set b 1"),
            ("sign_out", "sign_in grace"),
            ("sign_out", "push_unstorable l"),
        ):
            browser = site.browser("set a 1", "sign_in ada")
            late = browser.twin()
            reply = browser.play(*steps, "raise")
            assert (reply.status, reply.body) == (500, b"sorry"), steps
            assert len(site.cookies_in(reply)) == 1
            assert browser.cookies == {}
            assert "no-store" in reply.words("cache-control")
            assert not site.is_live(late)
            assert site.sessions.count() == 0

    @pytest.mark.promise("23")
    def test_the_page_of_a_failed_request_carries_the_cookie_of_what_it_had_saved(self, site: Site) -> None:
        for begin in ((), ("set c 1",)):
            for steps in (
                ("sign_in ada",),
                ("sign_in ada", "save", "rotate"),
                ("sign_in ada", "rotate"),
            ):
                browser = site.browser(*begin)
                reply = browser.play("set a 1", *steps, "save", "set b 2", "flash x", "raise")
                assert (reply.status, reply.body) == (500, b"sorry"), steps
                assert len(site.cookies_in(reply)) == 1
                assert browser.play("user", "get a", "get b", "get page", "peek").results == [
                    *("ada", "1", None, None, []),
                ]

    @pytest.mark.promise("12", "23")
    def test_the_page_of_a_failed_request_keeps_the_last_that_was_saved_or_ended(self, site: Site) -> None:
        browser = site.browser("set a 1", "sign_in ada")
        reply = browser.play("sign_out", "save", "set b 1", "save", "set c 1", "raise")
        assert len(site.cookies_in(reply)) == 1
        assert browser.play("user", "names").results == [None, ["b"]]
        reply = browser.play("set b 2", "save", "sign_out", "raise")
        assert len(site.cookies_in(reply)) == 1
        assert browser.cookies == {}
        assert site.sessions.count() == 0
