"""Bottle in the plain WSGI middleware: the shared list. Bottle itself tells that a handler raised (exc_info)."""

import bottle

from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.behaviours import HttpBehaviours, WsgiClient, perform


class TestBottle(HttpBehaviours):
    def build(self, sessions):
        app = bottle.Bottle()

        @app.get("/play")
        def play():
            request = bottle.request
            answer = perform(request.query_string, request.environ["coatcheck.session"], sessions)
            return bottle.HTTPResponse(answer.body, answer.status, answer.headers)

        return WsgiClient(SessionMiddleware(app, sessions))
