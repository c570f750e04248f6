"""Our own middleware for hug: what hug's does, less what was wrong with it (section 6)."""

import logging

import falcon
import pytest
import redis

from coatcheck.compat.hug_store_redis import RedisStore
from coatcheck.compat.hug_store_redis.middleware import SessionMiddleware
from coatcheck.errors import ConfigurationError
from tests.compat.hug_store_redis.quietly import InMemoryStore, hug
from tests.compat.hug_store_redis.site import api_with, session_of
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


@pytest.fixture
def site(store, serve):
    return serve(api_with(SessionMiddleware(store)))


def test_it_takes_what_hug_s_own_takes(store):
    """[KEEP] 6: the same arguments, defaults and attributes."""
    mine, own = SessionMiddleware(store), hug.middleware.SessionMiddleware(store)
    for name in own.__slots__:
        assert getattr(mine, name) == getattr(own, name)
    values = [store, "c", "n", None, 60, "example.org", "/", False, False]
    mine, own = SessionMiddleware(*values), hug.middleware.SessionMiddleware(*values)
    for name in own.__slots__:
        assert getattr(mine, name) == getattr(own, name)
    assert len(mine.generate_sid()) == len(own.generate_sid()) == 36


def test_it_takes_no_other_store():
    with pytest.raises(ConfigurationError, match="RedisStore, not InMemoryStore"):
        SessionMiddleware(InMemoryStore())


def test_a_session_goes_on_with_the_cookie_of_hug_s_own(site, store, serve):
    visitor = site.visitor()
    assert visitor.get("/count") == 1
    (line,) = visitor.set_cookies
    assert line.partition(";")[2].split("; ") == [" HttpOnly", "Secure"]
    assert visitor.get("/count") == 2
    assert visitor.set_cookies == []
    other = serve(api_with(hug.middleware.SessionMiddleware(store)))
    theirs = other.visitor(**visitor.cookies)
    assert theirs.get("/count") == 3
    assert visitor.get("/count") == 4


def test_who_leaves_nothing_gets_nothing(site, raw):
    """[FIX] 6: a record for every visitor without a cookie, bots and 404s included."""
    visitor = site.visitor()
    for path in ("/untouched", "/read", "/nowhere", "/clear"):
        visitor.get(path)
    assert visitor.cookies == {}
    assert raw.keys() == []


@pytest.mark.parametrize("sid", ["made-up", "a b", "x" * 600, "a:b*", '"quoted"'])
def test_an_id_that_was_made_up_is_not_adopted(site, raw, sid):
    """[TEST] 6: unknown ids are never adopted."""
    visitor = site.visitor(sid=sid)
    assert visitor.get("/count") == 1
    assert visitor.cookies["sid"] != sid
    assert raw.keys() == [b"test:" + visitor.cookies["sid"].encode()]


def test_what_never_was_an_id_is_not_asked_for():
    with redis.Redis(HOST, 1) as nowhere:
        client = falcon.testing.TestClient(api_with(SessionMiddleware(RedisStore(nowhere))))
        answer = client.simulate_get("/read", headers={"Cookie": f"sid={'x' * 600}"})
        assert (answer.status_code, answer.json) == (200, None)


def test_reading_begins_the_life_anew_and_writes_nothing(site, raw):
    visitor = site.visitor()
    visitor.get("/count")
    key = f"test:{visitor.cookies['sid']}"
    raw.expire(key, 100)
    visitor.get("/untouched")
    assert raw.ttl(key) <= 100
    assert visitor.get("/read") == 1
    assert raw.ttl(key) > 80_000


def test_a_late_read_does_not_undo_a_write(store, serve):
    """A request that only read never undoes what another wrote."""

    def read(request):
        session_of(request)
        store.set(request.cookies["sid"], {"visits": 7})

    visitor = serve(api_with(SessionMiddleware(store), slow_read=read)).visitor()
    visitor.get("/count")
    visitor.get("/slow_read")
    assert visitor.get("/read") == 7


def test_a_session_that_ended_meanwhile_does_not_come_back(store, raw, serve, caplog):
    """Logging out really ends the session: hug's own saves what was read under a new id."""

    def late(request):
        session_of(request)["late"] = True
        raw.delete(f"test:{request.cookies['sid']}")  # another request logs out

    site = serve(api_with(SessionMiddleware(store), late=late))
    visitor = site.visitor()
    visitor.get("/count")
    sid = visitor.cookies["sid"]
    with caplog.at_level(logging.WARNING, "coatcheck.compat.hug_store_redis"):
        visitor.get("/late")
    assert visitor.status == 200
    assert visitor.set_cookies == []
    assert raw.keys() == []
    assert "dropped" in caplog.text
    assert sid not in caplog.text


def test_a_record_that_expires_at_the_wrong_moment_is_no_error(site, raw):
    """[FIX] 6: one that expires between exists and get was a StoreKeyNotFound, and a 500."""
    visitor = site.visitor()
    visitor.get("/count")
    raw.delete(f"test:{visitor.cookies['sid']}")
    assert visitor.get("/read") is None
    assert visitor.status == 200


@pytest.mark.parametrize("cleared", [True, False])
def test_deleting_the_record_is_logging_out_and_rotating(store, raw, serve, cleared):
    """[KEEP] 6: the response gets a new id, with what was left in the session."""

    def delete(request):
        store.delete(request.cookies["sid"])
        if cleared:
            session_of(request).clear()
        else:
            session_of(request)["user"] = "7"

    site = serve(api_with(SessionMiddleware(store), delete=delete))
    visitor = site.visitor()
    visitor.get("/count")
    old = visitor.cookies["sid"]
    visitor.get("/delete")
    new = visitor.cookies["sid"]
    assert new != old
    assert raw.keys() == [f"test:{new}".encode()]
    assert store.get(new) == ({} if cleared else {"visits": 1, "user": "7"})
    # What one request deleted is not what the next one did.
    assert visitor.get("/count") == (1 if cleared else 2)
    assert visitor.cookies["sid"] == new


def test_a_session_may_be_replaced_unread(site, store):
    """[KEEP] 6: `request.context['session'] = {...}` works."""
    visitor = site.visitor()
    visitor.get("/replace")
    sid = visitor.cookies["sid"]
    assert store.get(sid) == {"new": True}
    visitor.get("/count")
    visitor.get("/replace")
    assert visitor.cookies["sid"] == sid
    assert store.get(sid) == {"new": True}
    stranger = site.visitor(sid="made-up")
    stranger.get("/replace")
    assert stranger.cookies["sid"] != "made-up"


def test_a_write_is_kept_when_the_handler_raises(site, store):
    """[KEEP] 6."""
    visitor = site.visitor()
    visitor.get("/fail")
    assert visitor.status == 500
    assert store.get(visitor.cookies["sid"]) == {"kept": True}


def test_what_json_can_not_say_is_a_type_error(store, raw):
    """[KEEP] 6: from process_response."""
    application = api_with(SessionMiddleware(store))
    with pytest.raises(TypeError):
        falcon.testing.TestClient(application).simulate_get("/bad")
    assert raw.keys() == []


def test_a_record_that_is_no_json_is_left_alone(site, raw, caplog):
    raw.set("test:broken", b"\xff{")
    visitor = site.visitor(sid="broken")
    with caplog.at_level(logging.WARNING, "coatcheck.compat.hug_store_redis"):
        assert visitor.get("/count") == 1
    assert raw.get("test:broken") == b"\xff{"
    assert visitor.cookies["sid"] != "broken"
    assert "not JSON" in caplog.text


@pytest.mark.parametrize("levels", [101, 100_000])
def test_a_record_that_is_nested_too_deep_is_left_alone(levels, site, raw, caplog):
    text = b"[" * levels + b"]" * levels
    raw.set("test:deep", text)
    visitor = site.visitor(sid="deep")
    with caplog.at_level(logging.WARNING, "coatcheck.compat.hug_store_redis"):
        assert visitor.get("/count") == 1
    assert raw.get("test:deep") == text
    assert visitor.cookies["sid"] != "deep"
    assert "nested too deep" in caplog.text


def test_a_cookie_that_ends_is_renewed(store, serve):
    site = serve(
        api_with(SessionMiddleware(store, cookie_max_age=3600, cookie_path="/", cookie_secure=False))
    )
    visitor = site.visitor()
    for path in ("/count", "/read", "/count"):
        visitor.get(path)
        (line,) = visitor.set_cookies
        assert sorted(line.partition("; ")[2].split("; ")) == ["HttpOnly", "Max-Age=3600", "Path=/"]
    visitor.get("/untouched")
    assert visitor.set_cookies == []


def test_caches_are_told(store, serve):
    def own(request, response):
        response.set_header("Vary", "Accept")
        response.set_header("Cache-Control", "private")
        return session_of(request)

    application = hug.API("tests_hug_caches")
    application.http.add_middleware(SessionMiddleware(store))
    hug.get("/own", api=application)(own)
    visitor = serve(api_with(SessionMiddleware(store))).visitor()

    def told():
        return visitor.headers["Vary"], visitor.headers["Cache-Control"]

    visitor.get("/untouched")
    assert told() == (None, None)
    visitor.get("/read")
    assert told() == ("Cookie", None)
    visitor.get("/count")
    assert told() == ("Cookie", "no-store")
    visitor.get("/count")
    assert told() == ("Cookie", None)
    answer = falcon.testing.TestClient(application.http.server()).simulate_get("/own")
    assert answer.headers["Vary"] == "Accept, Cookie"
    assert answer.headers["Cache-Control"] == "private"


def test_an_id_that_is_taken_is_not_taken_over(store, serve, monkeypatch):
    store.set("victim", {"user": "7"})
    ids = ["victim", "fresh"]
    middleware = SessionMiddleware(store)
    monkeypatch.setattr(middleware, "generate_sid", lambda: ids.pop(0) if len(ids) > 1 else ids[0])
    visitor = serve(api_with(middleware)).visitor()
    assert visitor.get("/count") == 1
    assert visitor.cookies["sid"] == "fresh"
    assert store.get("victim") == {"user": "7"}
    with pytest.raises(RuntimeError, match="random"):
        falcon.testing.TestClient(api_with(middleware)).simulate_get("/count")


def test_two_middlewares_keep_two_sessions(raw, serve):
    mine, other = RedisStore(raw, "mine"), RedisStore(raw, "other", None)
    both = SessionMiddleware(mine), SessionMiddleware(other, context_name="cart", cookie_name="cart")

    def leave(request):
        mine.delete(request.cookies["sid"])
        request.context["cart"]["items"] += 1

    def fill(request):
        session_of(request)["visits"] = 1
        request.context["cart"]["items"] = 1

    visitor = serve(api_with(*both, leave=leave, fill=fill)).visitor()
    visitor.get("/fill")
    before = dict(visitor.cookies)
    assert before.keys() == {"sid", "cart"}
    visitor.get("/leave")
    after = visitor.cookies
    assert after["cart"] == before["cart"]
    assert after["sid"] != before["sid"]
    assert (mine.get(after["sid"]), other.get(after["cart"])) == ({"visits": 1}, {"items": 2})
    assert raw.ttl(f"other:{after['cart']}") == -1
    assert len(raw.keys()) == 2


def test_of_two_sessions_only_the_one_that_is_asked_for_is_read(raw):
    with redis.Redis(HOST, 1) as nowhere:
        first = SessionMiddleware(RedisStore(nowhere), context_name="cart")
        application = api_with(first, SessionMiddleware(RedisStore(raw)))
        answer = falcon.testing.TestClient(application).simulate_get("/count", headers={"Cookie": "sid=abc"})
        assert answer.json == 1


def test_the_session_replaces_what_another_middleware_put_there(store):
    """[KEEP] 6: as hug's own, which updates the context."""

    class Other:
        def process_request(self, request, response):
            request.context["session"] = request.context["kept"] = "other"

    def ask(request):
        return [session_of(request), request.context["kept"]]

    client = falcon.testing.TestClient(api_with(Other(), SessionMiddleware(store), ask=ask))
    assert client.simulate_get("/ask").json == [{}, "other"]


@pytest.mark.parametrize("path", ["/delete", "/delete_unread"])
def test_deleting_what_is_not_there_leaves_nothing(store, raw, serve, path):
    def delete(request):
        session_of(request)
        store.delete(request.cookies["sid"])

    handlers = {"delete": delete, "delete_unread": lambda request: store.delete(request.cookies["sid"])}
    visitor = serve(api_with(SessionMiddleware(store), **handlers)).visitor(sid="made-up")
    assert visitor.get(path) in (b"", None, False)
    assert visitor.set_cookies == []
    assert raw.keys() == []


def test_a_record_that_is_deleted_unread_moves_whole(store, serve):
    """As under hug's own, which has read it already by then."""
    site = serve(
        api_with(SessionMiddleware(store), rotate=lambda request: store.delete(request.cookies["sid"]))
    )
    visitor = site.visitor()
    visitor.get("/count")
    old = visitor.cookies["sid"]
    assert visitor.get("/rotate") is True
    assert visitor.cookies["sid"] != old
    assert visitor.get("/count") == 2
    assert not store.exists(old)


def test_a_delete_outside_of_a_request_is_only_that(store, raw, monkeypatch):
    client = falcon.testing.TestClient(api_with(SessionMiddleware(store)))
    sid = client.simulate_get("/count").cookies["sid"].value
    client.simulate_get("/untouched", headers={"Cookie": f"sid={sid}"})
    monkeypatch.setattr(store, "load", None)
    assert store.delete(sid)
    assert raw.keys() == []


CONTEXT = {
    "attribute": lambda context: context.session,
    "item": lambda context: context["session"],
    "get": lambda context: context.get("session"),
    "items": lambda context: dict(context.items())["session"],
    "mapping": lambda context: dict(context)["session"],
    "copy": lambda context: context.copy()["session"],
    "setdefault": lambda context: context.setdefault("session", "other"),
    "pop": lambda context: context.pop("session"),
    "vars": lambda context: vars(context)["session"],
}


@pytest.mark.parametrize("way", CONTEXT)
def test_the_context_has_the_session_however_it_is_asked(store, serve, way):
    """[KEEP] 6: falcon's Context, mapping and attributes."""

    def ask(request):
        assert isinstance(request.context, falcon.Context)
        assert "session" in request.context
        assert "other" not in request.context
        request.context.other = 1
        assert request.context["other"] == 1
        assert request.context.get("missing", 3) == 3
        return CONTEXT[way](request.context)

    visitor = serve(api_with(SessionMiddleware(store), ask=ask)).visitor()
    visitor.get("/count")
    assert visitor.get("/ask") == {"visits": 1}


def test_what_the_context_has_not_it_has_not(store, serve):
    def ask(request):
        with pytest.raises(KeyError):
            request.context["missing"]
        with pytest.raises(AttributeError, match="missing"):
            _ = request.context.missing
        assert len(request.context) == 1
        assert "session" in repr(request.context)
        request.context.session = {"by": "attribute"}
        return "done"

    visitor = serve(api_with(SessionMiddleware(store), ask=ask)).visitor()
    assert visitor.get("/ask") == "done"
    assert store.get(visitor.cookies["sid"]) == {"by": "attribute"}


def test_a_context_of_the_application_s_own_is_taken_as_it_is(store, raw, serve):
    def own(request):
        request.context = {"session": {"own": True}}

    visitor = serve(api_with(SessionMiddleware(store), own=own)).visitor()
    visitor.get("/own")
    assert store.get(visitor.cookies["sid"]) == {"own": True}


def test_a_response_without_a_request_is_let_through(store):
    """An earlier middleware raised: falcon then asks the others for the response only."""
    request = falcon.Request(falcon.testing.create_environ())
    assert SessionMiddleware(store).process_response(request, falcon.Response(), None, False) is None
