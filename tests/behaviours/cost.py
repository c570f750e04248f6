"""What a request costs: calls of the store, and headers (design: 1 to 5)."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import ClassVar

import pytest

from tests.behaviours.site import DAY, HOUR, MINUTE, OpenSite, Site

__all__ = ["Cost"]

PEEKS = ("is_new", "len", "names", "get a", "user", "handle", "peek", "repr", "is_permanent", "?get a")


class Cost:
    """A request makes only the store calls that its work needs."""

    untouched: ClassVar[tuple[str, ...]] = ()
    """What a request with a cookie asks the store before its handler runs: ("load",) where it loads eagerly."""

    @pytest.mark.promise("1")
    def test_a_request_that_never_touches_its_session_asks_the_store_nothing_and_adds_no_header(
        self, site: Site
    ) -> None:
        for browser in (site.browser(), site.browser("set a 1"), site.browser("sign_in ada")):
            cookies = bool(browser.cookies)
            site.advance(2 * HOUR)  # a slide would be due
            site.forget()
            reply = browser.play()
            assert (reply.status, reply.results) == (200, [])
            assert site.is_silent(reply)
            assert site.asked == [*self.untouched] * cookies
            assert site.told == []

    @pytest.mark.promise("2")
    def test_a_request_that_only_reads_loads_once_and_writes_nothing(self, site: Site) -> None:
        browser = site.browser("set a 1", "mixed m", "sign_in ada", "flash hello", "csrf")
        site.forget()
        reply = browser.play("get a", "get a", "get m", "csrf", *PEEKS)
        assert reply.results[0] == "1"
        assert site.asked == ["load"]
        assert reply.all("set-cookie") == reply.all("cache-control") == []
        assert reply.words("vary") == ["cookie"]

    @pytest.mark.promise("5")
    def test_a_visitor_without_a_cookie_is_read_without_the_store(self, site: Site) -> None:
        reply = site.play(*PEEKS)
        assert reply.status == 200
        assert site.asked == []
        assert reply.all("set-cookie") == []
        assert reply.words("vary") == ["cookie"]

    @pytest.mark.promise("3")
    def test_a_request_that_changes_things_however_many_loads_once_and_writes_once(self, site: Site) -> None:
        browser = site.browser("set a 1", "list l", "set gone 1")
        site.forget()
        browser.play(
            "set a 2", "set b 2", "push l 1", "delete gone", "flash x", "csrf", "permanent", "rotate"
        )
        assert site.asked == ["load", "write"]
        record = site.record_of(browser)
        assert record is not None
        assert {"a", "b", "l"} <= record.fields.keys()

    @pytest.mark.promise("3")
    def test_the_first_write_of_a_visitor_only_writes(self, site: Site) -> None:
        site.browser("get a", "set a 1", "set b 1")
        assert site.asked == ["write"]

    @pytest.mark.promise("3")
    def test_signing_in_costs_one_call_more_than_a_write_at_most(self, site: Site) -> None:
        browser = site.browser("set a 1")
        index = ["note"] if site.store.index == "beside" else []
        site.forget()
        browser.play("sign_in ada", "set b 1")
        assert site.asked == ["load", "write", *index]

    @pytest.mark.promise("8")
    def test_setting_what_is_there_already_writes_nothing(self, site: Site) -> None:
        browser = site.browser("set a 1", "mixed m")
        site.forget()
        browser.play("set a 1", "mixed m", "permanent off")
        assert site.asked == ["load"]

    @pytest.mark.promise("3")
    def test_a_save_in_the_middle_is_not_written_again_at_the_end(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.forget()
        browser.play("set a 2", "list l", "save", "get l")
        assert site.asked == ["load", "write"]

    @pytest.mark.promise("4")
    def test_sliding_writes_once_per_tenth_of_the_idle_limit_or_hour_however_many_requests_come(
        self, open_site: OpenSite
    ) -> None:
        for idle, due in (
            (timedelta(minutes=10), MINUTE),
            (timedelta(hours=10), HOUR),
            (timedelta(hours=24), HOUR),
        ):
            site = open_site(idle_timeout=idle)
            browser = site.browser("set a 1")
            for _ in range(3):
                site.forget()
                site.advance(due - 0.001)
                browser.play("get a")
                browser.play()
                assert site.asked == ["load", *self.untouched]
                site.advance(0.001)
                reply = browser.play("get a")
                assert site.asked[-2:] == ["load", "write"]
                assert reply.all("set-cookie") == reply.all("cache-control") == []
                site.forget()
                for _ in range(5):
                    browser.play("get a")
                assert site.asked == ["load"] * 5

    @pytest.mark.promise("4")
    def test_four_hours_of_a_request_a_minute_slide_once_an_hour(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.forget()
        for _ in range(4 * 60):
            site.advance(MINUTE)
            browser.play("get a")
        assert site.asked.count("write") == 4
        assert site.asked.count("load") == 4 * 60
        site.advance(DAY - 1)
        assert site.is_live(browser)

    @pytest.mark.promise("4")
    def test_a_write_slides_along(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.advance(2 * HOUR)
        site.forget()
        browser.play("set a 2")
        browser.play("get a")
        assert site.asked == ["load", "write", "load"]

    @pytest.mark.promise("5")
    def test_no_kind_of_anonymous_visit_stores_anything(self, site: Site) -> None:
        expired = site.browser("set a 1")
        site.advance(2 * DAY)
        gone = site.browser("set a 1")
        left = gone.twin()
        gone.play("sign_out")
        site.sessions.sweep()
        stored = site.sessions.count()
        headers = (
            None,
            b"",
            f"{site.name}=".encode(),
            f"{site.name}={'A' * 86}".encode(),
            f"{site.name}={'x' * 86}; other=1".encode(),
            b"\xff\xfe; ;;=",
            expired.request().cookies,
            left.request().cookies,
        )
        visits = (
            ("is_new", "get a", "names"),
            ("sign_out",),
            ("destroy",),
            ("clear",),
            ("take_flashes", "peek"),
            ("pop a", "?delete a"),
            ("permanent", "rotate"),
            ("set a 1", "delete a"),
            ("flash x", "take_flashes"),
        )
        site.forget()
        for header, steps in itertools.product(headers, visits):
            reply = site.play(*steps, cookies=header)
            assert reply.status == 200, (header, steps, reply.raised)
            assert reply.all("set-cookie") == []
        assert "write" not in site.asked
        # Only what we signed is looked up.
        ours = {site.token_of(expired).key, site.token_of(left).key}
        assert {key for call in site.calls for key in call.args[0]} <= ours  # type: ignore[attr-defined]
        assert site.sessions.count() == stored == 0
