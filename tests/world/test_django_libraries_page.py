"""The page about Django's libraries: every block of it runs, and does what the page says."""

from tests.world.django_sockets import browser_of, new_user, served, site, socket, urlpatterns  # first

# isort: split

import sys

import pytest
from allauth.usersessions.models import UserSession
from django.test.utils import override_settings
from django.urls import include, path
from websockets.exceptions import ConnectionClosed

from coatcheck.frameworks.django import sessions
from tests.docs.pages import DOCS, parse
from tests.world.django_site import PASSWORD, FormBrowser

__all__ = ["site"]

urlpatterns = [*urlpatterns, path("headless/", include("allauth.headless.urls"))]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page's blocks define; its files can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("page")
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        document = parse(DOCS / "how-to" / "django-libraries.md")
        for example in document.examples():
            example.evaluate()
        yield document.namespace
        for name in ("tokens", "sockets"):
            sys.modules.pop(name, None)


class App:
    """A program that uses the API with a token, and keeps no cookies."""

    def __init__(self, token=None):
        self.token = token

    def send(self, method, path, **json):
        headers = {} if self.token is None else {"x-session-token": self.token}
        answer = FormBrowser().send(method, f"/headless/app/v1/auth/{path}", headers, json=json)
        self.token = answer.json().get("meta", {}).get("session_token", self.token)
        return answer

    def log_in(self, who="ada"):
        assert self.send("POST", "login", username=who, password=PASSWORD).status_code == 200
        return self

    @property
    def status(self):
        return self.send("GET", "session").status_code


class TestTokens:
    @pytest.fixture(autouse=True)
    def of_the_page(self, page, site):
        with override_settings(HEADLESS_TOKEN_STRATEGY=page["HEADLESS_TOKEN_STRATEGY"]):
            new_user()
            yield

    def test_an_app_logs_in_and_out_and_its_token_is_dead_then(self):
        app = App()
        assert app.status == 401
        app.log_in()
        assert app.status == 200
        copied = App(app.token)
        assert app.send("DELETE", "session").status_code == 401
        assert copied.status == 410

    def test_the_public_name_is_no_token_even_beside_its_users_cookie(self, site):
        app = App().log_in()
        (name,) = UserSession.objects.values_list("session_key", flat=True)
        assert App(name).status == 410
        browser = FormBrowser()
        browser.token = app.token
        assert browser.get("/me").json()["user"] == "ada"
        answer = browser.send("GET", "/headless/app/v1/auth/session", {"x-session-token": name})
        assert answer.status_code == 410

    def test_a_revoked_user_is_out(self, site):
        app = App().log_in()
        site.revoke_user(str(UserSession.objects.get().user_id))
        assert app.status == 410

    def test_an_apps_list_has_all_devices_and_ends_them(self):
        browser = FormBrowser()
        browser.get("/in/ada")
        apps = [App().log_in(), App().log_in()]
        browser.get("/me")  # for the list, which allauth fills where it sees the visitor
        rows = apps[0].send("GET", "sessions").json()["data"]
        assert [row["is_current"] for row in rows].count(True) == 1
        assert len(rows) == 3
        ended = apps[0].send("DELETE", "sessions", sessions=[r["id"] for r in rows if not r["is_current"]])
        assert len(ended.json()["data"]) == 1
        assert [app.status for app in apps] == [200, 410]
        assert browser.get("/me").json()["user"] == ""


def test_without_the_strategy_a_token_is_a_name_and_opens_nothing(site):
    new_user()
    app = App().log_in()
    assert app.token == UserSession.objects.get().session_key
    assert app.status == 401


class TestSockets:
    @pytest.fixture
    def address(self, page, site):
        new_user()
        with served([path("ws", page["Prices"].as_asgi())]) as address:
            yield address

    def asks(self, ws):
        ws.send("{}")
        return ws.recv()

    def test_a_socket_is_closed_at_its_first_message_after_a_logout(self, address):
        with browser_of(address) as browser:
            browser.get("/in/ada")
            with socket(address, "/ws", browser) as ws:
                assert self.asks(ws) == '{"price": 7}'
                assert self.asks(ws) == '{"price": 7}'
                browser.get("/out")
                with pytest.raises(ConnectionClosed) as closed:
                    self.asks(ws)
                assert closed.value.rcvd.code == 4401

    def test_a_socket_is_closed_after_a_revocation(self, address):
        with browser_of(address) as browser:
            browser.get("/in/ada")
            with socket(address, "/ws", browser) as ws:
                assert self.asks(ws) == '{"price": 7}'
                (info,) = sessions().of_user(browser.get("/me").json()["pk"])
                sessions().revoke(info.handle)
                with pytest.raises(ConnectionClosed):
                    self.asks(ws)
