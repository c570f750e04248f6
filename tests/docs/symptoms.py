"""What the tests of the page on troubleshooting share: the page's headings, and a site."""

from __future__ import annotations

import re

from fastapi import FastAPI
from flask import Flask, request, session
from starlette.requests import Request

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.fastapi import SessionMiddleware
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.docs.pages import DOCS, SECRET

_PAGE = (DOCS / "how-to" / "troubleshooting.md").read_text()
SYMPTOMS = re.findall(r"^### (.*)$", _PAGE, re.MULTILINE)
MESSAGES = {
    section.partition("\n")[0]: re.findall(r"^```text\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)
    for section in re.split("^### ", _PAGE, flags=re.MULTILINE)[1:]
}
HTTPS = "https://localhost"


def symptom(heading):
    """Names the heading of the page under which the symptom and its cure stand."""
    assert heading in SYMPTOMS
    return lambda test: test


def quoted(heading, *raised):
    """The messages that the page quotes under the heading are those of these errors or warnings, one by one."""
    messages = MESSAGES[heading]
    assert len(messages) == len(raised)
    for message, error in zip(messages, raised, strict=True):
        pattern = re.escape(message.replace("\n", " ")).replace("…", ".*")
        assert re.fullmatch(pattern, str(error)), (message, str(error))


def site(store=None, *, secret=SECRET, **settings):
    """A site in Flask, with a page for what the symptoms need."""
    app = Flask("site")
    sessions = Sessions(store or MemoryStore(), secret=secret, **settings)
    SessionInterface(sessions).init_app(app)
    app.sessions = sessions
    app.config["PREFERRED_URL_SCHEME"] = "https"
    app.get("/")(lambda: session.user or "nobody")

    @app.route("/sign-in", methods=["GET", "POST"])
    def sign_in():
        session.sign_in(request.args.get("as", "ada"), keep=request.args.getlist("keep"))
        session.permanent = "remember" in request.args
        return "signed in"

    @app.get("/set")
    def set_fields():
        session.update(request.args.items())
        return "set"

    @app.get("/fields")
    def fields():
        return dict(session)

    return app


def api(handler, path="/", *, sessions=None, **options):
    """A site in FastAPI with one page, and one that signs in."""
    app = FastAPI()
    app.sessions = sessions or AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    app.add_middleware(SessionMiddleware, sessions=app.sessions, **options)
    app.get(path)(handler)

    @app.get("/sign-in")
    async def sign_in(request: Request):
        await request.session.load()
        request.session.sign_in("ada")

    return app


async def who(request: Request):
    return request.session.user
