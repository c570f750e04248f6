"""The tutorial, followed step by step."""

import importlib
import os
import re
import subprocess
import sys
import time

import httpx
import pytest

from tests.docs.pages import DOCS, keep_file, run_console, run_pytest
from tests.servers.process import free_port

TUTORIAL = (DOCS / "tutorial" / "first-site.md").read_text()
STEPS = re.split(r"^## \d\. .*$", TUTORIAL, flags=re.MULTILINE)[1:]
BLOCK = re.compile(r"^```(python|html\+jinja)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON_FILE = re.compile(r"# (\w+\.py)(, at the end)?\n").match
TEMPLATE = re.compile(r"\{# (templates/[\w-]+\.html) #\}\n").match


@pytest.fixture
def follow(empty_folder, monkeypatch):
    """Write the files of the steps up to one, and import what `app.py` is then."""
    opened = []

    def follow(last):
        (empty_folder / "secret.txt").write_text(os.environ["SESSION_SECRET"] + "\n")
        for step in STEPS[:last]:
            for language, text in BLOCK.findall(step):
                if language == "python":
                    name, continues = PYTHON_FILE(text).groups()
                    keep_file(empty_folder / name, text, continues=continues is not None)
                else:
                    keep_file(empty_folder / TEMPLATE(text)[1], text, continues=False)
        monkeypatch.delitem(sys.modules, "app", raising=False)
        importlib.invalidate_caches()
        app = importlib.import_module("app")
        opened.append(app.sessions)
        return app

    yield follow
    for sessions in opened:
        sessions.shutdown()


class Browser:
    """What a visitor does: opens pages, and presses buttons that are there."""

    def __init__(self, app):
        self._client = app.test_client()

    def open(self, path):
        self.page = self._client.get(path, follow_redirects=True)
        return self.page.text

    def press(self, button, number=0, **form):
        forms = re.findall(r"<form.*?</form>", self.page.text, re.DOTALL)
        found = [text for text in forms if f"<button>{button}</button>" in text][number]
        action = re.search(r'action="([^"]*)"', found)
        form["csrf"] = re.search(r'name="csrf" value="([^"]*)"', found)[1]
        path = action[1] if action else self.page.request.path
        self.page = self._client.post(path, data=form, follow_redirects=True)
        assert self.page.status_code == 200
        return self.page.text


def test_step_1_counts_visits_and_sends_one_cookie(follow):
    client = follow(1).app.test_client()
    first = client.get("/count")
    assert first.text == "Visit number 1\n"
    assert first.headers["Set-Cookie"].startswith("coatcheck=")
    second = client.get("/count")
    assert second.text == "Visit number 2\n"
    assert "Set-Cookie" not in second.headers


def test_step_2_fills_a_basket_and_refuses_a_forged_form(follow):
    app = follow(2)
    browser = Browser(app.app)
    browser.open("/")
    browser.press("Add one", 1)
    assert "Long-run scarf, 2 in your basket" in browser.press("Add one", 1)
    before = app.sessions.count()
    assert app.app.test_client().post("/add/scarf").status_code == 400
    assert app.sessions.count() == before


def test_step_3_shows_a_message_once(follow):
    browser = Browser(follow(3).app)
    browser.open("/")
    browser.press("Add one")
    assert "Your basket is empty." in browser.press("Empty the basket")
    assert "Your basket is empty." not in browser.open("/")


def test_step_4_signs_in_and_out(follow):
    app = follow(4)
    browser = Browser(app.app)
    browser.open("/")
    browser.press("Add one")
    browser.open("/sign-in")
    assert "go together" in browser.press("Sign in", name="ada", password="wrong")
    assert "Hello ada." in browser.press("Sign in", name="ada", password="analytical", remember="on")
    assert "Matinée mac, 1 in your basket" in browser.open("/")
    assert [info.permanent for info in app.sessions.of_user("ada")] == [True]
    page = browser.press("Sign out")
    assert "Goodbye." in page
    assert "Matinée mac, 0 in your basket" in page
    assert app.sessions.of_user("ada") == []


def test_step_5_ends_other_devices(follow):
    app = follow(5)
    browsers = [Browser(app.app) for _ in range(3)]
    for browser in browsers:
        browser.open("/sign-in")
        browser.press("Sign in", name="ada", password="analytical")
    here, *others = browsers
    assert here.open("/devices").count("<li>") == 3
    assert here.press("End").count("<li>") == 2
    assert "Signed out elsewhere: 1" in here.press("Sign out everywhere else")
    assert all("Sign in" in browser.open("/") for browser in others)
    assert "Sign out" in here.open("/")


def test_step_6_passes_as_a_reader_runs_it(follow, empty_folder):
    follow(5).sessions.shutdown()
    for _, text in BLOCK.findall(STEPS[5]):
        keep_file(empty_folder / PYTHON_FILE(text)[1], text, continues=False)
    run_pytest()


def test_the_finished_site_works_over_http(follow, empty_folder):
    follow(5).sessions.shutdown()
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "flask", "run", "--port", str(port)], cwd=empty_folder)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as browser:
            assert [_counted(browser, server) for _ in range(3)] == [1, 2, 3]
    finally:
        server.terminate()
        server.wait()


def _counted(browser, server):
    deadline = time.monotonic() + 30
    while True:
        try:
            return int(browser.get("/count").text.removeprefix("Visit number "))
        except httpx.ConnectError:
            assert server.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"


def test_the_secret_is_made_as_the_first_step_says(empty_folder):
    (line,) = [line for line in STEPS[0].splitlines() if line.startswith("$ coatcheck")]

    class Block:
        parsed = line

    run_console(Block)
    assert len((empty_folder / "secret.txt").read_text()) == 44
