"""The last section of the page on troubleshooting: each symptom is provoked, and cured as the page says."""

from __future__ import annotations

import warnings

import pytest
from fastapi.testclient import TestClient
from flask import Flask, request, session
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request

from coatcheck import (
    AsyncSessions,
    CannotSendCookie,
    ForeignSessionWarning,
    NotLoaded,
    NotStorable,
    Sessions,
    StoreUnavailable,
    TooLarge,
    WouldBlock,
)
from coatcheck.frameworks.fastapi import CurrentSession
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from tests.docs.pages import SECRET
from tests.docs.symptoms import HTTPS, api, site, symptom, who
from tests.servers.process import free_port


@symptom("503, or `StoreUnavailable`")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_store_that_is_not_there():
    app = Flask("site")
    sessions = Sessions.from_url(f"redis://127.0.0.1:{free_port()}", secret=SECRET)
    SessionInterface(sessions).init_app(app)
    app.get("/set")(lambda: session.update(a=1) or "set")
    app.config["PREFERRED_URL_SCHEME"] = "https"
    assert app.test_client().get("/set").status_code == 503
    with pytest.raises(StoreUnavailable):
        sessions.ping()
    sessions.shutdown()


async def _unloaded(request: Request):
    request.session["a"] = 1


async def _loaded(request: Request):
    await request.session.load()
    request.session["a"] = 1


async def _depends(session: CurrentSession):
    session["a"] = 1


@symptom("`NotLoaded`")
def test_a_session_that_is_not_loaded():
    for settings in ({"load": "on_demand"}, {"exclude": ("/page",)}):
        for handler in (_unloaded, _loaded, _depends):
            app = api(handler, "/page", **settings)
            # Without a cookie of ours there is nothing to load.
            cookie = api(_loaded)
            with TestClient(cookie, base_url=HTTPS) as first:
                first.get("/")
                jar = dict(first.cookies)
            with TestClient(app, base_url=HTTPS, cookies=jar) as client:
                if handler is _unloaded:
                    with pytest.raises(NotLoaded):
                        client.get("/page")
                else:
                    assert client.get("/page").status_code == 200
    with TestClient(api(_unloaded), base_url=HTTPS) as client:
        assert client.get("/").status_code == 200


@symptom("`WouldBlock`")
def test_a_synchronous_manager_in_an_async_handler():
    sync = Sessions.from_url("memory://", secret=SECRET)
    sessions = AsyncSessions.from_url("memory://", secret=SECRET)

    async def home(request: Request):
        request.session["a"] = 1
        with pytest.raises(WouldBlock, match="await"):
            sync.save(request.session)
        await sessions.save(request.session)

    with TestClient(api(home, sessions=sessions), base_url=HTTPS) as client:
        assert client.get("/").status_code == 200


@symptom("`NotStorable`")
def test_an_object_in_a_session():
    opened = Sessions(MemoryStore(), secret=SECRET).open(b"")
    with pytest.raises(NotStorable) as caught:
        opened["basket"] = [object()]
    assert caught.value.field == "basket"


@symptom("`TooLarge`")
def test_a_record_that_is_too_large():
    sessions = Sessions(MemoryStore(), secret=SECRET)
    opened = sessions.open(b"")
    with pytest.raises(TooLarge):
        opened["report"] = "x" * 300_000
    opened = sessions.open(b"")
    opened["report"] = "x" * 200_000
    assert len(sessions.close(opened).set_cookie) < 200


@symptom("`CannotSendCookie`")
def test_a_session_that_begins_in_a_stream():
    app = site()

    @app.get("/stream/<early>")
    def stream(early):
        if early == "early":
            session.sessions.save(session, create=True)
        visitors = session._get_current_object()

        def body():
            yield "begun"
            visitors["streamed"] = True

        return app.response_class(body())

    with pytest.raises(CannotSendCookie):
        app.test_client().get("/stream/late").get_data()
    client = app.test_client()
    client.get("/stream/early").get_data()
    assert client.get("/fields").json == {"streamed": True}


@symptom("`ForeignSessionWarning`")
def test_two_session_middlewares():
    app = api(who)
    app.add_middleware(StarlettesOwn, secret_key=SECRET)
    with TestClient(app, base_url=HTTPS) as client, pytest.warns(ForeignSessionWarning):
        client.get("/")
    with TestClient(api(who), base_url=HTTPS) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        client.get("/")


@symptom("A form is refused: the CSRF tokens do not match")
def test_a_form_from_before_the_sign_in():
    app = site()

    @app.get("/token")
    def token():
        return session.csrf_token()

    @app.post("/form")
    def form():
        return str(session.check_csrf(request.form["csrf"]))

    @app.get("/clear")
    def clear():
        session.clear()
        return "cleared"

    client = app.test_client()

    def sent(token):
        return client.post("/form", data={"csrf": token}).text

    before = client.get("/token").text
    assert sent(before) == "True"
    client.get("/sign-in")
    assert sent(before) == "False"
    again = client.get("/token").text
    assert sent(again) == "True"
    client.get("/clear")
    assert sent(again) == "False"
    assert app.test_client(use_cookies=False).post("/form", data={"csrf": before}).text == "False"
