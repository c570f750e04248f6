"""starlette-admin: its `AuthProvider` and its `OAuthProvider` as its documentation has them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from authlib.integrations.starlette_client import OAuth
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette_admin.auth import AdminUser, AuthProvider, LoginFailed, OAuthProvider
from starlette_admin.base import BaseAdmin

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.world.logins import Logins
from tests.world.provider import CLIENT_ID, CLIENT_SECRET, WithProvider


class PasswordProvider(AuthProvider):
    async def login(self, username, password, remember_me, request):
        if password != "right":
            raise LoginFailed("Invalid username or password")
        request.session.permanent = remember_me
        request.session["user_id"] = f"{username}-1"

    async def authenticate(self, request):
        if (user := request.session.get("user_id")) is not None:
            return AdminUser(username=user)
        return None

    async def logout(self, request):
        request.session.clear()


class OIDCProvider(OAuthProvider):
    def __init__(self, oauth):
        super().__init__()
        self.oauth = oauth

    async def redirect_to_provider(self, request, callback_url):
        return await self.oauth.create_client("provider").authorize_redirect(request, callback_url)

    async def handle_callback(self, request):
        token = await self.oauth.create_client("provider").authorize_access_token(request)
        request.session["user"] = dict(token["userinfo"])

    async def authenticate(self, request):
        user = request.session.get("user")
        return AdminUser(username=user["sub"]) if user else None

    async def logout(self, request):
        request.session.clear()


def basket(request):
    request.session.setdefault("basket", []).append(request.path_params["good"])
    return JSONResponse(request.session["basket"])


class OfStarletteAdmin(Logins):
    CLEARS = True

    def site_with(self, managers, auth_provider):
        app = Starlette(
            routes=[Route("/basket/{good}", basket)],
            middleware=[Middleware(SessionMiddleware, sessions=managers.asynchronous)],
        )
        BaseAdmin(auth_provider=auth_provider, secret_key="x" * 32).mount_to(app)
        return app

    def log_out(self, browser):
        answer = browser.post("/admin/logout", csrftoken=csrf_of(browser))
        assert answer.headers["location"] == "https://site.test/admin/"

    def shown(self, browser):
        page = browser.get("/admin/")
        if page.status_code == 303:
            assert "/admin/login?next=" in page.headers["location"]
            return None
        return re.search(r"\b(ada|bob)-1\b", page.text)[1]


def csrf_of(browser):
    """The token of starlette-admin's own cookie, as its forms have it."""
    if "starlette_admin_csrftoken" not in browser.jar:
        browser.get("/admin/")
    return browser.jar["starlette_admin_csrftoken"].strip('"')


class TestItsPasswordForm(OfStarletteAdmin):
    IDENTITY = "user_id"

    def app(self, managers):
        return self.site_with(managers, PasswordProvider())

    def log_in(self, browser, who, **more):
        token = csrf_of(browser)
        answer = browser.post("/admin/login", username=who, password="right", csrftoken=token, **more)
        assert answer.headers["location"] == "https://site.test/admin/"

    def test_remember_me_is_the_sessions_permanence(self, site, browser):
        self.log_in(browser, "ada", remember_me="on")
        self.log_in(browser.another(), "ada")
        assert sorted(info.permanent for info in site.sync.of_user("ada-1")) == [False, True]

    def test_a_wrong_password_signs_nobody_in(self, site, browser):
        answer = browser.post("/admin/login", username="ada", password="no", csrftoken=csrf_of(browser))
        assert (answer.status_code, self.shown(browser)) == (400, None)
        assert site.sync.of_user("ada-1") == []


class TestItsOAuth(WithProvider, OfStarletteAdmin):
    IDENTITY = ("user", lambda user: user["sub"])

    def app(self, managers):
        oauth = OAuth()
        oauth.register(
            "provider",
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            client_kwargs={"scope": "openid profile email"},
            server_metadata_url=f"{self.provider.url}/.well-known/openid-configuration",
        )
        return self.site_with(managers, OIDCProvider(oauth))

    def log_in(self, browser, who):
        there = browser.get("/admin/login").headers["location"]
        answer = browser.get(self.provider.consent(there, who))
        assert urlsplit(answer.headers["location"]).path == "/admin/"
