"""The cost of a whole request, in this process, through WSGI and through Flask.

"Over the bare application" is what the session adds. "Of Flask's own" compares that with what Flask's signed-cookie
session adds for the same work; it keeps the data in the browser, so that it has no store to ask.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import flask
from flask.sessions import SecureCookieSessionInterface
from flask.sessions import SessionInterface as FlaskSessionInterface

from benchmarks.measure import side_by_side
from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.wsgi import SessionMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SECRET = "xZ7-fJ2kQ9wLr4TnVb8sHd3YpMc6Ge1u"
_PATHS = ("untouched", "read", "write")
FIELDS = {"theme": "dark", "basket": [{"sku": 7, "count": 2}, {"sku": 9, "count": 1}], "n": 0}
_number = itertools.count()


def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path != "/untouched":
        session = environ["coatcheck.session"]
        if path == "/fill":
            session.update(FIELDS)
        elif path == "/write":
            session["n"] = next(_number)
        else:
            _ = session["theme"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def flask_app(interface: FlaskSessionInterface | None) -> flask.Flask:
    app = flask.Flask("benchmark")
    app.secret_key = SECRET
    if interface is not None:
        app.session_interface = interface
    session: Any = flask.session

    @app.get("/fill")
    def fill() -> str:
        session.update(FIELDS)
        return "ok"

    @app.get("/untouched")
    def untouched() -> str:
        return "ok"

    @app.get("/read")
    def read() -> str:
        _ = session["theme"]
        return "ok"

    @app.get("/write")
    def write() -> str:
        session["n"] = next(_number)
        return "ok"

    return app


class NoSession(FlaskSessionInterface):
    """Flask without any session."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> Any:
        return self.make_null_session(app)

    def save_session(self, app: flask.Flask, session: Any, response: flask.Response) -> None:
        return None


def visitor(app: WSGIApplication, *, filled: bool = True) -> Callable[[str], Callable[[], None]]:
    """Makes callables that send a request to one path, with the cookie of a session that has been filled."""
    cookie = ""

    def send(path: str) -> list[tuple[str, str]]:
        environ: dict[str, Any] = {"PATH_INFO": f"/{path}", "HTTP_COOKIE": cookie}
        setup_testing_defaults(environ)
        sent: list[tuple[str, str]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            assert status == "200 OK", status
            sent.extend(headers)

        body: Any = app(environ, start_response)
        b"".join(body)
        if hasattr(body, "close"):
            body.close()
        return sent

    for name, value in send("fill") if filled else ():
        if name.lower() == "set-cookie":
            cookie = value.partition(";")[0]
    return lambda path: lambda: send(path) and None


def main() -> None:
    """Measure, and print two tables."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'bench.db')}"
        options: dict[str, Any] = {"secret": SECRET, "insecure_http": True}
        memory, sqlite = Sessions.from_url("memory://", **options), Sessions.from_url(url, **options)
        with memory, sqlite:
            _measure(memory, sqlite)


def _measure(memory: Sessions, sqlite: Sessions) -> None:
    def bare(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    wsgi = {
        "memory": visitor(SessionMiddleware(wsgi_app, memory)),
        "SQLite": visitor(SessionMiddleware(wsgi_app, sqlite)),
    }
    print("### WSGI: microseconds a request, over the bare application\n")
    _table("bare", visitor(bare, filled=False)("untouched"), wsgi, beside=None)
    interfaces: dict[str, FlaskSessionInterface] = {
        "Flask's own cookie": SecureCookieSessionInterface(),
        "memory": SessionInterface(memory),
        "SQLite": SessionInterface(sqlite),
    }
    candidates = {name: visitor(flask_app(interface)) for name, interface in interfaces.items()}
    print("\n### Flask: microseconds a request, over Flask without a session\n")
    _table(
        "bare",
        visitor(flask_app(NoSession()), filled=False)("untouched"),
        candidates,
        beside="Flask's own cookie",
    )


def _table(
    bare: str,
    without: Callable[[], None],
    candidates: dict[str, Callable[[str], Callable[[], None]]],
    *,
    beside: str | None,
) -> None:
    calls = {bare: without}
    for name, send in candidates.items():
        calls.update({f"{name} {path}": send(path) for path in _PATHS})
    costs = side_by_side(calls)
    floor = costs[bare].median
    print(f"The bare application takes {floor:.1f} µs.\n")
    print("| session | " + " | ".join(_PATHS) + " |")
    print("|---|" + "---:|" * len(_PATHS))
    for name in candidates:
        cells: list[str] = []
        for path in _PATHS:
            over = costs[f"{name} {path}"].median - floor
            ratio = ""
            if beside is not None and name != beside:
                ratio = f" (×{over / (costs[f'{beside} {path}'].median - floor):.2f} of Flask's own)"
            cells.append(f"{over:+.1f}{ratio}")
        print(f"| {name} | " + " | ".join(cells) + " |")
