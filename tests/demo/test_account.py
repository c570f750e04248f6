"""Signing in and out, and the list of devices."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from coatcheck.demo.devices import ago, device
from tests.demo.visitor import Visitor


def test_signing_in_takes_a_name_and_keeps_the_basket(visitor):
    visitor.take("mac")
    page = visitor.sign_in("  Ada \u00a0 Lovelace ")
    assert page.messages == ["Welcome, Ada Lovelace."]
    assert page.text("user") == "Ada Lovelace"
    assert page.text("pieces") == "1"


def test_signing_in_changes_the_cookie(visitor):
    visitor.take("mac")
    before = visitor.token
    visitor.sign_in()
    assert visitor.token != before


def test_the_page_to_sign_in_says_that_there_is_no_password(visitor):
    assert "there is no password" in visitor.get("/sign-in").html


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "Ada\x00", "\u202eevil"])
def test_a_name_that_is_none_is_refused_where_it_was_typed(visitor, store, name):
    visitor.get("/sign-in")
    page = visitor.submit("/sign-in", name=name)
    assert page.status == 422
    assert "Please type a name" in page.text("problem")
    assert 'aria-describedby="problem"' in page.html
    assert store.calls == []


def test_a_name_is_shown_as_text(visitor):
    page = visitor.sign_in("<b>&amp;")
    assert page.text("user") == "<b>&amp;"
    assert "<b>" not in page.html


def test_who_stays_signed_in_gets_a_cookie_that_lasts(visitor, other):
    visitor.get("/sign-in")
    page = visitor.submit("/sign-in", name="Ada", follow=False)
    assert "Max-Age" not in page.response.headers["Set-Cookie"]
    other.get("/sign-in")
    page = other.submit("/sign-in", name="Ada", remember="yes", follow=False)
    assert "Max-Age" in page.response.headers["Set-Cookie"]
    assert "stays signed in" in other.get("/devices").html


def test_somebody_else_starts_with_an_empty_basket(visitor):
    visitor.sign_in("Ada")
    visitor.take("mac")
    page = visitor.sign_in("Bob")
    assert page.text("user") == "Bob"
    assert page.text("pieces") == "0"


def test_signing_out_says_goodbye_once_and_leaves_the_theme_as_it_was(visitor, store, clock):
    visitor.sign_in()
    visitor.take("mac")
    visitor.get("/")
    visitor.submit("/theme", theme="dark")
    before = visitor.token
    page = visitor.submit("/sign-out")
    assert page.messages == ["You are signed out. See you soon."]
    assert page.theme == "dark"
    assert page.text("user") is None
    assert page.text("pieces") == "0"
    assert visitor.get("/").messages == []
    assert visitor.token != before
    assert store.count(clock.now_ms, time.monotonic() + 10) == 1


def test_an_old_cookie_opens_nothing_after_signing_out(app, visitor):
    visitor.sign_in()
    old = visitor.token
    visitor.get("/")
    visitor.submit("/sign-out")
    thief = Visitor(app)
    thief.client.set_cookie("coatcheck", old)
    assert thief.get("/").text("user") is None


def test_the_devices_are_listed_with_the_current_one_marked(visitor, other, clock):
    visitor.sign_in()
    clock.advance(2 * 60 * 60)
    other.sign_in()
    page = visitor.get("/devices")
    assert page.html.count('class="device') == 3  # the list, and two in it
    assert "Firefox on Linux" in page.html
    assert page.html.count("this one") == 1
    assert page.html.count("</time>") == 3
    assert page.html.index("Firefox on Linux") < page.html.index("this one")


def test_a_stranger_who_asks_for_devices_is_asked_for_his_name(visitor):
    response = visitor.client.get("/devices")
    assert (response.status_code, response.location) == (303, "/sign-in")


def test_a_device_that_is_signed_out_is_out_at_its_next_request(visitor, other):
    visitor.sign_in()
    other.sign_in()
    visitor.get("/devices")
    page = visitor.submit("/devices/end")
    assert page.messages == ["That device is signed out."]
    assert page.html.count('<li class="device') == 1
    assert other.get("/").text("user") is None
    assert "has ended" in other.get("/sign-in").text("ended")
    assert visitor.get("/").text("user") == "Ada"


def test_a_form_of_a_session_that_was_ended_changes_nothing_and_says_why(visitor, other):
    visitor.sign_in()
    other.sign_in()
    other.get("/")
    visitor.get("/devices")
    visitor.submit("/devices/end")
    page = other.submit("/basket/add", {"good": "mac"}, choice="M")
    assert page.status == 400
    assert "Your session has ended" in page.html
    assert other.get("/").text("pieces") == "0"


def test_ending_a_device_twice_says_that_it_was_out_already(visitor, other):
    visitor.sign_in()
    other.sign_in()
    fields = visitor.get("/devices").form("/devices/end")
    visitor.post("/devices/end", fields)
    page = visitor.post("/devices/end", fields)
    assert page.messages == ["That device was signed out already."]


def test_nobody_ends_a_device_of_somebody_else(app, visitor, other):
    visitor.sign_in("Ada")
    other.sign_in("Bob")
    second = Visitor(app)
    second.sign_in("Bob")
    bobs = other.get("/devices").form("/devices/end")["handle"]
    fields = visitor.get("/devices").form("/theme")
    page = visitor.post("/devices/end", fields | {"handle": bobs})
    assert page.messages == ["That device was signed out already."]
    assert second.get("/").text("user") == "Bob"


def test_the_device_in_the_hand_is_not_ended_from_the_list(visitor, other):
    visitor.sign_in()
    other.sign_in()
    handle = other.get("/devices").form("/devices/end")["handle"]
    fields = visitor.get("/devices").form("/devices/end")
    page = visitor.post("/devices/end", fields | {"handle": handle})
    assert page.status == 400
    assert "sign out instead" in page.html
    assert visitor.get("/").text("user") == "Ada"


def test_ending_all_others_keeps_the_current(app, visitor, other):
    visitor.sign_in()
    other.sign_in()
    third = Visitor(app)
    third.sign_in()
    visitor.get("/devices")
    page = visitor.submit("/devices/end-others")
    assert page.messages == ["2 other devices are signed out now."]
    assert page.text("user") == "Ada"
    assert other.get("/").text("user") is None
    assert third.get("/").text("user") is None


def test_ending_the_only_other_and_then_none(visitor, other):
    visitor.sign_in()
    other.sign_in()
    fields = visitor.get("/devices").form("/devices/end-others")
    page = visitor.post("/devices/end-others", fields)
    assert page.messages == ["One other device is signed out now."]
    page = visitor.post("/devices/end-others", fields)
    assert page.messages == ["There was no other device."]


@pytest.mark.parametrize("path", ["/devices/end", "/devices/end-others"])
def test_who_is_not_signed_in_has_no_devices_to_end(visitor, path):
    fields = visitor.take().form("/theme")
    page = visitor.post(path, fields, follow=False)
    assert (page.status, page.response.location) == (303, "/sign-in")


def test_who_is_not_signed_in_is_not_signed_out_and_keeps_the_basket(visitor):
    fields = visitor.take().form("/theme")
    page = visitor.post("/sign-out", fields)
    assert page.messages == []
    assert page.text("pieces") == "1"


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Firefox on Windows",
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36 Edg/131.0",
            "Edge on ChromeOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile Safari/604.1",
            "Safari on an iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Mozilla/5.0 (Macintosh) AppleWebKit/605.1 Version/18.1 Safari/605.1", "Safari on a Mac"),
        ("curl/8.9", "curl"),
        ("a robot of its own kind", "a robot of its own kind"),
        ("", "An unknown device"),
    ],
)
def test_a_device_is_called_what_people_call_it(client, words):
    assert device(client) == words


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "1 day ago"),
        (timedelta(days=30), "30 days ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(passed, words):
    now = datetime.now(UTC)
    assert ago(now - passed, now) == words
