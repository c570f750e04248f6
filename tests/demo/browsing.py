"""A real browser in the real demo: what the browser tests share."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.demo.process import Demo
from tests.servers.process import free_port

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


class Shop:
    """The demo's process, that can be started again where it was."""

    def __init__(self, folder, *arguments):
        self._folder = folder
        self._arguments = arguments
        self._port = free_port()
        self._demo = None

    @property
    def url(self):
        return self._demo.url

    def start(self):
        self._demo = Demo(self._folder, *self._arguments, port=self._port)

    def stop(self):
        assert self._demo.stop() == (0, "")

    def restart(self):
        self.stop()
        self.start()


@pytest.fixture
def shop(request, tmp_path, monkeypatch):
    """The demo; a test may name its store by an indirect parameter."""
    monkeypatch.delenv("COATCHECK_SECRET", raising=False)
    store = ("--store", request.param) if hasattr(request, "param") else ()
    shop = Shop(tmp_path, *store)
    shop.start()
    yield shop
    shop.stop()


@pytest.fixture
def device(chromium, shop):
    """Opens a browser of its own: its own cookies, and no error in its console."""
    opened, complaints = [], []

    def hear(said):
        # A browser fetches the icon when it likes, also while the server is being restarted.
        if said.type == "error" and not said.location["url"].endswith("/icon.svg"):
            complaints.append(said.text)

    def open_page(**options):
        context = chromium.new_context(base_url=shop.url, **options)
        opened.append(context)
        context.on("console", hear)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        page = context.new_page()
        page.goto("/")
        return page

    open_page.complaints = complaints
    yield open_page
    for context in opened:
        context.close()
    assert complaints == []


def sign_in(page, name="Ada"):
    page.locator(".who").get_by_role("link", name="Sign in").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#user")).to_have_text(name)


def take(page, name, choice):
    page.get_by_label(f"of the {name}").select_option(choice)
    page.get_by_role("button", name=f"Take it ({name}").click()
    expect(message(page)).to_contain_text(f"{name} ({choice}) is in your basket")


def message(page):
    return page.locator(".message")
