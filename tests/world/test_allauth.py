"""django-allauth as it is: accounts, its list of sessions, and a login at a provider."""

from tests.world.django_site import PASSWORD, FormBrowser, new_user, site  # first, since it configures Django

# isort: split

import re

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user_model
from django.core import mail
from django.http import JsonResponse
from django.test.utils import override_settings
from django.urls import include, path

from coatcheck.frameworks.django import SessionStore
from tests.world.provider import CLIENT_ID, CLIENT_SECRET, WithProvider

__all__ = ["site"]


def me(request):
    """The visitor's name and what is in the session; ``?put=`` puts something in."""
    if "put" in request.GET:
        request.session["basket"] = [*request.session.get("basket", []), request.GET["put"]]
    return JsonResponse({"user": request.user.username, "basket": request.session.get("basket")})


def renewed(request):
    old = request.session.session_key
    request.session.cycle_key()
    return JsonResponse({"name": old})


def opened(request, name):
    """The user whose session opens by a public name in this request."""
    return JsonResponse({"user": SessionStore(name).get("_auth_user_id")})


urlpatterns = [
    path("", include("allauth.urls")),
    path("headless/", include("allauth.headless.urls")),
    path("me", me),
    path("opened/<name>", opened),
    path("renewed", renewed),
]


@pytest.fixture
def browser(site):
    browser = FormBrowser()
    browser.get("/login/")  # for the token of its forms
    return browser


def log_in(browser, who="ada", password=PASSWORD):
    return browser.post("/login/", login=who, password=password)


def shown(browser):
    return browser.get("/me").json()["user"]


def names():
    return set(UserSession.objects.values_list("session_key", flat=True))


def the_user(name="ada"):
    return str(get_user_model().objects.get(username=name).pk)


class TestAccounts:
    def test_a_visitor_signs_up_logs_out_and_in_and_keeps_the_basket(self, browser):
        browser.get("/me?put=pear")
        form = {"username": "ada", "email": "ada@example.com", "password1": PASSWORD, "password2": PASSWORD}
        assert browser.post("/signup/", **form).status_code == 302
        assert browser.get("/me").json() == {"user": "ada", "basket": ["pear"]}
        browser.post("/logout/")
        assert browser.get("/me").json() == {"user": "", "basket": None}
        browser.get("/login/")
        log_in(browser)
        assert shown(browser) == "ada"

    def test_a_copied_cookie_is_dead_after_the_logout(self, browser):
        new_user()
        log_in(browser)
        thief = browser.twin()
        assert shown(thief) == "ada"
        browser.post("/logout/")
        assert shown(thief) == ""

    def test_a_cookie_from_before_the_login_is_worthless(self, browser):
        new_user()
        browser.get("/me?put=pear")
        planted = browser.twin()
        log_in(browser)
        assert planted.get("/me").json() == {"user": "", "basket": None}

    def test_the_messages_of_a_login_and_a_logout_are_shown_once(self, browser):
        new_user()
        log_in(browser)
        told = "Successfully signed in as ada."
        assert told in browser.get("/password/change/").text
        assert told not in browser.get("/password/change/").text

    def test_a_changed_password_logs_out_the_other_devices_only(self, site, browser):
        user = new_user()
        other, away = browser.twin(), browser.twin()
        for device in (browser, other, away):
            log_in(device)
        changed = {"oldpassword": PASSWORD, "password1": "another lock", "password2": "another lock"}
        assert browser.post("/password/change/", **changed).status_code == 302
        assert (shown(browser), shown(other)) == ("ada", "")
        # The other device's next request has ended its session; the list ends those of devices that stay away.
        assert len(site.of_user(str(user.pk))) == 2
        assert browser.get("/sessions/").text.count("<tr>") == 1 + 1
        assert len(site.of_user(str(user.pk))) == 1

    def test_a_password_is_reset_by_mail(self, browser):
        new_user()
        device = browser.twin()
        log_in(device)
        mail.outbox = []  # where Django's backend for tests leaves it
        try:
            browser.post("/password/reset/", email="ada@example.com")
            link = re.search(r"https://site\.test(/password/reset/key/\S+)", mail.outbox[0].body)[1]
        finally:
            del mail.outbox
        form = browser.get(link).headers["location"]
        assert browser.get(form).status_code == 200
        assert browser.post(form, password1="another lock", password2="another lock").status_code == 302
        assert shown(device) == ""
        log_in(browser, password="another lock")
        assert shown(browser) == "ada"


class TestListOfSessions:
    @pytest.fixture
    def devices(self, browser):
        new_user()
        devices = [browser, browser.twin(), browser.twin()]
        for device in devices:
            log_in(device)
        return devices

    def test_it_has_every_device_and_keeps_them(self, site, devices):
        assert len(names()) == len(site.of_user(the_user())) == 3
        for device in devices:
            assert device.get("/sessions/").text.count("<tr>") == 1 + 3
        assert [shown(device) for device in devices] == ["ada"] * 3

    def test_it_holds_no_cookie_and_its_names_open_nothing(self, devices):
        thief = FormBrowser()
        for name in names():
            assert not any(name in device.token or device.token in name for device in devices)
            thief.token = name
            assert shown(thief) == ""

    def test_ending_all_others_ends_them(self, devices):
        here, *others = devices
        assert here.post("/sessions/").status_code == 302
        assert shown(here) == "ada"
        assert [shown(other) for other in others] == ["", ""]
        assert len(names()) == 1
        log_in(others[0])  # its cookie is that of the ended session
        assert (shown(here), shown(others[0])) == ("ada", "ada")

    def test_ending_one_ends_that_one(self, devices):
        listed = devices[0].get("/headless/browser/v1/auth/sessions").json()["data"]
        assert [row["is_current"] for row in listed].count(True) == 1
        other = next(row["id"] for row in listed if not row["is_current"])
        ended = devices[0].send("DELETE", "/headless/browser/v1/auth/sessions", json={"sessions": [other]})
        assert len(ended.json()["data"]) == 2
        assert sorted(map(shown, devices)) == ["", "ada", "ada"]
        assert shown(devices[0]) == "ada"

    def test_a_session_that_ended_otherwise_leaves_the_list(self, site, devices):
        here, other, third = devices
        other.post("/logout/")
        assert here.get("/sessions/").text.count("<tr>") == 1 + 2
        site.revoke_user(the_user(), keep=site.of_user(the_user())[-1].handle)
        assert here.get("/sessions/").text.count("<tr>") == 1 + 1
        assert (shown(here), shown(third)) == ("ada", "")

    def test_a_login_of_another_user_leaves_the_list_alone(self, devices):
        new_user("bob")
        stranger = devices[0].another()
        stranger.get("/login/")
        log_in(stranger, "bob")
        assert len(names()) == 4

    def test_a_name_opens_only_sessions_of_the_same_user(self, devices):
        new_user("bob")
        anonymous, bob = devices[0].another(), devices[0].another()
        bob.get("/login/")
        log_in(bob, "bob")
        for name in names() - {UserSession.objects.get(user__username="bob").session_key}:
            who = [browser.get(f"/opened/{name}").json()["user"] for browser in (devices[0], bob, anonymous)]
            assert who == [the_user(), None, None]

    def test_a_name_opens_nothing_once_its_session_has_another(self, devices):
        here, other, _ = devices
        name = other.get("/renewed").json()["name"]
        assert here.get(f"/opened/{name}").json() == {"user": None}


class TestLoginAtAProvider(WithProvider):
    @pytest.fixture(autouse=True)
    def with_provider(self):
        app = {
            "provider_id": "shop",
            "name": "Shop",
            "client_id": CLIENT_ID,
            "secret": CLIENT_SECRET,
            "settings": {"server_url": self.provider.url, "token_auth_method": "client_secret_basic"},
        }
        providers = {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}
        with override_settings(SOCIALACCOUNT_PROVIDERS=providers):
            yield

    def log_in(self, browser, who="ada"):
        there = browser.post("/oidc/shop/login/").headers["location"]
        return browser.get(self.provider.consent(there, who))

    def test_a_new_visitor_logs_in(self, browser):
        assert browser.token is None
        assert self.log_in(browser).headers["location"] == "/me"
        assert shown(browser) == "ada"

    def test_a_visitor_with_a_basket_keeps_it(self, browser):
        browser.get("/me?put=pear")
        planted = browser.twin()
        self.log_in(browser)
        assert browser.get("/me").json() == {"user": "ada", "basket": ["pear"]}
        assert shown(planted) == ""

    def test_a_callback_in_another_browser_is_refused(self, browser):
        there = browser.post("/oidc/shop/login/").headers["location"]
        victim = browser.another()
        answer = victim.get(self.provider.consent(there, "ada"))
        assert "location" not in answer.headers
        assert shown(victim) == ""
