"""Every page of the demo in a real browser, on a phone and on a desk, light and dark: how it looks, and to whom it talks."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from coatcheck.demo.scenes.plays import SCENES
from tests.demo.audit import AUDIT, COLOURS, EVERY_RULE, axe
from tests.demo.browsing import Shop, chromium, device, message, sign_in, take
from tests.demo.test_style import contrast

__all__ = ["axe", "chromium", "device"]  # the fixtures that come from elsewhere

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
HEX = """
selector => {
    const element = document.querySelector(selector);
    const style = getComputedStyle(element);
    const rgb = element instanceof SVGElement ? style.stroke : style.backgroundColor;
    return "#" + rgb.match(/\\d+/g).slice(0, 3).map(part => (+part).toString(16).padStart(2, "0")).join("");
}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """One demo for all: no test stops it."""
    shop = Shop(tmp_path_factory.mktemp("shop"), "--store", "memory://")
    shop.start()
    yield shop
    shop.stop()


def tour(page):
    """Lead the page through everything that the demo shows; yields the name of each stop."""
    play(page, SCENES[0])
    yield "the rail of a stranger, with a scene"
    for path in ("/nowhere", "/basket", "/what-happened", "/sign-in", "/express/docs", "/express"):
        page.goto(path)
        yield f"{path} of a stranger"
    sign_in(page)
    page.goto("/")
    take(page, "Interval umbrella", "Ink")
    yield "the rail, with a message in a ticket"
    page.goto("/express")
    page.get_by_role("button", name="Add (Matinée mac").click()
    yield "the counter, with a message"
    for path in ("/basket", "/devices", "/what-happened"):
        page.goto(path)
        yield path


def play(page, scene):
    page.get_by_role("button", name=scene.title).click()
    expect(page.locator("#scene-title")).to_have_text(scene.title)


@SIZES
def test_an_audit_finds_nothing_and_no_page_asks_for_anything_elsewhere(device, shop, axe, size):
    page = device(viewport=size, bypass_csp=True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    found = []
    for stop in tour(page):
        page.evaluate(axe)
        for scheme, rules in (("light", EVERY_RULE), ("dark", COLOURS)):
            page.emulate_media(color_scheme=scheme)
            # A message that is still fading in has too little contrast.
            page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
            found += [f"{stop}, {scheme}: {what}" for what in page.evaluate(AUDIT, rules)]
    (missing,) = device.complaints  # the page that there is not
    assert "404" in missing
    device.complaints.clear()
    assert found == []
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(shop.url).netloc}


@pytest.mark.parametrize(
    ("size", "script"), [(PHONE, True), (DESK, False)], ids=["phone", "desk, without JavaScript"]
)
def test_each_scene_shows_both_sides_and_how_it_went_behind_a_click(device, size, script):
    page = device(viewport=size, java_script_enabled=script)
    for scene in SCENES:
        play(page, scene)
        good, bad = page.locator(".side.kept"), page.locator(".side.broken")
        expect(good.locator("h3")).to_contain_text("Coatcheck")
        expect(bad.locator("h3")).to_contain_text("Elsewhere")
        expect(bad.get_by_text(scene.there)).to_be_hidden()
        bad.get_by_text("How", exact=True).click()
        expect(bad.get_by_text(scene.there)).to_be_visible()
        seen = page.locator(".scene")
        expect(seen).to_be_in_viewport()
        assert page.context.cookies() == []
    left, right = good.bounding_box(), bad.bounding_box()
    assert (left["y"] == right["y"]) == (size is DESK)


def test_on_a_phone_the_menu_is_one_row_and_the_basket_stays_in_sight(device):
    page = device(viewport=PHONE)
    sign_in(page)
    take(page, "Matinée mac", "S")
    links = [link.bounding_box() for link in page.locator("nav a").all()]
    assert len(links) == 5
    assert len({box["y"] for box in links}) == 1
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] for box in links)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator("#pieces")).to_be_in_viewport(ratio=1)
    expect(page.locator("#pieces")).to_have_text("1")


@SIZES
def test_a_message_stands_beside_the_good_that_it_is_about_and_over_none(device, size):
    page = device(viewport=size)
    take(page, "Interval umbrella", "Ink")
    ticket = page.locator("#umbrella")
    expect(message(ticket)).to_be_in_viewport(ratio=1)
    expect(ticket.locator("svg")).to_be_in_viewport(ratio=1)
    said = message(page).bounding_box()
    others = [*ticket.locator(".tile, h3, .about, form").all(), *page.locator(".ticket:not(#umbrella)").all()]
    assert not any(overlap(said, one.bounding_box()) for one in others)
    page.get_by_role("button", name="Dark").click()
    expect(message(page)).to_have_text("The theme is dark now.")
    said = message(page).bounding_box()
    assert not any(overlap(said, one.bounding_box()) for one in page.locator(".ticket, .elsewhere, h1").all())


def overlap(one, other):
    return (
        one["x"] < other["x"] + other["width"]
        and other["x"] < one["x"] + one["width"]
        and one["y"] < other["y"] + other["height"]
        and other["y"] < one["y"] + one["height"]
    )


def test_the_theme_switch_says_what_it_is_and_the_umbrella_has_its_pole_in_the_dark(device):
    page = device(viewport=PHONE)
    group = page.get_by_role("group", name="Theme")
    expect(group.get_by_role("button")).to_have_text(["System", "Light", "Dark"])
    for name in ("Light", "Dark"):
        group.get_by_role("button", name=name).click()
        expect(group.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        page.wait_for_load_state()  # the style sheet comes after the button
        pole, tile = page.evaluate(HEX, "#umbrella .pole"), page.evaluate(HEX, "#umbrella .tile")
        assert contrast(pole, tile) >= 3
