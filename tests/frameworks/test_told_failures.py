"""A framework that answers what its handler raised: its application says so by `sessions.fail`."""

from contextlib import suppress

import pytest

from coatcheck import Sessions, StoreError, StoreUnavailable
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from tests.behaviours.client import Browser, WsgiClient
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import House, answer
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so")
# The handler's exception, and the answer in place of the framework's 500 while the store is down.
TOLD = [(DOWN, 503), (None, 503), (ZeroDivisionError(), 500)]


@pytest.mark.promise("20", "23")
@pytest.mark.parametrize(("error", "status"), TOLD)
@on_each_loop
async def test_a_500_after_an_outage_is_a_503_unless_something_else_was_raised(error, status):
    async def app(scope, receive, send):
        with suppress(StoreError):
            scope["session"]["a"] = 2
        await house.sessions.fail(scope["session"], error)
        await answer(send, b"", 500)

    house = House(app)
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    assert (await house.get("/", cookie)).status == status


@pytest.mark.promise("20", "23")
@pytest.mark.parametrize(("error", "status"), TOLD)
def test_so_it_is_under_wsgi(error, status):
    store = FailingStore(MemoryStore())
    sessions = Sessions(store, secret=SECRET)

    def app(environ, start_response):
        with suppress(StoreError):
            environ["coatcheck.session"]["a"] = 1
            start_response("200 OK", [])
            return []
        sessions.fail(environ["coatcheck.session"], error)
        start_response("500 Oops", [])
        return []

    client = WsgiClient(SessionMiddleware(app, sessions))
    browser = Browser(lambda request: client.send(request, lambda _: None))
    assert browser.play().status == 200
    store.fail("load", error=DOWN)
    assert browser.play().status == status


@pytest.mark.promise("1", "23")
@on_each_loop
async def test_a_handler_that_raised_before_it_looked_at_its_session_costs_nothing():
    async def app(scope, receive, send):
        await house.sessions.fail(scope["session"], ZeroDivisionError())
        await answer(send, b"", 500)

    house = House(app, load="on_demand")
    exchange = await house.get("/", await house.visitor(a=1))
    assert (exchange.status, exchange.headers(b"vary")) == (500, [])
    assert house.journal == ["http.response.start", "http.response.body"]
