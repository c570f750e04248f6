"""The periodic rotation of the secret, and that of the ring of secrets which sign (design: 14, "token")."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.testing.races import Race
from tests.behaviours.client import Browser, Reply
from tests.behaviours.site import HOUR, SECRET, OpenSite, Site

__all__ = ["Rotation"]

NEWER = "Qw7tVb2nXk5mLp9rZs3dFg6hJc8yUe4iOa1PqWsEdRt"
EVERY = timedelta(hours=1)
GRACE = timedelta(seconds=60)


class Rotation:
    """With ``rotate_every``, a session gets a new secret regularly, and its user stays signed in."""

    @pytest.mark.promise("14")
    def test_without_the_setting_a_secret_is_never_rotated(self, site: Site) -> None:
        browser = site.browser("set a 1")
        for _ in range(40):
            site.advance(12 * HOUR)
            assert browser.play("get a").all("set-cookie") == []

    @pytest.mark.promise("14")
    def test_a_session_that_is_used_gets_a_new_secret_when_it_is_due(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
        browser = site.browser("set a 1", "sign_in ada")
        old, key = browser.twin(), site.token_of(browser).key
        site.advance(HOUR - 0.001)
        assert browser.play("get a").all("set-cookie") == []
        site.advance(0.001)
        site.forget()
        assert site.is_silent(browser.play())  # not by one that does not look
        reply = browser.play("get a")
        assert reply.result == "1"
        assert len(site.cookies_in(reply)) == 1
        assert reply.words("cache-control") == ["no-store"]
        assert site.asked == [*["load"] * len(site.asked[:-1]), "write"]
        assert site.told == ["rotated"]
        assert browser.cookies != old.cookies
        assert site.token_of(browser).key == key
        assert browser.play("user").all("set-cookie") == []
        assert site.is_live(browser, as_user="ada")
        assert [info.handle for info in site.sessions.of_user("ada")] == [key.hex()]

    @pytest.mark.promise("14")
    def test_a_write_rotates_along(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
        browser = site.browser("set a 1")
        site.advance(HOUR)
        site.forget()
        assert len(site.cookies_in(browser.play("set a 2"))) == 1
        assert site.asked == ["load", "write"]
        assert browser.play("get a").result == "2"

    @pytest.mark.promise("14")
    def test_parallel_requests_send_the_same_new_cookie(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
        browser = site.browser("set a 1", "list l")
        site.advance(HOUR)
        scripts = (("get a",), ("set b 1",), ("push l x",), ("get a", "flash x"), ("get a",))
        with Race() as race:
            gates = [site.hold() for _ in scripts]
            parties = [
                race.start(str(steps), partial(site.send, browser.request(*steps))) for steps in scripts
            ]
            for gate in gates:
                gate.wait()
            for gate in gates:
                gate.open()
            replies = [party.result() for party in parties]
        replies += [site.send(browser.request("get a")), site.send(browser.request("set c 1"))]
        assert {reply.status for reply in replies} == {200}
        assert len({cookie for reply in replies for cookie in site.cookies_in(reply)}) == 1
        assert all(len(site.cookies_in(reply)) == 1 for reply in replies)
        browser.receive(replies[0])
        assert browser.play("get a", "get b", "get c", "get l", "peek").results == [
            "1",
            "1",
            "1",
            ["x"],
            ["x"],
        ]

    @pytest.mark.promise("14")
    def test_a_lost_response_logs_nobody_out(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
        browser = site.browser("set a 1", "sign_in ada")
        site.advance(HOUR)
        lost = [_cookie(site, site.send(browser.request("get a"))) for _ in range(2)]
        site.advance(10 * HOUR)  # nobody has seen the new one, so the grace has not begun
        reply = site.send(browser.request("user", "set b 1"))
        assert reply.results[0] == "ada"
        assert [_cookie(site, reply)] * 2 == lost
        browser.receive(reply)
        assert browser.play("user", "get b").results == ["ada", "1"]

    @pytest.mark.promise("14")
    def test_the_old_secret_is_good_until_the_grace_after_the_new_one_was_first_seen(
        self, open_site: OpenSite
    ) -> None:
        for seen_by in ("get a", "set a 2"):
            site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
            browser = site.browser("set a 1", "sign_in ada")
            old = browser.twin()
            site.advance(HOUR)
            browser.play("get a")
            site.advance(30 * 60)
            assert _cookie(site, site.send(old.request("get a"))) == browser.cookies[site.name]
            browser.play(seen_by)
            site.advance(59.999)
            for _ in range(2):
                reply = site.send(old.request("user", "set late 1"))
                assert reply.results[0] == "ada"
                assert _cookie(site, reply) == browser.cookies[site.name]
            browser.play("get a")  # seen again: that does not prolong it
            site.advance(0.001)
            site.forget()
            reply = old.play("user", "is_new")
            assert reply.results == [None, True]
            assert reply.all("set-cookie") == []
            assert site.is_live(browser, as_user="ada")

    @pytest.mark.promise("14")
    def test_a_rotation_gives_no_time_beyond_the_limits(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY, absolute_timeout=timedelta(days=2))
        browser = site.browser("set a 1")
        for _ in range(47):
            site.advance(HOUR)
            assert browser.play("get a").result == "1"
        site.advance(HOUR)
        assert browser.play("get a").result is None

    @pytest.mark.promise("2", "14")
    def test_a_rotation_that_cant_be_stored_fails_no_request(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY)
        browser = site.browser("set a 1")
        site.advance(HOUR)
        site.failing.fail("write", error=StoreUnavailable("the test says so", ambiguous=False), times=1)
        reply = browser.play("get a")
        assert reply.result == "1"
        assert reply.all("set-cookie") == []
        assert len(site.cookies_in(browser.play("get a"))) == 1

    @pytest.mark.promise("12", "14")
    def test_a_session_that_was_ended_is_not_rotated_back(self, open_site: OpenSite) -> None:
        site = open_site(rotate_every=EVERY)
        browser = site.browser("set a 1")
        old = browser.twin()
        site.advance(HOUR)
        browser.play("get a")
        browser.play("sign_out")
        for visitor in (old, browser):
            reply = visitor.play("is_new")
            assert reply.result is True
            assert reply.all("set-cookie") == []

    # The ring

    @pytest.mark.promise("F-21")
    def test_a_token_that_an_older_secret_signed_is_signed_anew_when_the_session_is_looked_at(
        self, open_site: OpenSite
    ) -> None:
        site = open_site()
        browser = site.browser("set a 1", "sign_in ada")
        old, token = browser.twin(), site.token_of(browser)
        site = site.another(secret=[NEWER, SECRET])
        browser, before = _on(site, browser), _on(site, browser)
        assert site.is_silent(browser.play())
        replies = [site.send(browser.request("user")), site.send(browser.request("set b 1"))]
        assert len({_cookie(site, reply) for reply in replies}) == 1  # parallel responses agree
        assert replies[0].words("cache-control") == ["no-store"]
        browser.receive(replies[1])
        assert browser.cookies != old.cookies
        assert (site.token_of(browser).key, site.token_of(browser).secret) == (token.key, token.secret)
        assert browser.play("user").all("set-cookie") == []
        # The old one may go: its tokens are then none of ours, and are not looked up.
        site = site.another(secret=[NEWER])
        assert site.is_live(_on(site, browser), as_user="ada")
        site.forget()
        assert _on(site, before).play("user").result is None
        assert site.asked == []

    @pytest.mark.promise("F-21")
    def test_only_the_newest_secret_signs(self, open_site: OpenSite) -> None:
        site = open_site(secret=[NEWER, SECRET])
        browser = site.browser("set a 1")
        assert site.is_live(_on(newer := site.another(secret=[NEWER]), browser))
        assert not _on(newer, browser).play("is_new").result
        assert _on(site.another(secret=[SECRET]), browser).play("is_new").result

    @pytest.mark.promise("14")
    def test_a_new_secret_of_the_ring_does_not_disturb_a_rotation_under_way(
        self, open_site: OpenSite
    ) -> None:
        site = open_site(rotate_every=EVERY, rotation_grace=GRACE)
        browser = site.browser("set a 1")
        site.advance(HOUR)
        lost = site.send(browser.request("get a"))
        site = site.another(secret=[NEWER, SECRET])
        browser = _on(site, browser)
        assert browser.play("get a").result == "1"
        rotated = site.token_of(browser)
        overtaken = _on(site, browser)
        overtaken.receive(lost)
        assert site.token_of(overtaken).secret == rotated.secret
        assert site.is_live(overtaken)
        assert site.is_live(browser)


def _cookie(site: Site, reply: Reply) -> str:
    """The value that the one cookie in `reply` sets."""
    (line,) = site.cookies_in(reply)
    return line.removeprefix(f"{site.name}=").split(";")[0]


def _on(site: Site, browser: Browser) -> Browser:
    """`browser`, as it visits `site`."""
    return Browser(site.send, dict(browser.cookies))
