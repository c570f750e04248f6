"""Litestar's own ways to change a session: replace it, clear it, and edit it, in coroutines and in threads."""

from dataclasses import dataclass
from typing import Any

import litestar
import pytest
from litestar.middleware import DefineMiddleware
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig

from coatcheck import AsyncSessions, ForeignSessionWarning, Sessions, StoreUnavailable
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore, ManualClock
from coatcheck.testing.shim import awaitable
from tests.behaviours.aio import AsgiClient, Portal
from tests.behaviours.client import Browser
from tests.behaviours.site import SECRET

NAME = "__Host-session"


@dataclass
class Profile:
    name: str


ACTIONS = {
    "look": lambda request: None,
    "set": lambda request: request.set_session({"b": [2], "c": 3}),
    "set nothing": lambda request: request.set_session({}),
    "set profile": lambda request: request.set_session(Profile("ada")),
    "add": lambda request: request.set_session({**request.session, "d": 4}),
    "clear": lambda request: request.clear_session(),
    "edit": lambda request: request.session["b"].append("edited"),
    "assign": lambda request: request.session.update(a=1, b=[1]),
    "sign in": lambda request: request.session.sign_in("ada"),
    "raise": lambda request: 1 / 0,
    "not found": lambda request: raise_(litestar.exceptions.NotFoundException()),
}
READ = {"look", "add", "edit", "assign", "sign in"}


def raise_(error):
    raise error


def told(error):
    """The message of the first exception: Litestar has wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def act(request):
    """Play the actions of a request; the answer is what its session then holds."""
    for action in request.query_params.getall("step"):
        ACTIONS[action](request)
    session = request.scope["session"]
    return repr(sorted(session.items())) if "look" in request.query_params.getall("step") else ""


@dataclass
class House:
    """One application of Litestar's on one store, and a visitor."""

    where: str
    load: str
    kind: str
    portal: Portal
    options: dict[str, Any]

    def __post_init__(self):
        self.store = FailingStore(MemoryStore())
        options = {"secret": SECRET, "clock": ManualClock(), **self.options}
        self.looking = Sessions(self.store, **options)
        self.sessions = AsyncSessions(awaitable(self.store, threads=True), **options)
        self.browser = Browser(self.send)

    def send(self, request):
        return AsgiClient(self.app, self.portal).send(request, lambda _: None)

    @property
    def app(self):
        sessions, load = self.sessions, self.load

        @litestar.get("/play")
        async def play(request: litestar.Request) -> str:
            if load == "on_demand" and READ & {*request.query_params.getall("step")}:
                await sessions.load(request.session)
            return act(request)

        @litestar.get("/play", sync_to_thread=True)
        def play_in_a_thread(request: litestar.Request) -> str:
            return act(request)

        async def failed(exc: Exception, scope: dict[str, Any]) -> None:
            if not isinstance(exc, litestar.exceptions.HTTPException):
                await sessions.fail(scope["coatcheck.session"], exc)

        inside = DefineMiddleware(SessionMiddleware, sessions=sessions, load=load)
        app = litestar.Litestar(
            [play if self.kind == "coroutine" else play_in_a_thread],
            after_exception=[failed],
            middleware=[inside] if self.where == "inside" else [],
            openapi_config=None,
            logging_config=None,
        )
        return SessionMiddleware(app, sessions, load=load) if self.where == "around" else app

    def play(self, *actions):
        return self.browser.play(*actions)

    @property
    def fields(self):
        """The fields of the visitor's session; None: the cookie opens none."""
        session = self.looking.open(f"{NAME}={self.browser.cookies.get(NAME)}")
        return None if session.is_new else dict(session)

    @property
    def user(self):
        return self.looking.open(f"{NAME}={self.browser.cookies.get(NAME)}").user


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


@pytest.fixture(params=["around", "inside"])
def where(request):
    return request.param


@pytest.fixture(params=["eager", "on_demand"])
def load(request):
    return request.param


@pytest.fixture(params=["coroutine", "thread"])
def kind(request):
    return request.param


@pytest.fixture
def open_house(where, load, kind, portal):
    return lambda **options: House(where, load, kind, portal, options)


@pytest.fixture
def house(open_house):
    house = open_house()
    assert house.play("assign").status == 200
    assert house.fields == {"a": 1, "b": [1]}
    return house


def test_a_handler_reads_its_session_and_edits_it_in_place(house):
    assert house.play("look").body == b"[('a', 1), ('b', [1])]"
    assert house.play("edit").status == 200
    assert house.fields == {"a": 1, "b": [1, "edited"]}


def test_set_session_replaces_the_fields_of_the_same_record(house):
    before = dict(house.browser.cookies)
    reply = house.play("set")
    assert (reply.status, reply.all("set-cookie"), reply.all("vary")) == (200, [], ["Cookie"])
    assert house.fields == {"b": [2], "c": 3}
    assert house.browser.cookies == before
    house.play("add")
    assert house.fields == {"b": [2], "c": 3, "d": 4}


def test_set_session_of_a_new_visitor_sends_him_one_cookie(open_house):
    house = open_house()
    assert len(house.play("set").cookies(NAME)) == 1
    assert house.fields == {"b": [2], "c": 3}


def test_set_session_leaves_the_user_signed_in(house):
    house.play("sign in")
    house.play("set")
    assert (house.user, house.fields) == ("ada", {"b": [2], "c": 3})
    house.play("sign in", "set")
    assert house.user == "ada"


@pytest.mark.parametrize("action", ["clear", "set nothing"])
def test_clear_session_logs_out(house, action):
    house.play("sign in")
    cookies = dict(house.browser.cookies)
    (line,) = house.play(action).cookies(NAME)
    assert "Max-Age=0" in line
    assert house.looking.count() == 0
    assert house.looking.of_user("ada") == []
    house.browser.cookies = cookies
    assert house.fields is None


def test_clear_session_of_a_new_visitor_does_nothing(open_house):
    house = open_house()
    assert house.play("clear").cookies(NAME) == []


def test_what_is_no_dict_is_refused_and_nothing_is_stored(house):
    reply = house.play("set profile")
    assert reply.raised is not None
    assert "request.set_session takes a dict, not a Profile" in told(reply.raised)
    assert house.fields == {"a": 1, "b": [1]}


def test_after_a_handler_that_raised_only_the_ending_is_stored(house):
    for action in ("assign", "edit", "set"):
        assert house.play(action, "raise").status == 500
        assert house.fields == {"a": 1, "b": [1]}, action
    reply = house.play("clear", "raise")
    assert reply.status == 500
    assert house.looking.count() == 0


def test_an_http_exception_is_a_response_like_any_other(house):
    assert house.play("set", "not found").status == 404
    assert house.fields == {"b": [2], "c": 3}


def test_while_the_store_is_down_both_are_a_503_and_the_visitor_keeps_his_cookie(house):
    cookies = dict(house.browser.cookies)
    for operation in ("load", "write"):
        for action in ("set", "clear"):
            house.store.fail(operation, error=StoreUnavailable("the test says so"))
            reply = house.play(action)
            assert (reply.status, reply.cookies(NAME)) == (503, []), (operation, action)
            house.store.recover()
    assert house.browser.cookies == cookies
    assert house.fields == {"a": 1, "b": [1]}


# Other layers


@pytest.mark.parametrize("config", [CookieBackendConfig(b"s" * 16), ServerSideSessionConfig()], ids=type)
def test_litestars_own_sessions_inside_ours_are_named_once_and_leave_ours_alone(config, portal):
    house = House("around", "eager", "coroutine", portal, {})
    house.play("assign", "sign in")

    @litestar.get("/play")
    async def play(request: litestar.Request) -> str:
        for action in request.query_params.getall("step"):
            ACTIONS[action](request)
        return repr(request.scope["session"])

    foreign = litestar.Litestar(
        [play], middleware=[config.middleware], openapi_config=None, logging_config=None
    )
    client = AsgiClient(SessionMiddleware(foreign, house.sessions), portal)
    house.browser = Browser(lambda request: client.send(request, lambda _: None), house.browser.cookies)
    cookie = house.browser.cookies[NAME]
    with pytest.warns(ForeignSessionWarning, match=r"inside of Coatcheck's.*builtins.dict"):
        assert house.play("look").body == b"{}"
    assert "'c': 3" in house.play("set").body.decode()  # and no second warning, which would be an error
    assert "EMPTY" in house.play("clear").body.decode()
    assert house.browser.cookies[NAME] == cookie
    assert (house.user, house.fields) == ("ada", {"a": 1, "b": [1]})


def test_under_another_layer_of_ours_both_reach_the_session_that_they_share(portal):
    house = House("inside", "eager", "coroutine", portal, {})
    inner = house.app

    async def outer(scope, receive, send):
        await inner(dict(scope), receive, send)

    client = AsgiClient(SessionMiddleware(outer, house.sessions), portal)
    house.browser = Browser(lambda request: client.send(request, lambda _: None))
    for action, fields in (("assign", {"a": 1, "b": [1]}), ("set", {"b": [2], "c": 3}), ("clear", None)):
        assert house.play(action).status == 200
        assert house.fields == fields
    assert house.looking.count() == 0
