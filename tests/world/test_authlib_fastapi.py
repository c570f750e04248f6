"""Authlib's demos for FastAPI and for Starlette."""

from __future__ import annotations

import json

import pytest
from authlib.integrations.starlette_client import OAuth, OAuthError
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from starlette.applications import Starlette
from starlette.config import Config
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.routing import Route

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.world.authlib_logins import AuthlibLogins
from tests.world.logins import Browser, Managers
from tests.world.provider import provider


def basket(request):
    request.session.setdefault("basket", []).append(request.path_params["good"])
    return JSONResponse(request.session["basket"])


class InALoop(AuthlibLogins):
    FORGETS_OLDER_LOGINS = True


class TestFastAPI(InALoop):
    def app(self, managers):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)
        oauth = self.registered(OAuth(Config()))

        @app.get("/")
        async def homepage(request: FastAPIRequest):
            user = request.session.get("user")
            return HTMLResponse(json.dumps(user))

        @app.get("/login")
        async def login(request: FastAPIRequest):
            redirect_uri = request.url_for("auth")
            return await oauth.google.authorize_redirect(request, redirect_uri)

        @app.get("/auth")
        async def auth(request: FastAPIRequest):
            try:
                token = await oauth.google.authorize_access_token(request)
            except OAuthError as error:
                return HTMLResponse(f"<h1>{error.error}</h1>")
            user = token.get("userinfo")
            if user:
                request.session["user"] = dict(user)
            return RedirectResponse(url="/")

        @app.get("/logout")
        async def logout(request: FastAPIRequest):
            request.session.pop("user", None)
            return RedirectResponse(url="/")

        app.router.routes.append(Route("/basket/{good}", basket))

        return app


class TestStarlette(InALoop):
    """The claims are put into the session as Authlib hands them over: a subclass of dict."""

    def app(self, managers):
        oauth = self.registered(OAuth(Config()))

        async def homepage(request):
            return HTMLResponse(json.dumps(request.session.get("user")))

        async def login(request):
            return await oauth.google.authorize_redirect(request, request.url_for("auth"))

        async def auth(request):
            try:
                token = await oauth.google.authorize_access_token(request)
            except OAuthError as error:
                return HTMLResponse(error.error)
            if user := token.get("userinfo"):
                assert type(user) is not dict
                request.session["user"] = user
            return RedirectResponse("/")

        async def logout(request):
            request.session.pop("user", None)
            return RedirectResponse("/")

        pages = {"/": homepage, "/login": login, "/auth": auth, "/logout": logout, "/basket/{good}": basket}
        app = Starlette(routes=[Route(path, page) for path, page in pages.items()])
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)
        return app


@pytest.mark.parametrize("claim", ["sub", "email"])
def test_any_claim_can_be_the_users_id(claim):
    class ByClaim(TestStarlette):
        IDENTITY = ("user", lambda user: user[claim])

        def user(self, who):
            return {"sub": f"{who}-1", "email": f"{who}@example.com"}[claim]

    with provider() as ByClaim.provider:
        test, site = ByClaim(), Managers(ByClaim.IDENTITY)
        browser = Browser(test.app(site), wsgi=False)
        test.log_in(browser, "ada")
        assert test.users_of(site, "ada") == [test.user("ada")]
