"""hug: what its users write, beside other layers of ours, and served."""

import sys
from contextlib import suppress

import pytest

from coatcheck import StoreUnavailable
from coatcheck.frameworks import wsgi
from coatcheck.frameworks.hug import HugSession
from coatcheck.testing import cookies_for
from tests.behaviours.app import LOOKS, ways_to_look
from tests.behaviours.client import Browser, WsgiClient
from tests.compat.hug_store_redis.quietly import hug
from tests.frameworks.hug_apps import Visit, add, api_of
from tests.frameworks.test_servers import Visitor, serving

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@pytest.fixture
def visit(sessions):
    return Visit(sessions)


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


def test_what_is_no_dict_in_place_of_the_session_is_an_error_and_the_handlers_sign_out_counts(
    visit, sessions
):
    visit.get(lambda request: request.context["session"].update(a=1))
    with pytest.raises(TypeError, match="not an object of type object"):
        visit.get(lambda request: request.context.__setitem__("session", object()))
    assert visit.fields() == {"a": 1}
    visit.get(lambda request: request.context["session"].sign_in("ada"))

    def leaving(request):
        request.context["session"].sign_out()
        request.context["session"] = object()

    with pytest.raises(TypeError):
        visit.get(leaving)
    assert sessions.of_user("ada") == []


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
    # `fail` is for handlers of exceptions.
    assert ways_to_look(HugSession) - {"fail"} == set(looks)
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
