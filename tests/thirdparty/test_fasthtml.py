"""FastHTML in Starlette's middleware of ours: the shared list, with a page for what a handler raises."""

from fasthtml.common import FastHTML, Middleware
from starlette.responses import PlainTextResponse

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, ErrorPages, perform_async
from tests.frameworks.test_starlette import response_of


class TestFastHTML(ErrorPages, AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        async def sorry(request, error):
            request.session["page"] = "seen"
            return PlainTextResponse("sorry", 500)

        app = FastHTML(
            sess_cls=None,
            middleware=[Middleware(SessionMiddleware, sessions=sessions)],
            exception_handlers={Exception: sorry},
        )

        @app.get("/play")
        async def play(request, session):
            return response_of(await perform_async(request.url.query, session, sessions))

        return AsgiClient(app, portal)
