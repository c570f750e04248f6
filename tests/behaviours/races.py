"""Late requests and parallel ones, across a sign-in, a sign-out and a revocation (design: 12, 13, 17)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

import pytest

from coatcheck.testing.pausing import Gate
from coatcheck.testing.races import Party, Race
from tests.behaviours.client import Browser, Reply, Request
from tests.behaviours.site import HOUR, OpenSite, Site

__all__ = ["Races"]

WRITES = (
    ("set a late",),
    ("push l late",),
    ("delete a",),
    ("flash late",),
    ("permanent",),
    ("rotate",),
    ("set a late", "save"),
    ("list l", "take a"),
)


class Races:
    """A late request neither brings an ended session back, nor undoes a sign-in."""

    @pytest.mark.promise("12")
    def test_a_late_writer_does_not_bring_back_a_session_that_was_ended(self, site: Site) -> None:
        for write in WRITES:
            for end in ("sign_out", "revoke", "revoke_user"):
                browser = site.browser("set a 1", "list l", "sign_in ada")
                thief, handle = browser.twin(), browser.play("handle").result
                with Race() as race, site.hold() as gate:
                    request = browser.request("is_new", *write)
                    late = race.start("late", partial(site.send, request))
                    gate.wait()
                    match end:
                        case "sign_out":
                            assert len(site.cookies_in(browser.play("sign_out"))) == 1
                        case "revoke":
                            assert site.sessions.revoke(handle)
                        case _:
                            assert site.sessions.revoke_user("ada") == 1
                    site.forget()
                    gate.open()
                    reply = late.result()
                assert (reply.status, reply.raised) == (200, None), (write, end)
                assert reply.results[0] is False
                assert site.cookies_in(reply) == []
                assert site.told == ["dropped"]
                assert site.events[0].handle == handle
                assert not site.is_live(thief)
                assert site.sessions.of_user("ada") == []
                assert site.sessions.count() == 0

    @pytest.mark.promise("12")
    def test_a_late_request_that_only_reads_or_slides_is_not_in_the_way(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.advance(2 * HOUR)
        with Race() as race, site.hold() as gate:
            request = browser.request("get a")
            late = race.start("late", lambda: site.send(request))
            gate.wait()
            browser.play("sign_out")
            gate.open()
            reply = late.result()
        assert reply.result == "1"
        assert site.cookies_in(reply) == []
        assert site.sessions.count() == 0

    @pytest.mark.promise("12")
    def test_a_request_that_arrives_just_after_the_sign_out_gets_no_cookie(self, site: Site) -> None:
        browser = site.browser("set a 1")
        old = browser.twin()
        browser.play("sign_out")
        site.forget()
        reply = old.play("is_new", "set a late", "flash late")
        assert reply.results[0] is True
        assert site.cookies_in(reply) == []
        assert site.told == ["dropped"]
        site.advance(31)  # the tombstone is gone: he counts as a stranger
        assert len(site.cookies_in(old.play("set a 1"))) == 1

    @pytest.mark.promise("12")
    def test_two_requests_that_both_sign_out_are_both_answered(self, site: Site) -> None:
        browser = site.browser("set a 1")
        request = browser.request("sign_out")
        with Race() as race:
            gates = [site.hold(), site.hold()]
            parties = [race.start(str(n), lambda: site.send(request)) for n in range(2)]
            for gate in gates:
                gate.wait()
            for gate in gates:
                gate.open()
            replies = [party.result() for party in parties]
        assert [reply.status for reply in replies] == [200, 200]
        # One clears the cookie; the other must not, since he may have signed in again meanwhile.
        assert sorted(len(site.cookies_in(reply)) for reply in replies) == [0, 1]

    # Across a sign-in

    @pytest.mark.promise("13")
    def test_ten_parallel_requests_across_a_sign_in_leave_him_signed_in_in_any_order_of_arrival(
        self, site: Site
    ) -> None:
        under_way = (
            *(("set a late",), ("push l late",), ("flash late",), ("take_flashes",), ("csrf",)),
            *(("clear",), ("permanent",), ("rotate", "set b late"), ("set a late", "stream", "set c late")),
        )
        browser = site.browser("set a 1", "list l", "flash hello")
        before = browser.twin()
        with Race() as race:
            gates: list[Gate] = []
            parties: list[Party[Reply]] = []
            for steps in under_way:
                gate, request = site.hold(), browser.request("is_new", *steps)
                parties.append(race.start(str(steps), partial(site.send, request)))
                gate.wait()
                gates.append(gate)
            reading = site.send(browser.request("is_new", "get a"))
            signing_in = site.send(browser.request("sign_in ada", "set b 1"))
            for gate in gates:
                gate.open()
            replies = [reading, *(party.result() for party in parties)]
        assert {reply.results[0] for reply in replies} == {False}
        # and ten more that arrive after it, with the cookie of before
        late = [site.send(before.request("is_new", *steps)) for steps in (*under_way, ("sign_out",))]
        assert {reply.results[0] for reply in late} == {True}
        assert {reply.status for reply in (*replies, *late)} == {200}
        assert not any(site.cookies_in(reply) for reply in (*replies, *late))
        _ends_signed_in(site, before, [*replies, *late], signing_in)

    @pytest.mark.promise("13")
    def test_a_double_clicked_sign_in_leaves_him_signed_in_in_any_order(self, site: Site) -> None:
        for first, second in ((0, 1), (1, 0)):
            browser = site.browser("set a 1", "csrf")
            request = browser.request("sign_in ada", "set b 1")
            with Race() as race:
                gates: list[Gate] = []
                parties: list[Party[Reply]] = []
                for number in range(2):
                    gates.append(site.hold())
                    parties.append(race.start(f"click {number}", partial(site.send, request)))
                    gates[number].wait()
                gates[first].open()
                parties[first].result()
                gates[second].open()
            replies = [party.result() for party in parties]
            replies.append(site.send(request))  # and a third that arrives after both
            assert [len(site.cookies_in(reply)) for reply in replies] == [1, 1, 1]
            for arrival in itertools.permutations(replies):
                end = _received(browser, arrival)
                assert site.is_live(end, as_user="ada")
                assert end.twin().play("get b").result == "1"

    @pytest.mark.promise("13")
    def test_signing_in_makes_the_old_cookie_worthless_at_once(self, site: Site) -> None:
        browser = site.browser("set a 1")
        old = browser.twin()
        browser.play("sign_in ada")
        for again in ("sign_in ada", "rotate"):
            assert not site.is_live(old)
            old = browser.twin()
            browser.play(again)
            assert site.is_live(browser, as_user="ada")
        assert not site.is_live(old)

    @pytest.mark.promise("13")
    def test_within_the_late_window_the_old_cookie_writes_nothing_and_gets_no_cookie(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(late_window=timedelta(seconds=20))
        browser = site.browser("set a 1")
        old = browser.twin()
        browser.play("sign_in ada")
        signed_in = site.record_of(browser)
        for wait in (0, 19.999):
            site.advance(wait)
            site.forget()
            reply = old.play("is_new", "get a", "set a late", "sign_out", "set b late")
            assert reply.results[:2] == [True, None]
            assert site.cookies_in(reply) == []
            assert (site.asked, site.told) == (["load"], ["dropped"])
        site.advance(0.001)
        assert site.cookies_in(old.play("is_new", "get a", "sign_out")) == []
        reply = old.play("set a mine")
        assert len(site.cookies_in(reply)) == 1  # a stranger, who gets a session of his own
        assert old.play("get a", "user").results == ["mine", None]
        assert site.record_of(browser) == signed_in

    @pytest.mark.promise("13")
    def test_a_late_request_that_itself_signs_in_is_never_dropped(self, site: Site) -> None:
        browser = site.browser("set a 1")
        old = browser.twin()
        browser.play("sign_in ada")
        other = old.twin()
        for late, user in ((old, "ada"), (other, "grace")):
            reply = late.play("get a", f"sign_in {user}", "set b 1")
            assert len(site.cookies_in(reply)) == 1
            assert late.play("user", "get a", "get b").results == [user, None, "1"]
        assert site.is_live(browser, as_user="ada")
        gone = browser.twin()
        browser.play("sign_out")
        gone.play("sign_in ada", "set b 2")
        assert gone.play("user", "get b").results == ["ada", "2"]

    # What signing in does

    @pytest.mark.promise("17")
    def test_the_users_list_of_devices_tells_the_user_agent_that_signed_in(self, site: Site) -> None:
        browser = site.browser("set a 1")
        site.send(Request(("sign_in ada",), browser.request().cookies, agent="Nice/2.0 (phone)"))
        site.play("sign_in ada")
        assert {info.client for info in site.sessions.of_user("ada")} == {"Nice/2.0 (phone)", "Browser/1.0"}

    @pytest.mark.promise("V")
    def test_an_anonymous_visitors_fields_stay_and_another_users_go(self, site: Site) -> None:
        browser = site.browser("set a 1", "flash hello", "csrf")
        first = browser.play("csrf").result
        assert browser.play(f"check_csrf {first}").result is True
        second = browser.play("sign_in ada", "csrf").results[1]
        results = browser.play("get a", "peek", f"check_csrf {first}", f"check_csrf {second}").results
        assert results == ["1", ["hello"], False, True]
        browser.play("sign_in ada")
        assert browser.play("get a").result == "1"
        third = browser.play("sign_in grace", "set b 1", "csrf").results[2]
        assert browser.play("user", "names", "peek").results == ["grace", ["b"], []]
        assert [browser.play(f"check_csrf {token}").result for token in (first, second, third)] == [
            False,
            False,
            True,
        ]

    @pytest.mark.promise("V")
    def test_what_is_set_after_signing_out_goes_to_a_new_session_with_the_one_cookie(
        self, site: Site
    ) -> None:
        browser = site.browser("set a 1", "sign_in ada")
        old = browser.twin()
        reply = browser.play("sign_out", "flash bye")
        assert len(reply.all("set-cookie")) == 1
        assert browser.play("user", "names", "peek").results == [None, [], ["bye"]]
        assert site.token_of(browser).key != site.token_of(old).key
        assert not site.is_live(old)

    # Revoking

    @pytest.mark.promise("17")
    def test_revoke_user_ends_every_session_that_was_answered_before(self, site: Site) -> None:
        devices = [site.browser("set a 1", "sign_in ada") for _ in range(4)]
        grace = site.browser("sign_in grace")
        devices[1].play("rotate")
        devices[2].play("sign_in ada")
        late = devices[3].request("set a late")
        with Race() as race, site.hold() as gate:
            writing = race.start("late", lambda: site.send(late))
            gate.wait()
            kept = devices[0].play("handle").result
            assert site.sessions.revoke_user("ada", keep=kept) == 3
            gate.open()
            assert site.cookies_in(writing.result()) == []
        assert [site.is_live(device) for device in devices] == [True, False, False, False]
        assert site.is_live(grace, as_user="grace")
        assert [info.handle for info in site.sessions.of_user("ada")] == [kept]
        assert site.sessions.revoke_user("ada") == 1
        assert not site.is_live(devices[0])

    @pytest.mark.promise("17")
    def test_a_sign_in_that_comes_with_the_revocation_in_one_request_stands(self, site: Site) -> None:
        other, browser = site.browser("sign_in ada"), site.browser("set a 1")
        with Race() as race, site.hold() as gate:
            request = browser.request("sign_in ada")
            party = race.start("sign-in", lambda: site.send(request))
            gate.wait()
            assert site.sessions.revoke_user("ada") == 1  # as the handler of "reset my password" does
            gate.open()
            browser.receive(party.result())
        assert site.is_live(browser, as_user="ada")
        assert not site.is_live(other)


def _ends_signed_in(site: Site, browser: Browser, others: list[Reply], signing_in: Reply) -> None:
    """Let the replies arrive in many orders: each leaves the visitor signed in as ada, with what she set."""
    shuffle = random.Random(0).shuffle
    for at in range(len(others) + 1):
        for _ in range(5):
            shuffle(others)
            end = _received(browser, [*others[:at], signing_in, *others[at:]])
            assert end.cookies.keys() == {site.name}
            assert end.play("user", "get b").results == ["ada", "1"]


def _received(browser: Browser, replies: Iterable[Reply]) -> Browser:
    """What `browser` has after the replies arrived in this order."""
    end = browser.twin()
    for reply in replies:
        end.receive(reply)
    return end
