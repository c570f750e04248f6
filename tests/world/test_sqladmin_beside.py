"""sqladmin as its documentation has it, with the session middleware that it brings, mounted in a site of ours."""

import warnings

import httpx
import pytest
from fastapi import FastAPI
from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool

from coatcheck import AsyncSessions, ForeignSessionWarning
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from tests.world.serving import uvicorn_with

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
FORM = {"username": "root", "password": "x"}


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)


class UserAdmin(ModelView, model=User):
    pass


class Backend(AuthenticationBackend):
    async def login(self, request):
        form = await request.form()
        request.session.update({"user_id": str(form["username"])})
        return True

    async def logout(self, request):
        request.session.clear()
        return True

    async def authenticate(self, request):
        return "user_id" in request.session


@pytest.fixture
def site():
    app = FastAPI()
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    app.add_middleware(SessionMiddleware, sessions=sessions)
    engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
    Base.metadata.create_all(engine)
    Admin(app, engine, authentication_backend=Backend("theirs")).add_view(UserAdmin)

    @app.get("/sign-in")
    async def sign_in(session: CurrentSession) -> None:
        session.sign_in("ada")

    @app.get("/sign-out")
    async def sign_out(session: CurrentSession) -> None:
        session.sign_out()

    @app.get("/who")
    async def who(session: CurrentSession) -> str | None:
        return session.user

    yield app
    engine.dispose()


@pytest.mark.promise("H")
def test_the_site_and_the_admin_pages_have_a_sign_in_each_and_neither_ends_the_others(site):
    with (
        warnings.catch_warnings(record=True) as told,
        uvicorn_with(site) as url,
        httpx.Client(base_url=url) as browser,
    ):
        warnings.simplefilter("always")

        def admin():
            return browser.get("/admin/").status_code == 200

        assert browser.get("/sign-in").status_code == 200
        assert not admin()
        assert browser.post("/admin/login", data=FORM).headers["location"].endswith("/admin/")
        assert admin()
        assert browser.get("/who").json() == "ada"
        assert sorted(browser.cookies) == ["coatcheck", "session"]
        browser.get("/admin/logout")
        assert (admin(), browser.get("/who").json()) == (False, "ada")
        browser.post("/admin/login", data=FORM)
        browser.get("/sign-out")
        assert (admin(), browser.get("/who").json()) == (True, None)
    (warning,) = [each.message for each in told if issubclass(each.category, ForeignSessionWarning)]
    assert "inside of Coatcheck's" in str(warning)
