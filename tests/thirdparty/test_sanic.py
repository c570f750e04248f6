"""Sanic under ASGI, in the plain middleware: the shared list. An error handler tells that a handler raised."""

from contextlib import suppress

import sanic
from sanic.compat import Header
from sanic.exceptions import SanicException

from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, ErrorPages, perform_async
from tests.behaviours.forbidden import forbids
from tests.behaviours.served import OnUvicorn


def session_of(request):
    return request.transport.scope["session"]


class Over(Exception):
    """Ends the lifespan of an application that goes on running."""


async def start(app):
    """Start it, as a server does: Sanic serves nothing before."""
    messages = [{"type": "lifespan.startup"}]

    async def receive():
        if not messages:
            raise Over
        return messages.pop()

    async def send(message):
        assert message["type"] == "lifespan.startup.complete", message

    with suppress(Over):
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


NO_MOUNTS = "Sanic can't be mounted under ASGI: it routes by the whole path, root_path included"


@forbids(
    test_the_path_that_chooses_the_policy_is_the_one_within_the_application=NO_MOUNTS,
    test_a_mounted_application_shares_the_session_of_the_site=NO_MOUNTS,
)
class TestSanic(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        sanic.Sanic.test_mode = True  # applications of one name may follow each other
        app = sanic.Sanic("behaviours", configure_logging=False)

        @app.route("/play", methods=["GET", "HEAD"])
        async def play(request):
            answer = await perform_async(request.query_string, session_of(request), sessions)
            headers = Header(answer.headers)
            if isinstance(answer.body, list):
                return sanic.HTTPResponse(b"".join(answer.body), answer.status, headers)
            response = await request.respond(status=answer.status, headers=headers)
            async for chunk in answer.body:
                await response.send(chunk)
            return None

        @app.signal("http.lifecycle.exception")
        async def failed(request, exception):
            if not isinstance(exception, SanicException):
                await sessions.fail(session_of(request), exception)

        @app.exception(Exception)
        async def sorry(request, error):
            if isinstance(error, SanicException):
                return sanic.HTTPResponse(status=error.status_code)
            session_of(request)["page"] = "seen"
            return sanic.HTTPResponse("sorry", 500)

        portal.call(start(app))
        return AsgiClient(SessionMiddleware(app, sessions), portal)


class TestServed(OnUvicorn, TestSanic):
    pass
