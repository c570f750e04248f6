"""Every kind of request and response: methods, redirects, mounts, several Cookie headers, pages of the framework's own."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from coatcheck.errors import StoreUnavailable
from tests.behaviours.app import LOOKS
from tests.behaviours.client import Request
from tests.behaviours.site import HOUR, Site

__all__ = ["Requests"]


class Requests:
    """The session does not depend on the kind of the request, nor on how the response is made."""

    untouched: ClassVar[tuple[str, ...]]
    joins_cookies: ClassVar[bool] = False
    """Whether several Cookie headers are joined by semicolons, as HTTP/2 may split them (RFC 9113 §8.2.3)."""
    no_looks: ClassVar[frozenset[str]] = frozenset()
    """What the framework's session has of its own and that tells nothing of the visitor."""

    def test_a_head_request_stores_and_sends_what_its_get_would(self, site: Site) -> None:
        for browser in (site.browser(), site.browser("set b 1")):
            site.forget()
            reply = browser.receive(site.send(replace(browser.request("set a 1", "rotate"), method="HEAD")))
            assert reply.status == 200
            assert len(site.cookies_in(reply)) == 1
            assert reply.words("vary") == ["cookie"]
            assert browser.play("get a").result == "1"
            assert site.is_silent(site.send(replace(browser.request(), method="HEAD")))

    def test_what_the_framework_answers_by_itself_costs_nothing(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for way in ({"method": "OPTIONS"}, {"method": "DELETE"}, {"path": "/nowhere"}):
            site.advance(2 * HOUR)  # a slide would be due
            site.forget()
            reply = site.send(replace(browser.request(), **way))
            assert reply.status < 500, way
            assert (reply.all("set-cookie"), "cookie" in reply.words("vary")) == ([], False), way
            assert site.asked in ([], [*self.untouched]), way
            assert site.told == []
            browser.play("get a")

    def test_a_redirect_carries_the_cookie_whether_the_handler_returns_or_raises_it(self, site: Site) -> None:
        for leave in (("status 303", "header Location: /there"), ("leave /there",)):
            for browser in (site.browser(), site.browser("set b 1")):
                reply = browser.play("set a 1", "sign_in ada", *leave)
                assert reply.status == 303
                assert [place.endswith("/there") for place in reply.all("location")] == [True]
                assert len(site.cookies_in(reply)) == 1
                assert "no-store" in reply.words("cache-control")
                assert browser.play("user", "get a").results == ["ada", "1"]

    def test_a_redirect_ends_the_session_that_was_signed_out(self, site: Site) -> None:
        for leave in (("status 303", "header Location: /there"), ("leave /there",)):
            browser = site.browser("sign_in ada")
            late = browser.twin()
            assert browser.play("sign_out", *leave).status == 303
            assert browser.cookies == {}
            assert not site.is_live(late)

    @pytest.mark.promise("20")
    def test_a_redirect_whose_session_cant_be_stored_is_a_503(self, site: Site) -> None:
        browser = site.browser("set b 1")
        for leave in (("status 303", "header Location: /there"), ("leave /there",)):
            for visitor in (browser, site.browser()):
                site.failing.fail("write", error=StoreUnavailable("the test says so"))
                reply = visitor.play("set a 1", *leave)
                assert (reply.status, reply.all("retry-after"), reply.all("location")) == (503, ["1"], [])
                assert reply.all("set-cookie") == []
                site.failing.recover()
        assert browser.play("get a", "get b").results == [None, "1"]

    def test_a_mounted_application_shares_the_session_of_the_site(self, site: Site) -> None:
        browser = site.browser("set a 1")
        assert site.send(replace(browser.request("get a", "set b 2"), mount="/shop")).results[0] == "1"
        assert browser.play("get b").result == "2"
        browser = site.browser()
        (line,) = site.cookies_in(browser.receive(site.send(Request(("set c 1",), mount="/shop"))))
        assert "Path=/" in line.split("; ")
        assert browser.play("get c").result == "1"

    def test_several_cookie_headers_open_the_session_or_none_and_never_another(self, site: Site) -> None:
        ours, rival = (site.browser("set a 1").request().cookies for _ in range(2))
        for one, other in ((ours, b"theme=dark"), (b"theme=dark", ours)):
            reply = site.send(Request(("get a",), one, also=other))
            assert reply.status == 200
            assert reply.result == ("1" if self.joins_cookies else None)
        assert site.send(Request(("get a",), ours, also=rival)).result is None

    def test_a_response_depends_on_the_cookie_after_every_public_method_of_the_frameworks_session(
        self, site: Site
    ) -> None:
        for name in sorted(set(site.play("ways").result) - LOOKS.keys() - self.no_looks):
            for browser in (site.browser(), site.browser("set k v", "flash x")):
                reply = browser.play(f"?look {name}")
                assert (reply.status, reply.raised) == (200, None), name
                assert reply.result not in ("TypeError", "AttributeError"), name
                assert "cookie" in reply.words("vary"), name
