"""Both halves of the demo in a real browser: one address, two frameworks, one session."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from coatcheck.demo.goods import GOODS
from tests.demo.browsing import chromium, device, message, shop, sign_in, take

__all__ = ["chromium", "device", "shop"]  # the fixtures that come from elsewhere

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SQLITE, MEMORY = "sqlite:///coatcheck-demo.db", "memory://"
STORES = pytest.mark.parametrize("shop", [SQLITE, MEMORY], indirect=True)


def to_counter(page):
    page.get_by_role("link", name="Express", exact=True).click()
    expect(page.locator("#half")).to_have_text("Served by FastAPI")


def to_rail(page):
    page.get_by_role("link", name="Rail", exact=True).click()
    expect(page.locator("#half")).to_have_text("Served by Flask")


def add(page, name, choice):
    page.locator(".row").get_by_label(f"of the {name}").select_option(choice)
    page.get_by_role("button", name=f"Add ({name}").click()
    expect(message(page)).to_contain_text(f"{name} ({choice}) is in your basket")


@pytest.mark.parametrize(
    ("shop", "script"),
    [(SQLITE, True), (MEMORY, False)],
    ids=["SQLite, with JavaScript", "memory, without JavaScript"],
    indirect=["shop"],
)
def test_a_visit_of_both_halves(device, script):
    page = device(java_script_enabled=script)
    take(page, "Matinée mac", "L")
    to_counter(page)
    expect(page.locator("#total")).to_have_text("€160")
    add(page, "Long-run scarf", "Moss")
    page.get_by_label("Quantity of the Long-run scarf").fill("3")
    page.get_by_role("button", name="Change (Long-run scarf").click()
    expect(page.locator("#total")).to_have_text("€304")
    page.get_by_role("navigation").get_by_role("link", name="Basket").click()
    expect(page.locator("#half")).to_have_text("Served by Flask")
    expect(page.locator("#total")).to_have_text("€304")
    page.get_by_role("button", name="Put back (Matinée mac").click()
    expect(page.locator("#total")).to_have_text("€144")

    sign_in(page)
    to_counter(page)
    expect(page.locator("#user")).to_have_text("Ada")
    expect(page.locator("#pieces")).to_have_text("3")
    page.get_by_role("button", name="Put back (Long-run scarf").click()
    expect(page.get_by_text("Nothing in it yet")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(message(page)).to_have_text("You are signed out. See you soon.")
    expect(page.locator("#half")).to_have_text("Served by FastAPI")
    to_rail(page)
    expect(page.locator(".who").get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.locator("#user")).to_have_count(0)
    expect(message(page)).to_have_count(0)


def test_who_signs_in_at_the_counter_is_signed_in_at_the_rail_and_after_a_restart(device, shop):
    page = device()
    to_counter(page)
    sign_in(page)
    expect(page.locator("#half")).to_have_text("Served by FastAPI")
    add(page, "Second-act bowler", "58")
    shop.restart()
    page.reload()
    expect(page.locator("#user")).to_have_text("Ada")
    expect(page.locator("#total")).to_have_text("€85")
    to_rail(page)
    expect(page.locator("#user")).to_have_text("Ada")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".who").get_by_role("link", name="Sign in")).to_be_visible()
    to_counter(page)
    expect(page.locator("#user")).to_have_count(0)
    expect(page.get_by_text("Nothing in it yet")).to_be_visible()


LEAVE = """
async action => {
    const form = document.querySelector(`form.take[action="${action}"]`);
    const body = new URLSearchParams(new FormData(form));
    return (await fetch(action, {method: "POST", body, redirect: "manual"})).type;
}
"""


@pytest.mark.parametrize(
    ("here", "action", "there"),
    [("/", "/basket/add", "/express"), ("/express", "/express/basket/add", "/")],
    ids=["Flask to FastAPI", "FastAPI to Flask"],
)
def test_a_message_that_one_half_leaves_is_shown_exactly_once_by_the_other(device, here, action, there):
    page = device(bypass_csp=True)
    page.goto(here)
    assert page.evaluate(LEAVE, action) == "opaqueredirect"
    page.goto(there)
    expect(message(page)).to_have_text("Matinée mac (S) is in your basket.")
    for path in (there, here, there):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        expect(message(page)).to_have_count(0)


SUBMIT_ALL = """
async () => {
    const forms = [...document.querySelectorAll("form.take")];
    const sent = forms.map((form, number) => fetch(number % 2 ? "/basket/add" : "/express/basket/add", {
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


@STORES
def test_clicks_in_both_halves_at_the_same_moment_all_count_and_each_message_is_shown_once(device):
    page = device(bypass_csp=True)
    sign_in(page)
    assert page.evaluate(SUBMIT_ALL) == ["opaqueredirect"] * len(GOODS)
    shown = page.evaluate(LOOK_AT_ALL, ["/", "/express", "/basket", "/express/sign-in"] * 2)
    assert sum(shown) == len(GOODS)
    for path in ("/express", "/basket"):
        page.goto(path)
        expect(page.locator("#pieces")).to_have_text(str(len(GOODS)))
        expect(page.locator(".line")).to_have_count(len(GOODS))
        expect(message(page)).to_have_count(0)


def test_what_happened_tells_of_both_halves(device):
    page = device()
    take(page, "Interval umbrella", "Ink")
    to_counter(page)
    add(page, "Matinée mac", "S")
    page.get_by_role("link", name="What happened").click()
    requests = page.locator(".request")
    expect(requests.nth(1)).to_contain_text("POST /express/basket/add 303")
    expect(requests.nth(1)).to_contain_text("by FastAPI")
    expect(requests.last).to_contain_text("by Flask")
    (cookie,) = page.context.cookies()
    assert cookie["value"] not in page.content()


def test_the_counter_fits_a_narrow_phone_and_every_field_has_a_label(device):
    page = device(viewport={"width": 320, "height": 640})
    to_counter(page)
    sign_in(page, "A visitor with quite a long name, really")
    add(page, "Understudy beanie", "Mustard")
    nameless = """
    () => [...document.querySelectorAll("button, select, input:not([type=hidden])")]
        .filter(field => !(field.labels?.length || field.textContent.trim())).length
    """
    for path in ("/express", "/express/sign-in"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
        assert page.evaluate(nameless) == 0, path
        assert page.locator("h1").count() == 1
