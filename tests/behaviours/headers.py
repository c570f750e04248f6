"""What the response says: its cookie, Vary and Cache-Control (design: "HTTP"; R-20, R-26, R-40, R-41)."""

from __future__ import annotations

import warnings

import pytest

from coatcheck.config import CookieSettings
from coatcheck.errors import InsecureTransportWarning
from coatcheck.session import Session
from tests.behaviours.app import LOOKS, ways_to_look
from tests.behaviours.site import DAY, HOUR, OpenSite, Site

__all__ = ["Headers"]


class Headers:
    """A response has one session cookie at most, the application's own cookies, and what keeps caches from mixing up visitors."""

    def test_the_cookie_has_safe_attributes_by_default_and_lasts_as_long_as_the_browser(
        self, site: Site
    ) -> None:
        reply = site.play("set a 1")
        (line,) = reply.all("set-cookie")
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        assert name == "__Host-session"
        assert len(value) == 86
        assert value.replace("-", "").replace("_", "").isalnum()
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]

    def test_a_permanent_sessions_cookie_lasts_as_long_as_its_absolute_limit(self, site: Site) -> None:
        browser = site.browser()
        reply = browser.play("set a 1", "permanent")
        assert f"Max-Age={90 * DAY:.0f}" in _attributes(site.cookies_in(reply)[0])
        site.advance(DAY)
        assert f"Max-Age={89 * DAY:.0f}" in _attributes(site.cookies_in(browser.play("rotate"))[0])
        assert browser.play("get a").all("set-cookie") == []
        reply = browser.play("permanent off")
        assert not any(part.startswith("Max-Age") for part in _attributes(site.cookies_in(reply)[0]))
        reply = browser.play("permanent", "sign_in ada")
        assert f"Max-Age={90 * DAY:.0f}" in _attributes(site.cookies_in(reply)[0])

    def test_setting_and_clearing_have_the_same_attributes(self, open_site: OpenSite) -> None:
        for cookie in (
            CookieSettings(),
            CookieSettings(name="sid"),
            CookieSettings(domain="shop.example"),
            CookieSettings(path="/play"),
            CookieSettings(samesite="Strict"),
            CookieSettings(samesite="None", partitioned=True),
        ):
            site = open_site(cookie=cookie)
            browser = site.browser("set b 1")
            (setting,) = site.cookies_in(browser.play("permanent"))
            (clearing,) = site.cookies_in(browser.play("sign_out"))
            assert clearing.startswith(f"{site.name}=;")
            assert "Max-Age=0" in _attributes(clearing)
            assert _lasting(setting) == _lasting(clearing)
            assert browser.cookies == {}
            expected = {f"SameSite={cookie.samesite}", f"Path={cookie.path}", "Secure", "HttpOnly"}
            assert expected <= set(_lasting(setting))
            assert _lasting(setting).count("Partitioned") == int(cookie.partitioned)
            assert (f"Domain={cookie.domain}" in _lasting(setting)) is bool(cookie.domain)

    def test_whatever_a_request_does_at_most_one_cookie_of_our_name_goes_out(self, site: Site) -> None:
        for begin in ((), ("set a 1",), ("sign_in grace",)):
            for steps in (
                ("set a 1", "rotate", "sign_in ada", "flash x", "permanent"),
                ("set a 1", "save", "rotate", "save", "sign_in ada", "save", "sign_out", "flash bye"),
                ("sign_in ada", "save", "sign_out", "sign_in eve", "save", "set a 1"),
                ("sign_out", "set a 1", "sign_out", "set b 1"),
            ):
                browser = site.browser(*begin)
                reply = browser.play(*steps)
                assert len(reply.all("set-cookie")) == 1, steps
                assert site.is_live(browser)
                reply = browser.play("set a 1", "save", "rotate", "save", "sign_out")
                assert len(reply.all("set-cookie")) == 1
                assert browser.cookies == {}
        reply = site.play("set a 1", "save", "sign_out")
        assert reply.all("set-cookie") == []

    def test_the_applications_own_cookies_stay_as_they_are_each_a_line_of_its_own(self, site: Site) -> None:
        theirs = [
            "theme=dark; Path=/; Max-Age=60",
            "b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT",
            "theme=x; Path=/a",
        ]
        steps = tuple(f"header Set-Cookie: {line}" for line in theirs)
        browser = site.browser("set a 1")
        for own, number in ((("get a",), 0), (("rotate",), 1), (("sign_out",), 1), ((), 0)):
            reply = browser.twin().play(*steps, *own)
            lines = reply.all("set-cookie")
            assert [line for line in lines if not line.startswith(site.name)] == theirs
            assert len(lines) == len(theirs) + number
            browser = site.browser("set a 1")

    def test_a_cookie_of_our_name_that_the_application_set_itself_gives_way_to_ours(self, site: Site) -> None:
        reply = site.play(f"header Set-Cookie: {site.name}=theirs; Path=/", "set a 1")
        assert len(reply.all("set-cookie")) == 1
        assert "theirs" not in reply.all("set-cookie")[0]

    # Caching

    def test_vary_names_cookie_once_beside_what_the_application_named(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for theirs, expected in (
            ((), ["cookie"]),
            (("Accept",), ["accept", "cookie"]),
            (("Accept", "Accept-Language, Origin"), ["accept", "accept-language", "origin", "cookie"]),
            (("cookie",), ["cookie"]),
            (("Accept, COOKIE",), ["accept", "cookie"]),
        ):
            for step in ("get a", "set a 2"):
                reply = browser.play(*(f"header Vary: {value}" for value in theirs), step)
                assert sorted(reply.words("vary")) == sorted(expected)
        reply = browser.play("header Vary: *", "get a")
        assert reply.all("vary") == ["*"]
        assert browser.play("header Vary: Accept").words("vary") == ["accept"]

    def test_a_response_that_sets_or_clears_our_cookie_is_stored_by_nobody(self, site: Site) -> None:
        for steps in (("set a 1",), ("rotate",), ("sign_in ada",), ("permanent",), ("sign_out",)):
            for theirs, kept in (
                ((), []),
                (("public, max-age=60",), ["max-age=60"]),
                (("Public", "S-MaxAge=60, must-revalidate"), ["must-revalidate"]),
                (("private, max-age=0",), ["private", "max-age=0"]),
                (("no-cache",), ["no-cache"]),
                (("No-Store, private",), ["private"]),
            ):
                browser = site.browser("set b 1")
                reply = browser.play(*(f"header Cache-Control: {value}" for value in theirs), *steps)
                assert len(site.cookies_in(reply)) == (steps != ("set a 1",))
                if site.cookies_in(reply):
                    assert sorted(reply.words("cache-control")) == sorted([*kept, "no-store"])
                    assert reply.all("expires") == ["Thu, 01 Jan 1970 00:00:00 GMT"]

    def test_cache_control_is_left_alone_where_no_cookie_goes_out(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for steps in ((), ("get a",), ("set a 2",)):
            reply = browser.play("header Cache-Control: public, max-age=60", *steps)
            assert reply.all("cache-control") == ["public, max-age=60"]

    def test_the_list_of_the_ways_to_look_is_complete(self) -> None:
        assert ways_to_look(Session) == set(LOOKS)

    def test_a_response_depends_on_the_cookie_in_whatever_way_its_session_was_looked_at(
        self, open_site: OpenSite
    ) -> None:
        site = open_site()
        for way in LOOKS:
            slid = site.browser("set k v")
            site.advance(2 * HOUR)
            visitors = {
                "anonymous": site.browser(),
                "there": site.browser("set k v", "flash x"),
                "signed in": site.browser("set k v", "sign_in ada"),
                "sliding": slid,
            }
            for kind, browser in visitors.items():
                reply = browser.play(f"look {way}")
                assert (reply.status, reply.raised) == (200, None), (way, kind)
                assert "cookie" in reply.words("vary"), (way, kind)

    def test_what_was_looked_at_shows_also_where_the_handler_failed_or_the_session_was_saved_before(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        for steps in (
            ("set a 2", "save"),
            ("load",),
            ("take a",),
            ("take_flashes",),
            ("is_live",),
            ("reload",),
        ):
            assert "cookie" in browser.play(*steps).words("vary"), steps
        assert "cookie" in browser.play("get a", "status 500").words("vary")
        assert "cookie" in browser.play("get a", "status 304").words("vary")

    # Plain http

    def test_the_first_cookie_on_plain_http_warns_once_and_names_the_setting(self, site: Site) -> None:
        with pytest.warns(InsecureTransportWarning, match="insecure_http=True") as caught:
            assert len(site.cookies_in(site.play("set a 1", secure=False))) == 1
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "Secure" in _attributes(site.cookies_in(site.play("set a 1", secure=False))[0])

    def test_neither_https_nor_a_response_without_our_cookie_warns(self, site: Site) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert site.play("get a", secure=False).status == 200
            assert len(site.cookies_in(site.play("set a 1"))) == 1  # the warning would be an error, and a 500

    def test_insecure_http_takes_a_plain_name_and_no_secure_and_does_not_warn(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(insecure_http=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            browser = site.browser()
            (line,) = browser.play("set a 1", secure=False).all("set-cookie")
            assert line.startswith("coatcheck=")
            assert sorted(_attributes(line)) == ["HttpOnly", "Path=/", "SameSite=Lax"]
            assert browser.play("get a", secure=False).result == "1"


def _attributes(line: str) -> list[str]:
    return line.split("; ")[1:]


def _lasting(line: str) -> list[str]:
    """The attributes that say where a cookie belongs."""
    return [part for part in _attributes(line) if not part.lower().startswith(("max-age", "expires"))]
