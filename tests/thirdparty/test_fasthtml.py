"""FastHTML in Starlette's middleware of ours: the shared list."""

from fasthtml.common import FastHTML, Middleware

from coatcheck.frameworks.starlette import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.served import OnUvicorn
from tests.frameworks.test_starlette import leave, response_of


class TestFastHTML(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        app = FastHTML(
            sess_cls=None,
            secret_key="unused",  # without one, FastHTML writes a file into the current folder
            middleware=[Middleware(SessionMiddleware, sessions=sessions)],
        )

        @app.get("/play")
        async def play(request, session):
            return response_of(await perform_async(request.url.query, session, sessions, leave))

        return AsgiClient(app, portal)


class TestServed(OnUvicorn, TestFastHTML):
    pass
