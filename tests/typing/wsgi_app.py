"""A WSGI application as a user types it. Checked by mypy and pyright, never run."""

import os
from wsgiref.types import StartResponse, WSGIEnvironment

from coatcheck import Session, Sessions
from coatcheck.frameworks.wsgi import SessionMiddleware


def count(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    session: Session = environ["coatcheck.session"]
    session["visits"] = session.get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"Visit {session['visits']}\n".encode()]


sessions = Sessions.from_url("sqlite:///sessions.db", secret=os.environ["SESSION_SECRET"])
application = SessionMiddleware(count, sessions)
