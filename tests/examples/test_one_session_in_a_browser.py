"""examples/one_session, as a person sees it who clicks through it."""

import pytest
from playwright.sync_api import expect

from tests.demo.browsing import chromium
from tests.examples.running import FRAMEWORKS, address_of, started

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

__all__ = ["chromium"]  # the fixture that comes from elsewhere


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with started(tmp_path_factory.mktemp("one_session")) as server:
        yield address_of(server)


@pytest.fixture(params=[(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def page(request, chromium, address):
    width, scheme = request.param
    context = chromium.new_context(
        base_url=address, viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page, told = context.new_page(), []
    page.on("console", lambda message: told.append(message.text))
    yield page
    assert told == []
    context.close()


def fits(page):
    """Whether nothing sticks out at the side."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_signed_in_at_django_noted_in_flask_and_out_in_aiohttp(page):
    page.goto("/")
    assert fits(page)
    page.get_by_role("listitem").get_by_role("link", name="Django").last.click()
    assert fits(page)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#user")).to_have_text("as user 1, ada")
    page.get_by_role("link", name="Flask").click()
    page.get_by_label("A note for all six").fill("tea at four")
    page.get_by_role("button", name="Write it in Flask").click()
    page.get_by_role("link", name="Pyramid").click()
    expect(page.locator(".message")).to_have_text("Noted in Flask.")
    expect(page.locator("#note")).to_have_text("tea at four")
    assert fits(page)
    page.get_by_role("link", name="aiohttp").click()
    expect(page.locator(".message")).to_have_count(0)
    page.get_by_role("button", name="Sign out in aiohttp").click()
    for framework in FRAMEWORKS:
        page.goto(f"/{framework}/")
        expect(page.locator("#user")).to_have_text("no")
        assert fits(page)
