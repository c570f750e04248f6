"""The clients of the list of behaviours treat an application as servers do, and the list sees past what zope adds."""

import asyncio

import pytest
from zope.interface import Interface, implementer

from coatcheck import Session
from tests.behaviours import AsgiClient, Portal, Request, WsgiClient
from tests.behaviours.app import ADDED_BY_ZOPE, LOOKS, ways_to_look

HEAD = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"end"}


@pytest.fixture
def portal():
    portal = Portal()
    yield portal
    portal.close()


def note(_what):
    pass


def wsgi_app(*, chunks, error=None, cookies=None):
    def app(environ, start_response):
        if cookies is not None:
            cookies.append(environ["HTTP_COOKIE"].encode("latin-1"))
        if chunks:
            start_response("200 OK", [])
        yield from chunks
        if error is not None:
            raise error

    return app


def asgi_app(*messages, error=None, cookies=None):
    async def app(scope, receive, send):
        if cookies is not None:
            cookies.extend(value for name, value in scope["headers"] if name == b"cookie")
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    return app


def test_receive_waits_after_the_body_until_the_response_is_over(portal):
    received = []

    async def app(scope, receive, send):
        received.append(await receive())
        waiting = asyncio.create_task(receive())
        await send(HEAD)
        await asyncio.wait([waiting], timeout=0)
        received.append(waiting.done())
        await send(LAST)
        received.append(await waiting)

    assert AsgiClient(app, portal).send(Request(), note).raised is None
    first = {"type": "http.request", "body": b"", "more_body": False}
    assert received == [first, False, {"type": "http.disconnect"}]


def test_the_cookie_header_arrives_without_the_white_space_around_it(portal):
    cookies = []
    request = Request(cookies=b"\t a=\xa0 b ;\x0b \t")
    WsgiClient(wsgi_app(chunks=[b"x"], cookies=cookies)).send(request, note)
    AsgiClient(asgi_app(HEAD, LAST, cookies=cookies), portal).send(request, note)
    assert cookies == [b"a=\xa0 b ;\x0b"] * 2


@pytest.mark.parametrize("error", [None, KeyError("a")])
def test_a_response_broke_off_if_its_head_left_and_its_end_did_not(portal, error):
    more = {**LAST, "more_body": True}
    for messages, broken in (((), False), ((HEAD,), True), ((HEAD, more), True), ((HEAD, more, LAST), False)):
        reply = AsgiClient(asgi_app(*messages, error=error), portal).send(Request(), note)
        assert (reply.broken, reply.raised) == (broken, error), messages
    for chunks in ([], [b"a"]):
        reply = WsgiClient(wsgi_app(chunks=chunks, error=KeyError("a"))).send(Request(), note)
        assert reply.broken is bool(chunks)
    assert not WsgiClient(wsgi_app(chunks=[b"a"])).send(Request(), note).broken


def test_what_broke_a_response_off_counts_where_the_client_sees_it(portal):
    reply = AsgiClient(asgi_app(HEAD, error=KeyError("a")), portal).send(Request(), note)
    assert reply.broke_off(KeyError)
    assert not reply.broke_off(ValueError)
    reply.raised = None
    assert reply.broke_off(ValueError)
    reply.broken = False
    assert not reply.broke_off(ValueError)


def test_what_zope_adds_to_a_class_is_no_way_to_look():
    class ISession(Interface):
        pass

    @implementer(ISession)
    class Declared(Session):
        pass

    assert ISession.implementedBy(Declared)
    assert ways_to_look(Declared) == set(LOOKS)
    for name in ADDED_BY_ZOPE & vars(Session).keys():  # to the class below it, which other tests look at
        delattr(Session, name)
