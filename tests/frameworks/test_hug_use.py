"""hug: what its users write, what its middleware and its exceptions do, and an outage in each."""

import sys
from contextlib import suppress

import pytest

from coatcheck import RequestOver, StoreUnavailable
from coatcheck.frameworks import wsgi
from coatcheck.frameworks.hug import HugSession
from coatcheck.testing import cookies_for
from tests.behaviours.app import LOOKS
from tests.behaviours.client import Browser, Request, WsgiClient, environ_of
from tests.behaviours.headers import ways_to_look
from tests.compat.hug_store_redis.quietly import hug
from tests.frameworks.hug_apps import api_of, raw
from tests.frameworks.test_servers import Visitor, serving

DOWN = StoreUnavailable("the test says so", ambiguous=False)


class Visit:
    """A visitor with a jar of cookies, to an API of one handler that each request chooses."""

    def __init__(self, sessions, api=None, cookies=(), **options):
        self.api = api_of(sessions, **options) if api is None else api
        self.cookies = dict(cookies)

    def get(self, handler, **options):
        hug.get("/play", api=self.api, **options)(handler)
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": pairs} if pairs else {}
        response = hug.test.get(self.api, "/play", headers=headers, scheme="https")
        self.lines = [value for name, value in response.headers if name == "set-cookie"]
        for line in self.lines:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return response

    def fields(self):
        return self.get(lambda request: request.context["session"]).data


@pytest.fixture
def visit(sessions):
    return Visit(sessions)


def add(name="a", value=1):
    def handler(request):
        request.context["session"][name] = value

    return handler


def get(request):
    return request.context["session"].get("a")


def broken(request):
    request.context["session"]["a"] = "unwanted"
    raise ZeroDivisionError


# The idioms


def test_the_context_and_the_directives_have_the_session(visit):
    def handler(request, hug_session, mine: hug.directives.session):
        assert isinstance(hug_session, HugSession)
        assert hug_session is mine is request.context["session"] is request.env["coatcheck.session"]
        hug_session["visits"] = hug_session.get("visits", 0) + 1
        return hug_session["visits"]

    assert [visit.get(handler).data for _ in range(3)] == [1, 2, 3]


def test_an_argument_that_is_annotated_with_the_type_of_the_session_is_the_session(visit):
    def handler(request, hug_session: HugSession):
        hug_session["a"] = 1
        return hug_session is request.context["session"]

    assert visit.get(handler).data is True
    assert visit.fields() == {"a": 1}


def test_the_session_may_have_another_name_in_the_context(sessions):
    visit = Visit(sessions, context_name="visitor")

    def handler(request, mine: hug.directives.session = "visitor"):
        mine["a"] = 1
        assert "session" not in request.context
        return request.context["visitor"]

    assert visit.get(handler).data == {"a": 1}


def test_a_session_that_is_returned_is_its_fields(visit):
    visit.get(lambda request: request.context["session"].update(a=1, b=[2]))
    assert visit.fields() == {"a": 1, "b": [2]}


def test_a_dict_in_place_of_the_session_replaces_its_fields(visit, sessions):
    visit.get(lambda request: request.context["session"].update(old=1, both=1))
    before = dict(visit.cookies)
    visit.get(lambda request: request.context.__setitem__("session", {"both": 2, "new": 3}))
    assert visit.fields() == {"both": 2, "new": 3}
    assert visit.cookies == before


@pytest.mark.parametrize("nothing", [{}, None])
def test_nothing_in_place_of_the_session_ends_it(visit, sessions, nothing):
    visit.get(lambda request: request.context["session"].sign_in("ada"))
    visit.get(lambda request: request.context.__setitem__("session", nothing))
    assert sessions.of_user("ada") == []
    assert visit.cookies == {}


def test_an_emptied_context_ends_nothing_where_the_handler_failed(visit, sessions):
    visit.get(lambda request: request.context["session"].sign_in("ada"))

    def handler(request):
        request.context.clear()
        raise hug.HTTPError(hug.HTTP_503, "later", "please")

    assert visit.get(handler).status == hug.HTTP_503
    assert len(sessions.of_user("ada")) == 1


def test_what_handlers_call_on_the_session_reaches_the_manager(visit):
    def handler(hug_session):
        hug_session["list"] = [1]
        assert hug_session.save()
        assert hug_session.is_live()
        assert hug_session.reload()
        hug_session.flash("x")
        assert [flash.message for flash in hug_session.take_flashes("info")] == ["x"]
        return hug_session.take("list", "absent")

    assert visit.get(handler).data == {"list": [1]}


@pytest.mark.promise("H")
def test_every_way_to_look_at_hugs_session_makes_the_response_depend_on_the_cookie(sessions):
    looks = {
        **LOOKS,
        "save": lambda session: session.save(),
        "take": lambda session: session.take("absent"),
        "take_flashes": lambda session: session.take_flashes(),
        "is_live": lambda session: session.is_live(),
        "reload": lambda session: session.reload(),
        "__native_types__": lambda session: session.__native_types__(),
    }
    # `fail` is for handlers of exceptions, and `__new__` only hands on.
    assert ways_to_look(HugSession) - {"fail", "__new__"} == set(looks)
    for way, look in looks.items():
        for cookies in ({}, cookies_for(sessions, {"a": 1})):

            def handler(request, look=look):
                with suppress(KeyError):
                    look(request.context["session"])

            response = Visit(sessions, cookies=cookies).get(handler)
            assert response.headers_dict.get("vary") == "Cookie", way


def test_a_handler_that_does_not_use_the_session_costs_nothing(visit, store):
    visit.get(add())
    store.store.reset()
    response = visit.get(lambda: "plain")
    assert not {"vary", "set-cookie", "cache-control"} & set(response.headers_dict)
    assert store.store.sequence == []


def test_the_applications_own_cookies_stay_but_one_of_our_name(visit):
    def handler(request, response):
        request.context["session"]["a"] = 1
        response.set_cookie("mine", "1")
        response.set_cookie("__Host-session", "forged")
        response.append_header("Set-Cookie", "raw=2")

    visit.get(handler)
    names = sorted(line.partition("=")[0] for line in visit.lines)
    assert names == ["__Host-session", "mine", "raw"]
    assert visit.cookies["__Host-session"] != "forged"
    assert visit.fields() == {"a": 1}


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


# Beside other layers, and served


def test_within_another_layer_the_session_is_that_layers(sessions):
    api = api_of(sessions)

    @hug.get("/play", api=api)
    def play(hug_session):
        names = sorted(hug_session)
        hug_session["inner"] = 1
        return names

    server = api.http.server()

    def outer(environ, start_response):
        environ["coatcheck.session"]["outer"] = 1
        return server(environ, start_response)

    client = WsgiClient(wsgi.SessionMiddleware(outer, sessions))
    browser = Browser(lambda request: client.send(request, lambda _: None))
    replies = [browser.play(), browser.play()]
    assert [reply.body for reply in replies] == [b'["outer"]', b'["inner", "outer"]']
    assert [len(reply.all("set-cookie")) for reply in replies] == [1, 0]


def test_the_user_agent_and_the_path_reach_the_manager(sessions, store):
    api = api_of(sessions.with_settings(outage={"/play": "anonymous"}))
    hug.get("/play", api=api)(lambda request: request.context["session"].sign_in("ada"))
    hug.test.get(api, "/play", headers={"User-Agent": "Nice browser"}, scheme="https")
    assert [info.client for info in sessions.of_user("ada")] == ["Nice browser"]
    store.fail("load", error=DOWN)
    visit = Visit(sessions, api, {"__Host-session": "x" * 10})
    assert visit.get(lambda request: request.context["session"].user).data is None


def test_a_test_may_begin_with_a_session_and_look_into_it_afterwards(sessions):
    visit = Visit(sessions, cookies=cookies_for(sessions, {"basket": ["scarf"]}, user="ada"))
    visit.get(lambda request: request.context["session"]["basket"].append("hat"))
    (info,) = sessions.of_user("ada")
    with sessions.edit(info.handle) as session:
        assert session["basket"] == ["scarf", "hat"]


@pytest.mark.xdist_group("servers")
def test_a_real_server_serves_it_to_a_real_client(tmp_path):
    with serving((sys.executable, "-m", "tests.frameworks.served_hug"), tmp_path) as port:
        visitor = Visitor(port)
        assert visitor.play("set a 1", "stream", "set b 2")[0] == 200
        assert visitor.play("get a", "get b") == (200, ["1", "2"])
        assert visitor.play("sign_in ada", "user") == (200, [None, "ada"])
        old = visitor.cookie
        assert visitor.play("sign_out")[0] == 200
        visitor.cookie = old
        assert visitor.play("user") == (200, [None])
