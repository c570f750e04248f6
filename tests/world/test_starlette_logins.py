"""Logins as Starlette's and FastAPI's documentation and their readers write them."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Form, HTTPException
from fastapi import Request as FastAPIRequest
from jinja2 import Template
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    SimpleUser,
    requires,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.world.logins import Browser, Logins, Managers


def basket(request):
    """A page beside the login: it puts something into the session."""
    request.session.setdefault("basket", []).append(request.path_params["good"])
    return JSONResponse(request.session["basket"])


class ByForm(Logins):
    """A site with a form: ``/login`` and ``/logout``; ``/`` says who is logged in."""

    def log_in(self, browser, who):
        assert browser.post("/login", username=who).headers["location"] == "/"

    def log_out(self, browser):
        assert browser.get("/logout").headers["location"] == "/"

    def shown(self, browser):
        return browser.get("/").text or None


class SessionBackend(AuthenticationBackend):
    """Starlette's authentication, with the session in place of HTTP Basic."""

    async def authenticate(self, conn):
        if "user" not in conn.session:
            return None
        return AuthCredentials(["authenticated"]), SimpleUser(conn.session["user"].removesuffix("-1"))


class TestStarlettesAuthenticationMiddleware(ByForm):
    IDENTITY = "user"

    def app(self, managers):
        async def home(request):
            return PlainTextResponse(request.user.display_name if request.user.is_authenticated else "")

        @requires("authenticated")
        async def dashboard(request):
            return PlainTextResponse(f"dashboard of {request.user.display_name}")

        async def login(request):
            form = await request.form()
            request.session["user"] = f"{form['username']}-1"
            return RedirectResponse("/", status_code=303)

        async def logout(request):
            request.session.pop("user", None)
            return RedirectResponse("/")

        return Starlette(
            routes=[
                Route("/", home),
                Route("/dashboard", dashboard),
                Route("/login", login, methods=["POST"]),
                Route("/logout", logout),
                Route("/basket/{good}", basket),
            ],
            middleware=[
                Middleware(SessionMiddleware, sessions=managers.asynchronous),
                Middleware(AuthenticationMiddleware, backend=SessionBackend()),
            ],
        )

    def test_what_needs_a_login_has_one(self, site, browser):
        assert browser.get("/dashboard").status_code == 403
        self.log_in(browser, "ada")
        assert browser.get("/dashboard").text == "dashboard of ada"
        site.sync.revoke_user("ada-1")
        assert browser.get("/dashboard").status_code == 403


class TestStarlettesLoginThatClears(ByForm):
    """`session.clear()` before the login, and as the logout."""

    IDENTITY = "user_id"
    CLEARS = True

    def app(self, managers):
        async def home(request):
            return PlainTextResponse(request.session.get("user_id", "").removesuffix("-1"))

        async def login(request):
            form = await request.form()
            kept = request.session.get("basket", [])
            request.session.clear()
            request.session["basket"] = kept
            request.session["user_id"] = f"{form['username']}-1"
            return RedirectResponse("/", status_code=303)

        async def logout(request):
            request.session.clear()
            return RedirectResponse("/")

        routes = [
            Route("/", home),
            Route("/login", login, methods=["POST"]),
            Route("/logout", logout),
            Route("/basket/{good}", basket),
        ]
        app = Starlette(routes=routes)
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)
        return app

    def test_without_the_setting_the_login_has_a_new_token_as_well(self, open_site):
        _, browser = open_site(None)
        browser.get("/basket/pear")
        planted = browser.twin()
        self.log_in(browser, "ada")
        assert (self.shown(browser), self.shown(planted)) == ("ada", None)


def current_user(request: FastAPIRequest) -> dict:
    user = request.session.get("user")
    if user is None:
        raise HTTPException(401)
    return user


class TestFastAPIsSessionUser(ByForm):
    """``request.session["user"]`` with a dict in it, and a dependency that reads it."""

    IDENTITY = ("user", lambda user: user["id"])

    def app(self, managers):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)

        @app.get("/")
        async def home(request: FastAPIRequest):
            return PlainTextResponse(request.session.get("user", {}).get("name", ""))

        @app.get("/me")
        def me(user: Annotated[dict, Depends(current_user)]):
            return user

        @app.post("/login")
        def login(request: FastAPIRequest, username: Annotated[str, Form()]):
            request.session["user"] = {"id": f"{username}-1", "name": username}
            return RedirectResponse("/", status_code=303)

        @app.get("/logout")
        def logout(request: FastAPIRequest):
            request.session.pop("user", None)
            return RedirectResponse("/")

        app.router.routes.append(Route("/basket/{good}", basket))

        return app

    def test_another_users_login_over_this_one_is_a_new_secret_too(self, site, browser):
        self.log_in(browser, "ada")
        browser.get("/basket/pear")
        old = browser.twin()
        self.log_in(browser, "bob")
        assert (self.shown(old), self.shown(browser)) == (None, "bob")
        assert browser.get("/basket/x").json() == ["x"]
        assert browser.get("/me").json() == {"id": "bob-1", "name": "bob"}
        assert old.get("/me").status_code == 401

    def test_the_same_users_login_again_renews_nothing(self, site, browser):
        self.log_in(browser, "ada")
        before = browser.token
        self.log_in(browser, "ada")
        assert browser.token == before
        assert len(site.sync.of_user("ada-1")) == 1


@pytest.mark.parametrize("identity", [None, "user"])
def test_code_that_sees_both_the_field_and_the_user(identity):
    """`session["user"]` is what was put in; `session.user` is the id of the signed-in user, and in a dot of Jinja, too."""
    managers = Managers(identity)
    shows = Template("{{ request.session.user }} {{ request.session['user'] }} {{ request.session.name }}")

    async def login(request):
        request.session.update(user=7, name="Ada")
        return PlainTextResponse(shows.render(request=request))

    async def home(request):
        return PlainTextResponse(shows.render(request=request))

    app = Starlette(
        routes=[Route("/login", login), Route("/", home)],
        middleware=[Middleware(SessionMiddleware, sessions=managers.asynchronous)],
    )
    browser = Browser(app, wsgi=False)
    # The request that sets the field is not stored yet.
    assert browser.get("/login").text == "None 7 Ada"
    assert browser.get("/").text == ("7 7 Ada" if identity else "None 7 Ada")
