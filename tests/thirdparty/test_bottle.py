"""Bottle in the plain WSGI middleware: the shared list. Bottle tells of itself that a handler raised (exc_info)."""

import bottle

from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.behaviours import ErrorPages, HttpBehaviours, WsgiClient, perform
from tests.behaviours.served import OnWaitress


def leave(place):
    bottle.redirect(place, 303)


def application(sessions):
    app = bottle.Bottle()

    @app.get("/play")
    def play():
        request = bottle.request
        answer = perform(request.query_string, request.environ["coatcheck.session"], sessions, leave)
        return bottle.HTTPResponse(answer.body, answer.status, answer.headers)

    return app


class TestWithItsOwnPages(HttpBehaviours):
    def build(self, sessions):
        return WsgiClient(SessionMiddleware(application(sessions), sessions))


class TestWithAPageThatUsesTheSession(ErrorPages, HttpBehaviours):
    def build(self, sessions):
        app = application(sessions)

        @app.error(500)
        def sorry(error):
            session = bottle.request.environ["coatcheck.session"]
            sessions.fail(session, error.exception)
            session["page"] = "seen"
            return "sorry"

        return WsgiClient(SessionMiddleware(app, sessions))


class TestServed(OnWaitress, TestWithAPageThatUsesTheSession):
    pass
