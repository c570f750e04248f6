"""freezegun moves the default clock, under a FastAPI and a Flask application alike."""

import asyncio
from datetime import timedelta

import flask
import httpx
import pytest
from fastapi import FastAPI
from freezegun import freeze_time

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from coatcheck.frameworks.flask import SessionInterface

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
SETTINGS = {"secret": SECRET, "insecure_http": True}


@pytest.fixture(params=["memory://", "sqlite:///{}/sessions.db"], ids=["memory", "sqlite"])
def url(request, tmp_path):
    return request.param.format(tmp_path)


def fastapi_client(url):
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=AsyncSessions.from_url(url, **SETTINGS))

    @app.post("/sign-in")
    async def sign_in(session: CurrentSession) -> None:
        session.sign_in("ada")

    @app.get("/who")
    async def who(session: CurrentSession) -> str | None:
        return session.user

    cookies = httpx.Cookies()

    async def request(method, path):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop", cookies=cookies) as client:
            answer = await client.request(method, path)
            cookies.update(client.cookies)
            return answer.json()

    yield lambda: asyncio.run(request("POST", "/sign-in")), lambda: asyncio.run(request("GET", "/who"))


def flask_client(url):
    app = flask.Flask(__name__)

    @app.post("/sign-in")
    def sign_in():
        flask.session.sign_in("ada")
        return ""

    @app.get("/who")
    def who():
        return flask.jsonify(flask.session.user)

    with Sessions.from_url(url, **SETTINGS) as sessions:
        SessionInterface(sessions).init_app(app)
        client = app.test_client()
        yield lambda: client.post("/sign-in"), lambda: client.get("/who").json


@pytest.fixture(params=[fastapi_client, flask_client], ids=["fastapi", "flask"])
def client(request, url):
    yield from request.param(url)


@pytest.mark.promise("16")
def test_a_session_expires_when_freezegun_says_so(client):
    sign_in, who = client
    with freeze_time("2027-01-01 12:00:00") as clock:
        sign_in()
        clock.tick(timedelta(hours=23, minutes=59))
        assert who() == "ada"
        clock.tick(timedelta(hours=24))
        assert who() is None


@pytest.mark.promise("16")
def test_a_session_expires_between_two_frozen_moments(client):
    sign_in, who = client
    with freeze_time("2027-01-01"):
        sign_in()
    with freeze_time("2027-01-01 23:59:00"):
        assert who() == "ada"
    with freeze_time("2027-01-03"):
        assert who() is None
