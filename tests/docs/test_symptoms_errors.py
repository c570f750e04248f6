"""The last section of the page on troubleshooting: each symptom is provoked, and cured as the page says."""

from __future__ import annotations

import sqlite3
import warnings
from contextlib import closing
from datetime import timedelta
from functools import partial

import pytest
from fastapi.testclient import TestClient
from flask import Flask, request, session
from msgspec import structs
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.requests import Request

from coatcheck import (
    AsyncSessions,
    CannotSendCookie,
    DecodeError,
    ForeignSessionWarning,
    NotLoaded,
    NotStorable,
    RequestOver,
    RevocationIncomplete,
    SessionGone,
    Sessions,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
    TooLarge,
    WouldBlock,
)
from coatcheck.frameworks.fastapi import CurrentSession
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import cookies_for
from tests.docs.pages import SECRET
from tests.docs.symptoms import HTTPS, api, quoted, site, symptom, who
from tests.servers.process import free_port
from tests.servers.redis import RedisServer


@symptom("503, or `StoreUnavailable`")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_store_that_is_not_there():
    app = Flask("site")
    sessions = Sessions.from_url(f"redis://127.0.0.1:{free_port()}", secret=SECRET)
    SessionInterface(sessions).init_app(app)
    app.get("/set")(lambda: session.update(a=1) or "set")
    app.config["PREFERRED_URL_SCHEME"] = "https"
    assert app.test_client().get("/set").status_code == 503
    with pytest.raises(StoreUnavailable) as raised:
        sessions.ping()
    quoted("503, or `StoreUnavailable`", raised.value)
    sessions.shutdown()


@symptom("`StoreTimeout`")
def test_a_file_that_is_locked(tmp_path):
    file = tmp_path / "sessions.db"
    sessions = Sessions.from_url(f"sqlite:///{file}", secret=SECRET, deadline=timedelta(milliseconds=100))
    sessions.ping()
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreTimeout) as raised:
            cookies_for(sessions, {"a": 1})
        quoted("`StoreTimeout`", raised.value)
    cookies_for(sessions, {"a": 1})
    sessions.shutdown()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def on_redis(redis_server):
    """Sessions on a Redis of their own, and its settings."""
    sessions = Sessions.from_url(f"redis://127.0.0.1:{redis_server.port}", secret=SECRET)
    yield sessions, partial(redis_server.ask, "CONFIG", "SET")
    sessions.shutdown()


@symptom("`StoreFull`")
def test_a_redis_that_is_full(on_redis):
    sessions, configure = on_redis
    jar = cookies_for(sessions, user="ada")
    configure("maxmemory", "1")
    with pytest.raises(StoreFull) as raised:
        cookies_for(sessions, {"a": 1})
    quoted("`StoreFull`", raised.value)
    opened = sessions.open("; ".join(map("=".join, jar.items())))
    opened.sign_out()
    sessions.close(opened)
    configure("maxmemory", "0")
    cookies_for(sessions, {"a": 1})


@symptom("`StoreReadOnly`")
def test_a_replica(on_redis, redis_server):
    sessions, _ = on_redis
    redis_server.ask("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreReadOnly) as raised:
        cookies_for(sessions, {"a": 1})
    quoted("`StoreReadOnly`", raised.value)
    redis_server.ask("REPLICAOF", "NO", "ONE")
    cookies_for(sessions, {"a": 1})


@symptom("`RevocationIncomplete`")
def test_a_redis_that_may_forget(on_redis):
    sessions, configure = on_redis
    configure("maxmemory-policy", "allkeys-lru")
    cookies_for(sessions, user="bob")
    with pytest.raises(RevocationIncomplete) as raised:
        sessions.revoke_user("bob")
    assert raised.value.ended == 1
    quoted("`RevocationIncomplete`", raised.value)
    configure("maxmemory-policy", "noeviction")


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
                    with pytest.raises(NotLoaded) as raised:
                        client.get("/page")
                    quoted("`NotLoaded`", raised.value)
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
        with pytest.raises(WouldBlock) as raised:
            sync.save(request.session)
        quoted("`WouldBlock`", raised.value)
        await sessions.save(request.session)

    with TestClient(api(home, sessions=sessions), base_url=HTTPS) as client:
        assert client.get("/").status_code == 200


@symptom("`NotStorable`")
def test_an_object_in_a_session():
    opened = Sessions(MemoryStore(), secret=SECRET).open(b"")
    with pytest.raises(NotStorable) as caught:
        opened["basket"] = [object()]
    assert caught.value.field == "basket"
    with pytest.raises(NotStorable) as caught:
        opened["basket"] = object()
    quoted("`NotStorable`", caught.value)


@symptom("`TooLarge`")
def test_a_record_that_is_too_large():
    sessions = Sessions(MemoryStore(), secret=SECRET)
    opened = sessions.open(b"")
    with pytest.raises(TooLarge) as raised:
        opened["report"] = "x" * 300_000
    quoted("`TooLarge`", raised.value)
    opened = sessions.open(b"")
    opened["report"] = "x" * 200_000
    assert len(sessions.close(opened).set_cookie) < 200


@symptom("`DecodeError`")
def test_a_field_that_is_damaged():
    store = MemoryStore()
    sessions = Sessions(store, secret=SECRET)
    header = "; ".join(map("=".join, cookies_for(sessions, {"basket": "scarf", "theme": "dark"}).items()))
    ((key, found),) = store._found.items()
    store._found[key] = structs.replace(found, data=found.data.replace(b"\xa5scarf", b"\xc1scarf"))
    opened = sessions.open(header)
    with pytest.raises(DecodeError) as raised:
        opened["basket"]
    assert raised.value.field == "basket"
    quoted("`DecodeError`", raised.value)
    assert opened["theme"] == "dark"
    opened["basket"] = "hat"
    sessions.close(opened)
    assert sessions.open(header)["basket"] == "hat"


@symptom("`RequestOver`")
def test_a_change_after_the_request():
    app, kept = site(), []

    @app.get("/begin")
    def begin():
        session["a"] = 1
        kept.append(session._get_current_object())
        return "begun"

    app.test_client().get("/begin").get_data()
    with pytest.raises(RequestOver) as raised:
        kept[0]["b"] = 1
    quoted("`RequestOver`", raised.value)
    with app.sessions.edit(kept[0].handle) as edited:
        edited["b"] = 1


@symptom("`SessionGone`")
def test_an_edit_of_a_session_that_has_ended():
    sessions = Sessions(MemoryStore(), secret=SECRET)
    ((_, token),) = cookies_for(sessions, user="ada").items()
    (device,) = sessions.of_user("ada")
    sessions.revoke(device.handle)
    raised = []
    for handle in (token, device.handle):
        with pytest.raises(SessionGone) as caught, sessions.edit(handle):
            pass
        raised.append(caught.value)
    quoted("`SessionGone`", *raised)


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

    with pytest.raises(CannotSendCookie) as raised:
        app.test_client().get("/stream/late").get_data()
    quoted("`CannotSendCookie`", raised.value)
    client = app.test_client()
    client.get("/stream/early").get_data()
    assert client.get("/fields").json == {"streamed": True}


@symptom("`ForeignSessionWarning`")
def test_two_session_middlewares():
    app = api(who)
    app.add_middleware(StarlettesOwn, secret_key=SECRET)
    with TestClient(app, base_url=HTTPS) as client, pytest.warns(ForeignSessionWarning) as told:
        client.get("/")
    quoted("`ForeignSessionWarning`", *[one.message for one in told if one.category is ForeignSessionWarning])
    with TestClient(api(who), base_url=HTTPS) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        client.get("/")


@symptom("A warning that another site uses this store")
def test_two_sites_that_share_a_prefix(tmp_path, caplog):
    def start(secret, prefix):
        caplog.clear()
        sessions = Sessions.from_url(f"sqlite:///{tmp_path}/sessions.db", secret=secret, prefix=prefix)
        sessions.ping()
        sessions.shutdown()
        return [record.getMessage() for record in caplog.records]

    assert start(SECRET, "same:") == []
    quoted("A warning that another site uses this store", *start(SECRET[::-1], "same:"))
    assert start(SECRET, "shop:") == start(SECRET[::-1], "blog:") == []


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
