"""The README: its first example as a visitor sees it, and its other blocks where they belong."""

import importlib
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.docs.pages import ROOT, keep_file
from tests.docs.serving import wsgi_port
from tests.servers.redis import RedisServer

README = (ROOT / "README.md").read_text()
# Every Python block of the README, each run by a test of this module.
SHOP, FLASK, FASTAPI, DJANGO, SESSION = re.findall(
    r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
)


class Browser:
    """A visitor, whose cookies all tabs share."""

    def __init__(self, port):
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", follow_redirects=True, trust_env=False, timeout=60
        )

    def open(self):
        return self._client.get("/")

    def press(self, path):
        """Press a button of the page, and see the page to which it leads."""
        return self._client.post(path)

    def heading(self):
        return _heading(self.open())

    @contextmanager
    def slow(self, path, work):
        """Press a button in another tab, whose page has come when the block ends: then its work may end."""
        seen = []
        other = threading.Thread(target=lambda: seen.append(_heading(self.press(path))))
        other.start()
        try:
            yield seen
        finally:
            work.may_end.set()
            other.join()


def _heading(response):
    return re.search("<h1>(.*?)</h1>", response.text)[1]


@pytest.fixture
def shop(empty_folder, monkeypatch):
    """Serve the first example under ``--debug``, with another store if one is named: its module and its port."""
    monkeypatch.setenv("FLASK_DEBUG", "1")
    opened = []

    @contextmanager
    def shop(url="sqlite:///sessions.db"):
        assert '"sqlite:///sessions.db"' in SHOP
        keep_file(empty_folder / "app.py", SHOP.replace("sqlite:///sessions.db", url), continues=False)
        monkeypatch.delitem(sys.modules, "app", raising=False)
        importlib.invalidate_caches()
        module = importlib.import_module("app")
        opened.append(module.sessions)
        with wsgi_port(module.app) as port:
            yield module, port

    yield shop
    for sessions in opened:
        sessions.shutdown()


@pytest.fixture
def working(monkeypatch):
    """What stands in for the five seconds: the slow request says that it works, and waits until it may go on."""

    class Working:
        begun, may_end = threading.Event(), threading.Event()

    def sleep(seconds):
        if seconds:
            Working.begun.set()
            assert Working.may_end.wait(60)

    @contextmanager
    def patched(module):
        with monkeypatch.context() as patch:
            patch.setattr(module, "time", type("time", (), {"sleep": staticmethod(sleep)}))
            yield Working

    yield patched
    Working.may_end.set()


def test_two_tabs_fill_one_basket(shop, working):
    with shop() as (module, port), working(module) as work:
        browser = Browser(port)
        assert browser.heading() == "Nobody: an empty basket"
        with browser.slow("/add/coat", work) as seen:
            assert work.begun.wait(60)
            assert _heading(browser.press("/add/hat")) == "Nobody: hat"
        assert seen == ["Nobody: hat, coat"]


def test_a_logout_stays_though_a_late_response_arrives(shop, working):
    with shop() as (module, port), working(module) as work:
        browser = Browser(port)
        browser.press("/add/hat")
        assert _heading(browser.press("/sign-in")) == "ada: hat"
        with browser.slow("/add/coat", work) as seen:
            assert work.begun.wait(60)
            assert _heading(browser.press("/sign-out")) == "Nobody: an empty basket"
        assert seen == ["Nobody: an empty basket"]
        assert browser.heading() == "Nobody: an empty basket"


def test_an_outage_and_a_restart_sign_no_user_out(shop, tmp_path):
    unavailable, again = re.findall(r"reload:\s+\*(.*?)\*", README, re.DOTALL)
    assert '"redis://localhost:6379"' in README
    redis = RedisServer(tmp_path, save="3600 1 300 100 60 10000")  # Redis' default, which README's reader has
    with redis, shop(redis.url) as (module, port):
        module.time = type("time", (), {"sleep": staticmethod(lambda _: None)})
        browser = Browser(port)
        browser.press("/sign-in")
        browser.press("/add/hat")
        redis.stop()
        failed = browser.open()
        assert (failed.status_code, failed.text.split()) == (503, unavailable.split())
        assert "Set-Cookie" not in failed.headers
        redis.start()
        assert browser.heading() == again


def test_the_lines_for_flask_keep_a_basket(empty_folder):
    imports = re.match(r".*?\n\n\n?(?=app = )", SHOP, re.DOTALL)[0]
    made = _run(imports + FLASK)
    app, session = made["app"], made["session"]
    app.post("/basket/<item>")(
        lambda item: session.setdefault("basket", []).append(item) or session["basket"]
    )
    client = app.test_client()
    assert client.post("/basket/hat", base_url="https://localhost").json == ["hat"]
    assert client.post("/basket/coat", base_url="https://localhost").json == ["hat", "coat"]


def test_the_lines_for_fastapi_keep_a_basket(empty_folder):
    with TestClient(_run(FASTAPI)["app"], base_url="https://testserver") as client:
        assert client.post("/basket/hat").json() == ["hat"]
        assert client.post("/basket/coat").json() == ["hat", "coat"]


def test_the_lines_for_fastapi_take_insecure_http_as_the_readme_says(empty_folder):
    (call,) = re.findall(r"AsyncSessions.from_url\(.*\)", FASTAPI)
    made = _run(FASTAPI.replace(call, call[:-1] + ", insecure_http=True)"))
    with TestClient(made["app"]) as client:
        client.post("/basket/hat")
        assert client.post("/basket/coat").json() == ["hat", "coat"]


def test_type_checkers_see_the_lines_for_fastapi():
    checked = (ROOT / "tests" / "typing" / "readme_fastapi.py").read_text()
    assert checked.partition("\n\n")[2] == FASTAPI


def test_the_lines_for_django_follow_the_settings_that_startproject_writes(empty_folder):
    _django("-m", "django", "startproject", "shop", ".", at=empty_folder)
    keep_file(empty_folder / "shop" / "settings.py", DJANGO, continues=True)
    keep_file(empty_folder / "tests.py", DJANGO_TEST, continues=False)
    _django("manage.py", "test", at=empty_folder)


DJANGO_TEST = """
from django.contrib.auth.models import User
from django.test import TestCase

from coatcheck.frameworks.django import sessions


class Admin(TestCase):
    def test_who_signs_in_to_the_admin_has_a_session_of_ours(self):
        self.client.force_login(User.objects.create_superuser("ada"))
        self.assertContains(self.client.get("/admin/"), "ada")
        self.assertEqual(len(sessions().of_user("1")), 1)
        self.client.post("/admin/logout/")
        self.assertEqual(sessions().of_user("1"), [])
"""


def test_the_calls_of_a_session_do_what_stands_beside_them(shop):
    with shop() as (module, _), module.app.test_request_context():
        session = module.session
        names = {"session": session, "sessions": module.sessions, "timedelta": timedelta}
        exec(SESSION, names)
        session.save()
        assert session.user == "ada"
        (mine,) = module.sessions.of_user("ada", current=session)
        assert mine.current
        session.sign_out()


def _run(block):
    made = {"__name__": "page"}
    exec(compile(block, "README.md", "exec"), made)
    return made


def _django(*arguments, at):
    path = os.pathsep.join(filter(None, [str(at), os.environ.get("PYTHONPATH", "")]))
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=at,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
