"""Nothing that was written is lost, and nothing is written that was not meant (design: 6 to 11, 21, 23)."""

from __future__ import annotations

from functools import partial

import pytest

from coatcheck.core.calls import Done
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model import codec
from coatcheck.model.record import Update
from coatcheck.testing.races import Race
from tests.behaviours.site import HOUR, OpenSite, Site
from tests.stores.engine import Engine

__all__ = ["Writing"]

LOST = StoreUnavailable("the test says so", ambiguous=False)


class Writing:
    """Changes are stored before the response leaves, and only changed fields are written."""

    @pytest.mark.promise("6")
    def test_changes_of_different_fields_both_stand_in_any_order(self, site: Site) -> None:
        for first, second in (("set a 2", "set b 2"), ("set b 2", "set a 2"), ("delete c", "push l x")):
            browser = site.browser("set a 1", "set b 1", "set c 1", "list l")
            with Race() as race, site.hold() as gate:
                held = race.start("held", partial(site.send, browser.request(first)))
                gate.wait()
                assert browser.play(second).status == 200
                gate.open()
                assert held.result().status == 200
            fields: dict[str, object] = {"a": "1", "b": "1", "c": "1", "l": []}
            for step in (first, second):
                match step.split():
                    case ["delete", name]:
                        fields[name] = None
                    case ["push", name, value]:
                        fields[name] = [value]
                    case [_, name, value]:
                        fields[name] = value
                    case _:
                        raise AssertionError(step)
            assert browser.play(*(f"get {name}" for name in fields)).results == list(fields.values())

    @pytest.mark.promise("M")
    def test_of_two_changes_of_one_field_the_last_one_stands(self, site: Site) -> None:
        browser = site.browser("set a 1")
        with Race() as race, site.hold() as gate:
            held = race.start("held", lambda: site.send(browser.request("set a late")))
            gate.wait()
            browser.play("set a early")
            gate.open()
            held.result()
        assert browser.play("get a").result == "late"

    @pytest.mark.promise("7")
    def test_a_request_that_only_read_never_undoes_what_another_wrote(self, site: Site) -> None:
        browser = site.browser("set a 1", "mixed m")
        site.advance(2 * HOUR)  # so that reading slides
        with Race() as race, site.hold() as gate:
            reader = race.start("reader", lambda: site.send(browser.request("get a", "get m")))
            gate.wait()
            browser.play("set a 2", "delete m")
            gate.open()
            assert reader.result().results[0] == "1"
        assert browser.play("get a", "get m").results == ["2", None]

    @pytest.mark.promise("8")
    def test_a_change_deep_inside_a_value_is_kept_without_a_flag(self, site: Site) -> None:
        browser = site.browser("tree t", "list l")
        browser.play("push_deep t x")
        browser.play("push l y", "push_deep t z")
        assert browser.play("get t", "get l").results == [{"inner": {"list": ["x", "z"]}}, ["y"]]

    @pytest.mark.promise("8")
    def test_a_change_deep_inside_after_a_save_is_kept_too(self, site: Site) -> None:
        browser = site.browser("list l")
        browser.play("push l x", "save", "push l y")
        assert browser.play("get l").result == ["x", "y"]

    @pytest.mark.promise("9")
    def test_the_change_is_stored_before_the_head_of_the_response_leaves(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for steps in (
            ("set a 2",),
            ("set a 3", "stream", "get a"),
            ("rotate",),
            ("sign_in ada",),
            ("status 404", "set a 4"),
            ("sign_out",),
        ):
            site.forget()
            browser.play(*steps)
            enters = site.store.index == "beside" and steps == ("sign_in ada",)
            index = ["note"] if enters else []
            assert site.journal == ["load", "write", *index, "head", "end"], steps

    @pytest.mark.promise("9")
    def test_a_client_never_gets_a_success_that_is_not_stored(self, site: Site) -> None:
        timeout = StoreTimeout("the test says so", ambiguous=True)
        for steps in (
            ("set a 2",),
            ("set a 2", "stream", "get a"),
            ("rotate",),
            ("sign_in ada",),
            ("sign_out",),
        ):
            for error in (LOST, timeout):
                for browser in (site.browser("set a 1", "user"), site.browser()):
                    if (steps == ("sign_out",) and not browser.cookies) or steps == ("rotate",):
                        continue
                    site.failing.fail("write", error=error)
                    reply = browser.play(*steps)
                    site.failing.recover()
                    assert reply.status == 503, (steps, reply)
                    assert reply.raised is None
                    assert int(reply.all("retry-after")[0]) >= 1
                    assert reply.all("set-cookie") == []
                    assert b"2" not in reply.body

    @pytest.mark.promise("L")
    def test_a_change_whose_answer_is_lost_is_stored_once_and_answered(self, site: Site) -> None:
        lost = StoreTimeout("the test says so", ambiguous=True)
        for done in (True, False):
            browser = site.browser("set a 1", "list l")
            site.failing.fail("write", error=lost, times=1, done=done)
            assert browser.play("push l 1", "set a 2").status == 200
            assert browser.play("get a", "get l").results == ["2", ["1"]]
            site.failing.fail("write", error=lost, times=1, done=done)
            assert len(site.cookies_in(browser.play("sign_out"))) == 1
            assert not site.is_live(browser)

    @pytest.mark.promise("9", "20")
    def test_an_explicit_save_that_fails_fails_the_request(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.failing.fail("write", error=LOST, times=1)
        assert browser.play("set a 2", "save").status == 503
        assert browser.play("get a").result == "1"

    # Flash messages

    @pytest.mark.promise("11")
    def test_a_flash_message_is_shown_once(self, site: Site) -> None:
        browser = site.browser("flash one", "flash two")
        assert browser.play("peek").result == ["one", "two"]
        assert [message for _, message in browser.play("take_flashes").result] == ["one", "two"]
        assert browser.play("take_flashes", "peek").results == [[], []]

    @pytest.mark.promise("11")
    def test_messages_are_taken_when_they_are_read_whatever_becomes_of_the_request(self, site: Site) -> None:
        browser = site.browser("flash one")
        site.forget()
        assert browser.play("take_flashes", "raise").status == 500
        assert site.asked == ["load", "write"]
        assert browser.play("take_flashes").result == []

    @pytest.mark.promise("11")
    def test_two_parallel_readers_never_both_show_a_message(self, site: Site) -> None:
        for number in (2, 5):
            browser = site.browser("flash one", "flash two", "set a 1")
            with Race() as race:
                gates = [site.hold() for _ in range(number)]
                send = partial(site.send, browser.request("take_flashes", "set b 1"))
                readers = [race.start(f"reader {n}", send) for n in range(number)]
                for gate in gates:
                    gate.wait()
                for gate in gates:
                    gate.open()
                shown = [flash for reader in readers for flash in reader.result().results[0]]
            assert sorted(message for _, message in shown) == ["one", "two"]

    @pytest.mark.promise("11")
    def test_messages_of_parallel_requests_all_stay(self, site: Site) -> None:
        browser = site.browser("set a 1")
        with Race() as race:
            gates = [site.hold() for _ in range(5)]
            replies = [
                race.start(text, partial(site.send, browser.request(f"flash {text}"))) for text in "vwxyz"
            ]
            for gate in gates:
                gate.wait()
            for gate in reversed(gates):
                gate.open()
            assert {reply.result().status for reply in replies} == {200}
        assert sorted(browser.play("peek").result) == list("vwxyz")

    @pytest.mark.promise("11")
    def test_an_anonymous_visitor_gets_his_message_and_reading_it_leaves_no_fields(self, site: Site) -> None:
        browser = site.browser("flash hello")
        assert [message for _, message in browser.play("take_flashes").result] == ["hello"]
        record = site.record_of(browser)
        assert record is not None
        assert record.fields == {}

    # What can't be read

    @pytest.mark.promise("10", "F-22")
    def test_a_record_that_cant_be_read_makes_an_anonymous_visitor_and_is_left_alone(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1", "sign_in ada")
        before, damaged = site.record_of(browser), browser.twin()
        site.damage(browser)
        site.forget()
        reply = browser.play("is_new", "user", "get a")
        assert (reply.status, reply.results) == (200, [True, None, None])
        assert (site.asked, site.told) == (["load"], ["unreadable"])
        reply = browser.play("set b 1")
        assert site.token_of(browser).key != site.token_of(damaged).key
        assert browser.play("get a", "get b").results == [None, "1"]
        assert site.record_of(damaged) == before

    @pytest.mark.promise("10", "F-22")
    def test_a_field_that_cant_be_read_is_an_error_where_it_is_read_and_the_others_work(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1", "set b 1")
        key, garbage = site.token_of(browser).key, b"\xc1"
        lifetimes = site.sessions.settings.lifetimes
        update = Update(key=key, at=site.clock.now_ms, lifetimes=lifetimes, set={"a": garbage})
        (result,) = Engine(site.store, lifetimes=lifetimes).apply([update], site.clock.now_ms)
        assert isinstance(result, Done)
        reply = browser.play("?get a", "get b", "names", "set b 2")
        assert reply.results == ["DecodeError", "1", ["a", "b"], None]
        record = site.record_of(browser)
        assert record is not None
        assert record.fields == {"a": garbage, "b": codec.encode("2")}
        assert browser.play("set a 2", "get a").results[-1] == "2"

    # What can't be stored

    @pytest.mark.promise("21")
    def test_what_is_too_large_or_not_storable_fails_the_request_and_nothing_is_written(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(max_bytes=4096)
        browser = site.browser("set a 1", "list l")
        before = site.record_of(browser)
        for step in (
            "fill b 4097",  # at the assignment
            "unstorable b",
            "push_big l 4097",  # at the end of the request
            "push_unstorable l",
        ):
            site.forget()
            reply = browser.play("set a 2", "flash x", step)
            assert reply.status == 500, step
            assert "write" not in site.asked
            assert reply.all("set-cookie") == []
        assert site.record_of(browser) == before
        reply = site.play("fill a 3000", "fill b 3000")
        assert reply.status == 500
        assert reply.all("set-cookie") == []
        assert site.sessions.count() == 1

    @pytest.mark.promise("21")
    def test_a_handler_can_catch_what_is_not_storable_and_go_on(self, site: Site) -> None:
        browser = site.browser()
        assert browser.play("?unstorable b", "set a 1").results[0] == "NotStorable"
        assert browser.play("names").result == ["a"]
