"""The promises that every Flask application with a login gives its visitors once its sessions are ours."""

from __future__ import annotations

import re
import secrets
from typing import Any, ClassVar

import flask
import httpx
import pytest
from werkzeug.security import generate_password_hash

from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore

BASE = "https://site.test"
COOKIE = "__Host-session"
PASSWORD = "correct horse battery staple"


def hashed(password: str) -> str:
    """The hash of a password, made in one round, since a test does not wait for it."""
    return generate_password_hash(password, "pbkdf2:sha256:1")


def new_sessions(**options) -> Sessions:
    return Sessions(MemoryStore(), secret=secrets.token_urlsafe(32), **options)


def new_app(sessions: Sessions, **config) -> flask.Flask:
    """An application with a basket for every visitor; the rest is the program under test."""
    app = flask.Flask("program")
    app.config.update(TESTING=True, SECRET_KEY=secrets.token_urlsafe(), **config)
    SessionInterface(sessions).init_app(app)

    @app.get("/basket/add/<item>")
    def add(item):
        flask.session.setdefault("basket", []).append(item)
        return "added"

    @app.get("/basket")
    def basket():
        return flask.jsonify(flask.session.get("basket"))

    return app


class Browser:
    """A browser: it keeps cookies, follows redirects, and sends the forms that it was shown."""

    def __init__(self, app: flask.Flask, jar: httpx.Cookies | None = None) -> None:
        self._app = app
        self.client = httpx.Client(
            mounts={BASE: httpx.WSGITransport(app)},
            trust_env=False,
            base_url=BASE,
            cookies=jar,
            follow_redirects=True,
        )

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.client.post(path, data=fields, headers={"Referer": BASE + path})

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Open a page with a form, fill it in, and send it."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        return self.post(path, **(hidden_fields(page.text) | fields))

    def twin(self) -> Browser:
        """A browser with a copy of the cookies: a thief's, or that of the attacker who planted them."""
        return Browser(self._app, httpx.Cookies(self.client.cookies))

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get(COOKIE)


def hidden_fields(page: str) -> dict[str, str]:
    """The hidden inputs of a page, which a browser sends unseen."""
    found = {}
    for tag in re.findall(r"<input[^>]*>", page):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") == "hidden":
            found[attributes["name"]] = attributes["value"]
    return found


class FlaskLogins:
    """A program under test gives `build`, and says where it differs. Its users are ada and grace."""

    identity: ClassVar[Any] = None
    csrf: ClassVar[str | None] = "csrf_token"
    """The field of the login form without which it is refused; None: it has none."""
    basket_after_login: ClassVar[list[str] | None] = ["pear"]
    listed: ClassVar[bool] = True
    """Whether the list of the user's devices knows the login."""
    login_path: ClassVar[str] = "/login"
    name_field: ClassVar[str] = "username"

    def build(self, app: flask.Flask) -> None:
        """Put the program into an application; it answers who is logged in at ``/who``."""
        raise NotImplementedError

    def user_id(self, name: str) -> str:
        """The id of a user in our list of devices."""
        return name

    database: str
    """The path of a database for the program's own tables."""

    @pytest.fixture(autouse=True)
    def _site(self, tmp_path):
        self.prepare(tmp_path)

    def prepare(self, tmp_path) -> None:
        self.database = str(tmp_path / "program.db")
        self.sessions = new_sessions(identity=self.identity)
        self.app = new_app(self.sessions)
        self.build(self.app)

    def browser(self) -> Browser:
        return Browser(self.app)

    def visitor(self) -> Browser:
        """Someone who has filled a basket and looked around before the login."""
        browser = self.browser()
        browser.get("/basket/add/pear")
        assert self.who(browser) == "nobody"
        assert browser.get("/basket").json() == ["pear"]
        return browser

    def login(self, browser: Browser, name: str = "ada", password: str = PASSWORD) -> httpx.Response:
        return browser.submit(self.login_path, **{self.name_field: name, "password": password})

    def logout(self, browser: Browser) -> None:
        assert browser.get("/logout").status_code == 200

    def who(self, browser: Browser) -> str:
        answer = browser.get("/who")
        assert answer.status_code == 200, answer.text
        return answer.text

    def logged_in(self, name: str = "ada") -> Browser:
        browser = self.visitor()
        self.login(browser, name)
        assert self.who(browser) == name
        return browser

    def test_a_visitor_with_a_basket_logs_in(self):
        browser = self.logged_in()
        assert browser.get("/basket").json() == self.basket_after_login
        assert self.who(browser) == "ada"

    def test_a_cookie_that_was_planted_before_the_login_is_not_logged_in(self):
        browser = self.visitor()
        attacker = browser.twin()
        self.login(browser)
        assert browser.cookie != attacker.cookie
        assert (self.who(browser), self.who(attacker)) == ("ada", "nobody")

    def test_a_wrong_password_changes_nothing(self):
        browser = self.visitor()
        self.login(browser, password="wrong")
        assert self.who(browser) == "nobody"
        assert browser.get("/basket").json() == ["pear"]
        self.login(browser)
        assert self.who(browser) == "ada"

    def test_the_cookie_from_before_the_logout_is_dead_after_it(self):
        browser = self.logged_in()
        thief = browser.twin()
        assert self.who(thief) == "ada"
        self.logout(browser)
        assert (self.who(browser), self.who(thief)) == ("nobody", "nobody")
        assert thief.get("/basket").json() is None
        assert self.sessions.of_user(self.user_id("ada")) == []

    def test_who_logs_in_next_in_the_browser_gets_another_session(self):
        browser = self.logged_in()
        old = browser.twin()
        self.logout(browser)
        self.login(browser, "grace")
        assert (self.who(browser), self.who(old)) == ("grace", "nobody")
        assert browser.get("/basket").json() is None

    def test_the_login_is_in_the_users_list_and_can_be_revoked(self):
        browsers = [self.logged_in(), self.logged_in()]
        found = self.sessions.of_user(self.user_id("ada"))
        assert len(found) == (2 if self.listed else 0)
        assert self.sessions.revoke_user(self.user_id("ada")) == len(found)
        assert [self.who(browser) for browser in browsers] == ["nobody" if self.listed else "ada"] * 2

    def test_a_login_that_another_site_sends_is_refused(self):
        if self.csrf is None:
            return
        browser = self.visitor()
        shown = hidden_fields(browser.get(self.login_path).text)
        assert shown.pop(self.csrf)
        browser.post(self.login_path, **shown, **{self.name_field: "ada", "password": PASSWORD})
        assert self.who(browser) == "nobody"
