"""Starlette's own SessionMiddleware, unchanged, outside and inside of ours, on a real server."""

import warnings

import flask
import httpx
import pytest
from a2wsgi import WSGIMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from coatcheck import AsyncSessions, ForeignSessionWarning
from coatcheck.frameworks.starlette import SessionMiddleware, get_session
from coatcheck.stores.memory import AsyncMemoryStore
from tests.world.serving import uvicorn_with

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
pytestmark = pytest.mark.promise("H")


@pytest.fixture
def ours():
    return Middleware(
        SessionMiddleware, sessions=AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    )


THEIRS = Middleware(StarlettesOwn, secret_key="theirs")


async def count(request):
    """Counts in the session that the application finds, whoever made it."""
    request.session["n"] = request.session.get("n", 0) + 1
    return JSONResponse(request.session["n"])


async def sign_in(request):
    get_session(request).sign_in("ada")
    return JSONResponse(get_session(request).user)


async def who(request):
    return JSONResponse([get_session(request).user, type(request.session).__module__.split(".")[0]])


async def log_out(request):
    request.session.clear()
    return JSONResponse(None)


async def sign_out(request):
    get_session(request).sign_out()
    return JSONResponse(None)


PAGES = [Route(f"/{page.__name__}", page) for page in (count, sign_in, who, log_out, sign_out)]


def browse(app, *paths):
    """What the paths answer to one browser, the names of its cookies, and what is warned of meanwhile."""
    with (
        warnings.catch_warnings(record=True) as told,
        uvicorn_with(app) as url,
        httpx.Client(base_url=url) as browser,
    ):
        warnings.simplefilter("always")
        answers = [browser.get(path).json() for path in paths]
        return (
            answers,
            sorted(browser.cookies),
            [warning for warning in told if issubclass(warning.category, ForeignSessionWarning)],
        )


def test_inside_ours_it_is_named_once_and_each_keeps_a_session_of_its_own(ours):
    app = Starlette(routes=PAGES, middleware=[ours, THEIRS])
    answers, cookies, told = browse(app, "/count", "/sign_in", "/count", "/who")
    assert answers == [1, "ada", 2, ["ada", "starlette"]]
    assert cookies == ["coatcheck", "session"]
    (warning,) = told
    assert "inside of Coatcheck's" in str(warning.message)


def test_inside_ours_neither_logs_out_of_the_other(ours):
    app = Starlette(routes=PAGES, middleware=[ours, THEIRS])
    answers, _, _ = browse(
        app, "/count", "/sign_in", "/log_out", "/who", "/count", "/count", "/sign_out", "/count", "/who"
    )
    assert answers[3:] == [["ada", "starlette"], 1, 2, None, 3, [None, "starlette"]]


def test_outside_ours_it_is_named_once_and_what_is_inside_has_ours(ours):
    app = Starlette(routes=PAGES, middleware=[THEIRS, ours])
    answers, cookies, told = browse(app, "/count", "/sign_in", "/count", "/who")
    assert answers == [1, "ada", 2, ["ada", "coatcheck"]]
    assert cookies == ["coatcheck"]
    (warning,) = told
    assert "outside of Coatcheck's" in str(warning.message)


@pytest.mark.parametrize("outside", [True, False], ids=["the site's is theirs", "the site's is ours"])
def test_in_an_application_that_is_mounted_each_has_its_own(ours, outside):
    site, mounted = (THEIRS, ours) if outside else (ours, THEIRS)
    inner = Starlette(routes=PAGES, middleware=[mounted])
    app = Starlette(routes=[Route("/count", count), Mount("/inner", inner)], middleware=[site])
    answers, cookies, told = browse(
        app, "/count", "/inner/count", "/inner/count", "/count", "/inner/sign_in" if outside else "/count"
    )
    assert answers[:4] == [1, 1, 2, 2]
    assert cookies == ["coatcheck", "session"]
    assert len(told) == 1


def flasks_own():
    app = flask.Flask(__name__)
    app.secret_key = "theirs"

    @app.get("/count")
    def count():
        flask.session["n"] = flask.session.get("n", 0) + 1
        return flask.jsonify(flask.session["n"])

    return WSGIMiddleware(app)


OTHERS = {
    "starlette": lambda: Starlette(routes=[Route("/count", count)], middleware=[THEIRS]),
    "flask": flasks_own,
}


@pytest.mark.parametrize("other", OTHERS)
def test_on_one_host_under_different_ports_neither_logs_out_of_the_other(ours, other):
    """Cookies know no ports: two programs of a developer's machine share one jar."""
    mine = Starlette(routes=PAGES, middleware=[ours])
    with (
        uvicorn_with(mine) as first,
        uvicorn_with(OTHERS[other](), lifespan="off") as second,
        httpx.Client() as browser,
    ):
        assert browser.get(f"{first}/sign_in").json() == "ada"
        assert browser.get(f"{second}/count").json() == 1
        assert browser.get(f"{first}/who").json() == ["ada", "coatcheck"]
        assert browser.get(f"{second}/count").json() == 2
        assert sorted(browser.cookies) == ["coatcheck", "session"]
