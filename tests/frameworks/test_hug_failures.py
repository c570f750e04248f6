"""hug: exceptions, other middleware, streams, and an outage in each."""

import sys

import pytest

from coatcheck import CookieSettings, RequestOver, Sessions, StoreError, StoreUnavailable
from coatcheck.frameworks.hug import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import cookies_for
from tests.behaviours.client import Request, WsgiClient, environ_of
from tests.behaviours.site import SECRET
from tests.compat.hug_store_redis.quietly import hug
from tests.frameworks.hug_apps import Visit, add, api_of, broken, get, raw

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@pytest.fixture
def visit(sessions):
    return Visit(sessions)


# Exceptions


@pytest.mark.parametrize(
    ("status", "kept"), [("404 Not Found", True), ("409 Conflict", True), ("500 Oh", False)]
)
def test_a_raised_http_error_stores_unless_it_is_a_servers_error(visit, status, kept):
    def handler(request):
        request.context["session"]["a"] = 1
        raise hug.HTTPError(status, "title", "description")

    assert visit.get(handler).status == status
    assert bool(visit.lines) == kept
    assert visit.fields() == ({"a": 1} if kept else {})


def test_a_redirect_stores(visit):
    def handler(request):
        request.context["session"]["a"] = 1
        hug.redirect.to("/elsewhere")

    assert visit.get(handler).status == hug.HTTP_302
    assert visit.fields() == {"a": 1}


def test_an_exception_that_nothing_handles_stores_only_endings(visit, sessions):
    visit.get(lambda request: request.context["session"].sign_in("ada"))
    with pytest.raises(ZeroDivisionError):
        visit.get(broken)
    assert visit.fields() == {}

    def leaving(request):
        request.context["session"].sign_out()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visit.get(leaving)
    assert sessions.of_user("ada") == []


def test_a_request_within_the_handling_of_an_error_is_a_request_like_any_other(visit):
    try:
        broken(None)
    except AttributeError:
        visit.get(add())
    assert visit.fields() == {"a": 1}


def test_an_answer_of_an_exception_handler_is_a_response_like_any_other_unless_it_fails_the_session(visit):
    @hug.exception(ZeroDivisionError, api=visit.api)
    def answer(exception):
        return "sorry"

    assert visit.get(broken).data == "sorry"
    assert visit.fields() == {"a": "unwanted"}

    visit.get(add())

    @hug.exception(ArithmeticError, api=visit.api)
    def fail(request, exception):
        request.context["session"].fail()
        return "dropped"

    def worse(request):
        request.context["session"]["a"] = "unwanted"
        raise OverflowError

    assert visit.get(worse).data == "dropped"
    assert visit.fields() == {"a": 1}


# Other middleware


class Other:
    """A middleware of the application."""

    def __init__(self, before=None, after=None):
        self.before, self.after = before, after

    def process_request(self, request, response):
        if self.before is not None:
            self.before(request)

    def process_response(self, request, response, resource, req_succeeded):
        if self.after is not None:
            self.after(request)


def test_middleware_that_is_added_later_may_use_the_session_before_and_after_the_handler(visit):
    visit.api.http.add_middleware(Other(add("before"), add("after")))
    visit.get(add("handler"))
    assert len(visit.lines) == 1
    assert set(visit.fields()) == {"before", "handler", "after"}


def test_a_middleware_that_refuses_the_request_before_ours_has_seen_it_is_left_alone(sessions):
    api = hug.API("tests_hug_refusing")

    def refuse(request):
        raise hug.HTTPError(hug.HTTP_401, "no", "no")

    api.http.add_middleware(Other(refuse))
    visit = Visit(sessions, api_of(sessions, api=api))
    assert visit.get(add()).status == hug.HTTP_401
    assert visit.lines == []


def test_after_the_response_of_a_handler_the_session_is_over_also_for_middleware_before_ours(sessions):
    api, told = hug.API("tests_hug_late"), []

    def late(request):
        with pytest.raises(RequestOver):
            request.context["session"]["late"] = 1
        told.append(True)

    api.http.add_middleware(Other(after=late))
    visit = Visit(sessions, api_of(sessions, api=api))
    visit.get(add())
    assert told == [True]
    assert visit.fields() == {"a": 1}


def test_an_outage_in_a_middleware_before_ours_is_that_middlewares(sessions):
    api, down = hug.API("tests_hug_before"), []

    def before(request):
        if down:
            raise DOWN

    api.http.add_middleware(Other(before))
    hug.get("/play", api=api_of(sessions, api=api))(add())
    client = WsgiClient(api.http.server())
    assert client.send(Request(), lambda _: None).status == 200
    down.append(True)
    assert client.send(Request(), lambda _: None).raised is DOWN


def test_an_outage_in_a_middleware_after_ours_has_stored_is_a_503(sessions):
    api = hug.API("tests_hug_after")

    def after(request):
        raise DOWN

    api.http.add_middleware(Other(after=after))
    assert Visit(sessions, api_of(sessions, api=api)).get(add()).status == "503 Service Unavailable"


# Several of our middleware, as hug makes of an API that extends another


@pytest.mark.parametrize("same", [True, False])
def test_an_api_that_extends_one_with_sessions_of_the_same_manager_stores_them_once(sessions, store, same):
    outer, inner = hug.API(f"tests_hug_outer_{same}"), hug.API(f"tests_hug_inner_{same}")
    middleware = SessionMiddleware(outer, sessions)
    outer.http.add_middleware(middleware)
    inner.http.add_middleware(middleware if same else SessionMiddleware(inner, sessions))
    hug.get("/sub", api=inner)(lambda request: request.context["session"].sign_in("ada"))
    outer.extend(inner)
    visit = Visit(sessions, outer)
    response = hug.test.get(outer, "/sub", scheme="https")
    (cookie,) = (value.partition(";")[0] for name, value in response.headers if name == "set-cookie")
    visit.cookies = dict([cookie.split("=", 1)])
    assert len(sessions.of_user("ada")) == 1
    visit.get(add())
    assert visit.lines == []
    assert visit.fields() == {"a": 1}
    store.fail("load", error=DOWN)
    assert visit.get(get).status == "503 Service Unavailable"


@pytest.mark.promise("20")
def test_an_outage_is_a_503_in_every_api_that_extends_the_one_with_our_middleware(
    sessions, store, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tests_hug_blocked", None)  # an import that is blocked
    inner = api_of(sessions)
    hug.get("/sub", api=inner)(get)
    apis = [hug.API(f"tests_hug_extending_{number}") for number in range(2)]
    for api in apis:
        api.extend(inner)
    servers = [api.http.server() for api in (*apis, inner)]
    cookies = "; ".join(f"{name}={value}" for name, value in cookies_for(sessions, {"a": 1}).items())
    store.fail("load", error=DOWN)
    for server in (*servers, *servers):
        answer = WsgiClient(server).send(Request(cookies=cookies.encode(), path="/sub"), lambda _: None)
        assert answer.status == 503
        assert [kind for kind, _ in server._error_handlers].count(StoreError) == 1


@pytest.mark.promise("20")
def test_an_outage_is_a_503_in_an_api_without_a_module(sessions, store):
    visit = Visit(sessions, api=api_of(sessions, api=hug.API()), cookies=cookies_for(sessions, {"a": 1}))
    store.fail("load", error=DOWN)
    assert visit.get(get).status == "503 Service Unavailable"


def test_a_server_is_prepared_for_outages_at_its_first_request_only(visit, monkeypatch):
    prepared = []
    monkeypatch.setattr(SessionMiddleware, "_prepare", lambda _, options: prepared.append(options))
    hug.get("/play", api=visit.api)(add())
    servers = [visit.api.http.server() for _ in range(2)]
    for server in (servers[0], servers[0], servers[1]):
        assert WsgiClient(server).send(Request(), lambda _: None).status == 200
    assert prepared == [server.req_options for server in servers]


def test_middleware_of_two_managers_stores_the_sessions_of_both(sessions):
    other = Sessions(MemoryStore(), secret=SECRET, cookie=CookieSettings(name="__Host-other"))
    api = api_of(other, api=api_of(sessions, context_name="first"), context_name="second")
    visit = Visit(sessions, api)

    def handler(request):
        request.context["first"]["a"] = 1
        request.context["second"].sign_in("ada")

    visit.get(handler)
    assert visit.cookies.keys() == {"__Host-session", "__Host-other"}
    assert visit.get(
        lambda request: [dict(request.context["first"]), request.context["second"].user]
    ).data == [
        {"a": 1},
        "ada",
    ]


# Outages


@pytest.mark.promise("20")
def test_an_outage_is_a_503_wherever_the_session_is_used(sessions, store):
    for other in ((), (Other(before=get),), (Other(after=get),)):
        store.recover()
        visit = Visit(sessions, cookies=cookies_for(sessions, {"a": 1}))
        for each in other:
            visit.api.http.add_middleware(each)
        store.fail("load", error=DOWN)
        # hug makes a server for each application that it is asked for.
        response, again = [visit.get((lambda: "plain") if other else get) for _ in range(2)]
        assert response.status == again.status == "503 Service Unavailable"
        assert response.headers_dict["retry-after"]
        assert response.headers_dict["cache-control"] == "no-store"
        assert visit.lines == []


@pytest.mark.promise("20")
def test_what_cant_be_stored_is_a_503_and_the_body_in_its_place_is_closed(visit, store):
    closed = []

    class Body:
        def __iter__(self):
            return iter([b"one"])

        def close(self):
            closed.append(True)

    used = []

    def handler(request, response):
        used.append(request.context["session"])
        used[0]["a"] = 1
        response.stream, response.body = Body(), "all is well"

    store.fail("write", error=DOWN)
    response = visit.get(handler, output=raw)
    assert response.status == "503 Service Unavailable"
    assert "Please try again" in str(response.data)
    assert closed == [True]
    with pytest.raises(RequestOver):
        used[0]["a"] = 2


@pytest.mark.promise("20")
def test_an_exception_handler_makes_no_500_of_an_outage_but_a_page_of_its_own(sessions, store):
    visit = Visit(sessions, cookies=cookies_for(sessions, {"a": 1}))
    page = {"status": hug.HTTP_500}

    @hug.exception(Exception, api=visit.api)
    def answer(response, exception):
        response.status = page["status"]
        return "page"

    store.fail("load", error=DOWN)
    response = visit.get(get)
    assert response.status == "503 Service Unavailable"
    assert "Please try again" in str(response.data)
    page["status"] = hug.HTTP_503
    assert visit.get(get).data == "page"


# Bodies that are made while they are sent


def test_what_a_stream_changes_is_stored_when_it_ends(visit):
    def handler(request, response):
        session = request.context["session"]
        session["before"] = 1

        def chunks():
            yield b"one"
            session["during"] = 1

        response.stream = chunks()

    visit.get(handler, output=raw)
    assert visit.fields() == {"before": 1, "during": 1}


def test_a_file_is_sent_as_it_is(sessions, tmp_path):
    file = tmp_path / "file.txt"
    file.write_text("content")
    api = api_of(sessions)

    @hug.get("/play", api=api, output=hug.output_format.file)
    def play(hug_session):
        hug_session["a"] = 1
        return str(file)

    sent = []

    class Wrapper(list):
        def __init__(self, body, size):
            with body:
                super().__init__([body.read()])
            sent.append(self)

    environ = {**environ_of(Request()), "wsgi.file_wrapper": Wrapper}
    assert api.http.server()(environ, lambda status, headers: None) is sent[0]
    assert sent == [[b"content"]]
    assert sessions.count() == 1
