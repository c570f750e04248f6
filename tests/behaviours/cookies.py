"""Which cookies open a session, and which never do (design: 15, 22, "HTTP"; RFC 6265bis)."""

from __future__ import annotations

import os
import time
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coatcheck.config import CookieSettings
from coatcheck.http.token import Ring, Token
from tests.behaviours.site import DAY, SECRET, OpenSite, Site

__all__ = ["Cookies"]

# Bytes that some framework or other takes for white space or for a letter, in front of a name or behind it.
ODD_BYTES = (
    *(b"\xa0", b"\x85", b"\xc2\xa0", b"\xe2\x80\x80", b"\x0b", b"\x0c", b"\x1f", b"\xef\xbb\xbf"),
    *(b"\x00", b"\x7f", b"\xe3\x80\x80", b'"', b"\\", b"$", b",", b"%20", b"+"),
)
# Before and behind a good cookie these change nothing.
NEIGHBOURS = (
    *(
        b"",
        b";",
        b" ; ;",
        b"a=b",
        b"{bad}=x",
        b"{bad}",
        b"\xff\xfe",
        b"=",
        b"=x",
        b"=a=b",
        b"a==;",
        b'a="x',
        b'a="x;y"',
    ),
    *(
        b"a=\x00\x01",
        b"\xc3\xa9=1",
        b"$Version=1",
        b'a="\\101"',
        b"a b=c",
        b"a,b=c",
        b"\t",
        b"session=x",
        b"x" * 5_000,
    ),
)


class Cookies:
    """Only a token that Coatcheck signed is looked up in the store, and only a live session is opened."""

    largest_header: ClassVar[int] = 1 << 20
    """How long a Cookie header is tried. Some frameworks read it themselves, too, in time quadratic in it."""

    refused_bytes: ClassVar[bytes] = b""
    """The bytes that the framework or its server refuses in a header, so that no request with them gets to us."""

    def _arrives(self, header: bytes) -> bool:
        return not set(header) & set(self.refused_bytes)

    @pytest.mark.promise("15")
    def test_a_token_that_a_client_made_up_is_never_looked_up_nor_adopted(self, open_site: OpenSite) -> None:
        site = open_site()
        others = site.another(cookie=CookieSettings(name="__Host-other"))
        elsewhere = others.browser("set a 1", "sign_in ada")
        stranger = Ring(SECRET[::-1], purpose=site.name).sign(Token(os.urandom(16), os.urandom(32)))
        for planted in (
            "A" * 86,
            elsewhere.cookies[others.name],  # well-formed and alive, but of another cookie's name
            stranger,
            stranger[:-1],
            stranger + "A",
            elsewhere.cookies[others.name][:64] + stranger[64:],
        ):
            site.forget()
            browser = site.browser()
            browser.cookies[site.name] = planted
            assert browser.play("is_new", "get a", "user").results == [True, None, None]
            assert (site.asked, site.told) == ([], ["refused"])
            reply = browser.play("set a mine", "sign_in eve")
            assert len(site.cookies_in(reply)) == 1
            assert browser.cookies[site.name] != planted
            assert "load" not in site.asked
        assert others.is_live(elsewhere, as_user="ada")

    @pytest.mark.promise("15")
    def test_a_token_of_ours_whose_record_is_gone_is_not_adopted_either(self, site: Site) -> None:
        ring = site.sessions.settings.ring
        token = Token(os.urandom(16), os.urandom(32))
        expired = site.browser("set a 1")
        site.advance(2 * DAY)
        for planted, told in ((expired.cookies[site.name], ["expired"]), (ring.sign(token), [])):
            site.forget()
            browser = site.browser()
            browser.cookies[site.name] = planted
            assert browser.play("is_new", "get a").results == [True, None]
            assert site.told == told
            key = site.token_of(browser).key
            browser.play("set b 1")
            assert site.token_of(browser).key != key
            assert site.record(key) is None
            assert browser.play("names").result == ["b"]

    @pytest.mark.promise("13", "15")
    def test_a_cookie_that_was_planted_before_the_sign_in_opens_nothing_after_it(self, site: Site) -> None:
        attacker = site.browser("set a 1")
        victim = attacker.twin()
        victim.play("sign_in ada")
        assert not site.is_live(attacker)
        attacker = site.browser("sign_in eve")
        old = attacker.twin()
        attacker.play("sign_out")
        victim = old.twin()
        victim.play("sign_in ada")
        assert not site.is_live(old)
        assert site.token_of(victim).key != site.token_of(old).key

    # Duplicates

    @pytest.mark.promise("H")
    def test_of_several_cookies_exactly_one_that_lives_wins_wherever_it_stands(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(cookie=CookieSettings(domain="shop.example"))
        live, dead = site.browser("set a 1"), site.browser("set a 2")
        dead_token = dead.cookies[site.name]
        dead.play("sign_out")
        good, garbage = live.cookies[site.name], "x" * 86
        for values in (
            (good, garbage),
            (garbage, good),
            (dead_token, good),
            (good, dead_token),
            (garbage, dead_token, good, "", good),
            (good, good),
            (*(["x"] * 15), good),
        ):
            site.forget()
            assert site.play("get a", cookies=_header(site, *values)).result == "1", values
            assert site.asked == ["load"]

    @pytest.mark.promise("H", "V")
    def test_of_several_that_live_none_wins_and_signing_in_destroys_them(self, open_site: OpenSite) -> None:
        site = open_site(cookie=CookieSettings(domain="shop.example"))
        for number in (2, 3):
            rivals = [site.browser("set a 1", "sign_in eve") for _ in range(number)]
            header = _header(site, *(rival.cookies[site.name] for rival in rivals))
            site.forget()
            reply = site.play("get a", "user", "is_new", cookies=header)
            assert reply.results == [None, None, True]
            assert site.told == ["ambiguous"]
            assert reply.all("set-cookie") == []
            assert all(site.is_live(rival) for rival in rivals)
            browser = site.browser()
            reply = site.play("sign_in ada", "set b 1", cookies=header)
            assert len(site.cookies_in(reply)) == 1
            browser.receive(reply)
            assert site.is_live(browser, as_user="ada")
            assert not any(site.is_live(rival) for rival in rivals)

    @pytest.mark.promise("H")
    def test_an_old_and_a_new_cookie_of_one_session_are_that_session(self, open_site: OpenSite) -> None:
        site = open_site(cookie=CookieSettings(domain="shop.example"))
        browser = site.browser("set a 1")
        old = browser.cookies[site.name]
        browser.play("sign_in ada")
        for values in ((old, browser.cookies[site.name]), (browser.cookies[site.name], old)):
            assert site.play("user", cookies=_header(site, *values)).result == "ada"

    @pytest.mark.promise("H")
    def test_up_to_four_sessions_are_tried_and_of_more_none_counts(self, site: Site) -> None:
        browsers = [site.browser("set a 1") for _ in range(5)]
        for gone in browsers[:3]:
            site.sessions.revoke(gone.play("handle").result)
        site.advance(31)
        site.forget()
        values = [browser.cookies[site.name] for browser in browsers]
        assert site.play("get a", cookies=_header(site, *values[:4])).result == "1"
        ((keys, *_),) = [call.args for call in site.calls]
        assert len(keys) == 4  # type: ignore[arg-type]
        site.forget()
        assert site.play("is_new", cookies=_header(site, *values[:5])).result is True
        assert (site.asked, site.told) == ([], ["ambiguous"])

    @pytest.mark.promise("H")
    def test_of_more_than_twenty_cookies_of_our_name_none_counts(self, site: Site) -> None:
        value = site.browser("set a 1").cookies[site.name]
        assert site.play("get a", cookies=_header(site, *["junk"] * 19, value)).result == "1"
        site.forget()
        assert site.play("is_new", cookies=_header(site, *["junk"] * 20, value)).result is True
        assert (site.asked, site.told) == ([], ["ambiguous"])

    @pytest.mark.promise("H")
    def test_a_former_cookie_of_the_site_is_replaced_and_then_cleared(self, open_site: OpenSite) -> None:
        before = open_site()
        browser = before.browser("set a 1", "sign_in ada")
        former = (CookieSettings(name=before.name),)
        site = before.another(cookie=CookieSettings(name="__Host-other", former=former))
        assert browser.play("user").result == "ada"
        for lines in (["__Host-other="], [f"{before.name}="], []):
            reply = browser.receive(site.send(browser.request("get a", "user")))
            assert reply.results == ["1", "ada"]
            assert [line[: line.index("=") + 1] for line in reply.all("set-cookie")] == lines
        assert set(browser.cookies) == {"__Host-other"}

    # The header

    @pytest.mark.promise("H")
    def test_a_bad_neighbour_costs_nothing(self, site: Site) -> None:
        good = site.browser("set a 1").request().cookies
        assert good is not None
        for one in filter(self._arrives, NEIGHBOURS):
            for other in (b"", b"{bad}=x", b'a="x'):
                header = b"; ".join([one, good, other])
                assert site.play("get a", cookies=header).result == "1", header
        for header in (good + b";", b"\t" + good + b" \t", good.replace(b"=", b"\t=  ", 1) + b" ;"):
            assert site.play("get a", cookies=header).result == "1", header

    @pytest.mark.promise("H")
    def test_what_only_resembles_the_cookie_is_not_it(self, site: Site) -> None:
        name, _, value = (site.browser("set a 1").request().cookies or b"").partition(b"=")
        lookalikes = [
            *(odd + name + b"=" + value for odd in ODD_BYTES),
            *(name + odd + b"=" + value for odd in ODD_BYTES),
            *(name + b"=" + odd + value for odd in ODD_BYTES),
            *(name + b"=" + value + odd for odd in ODD_BYTES),
            name.swapcase() + b"=" + value,
            name.lower() + b"=" + value,
            name.removeprefix(b"__Host-") + b"=" + value,
            b"=" + name + b"=" + value,
            b"x=" + name + b"=" + value,
            b"x " + name + b"=" + value,
            name + b"==" + value,
            name + b" " + value,
            name + b'="' + value + b'"',
            b'$Version=1; x="' + name + b"=" + value + b'"',
            name + b"=" + b"".join(b"\\%03o" % byte for byte in value),
            name + b'="' + value + b'; x=1"',
            name + b"=" + value + b", " + name + b"=" + value,  # as servers join two headers
            name + b"=a, " + name + b"=" + value,
            name + b"=" + value.replace(b"-", b"+").replace(b"_", b"/") + b"==",
        ]
        for header in filter(self._arrives, lookalikes):
            site.forget()
            reply = site.play("is_new", "get a", cookies=header)
            assert reply.results == [True, None], header
            assert site.asked == [], header

    @pytest.mark.promise("H")
    def test_a_nameless_cookie_hides_nothing_and_is_nothing(self, site: Site) -> None:
        good, evil = site.browser("set a good"), site.browser("set a evil")
        forged = f"={site.name}={evil.cookies[site.name]}"
        assert (
            site.play("get a", cookies=f"{forged}; {_header(site, good.cookies[site.name])}").result == "good"
        )
        assert site.play("get a", cookies=forged).result is None

    @pytest.mark.promise("22")
    def test_no_bytes_in_the_header_are_an_exception_or_ask_the_store_for_what_is_not_ours(
        self, site: Site
    ) -> None:
        name = site.name.encode()
        good = site.browser("set a 1").cookies[site.name].encode()
        near = st.sampled_from([name, name + b"=", good, b"=", b";", b'"', b"\\", b",", b" ", b"\t", b"\xa0"])

        @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(
            st.one_of(st.binary(max_size=300), st.lists(st.one_of(near, st.binary(max_size=3))).map(b"".join))
        )
        @example(name + b"=" + good[:-1] + b"B")
        @example(name + b"=" + b"\xff" * 86)
        @example(b"\r\n\0")
        def any_header(header: bytes) -> None:
            header = header.translate(None, self.refused_bytes)
            site.forget()
            reply = site.play("is_new", cookies=header)
            assert (reply.status, reply.raised) == (200, None)
            assert reply.result is not bool(site.asked)
            assert not site.asked or good in header
            assert reply.all("set-cookie") == []

        any_header()

    @pytest.mark.promise("H")
    def test_a_huge_header_takes_time_linear_in_it(self, site: Site) -> None:
        name, size = site.name.encode(), self.largest_header
        for part in (
            b'\\"',
            b'"',
            b";",
            b"=",
            b" ",
            b"; ",
            name,
            name + b"=",
            name + b";",
            b" " + name,
            name + b"=;",
        ):
            header = (part * size)[:size]
            begin = time.process_time()
            reply = site.play("is_new", cookies=header)
            took = time.process_time() - begin
            assert reply.result is True
            assert took < 2, part  # a quadratic one takes minutes
            reply = site.play("is_new", cookies=name + b'="' + header + b'"')
            assert reply.result is True


def _header(site: Site, *values: str) -> str:
    return "; ".join(f"{site.name}={value}" for value in values)
