"""sqladmin: its `AuthenticationBackend` as its documentation has it, with our middleware for the session."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqladmin.flash import Flash
from sqlalchemy import Column, Integer, String, create_engine
from sqlalchemy.orm import declarative_base
from sqlalchemy.pool import StaticPool
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.world.logins import Logins

Base = declarative_base()


class Good(Base):
    __tablename__ = "goods"
    id = Column(Integer, primary_key=True)
    name = Column(String)


class GoodAdmin(ModelView, model=Good):
    column_list = (Good.id, Good.name)


class AdminAuth(AuthenticationBackend):
    async def login(self, request) -> bool:
        form = await request.form()
        request.session.update({"token": f"{form['username']}-1"})
        return True

    async def logout(self, request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request) -> bool:
        return bool(request.session.get("token"))

    async def get_user_id(self, request):
        return request.session["token"]


def basket(request):
    request.session.setdefault("basket", []).append(request.path_params["good"])
    return JSONResponse(request.session["basket"])


def flash(request):
    Flash.success(request, "Well done")
    return PlainTextResponse("")


def who(request):
    return PlainTextResponse(request.session.get("token", "").removesuffix("-1"))


@pytest.fixture(scope="module")
def engine():
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(made)
    yield made
    made.dispose()


class OfSqladmin(Logins):
    IDENTITY = "token"
    CLEARS = True

    @pytest.fixture(autouse=True)
    def with_engine(self, engine):
        self.engine = engine

    def log_in(self, browser, who):
        answer = browser.post("/admin/login", username=who, password="right")
        assert answer.headers["location"] == "https://site.test/admin/"

    def log_out(self, browser):
        assert browser.get("/admin/logout").status_code == 302

    def shown(self, browser):
        seen = browser.get("/who").text or None
        # The administration lets in exactly those.
        entered = browser.get("/admin/").status_code
        assert entered == (302 if seen is None else 200)
        return seen

    def test_the_administration_works_and_shows_its_messages_once(self, site, browser):
        assert browser.get("/admin/good/list").headers["location"] == "https://site.test/admin/login"
        self.log_in(browser, "ada")
        browser.get("/flash")
        assert "Well done" in browser.get("/admin/good/list").text
        assert "Well done" not in browser.get("/admin/good/list").text
        answer = browser.post("/admin/good/create", name="pear", save="Save")
        assert answer.status_code == 302
        assert "pear" in browser.get("/admin/good/list").text


class TestSessionsOfTheWholeSite(OfSqladmin):
    """The backend brings no middleware; the site's is ours."""

    def app(self, managers):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)
        app.router.routes += [Route("/basket/{good}", basket), Route("/who", who), Route("/flash", flash)]
        backend = AdminAuth(secret_key="")
        backend.middlewares = []
        admin = Admin(app, self.engine, authentication_backend=backend)
        admin.add_view(GoodAdmin)
        return app


class TestSessionsOfTheBackendAndOfTheSite(OfSqladmin):
    """The backend brings ours in place of Starlette's, inside the site's."""

    def app(self, managers):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, sessions=managers.asynchronous)
        app.router.routes += [Route("/basket/{good}", basket), Route("/who", who), Route("/flash", flash)]
        backend = AdminAuth(secret_key="")
        backend.middlewares = [Middleware(SessionMiddleware, sessions=managers.asynchronous)]
        admin = Admin(app, self.engine, authentication_backend=backend)
        admin.add_view(GoodAdmin)
        return app
