"""A small site in either colour, as an application behind a shared cache: `python -m … flask|asgi PORT`."""

import sys

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.starlette import SessionMiddleware
from tests.behaviours.site import SECRET

# What people write who mean the page for everybody.
PUBLIC = {"Cache-Control": "public, max-age=600"}


def page(session):
    """Shows who is signed in, and looks at nothing else."""
    return f"hello {session.user}"


def visit(session):
    session["visits"] = session.get("visits", 0) + 1
    return f"visit {session['visits']} of {session.user}"


def sign_in(session, user):
    session.sign_in(user)
    return f"welcome {user}"


def flask_application():
    import flask

    app = flask.Flask(__name__)
    SessionInterface(Sessions.from_url("memory://", secret=SECRET, insecure_http=True)).init_app(app)
    app.add_url_rule("/page", view_func=lambda: (page(flask.session), PUBLIC), endpoint="page")
    app.add_url_rule("/visit", view_func=lambda: (visit(flask.session), PUBLIC), endpoint="visit")
    app.add_url_rule("/logo", view_func=lambda: ("logo", PUBLIC), endpoint="logo")
    app.add_url_rule(
        "/sign-in/<user>", view_func=lambda user: (sign_in(flask.session, user), PUBLIC), endpoint="sign in"
    )
    return app


def starlette_application():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def route(path, answer):
        async def endpoint(request):
            return PlainTextResponse(answer(request), headers=PUBLIC)

        return Route(path, endpoint)

    sessions = AsyncSessions.from_url("memory://", secret=SECRET, insecure_http=True)
    return Starlette(
        routes=[
            route("/page", lambda request: page(request.session)),
            route("/visit", lambda request: visit(request.session)),
            route("/logo", lambda request: "logo"),
            route("/sign-in/{user}", lambda request: sign_in(request.session, request.path_params["user"])),
        ],
        middleware=[Middleware(SessionMiddleware, sessions=sessions)],
    )


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "flask":
        import waitress

        waitress.serve(flask_application(), host="127.0.0.1", port=port, threads=4)
    else:
        import uvicorn

        uvicorn.run(starlette_application(), host="127.0.0.1", port=port, log_level="warning")
