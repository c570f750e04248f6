"""Falcon in the plain middlewares: the shared list. An error handler tells that a responder raised."""

import falcon
import falcon.asgi

from coatcheck.frameworks import asgi, wsgi
from tests.behaviours import (
    AsgiClient,
    AsyncHttpBehaviours,
    ErrorPages,
    HttpBehaviours,
    WsgiClient,
    perform,
    perform_async,
)
from tests.behaviours.forbidden import forbids
from tests.behaviours.served import OnUvicorn, OnWaitress


def leave(place):
    raise falcon.HTTPSeeOther(place)


def fill(resp, answer):
    """Make Falcon's response of an answer."""
    resp.status = answer.status
    for name, value in answer.headers:
        resp.append_header(name, value)
    if isinstance(answer.body, list):
        resp.data = b"".join(answer.body)
    else:
        resp.stream = answer.body


def say_sorry(resp, session):
    session["page"] = "seen"
    resp.status, resp.text = 500, "sorry"


class TestWsgi(ErrorPages, HttpBehaviours):
    def build(self, sessions):
        class Play:
            def on_get(self, req, resp):
                fill(resp, perform(req.query_string, req.env["coatcheck.session"], sessions, leave))

            on_head = on_get

        def failed(req, resp, error, params):
            sessions.fail(req.env["coatcheck.session"], error)
            say_sorry(resp, req.env["coatcheck.session"])

        app = falcon.App()
        app.add_error_handler(Exception, failed)
        app.add_route("/play", Play())
        return WsgiClient(wsgi.SessionMiddleware(app, sessions))


class TestWsgiServed(OnWaitress, TestWsgi):
    pass


NO_MOUNTS = "Falcon's ASGI application can't be mounted: it routes by the whole path, root_path included"


@forbids(
    test_the_path_that_chooses_the_policy_is_the_one_within_the_application=NO_MOUNTS,
    test_a_mounted_application_shares_the_session_of_the_site=NO_MOUNTS,
)
class TestAsgi(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        class Play:
            async def on_get(self, req, resp):
                fill(resp, await perform_async(req.query_string, req.scope["session"], sessions, leave))

            on_head = on_get

        async def failed(req, resp, error, params):
            await sessions.fail(req.scope["session"], error)
            say_sorry(resp, req.scope["session"])

        app = falcon.asgi.App()
        app.add_error_handler(Exception, failed)
        app.add_route("/play", Play())
        return AsgiClient(asgi.SessionMiddleware(app, sessions), portal)


class TestAsgiServed(OnUvicorn, TestAsgi):
    pass
