"""The demo in a real browser, against the real command: what a visitor sees, over restarts and on two devices."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from coatcheck.demo.goods import GOODS
from tests.demo.browsing import chromium, device, message, shop, sign_in, take

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

__all__ = ["chromium", "device", "shop"]  # the fixtures that come from elsewhere


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_visit_from_the_first_look_to_the_goodbye(device, shop, script):
    page = device(java_script_enabled=script)
    expect(page.locator("#cost")).to_have_text("This page: no round trip to the store, nothing written.")
    assert page.context.cookies() == []

    take(page, "Matinée mac", "L")
    sign_in(page)
    expect(message(page)).to_have_text("Welcome, Ada.")
    page.reload()
    expect(page.locator("#user")).to_have_text("Ada")
    expect(message(page)).to_have_count(0)

    take(page, "Long-run scarf", "Moss")
    take(page, "Long-run scarf", "Moss")
    page.get_by_role("link", name="Basket").click()
    expect(page.locator("#total")).to_have_text("€256")
    page.get_by_label("Quantity of the Long-run scarf").fill("3")
    page.get_by_role("button", name="Change (Long-run scarf").click()
    expect(page.locator("#total")).to_have_text("€304")
    page.get_by_role("button", name="Put back (Matinée mac").click()
    expect(message(page)).to_have_text("Matinée mac (L) is back on the rail.")
    expect(page.locator("#total")).to_have_text("€144")

    shop.restart()
    page.reload()
    expect(page.locator("#user")).to_have_text("Ada")
    expect(page.locator("#total")).to_have_text("€144")
    expect(message(page)).to_have_count(0)

    page.get_by_role("button", name="Sign out").click()
    expect(message(page)).to_have_text("You are signed out. See you soon.")
    expect(page.locator("#pieces")).to_have_text("0")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    page.reload()
    expect(page.locator("h1")).to_be_visible()
    expect(message(page)).to_have_count(0)


def test_the_theme_changes_the_colours_and_stays_over_a_restart(device, shop):
    def choose(name):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        page.wait_for_load_state()  # the style sheet comes after the button

    page = device(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    bright = page.evaluate(ground)
    choose("Dark")
    dark = page.evaluate(ground)
    assert dark != bright
    shop.restart()
    page.reload()
    assert page.evaluate(ground) == dark
    choose("System")
    assert page.evaluate(ground) == bright
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


def test_a_device_that_is_ended_elsewhere_is_out_at_its_next_click(device):
    here, there = device(), device(user_agent="Mozilla/5.0 (iPhone) Version/18.1 Mobile Safari/604.1")
    sign_in(here)
    sign_in(there)
    take(there, "Second-act bowler", "58")
    here.get_by_role("link", name="Devices").click()
    expect(here.locator(".device")).to_have_count(2)
    expect(here.locator(".device.current")).to_contain_text("this one")
    here.get_by_role("button", name="Sign it out (Safari on an iPhone").click()
    expect(message(here)).to_have_text("That device is signed out.")
    expect(here.locator(".device")).to_have_count(1)

    there.get_by_role("link", name="Basket").click()
    expect(there.get_by_text("Nothing in it yet")).to_be_visible()
    expect(there.locator("#user")).to_have_count(0)
    there.get_by_role("link", name="Sign in", exact=True).click()
    expect(there.locator("#ended")).to_contain_text("has ended")
    sign_in_again = there.get_by_label("Your name")
    sign_in_again.fill("Ada")
    there.get_by_role("button", name="Sign in").click()
    expect(there.locator("#user")).to_have_text("Ada")
    expect(there.locator("#pieces")).to_have_text("0")


def test_ending_all_others_keeps_the_device_in_the_hand(device):
    here, there, yonder = device(), device(), device()
    for page in (here, there, yonder):
        sign_in(page)
    take(here, "Matinée mac", "S")
    here.get_by_role("link", name="Devices").click()
    here.get_by_role("button", name="Sign out all the others").click()
    expect(message(here)).to_have_text("2 other devices are signed out now.")
    expect(here.locator("#user")).to_have_text("Ada")
    expect(here.locator("#pieces")).to_have_text("1")
    for page in (there, yonder):
        page.reload()
        expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_two_users_do_not_meet(device):
    here, there = device(), device()
    sign_in(here, "Ada")
    sign_in(there, "Bob")
    take(here, "Matinée mac", "S")
    here.get_by_role("link", name="Devices").click()
    expect(here.locator(".device")).to_have_count(1)
    there.reload()
    expect(there.locator("#user")).to_have_text("Bob")
    expect(there.locator("#pieces")).to_have_text("0")


SUBMIT_ALL = """
async () => {
    const forms = document.querySelectorAll("form.take");
    const sent = [...forms].map(form => fetch(form.action, {
        method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual",
    }));
    return (await Promise.all(sent)).map(response => response.type);
}
"""
LOOK_AT_ALL = """
async paths => {
    const pages = await Promise.all(paths.map(path => fetch(path).then(response => response.text())));
    return pages.map(page => (page.match(/class="message"/g) || []).length);
}
"""


def test_forms_that_are_sent_at_the_same_moment_all_count(device):
    page = device(bypass_csp=True)  # the pages allow no script; here one stands for eight quick fingers
    sign_in(page)
    assert page.evaluate(SUBMIT_ALL) == ["opaqueredirect"] * len(GOODS)
    page.goto("/basket")
    expect(page.locator("#pieces")).to_have_text(str(len(GOODS)))
    expect(message(page)).to_have_count(len(GOODS))
    page.reload()
    expect(page.locator("#pieces")).to_have_text(str(len(GOODS)))
    expect(message(page)).to_have_count(0)


def test_pages_that_are_loaded_at_the_same_moment_show_each_message_once(device):
    page = device(bypass_csp=True)
    sign_in(page)
    assert page.evaluate(SUBMIT_ALL) == ["opaqueredirect"] * len(GOODS)
    shown = page.evaluate(LOOK_AT_ALL, ["/", "/basket", "/devices", "/what-happened"] * 2)
    assert sum(shown) == len(GOODS)


def test_clicks_in_several_tabs_all_count(device):
    first = device()
    sign_in(first)
    tabs = [first, *(first.context.new_page() for _ in range(3))]
    for tab in tabs:
        tab.goto("/")
    for tab, good in zip(tabs, GOODS, strict=False):
        # Not waited for: each answer comes while the next tab clicks.
        tab.get_by_role("button", name=f"Take it ({good.name}").click(no_wait_after=True)
    for tab, good in zip(tabs, GOODS, strict=False):
        tab.wait_for_url(f"**/#{good.id}")
    first.goto("/basket")
    expect(first.locator("#pieces")).to_have_text(str(len(tabs)))


def test_what_happened_shows_the_work_and_no_token(device):
    page = device()
    page.get_by_role("link", name="What happened").click()
    expect(page.get_by_text("Nothing at all")).to_be_visible()
    page.goto("/")
    take(page, "Interval umbrella", "Ink")
    sign_in(page)
    page.get_by_role("link", name="What happened").click()
    requests = page.locator(".request")
    expect(requests.last.locator("h2")).to_contain_text("You took the Interval umbrella")
    expect(requests.last.get_by_text("Your basket was stored before you had the answer.")).to_be_visible()
    expect(requests.last.get_by_text("bytes written")).to_be_hidden()
    requests.last.get_by_text("How").click()
    expect(requests.last.get_by_text("bytes written")).to_be_visible()
    expect(requests.first).to_contain_text("GET / 200")
    expect(requests.last).to_contain_text("POST /basket/add 303")
    expect(requests.last).to_contain_text("began a session · set “basket:umbrella”")
    expect(page.locator("#cost")).to_contain_text(re.compile(r"1 round trip .* nothing written", re.DOTALL))
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["value"] not in page.content()


def test_every_page_fits_a_narrow_phone(device):
    page = device(viewport={"width": 320, "height": 640})
    sign_in(page, "A visitor with quite a long name, really")
    take(page, "Matinée mac", "S")
    for path in ("/", "/basket", "/devices", "/what-happened", "/sign-in"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path


def test_the_first_tab_leads_past_the_menu_and_every_field_has_a_label(device):
    page = device()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    sign_in(page)
    take(page, "Matinée mac", "S")
    nameless = """
    () => [...document.querySelectorAll("button, select, input:not([type=hidden])")]
        .filter(field => !(field.labels?.length || field.textContent.trim())).length
    """
    for path in ("/", "/basket", "/devices", "/sign-in"):
        page.goto(path)
        assert page.evaluate(nameless) == 0, path
        assert page.locator("h1").count() == 1
