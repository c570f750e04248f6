"""The store under hug's own `SessionMiddleware`, over real HTTP: section 6, and the example of the old README."""

import importlib.util
import sys
import uuid

import pytest
import redis

from coatcheck.compat.hug_store_redis import RedisStore
from tests.compat.hug_store_redis.quietly import hug
from tests.compat.hug_store_redis.site import api_with, session_of
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

# The lines about hug_store_redis are the README's, but for the import. It left out the other imports, the connection,
# and that `__hug__` is there only after the first decorator has run.
README = """
import os

import hug
import redis
from hug.middleware import SessionMiddleware

connection = redis.StrictRedis(port=int(os.environ["REDIS_PORT"]), db=int(os.environ["REDIS_DB"]))


@hug.get("/visits")
def visits(request):
    session = request.context["session"]
    session["visits"] = session.get("visits", 0) + 1
    return session["visits"]


from coatcheck.compat.hug_store_redis import RedisStore
store = RedisStore(connection, namespace='sessions', expiration=3600)

middleware = SessionMiddleware(store)
__hug__.http.add_middleware(middleware)
"""


def test_the_example_of_the_readme(one_redis, database, raw, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_PORT", str(one_redis.port))
    monkeypatch.setenv("REDIS_DB", str(database))
    path = tmp_path / "readme_app.py"
    path.write_text(README)
    spec = importlib.util.spec_from_file_location("readme_app", path)
    app = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "readme_app", app)
    spec.loader.exec_module(app)
    try:
        visitor = serve(app.__hug_wsgi__).visitor()
        assert [visitor.get("/visits") for _ in range(3)] == [1, 2, 3]
        sid = visitor.cookies["sid"]
        assert str(uuid.UUID(sid)) == sid
        assert raw.get(f"sessions:{sid}") == b'{"visits": 3}'
        assert 3500 < raw.ttl(f"sessions:{sid}") <= 3600
    finally:
        app.connection.close()


@pytest.fixture
def site(store, serve):
    return serve(api_with(hug.middleware.SessionMiddleware(store)))


def test_a_session_goes_on(site):
    visitor = site.visitor()
    assert [visitor.get("/count") for _ in range(3)] == [1, 2, 3]
    assert site.visitor().get("/count") == 1
    assert all("HttpOnly" in line and "Secure" in line for line in visitor.set_cookies)


def test_an_id_that_was_made_up_is_not_adopted(site, raw):
    """[TEST] 6: unknown ids are never adopted."""
    visitor = site.visitor(sid="made-up")
    assert visitor.get("/count") == 1
    assert visitor.cookies["sid"] != "made-up"
    assert not raw.exists("test:made-up")


def test_deleting_the_record_is_logging_out(store, raw, serve):
    """[KEEP] 6: the response gets a new id and an empty record."""

    def log_out(request):
        store.delete(request.cookies["sid"])
        session_of(request).clear()

    site = serve(api_with(hug.middleware.SessionMiddleware(store), log_out=log_out))
    visitor = site.visitor()
    visitor.get("/count")
    old = visitor.cookies["sid"]
    visitor.get("/log_out")
    assert visitor.cookies["sid"] != old
    assert not raw.exists(f"test:{old}")
    assert site.visitor(sid=old).get("/count") == 1
    assert store.get(visitor.cookies["sid"]) == {}


def test_a_write_is_kept_when_the_handler_raises(site, store):
    """[KEEP] 6."""
    visitor = site.visitor()
    visitor.get("/fail")
    assert visitor.status == 500
    assert store.get(visitor.cookies["sid"]) == {"kept": True}


def test_the_cookie_is_set_on_a_404_too(site):
    visitor = site.visitor()
    visitor.get("/nowhere")
    assert visitor.status == 404
    assert "sid" in visitor.cookies


def test_hug_s_directive_finds_the_session(store, serve):
    api = hug.API("tests_hug_directive")
    api.http.add_middleware(hug.middleware.SessionMiddleware(store))

    @hug.get("/visits", api=api)
    def visits(session: hug.directives.session):
        session["visits"] = session.get("visits", 0) + 1
        return session["visits"]

    visitor = serve(api.http.server()).visitor()
    assert [visitor.get("/visits") for _ in range(2)] == [1, 2]


def test_an_error_of_redis_stays_what_it_was():
    with pytest.raises(redis.exceptions.ConnectionError):
        RedisStore(redis.Redis(HOST, 1, retry=None)).get("key")
