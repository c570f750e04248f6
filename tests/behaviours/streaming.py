"""What happens while the body streams (design: 23, "Streaming")."""

from __future__ import annotations

from coatcheck.errors import CannotSendCookie, StoreUnavailable
from coatcheck.model import codec
from coatcheck.testing.races import Race
from tests.behaviours.app import Deliberate
from tests.behaviours.site import HOUR, Site

__all__ = ["Streaming"]


class Streaming:
    """The session can be used while the response streams, unless that would need a new cookie."""

    def test_what_changes_after_the_head_left_is_stored_before_the_end_of_the_body(self, site: Site) -> None:
        browser = site.browser("set a 1", "list l")
        site.forget()
        reply = browser.play("get a", "stream", "set b 2", "push l x", "get b")
        assert not reply.broken
        assert site.journal == ["load", "head", "write", "end"]
        assert browser.play("get a", "get b", "get l").results == ["1", "2", ["x"]]

    def test_what_is_saved_during_the_stream_is_stored_at_once(self, site: Site) -> None:
        browser = site.browser("set a 1")
        with Race() as race, site.hold("load") as opening, site.hold("load") as asking:
            opening.open()
            script = ("get a", "stream", "set a 2", "save", "is_live", "set a 3")
            streaming = race.start("stream", lambda: site.send(browser.request(*script)))
            asking.wait()  # it has saved, and asks whether it still lives
            record = site.record_of(browser)
            assert record is not None
            assert record.fields["a"] == codec.encode("2")
            asking.open()
            assert streaming.result().results[-2:] == [True, None]
        assert browser.play("get a").result == "3"

    def test_a_stream_learns_that_its_session_was_ended(self, site: Site) -> None:
        browser = site.browser("set a 1", "sign_in ada")
        with Race() as race, site.hold("load") as opening, site.hold("load") as asking:
            opening.open()
            streaming = race.start("stream", lambda: site.send(browser.request("user", "stream", "is_live")))
            asking.wait()
            site.sessions.revoke_user("ada")
            asking.open()
            assert streaming.result().results == ["ada", False]

    def test_what_was_put_in_before_the_head_left_has_its_cookie_and_the_stream_can_go_on(
        self, site: Site
    ) -> None:
        for steps in (("set a 1", "stream", "set b 2"), ("set a 1", "save", "stream", "set b 2", "save")):
            browser = site.browser()
            reply = browser.play(*steps)
            assert not reply.broken
            assert len(site.cookies_in(reply)) == 1
            assert browser.play("get a", "get b").results == ["1", "2"]

    def test_what_would_need_a_new_cookie_after_the_head_left_is_an_error_and_not_stored(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        before = site.record_of(browser)
        for steps in (
            ("rotate", "set a 2"),
            ("sign_in ada", "set a 2"),
            ("permanent", "set a 2"),
        ):
            for visitor in (browser.twin(), site.browser()):
                if not visitor.cookies and "sign_in ada" not in steps:
                    continue
                reply = visitor.play("get a", "stream", *steps)
                assert reply.broke_off(CannotSendCookie), steps
                assert site.cookies_in(reply) == []
                assert site.record_of(browser) == before
        reply = site.play("get a", "stream", "set a 1")
        assert reply.broke_off(CannotSendCookie)
        assert site.sessions.count() == 1

    def test_what_the_stream_ended_is_ended_also_where_it_then_wants_a_cookie(self, site: Site) -> None:
        browser = site.browser("set a 1")
        reply = browser.play("get a", "stream", "sign_out", "flash bye")
        assert reply.broke_off(CannotSendCookie)
        assert not site.is_live(browser)
        assert site.sessions.count() == 0

    def test_a_save_that_would_need_a_new_cookie_after_the_head_left_is_an_error_there(
        self, site: Site
    ) -> None:
        reply = site.play("get a", "stream", "set a 1", "?save", "clear")
        assert reply.results[2] == "CannotSendCookie"
        assert site.sessions.count() == 0
        browser = site.browser("set a 1")
        reply = browser.twin().play("get a", "stream", "permanent", "?save", "raise")
        assert reply.results[2] == "CannotSendCookie"
        assert site.is_live(browser)

    def test_signing_in_after_the_head_left_is_refused_at_once_and_the_stream_may_go_on(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1")
        for step in ("rotate", "sign_in ada"):
            for visitor in (browser, site.browser()):
                reply = visitor.play("get a", "stream", f"?{step}", "get a")
                assert "CannotSendCookie" in reply.results, reply.results
                assert not reply.broken
                assert site.cookies_in(reply) == []
        assert site.is_live(browser)
        assert site.sessions.count() == 1

    def test_a_stream_can_end_its_session(self, site: Site) -> None:
        browser = site.browser("set a 1")
        reply = browser.play("get a", "stream", "sign_out")
        assert (reply.status, reply.broken) == (200, False)
        assert not site.is_live(browser)

    def test_a_stream_that_raises_writes_nothing_but_that_it_ended_its_session(self, site: Site) -> None:
        browser = site.browser("set a 1", "list l")
        before = site.record_of(browser)
        for steps in (
            ("set a 2",),
            ("push_unstorable l",),
            ("?rotate",),
            ("?sign_in ada",),
        ):
            reply = browser.play("get a", "stream", *steps, "raise")
            assert reply.broke_off(Deliberate), (steps, reply.raised)
            assert site.record_of(browser) == before
        for ended in (("sign_out",), ("sign_out", "?rotate"), ("set a 2", "sign_out", "set a 3")):
            browser = site.browser("set a 1")
            reply = browser.play("get a", "stream", *ended, "raise")
            assert reply.broke_off(Deliberate)
            assert not site.is_live(browser)

    def test_a_stream_whose_changes_cant_be_stored_breaks_off(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("write", error=StoreUnavailable("the test says so", ambiguous=False), times=1)
        site.forget()
        reply = browser.play("get a", "stream", "set a 2")
        assert reply.broke_off(StoreUnavailable)
        assert "end" not in site.journal
        assert browser.play("get a").result == "1"

    def test_a_store_that_fails_in_the_middle_of_a_stream_breaks_it_off(self, site: Site) -> None:
        browser = site.browser("set a 1")
        with Race() as race, site.hold("load") as opening, site.hold("load") as asking:
            opening.open()
            streaming = race.start("stream", lambda: site.send(browser.request("get a", "stream", "is_live")))
            asking.wait()
            site.failing.fail("load", error=StoreUnavailable("the test says so", ambiguous=False), times=1)
            asking.open()
            reply = streaming.result()
        assert reply.status == 200
        assert reply.broke_off(StoreUnavailable)
        assert site.is_live(browser)

    def test_a_stream_reads_what_others_have_stored_since(self, site: Site) -> None:
        browser = site.browser("set a 1")
        with Race() as race, site.hold("load") as opening, site.hold("load") as asking:
            opening.open()
            steps = ("get a", "stream", "reload", "get a")
            streaming = race.start("stream", lambda: site.send(browser.request(*steps)))
            asking.wait()
            browser.twin().play("set a 2")
            asking.open()
            reply = streaming.result()
        assert reply.results == ["1", True, "2"]

    def test_a_stream_that_does_not_touch_its_session_costs_nothing(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.advance(2 * HOUR)
        site.forget()
        reply = browser.play("stream", "status 200")
        assert reply.status == 200
        assert site.is_silent(reply)
        assert "write" not in site.asked
