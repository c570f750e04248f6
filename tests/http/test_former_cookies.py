"""A site that changes its cookie: the former one opens its sessions, until the new one has taken its place."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from coatcheck import ConfigurationError, CookieSettings, Sessions, StoreUnavailable
from coatcheck.config import Settings
from coatcheck.http.token import Token
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore, ManualClock

pytestmark = pytest.mark.promise("H")

SECRET = "cqqwBl6sxlDpXPCLcXGyS3CT0aXhyYzNcJIVj2vLAYs"
OLD = CookieSettings()
NEW = CookieSettings(domain="shop.example", samesite="Strict", former=(OLD,))


class Browser:
    """Keeps cookies by their names."""

    def __init__(self, **cookies):
        self.cookies = cookies

    def visit(self, site, act=lambda session: session.user, *, secure=True):
        """A request; what `act` returned."""
        session = site.open("; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        result = act(session)
        self.receive(site.close(session, secure=secure))
        return result

    def receive(self, outcome):
        self.last = outcome.set_cookie
        if self.last is not None:
            name, _, value = self.last.partition(";")[0].partition("=")
            self.cookies[name] = value
            if not value:
                del self.cookies[name]

    def twin(self):
        return Browser(**self.cookies)


def signs_in(user="ada"):
    return lambda session: session.sign_in(user)


def signs_out(session):
    session.sign_out()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def before(clock, events):
    return Sessions(
        MemoryStore(), secret=SECRET, cookie=OLD, clock=clock, on_event=lambda each: events.append(each.kind)
    )


@pytest.fixture
def after(before):
    return before.with_settings(cookie=NEW)


@pytest.fixture
def visitor(before):
    browser = Browser()
    browser.visit(before, signs_in())
    return browser


def test_without_it_a_new_name_signs_every_visitor_out(before, visitor):
    renamed = before.with_settings(cookie=replace(NEW, former=()))
    assert visitor.visit(renamed) is None


def test_the_former_cookie_opens_its_session_and_the_next_two_responses_replace_it(after, visitor):
    assert visitor.visit(after) == "ada"
    assert visitor.last.startswith("__Secure-session=")
    assert "; Domain=shop.example; " in visitor.last
    assert set(visitor.cookies) == {"__Host-session", "__Secure-session"}
    assert visitor.visit(after) == "ada"
    assert visitor.last.startswith("__Host-session=; Max-Age=0;")
    assert "Domain" not in visitor.last
    assert set(visitor.cookies) == {"__Secure-session"}
    assert (visitor.visit(after), visitor.last) == ("ada", None)


def test_a_permanent_session_keeps_its_lifetime(before, after):
    browser = Browser()
    browser.visit(before, lambda session: (session.sign_in("ada"), setattr(session, "permanent", True)))
    browser.visit(after)
    assert "; Max-Age=7776000; " in browser.last


def test_a_request_that_does_not_use_its_session_replaces_nothing(after, visitor):
    visitor.visit(after, lambda session: None)
    assert visitor.last is None


def test_parallel_first_requests_all_hold_the_session_and_get_the_same_cookie(after, visitor):
    tabs = [visitor.twin() for _ in range(5)]
    assert [tab.visit(after) for tab in tabs] == ["ada"] * 5
    assert len({tab.last for tab in tabs}) == 1


def test_a_write_replaces_it_too(after, visitor):
    visitor.visit(after, lambda session: session.update(a=1))
    assert visitor.last.startswith("__Secure-session=")
    assert visitor.visit(after, lambda session: session["a"]) == 1


def test_signing_out_with_the_former_cookie_alone_clears_it(after, visitor):
    visitor.visit(after, signs_out)
    assert (visitor.cookies, visitor.last.partition(";")[0]) == ({}, "__Host-session=")


def test_signing_out_with_both_cookies_clears_one_and_the_other_opens_nothing(after, visitor):
    visitor.visit(after)
    visitor.visit(after, signs_out)
    assert set(visitor.cookies) == {"__Host-session"}
    assert (visitor.visit(after), visitor.last) == (None, None)
    visitor.visit(after, signs_in("eve"))
    assert visitor.visit(after) == "eve"
    assert set(visitor.cookies) == {"__Secure-session"}


@pytest.mark.promise("13")
def test_a_late_request_with_the_former_cookie_gets_no_cookie(after, visitor):
    late = visitor.twin()
    visitor.visit(after, signs_in("eve"))
    late.visit(after, lambda session: session.update(a=1))
    assert late.last is None
    visitor.visit(after)
    assert visitor.visit(after, lambda session: (session.user, "a" in session)) == ("eve", False)


@pytest.mark.promise("15")
def test_a_token_under_the_wrong_one_of_both_names_is_refused(after, visitor, events):
    visitor.visit(after)
    old, new = visitor.cookies["__Host-session"], visitor.cookies["__Secure-session"]
    assert Browser(**{"__Host-session": new}).visit(after) is None
    assert Browser(**{"__Secure-session": old}).visit(after) is None
    assert events[-1] == "refused"


def test_a_cookie_of_somebody_else_under_the_former_name_is_left_alone(after, events):
    browser = Browser(**{"__Host-session": "eyJmbGFzayI6MX0.aSk.xyz"})
    assert browser.visit(after) is None
    assert (browser.last, events) == (None, [])
    browser.visit(after, signs_in())
    assert browser.visit(after) == "ada"
    assert (browser.last, len(browser.cookies)) == (None, 2)


def test_a_former_cookie_of_an_expired_session_is_as_good_as_none(after, visitor, clock, events):
    clock.advance(timedelta(days=2))
    assert visitor.visit(after, lambda session: session.is_new)
    assert (visitor.last, events[-1]) == (None, "expired")
    visitor.visit(after, lambda session: session.update(a=1))
    assert visitor.visit(after, lambda session: session["a"]) == 1


def test_a_live_session_under_the_former_name_competes_with_one_under_the_new(before, after, visitor, events):
    visitor.visit(after)
    planted = Browser()
    planted.visit(before, signs_in("mallory"))
    both = Browser(**(visitor.cookies | planted.cookies))
    assert both.visit(after) is None
    assert (both.last, events[-1]) == (None, "ambiguous")


def test_what_is_more_than_a_browser_comes_to_by_itself_opens_and_clears_nothing(after, visitor):
    others = [Token(secrets.token_bytes(16), secrets.token_bytes(32)) for _ in range(4)]
    ring = after.settings.ring
    crowd = "; ".join(f"__Secure-session={ring.sign(other)}" for other in others)
    session = after.open(f"{crowd}; __Host-session={visitor.cookies['__Host-session']}")
    assert session.user is None
    assert after.close(session).set_cookie is None


def test_a_secret_can_be_replaced_at_the_same_time(before, visitor):
    changed = before.with_settings(cookie=NEW, secret=[SECRET[::-1], SECRET])
    for _ in range(2):
        assert visitor.visit(changed) == "ada"
    only = changed.with_settings(secret=SECRET[::-1], cookie=replace(NEW, former=()))
    assert visitor.visit(only) == "ada"


@pytest.mark.promise("20")
def test_an_outage_clears_neither(after, visitor):
    visitor.visit(after)
    down = Sessions(FailingStore(after.store), secret=SECRET, cookie=NEW, outage="anonymous")
    down.store.fail("load", error=StoreUnavailable("down", ambiguous=False))
    assert visitor.visit(down) is None
    assert (visitor.last, len(visitor.cookies)) == (None, 2)


@pytest.mark.promise("20")
def test_where_the_new_cookie_could_not_be_sent_the_former_one_stays(after, visitor):
    failing = Sessions(FailingStore(after.store), secret=SECRET, cookie=NEW)
    session = failing.open(f"__Host-session={visitor.cookies['__Host-session']}")
    assert session.user == "ada"
    failing.store.fail("load", error=StoreUnavailable("down", ambiguous=False))
    assert failing.close(session).set_cookie is None


def test_what_changes_while_the_body_is_sent_clears_it_no_second_time(after, visitor):
    visitor.visit(after)
    session = after.open("; ".join(f"{name}={value}" for name, value in visitor.cookies.items()))
    assert session.user == "ada"
    assert after.close(session).set_cookie.startswith("__Host-session=;")
    session["a"] = 1
    assert after.close(session).set_cookie is None


def test_a_deployment_in_which_both_settings_serve_at_once_signs_nobody_out(before, after, visitor):
    """As the page says: first each process learns the new name, and then sets it."""
    first = before.with_settings(cookie=replace(OLD, former=(replace(NEW, former=()),)))
    sites = [first, after, after, first, first, after, first, after]
    for number, site in enumerate(sites * 2):
        assert visitor.visit(site) == ("ada" if number == 0 else f"user {number - 1}")
        visitor.visit(sites[-1 - number % 8], signs_in(f"user {number}"))
    visitor.visit(first, signs_out)
    assert visitor.visit(after) is None
    assert visitor.visit(first) is None


def reads(session):
    return session.user


def writes(session):
    session["a"] = 1


def rotates(session):
    session.rotate()


def writes_what_is_merged(session):
    session.flash("saved")


@pytest.mark.promise("13")
@pytest.mark.parametrize("slow_is_on", ["first", "second"])
@pytest.mark.parametrize("has_both", [False, True])
@pytest.mark.parametrize("ends", [signs_in("eve"), rotates], ids=["signs in", "rotates"])
@pytest.mark.parametrize("slow_one", [reads, writes, writes_what_is_merged])
@pytest.mark.parametrize("begins", ["before", "after"])
def test_a_slow_response_of_one_version_clears_no_cookie_that_the_other_has_set_meanwhile(
    before, after, slow_is_on, has_both, ends, slow_one, begins
):
    first = before.with_settings(cookie=replace(OLD, former=(replace(NEW, former=()),)))
    slow, other = (first, after) if slow_is_on == "first" else (after, first)
    browser = Browser()
    browser.visit(other, signs_in())
    if has_both:
        browser.visit(slow)
        assert len(browser.cookies) == 2
    session = slow.open("; ".join(f"{name}={value}" for name, value in browser.cookies.items()))
    if begins == "before":
        assert session.user == "ada"
    browser.visit(other, ends)
    user = browser.visit(other)
    slow_one(session)
    browser.receive(slow.close(session))
    assert browser.last is None
    assert browser.visit(other) == browser.visit(slow) == user


@pytest.mark.promise("13")
def test_an_error_page_clears_no_former_cookie(after, visitor):
    visitor.visit(after)
    session = after.open("; ".join(f"{name}={value}" for name, value in visitor.cookies.items()))
    assert session.user == "ada"
    after.fail(session)
    assert after.close(session).set_cookie is None


@pytest.mark.promise("20")
def test_where_the_store_does_not_say_that_the_session_is_held_still_the_former_one_stays(after, visitor):
    visitor.visit(after)
    failing = Sessions(FailingStore(after.store), secret=SECRET, cookie=NEW)
    session = failing.open("; ".join(f"{name}={value}" for name, value in visitor.cookies.items()))
    assert session.user == "ada"
    failing.store.fail("load", error=StoreUnavailable("down", ambiguous=False))
    assert failing.close(session).set_cookie is None


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("former", "said"),
    [
        ([OLD], "must be a tuple"),
        (OLD, "must be a tuple"),
        (("session",), "must be a tuple"),
        ((CookieSettings(name="__Secure-session"),), "another name"),
        ((OLD, CookieSettings(samesite="None")), "another name"),
        ((CookieSettings(name="a", former=(OLD,)),), "all in one tuple"),
        ((CookieSettings(name="__Host-a", path="/a"),), "must have no domain"),
    ],
)
def test_former_cookies_that_can_not_be_told_apart_are_refused(former, said):
    with pytest.raises(ConfigurationError, match=said):
        Settings(secret=SECRET, cookie=replace(NEW, former=former))


def test_the_default_name_of_insecure_http_may_be_a_former_one(before):
    plain = before.with_settings(insecure_http=True)
    browser = Browser()
    browser.visit(plain, signs_in(), secure=False)
    assert set(browser.cookies) == {"coatcheck"}
    named = plain.with_settings(cookie=CookieSettings(name="shop", former=(CookieSettings(),)))
    for _ in range(2):
        assert browser.visit(named, secure=False) == "ada"
    assert set(browser.cookies) == {"shop"}
