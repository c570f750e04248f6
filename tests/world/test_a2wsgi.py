"""Applications in one another on real servers: a new visitor who signs in inside is signed in everywhere."""

import os

import httpx
import pytest

from coatcheck import Sessions
from tests.world import nested_sites
from tests.world.serving import gunicorn_with, uvicorn_with

pytestmark = pytest.mark.promise("H")
IN_ASGI = ["/a2wsgi", "/starlette-wsgi", "/starlette", "/mounts/deep", "/twice", "/twice/flask", ""]
IN_WSGI = ["/flask", "/fastapi", "/twice", ""]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("SESSIONS_DB", str(tmp_path / "sessions.db"))
    return tmp_path / "sessions.db"


def signs_in(url, file, inside, paths):
    """A new visitor signs in by the application at `inside`, and is known at all `paths`, with one cookie and record."""
    before = count(file)
    with httpx.Client(base_url=url, timeout=30) as browser:
        answer = browser.get(f"{inside}/sign-in")
        assert answer.status_code == 200
        assert len(answer.headers.get_list("set-cookie")) == 1
        assert list(browser.cookies) == ["coatcheck"]
        assert {path: browser.get(f"{path}/who").json() for path in paths} == dict.fromkeys(paths, "ada")
    assert count(file) == before + 1


def count(file):
    with Sessions.from_url(f"sqlite:///{file}", **nested_sites.SETTINGS) as sessions:
        return sessions.count()


def test_in_fastapi_on_uvicorn(file):
    with uvicorn_with(nested_sites.asgi()) as url:
        for inside in IN_ASGI:
            signs_in(url, file, inside, IN_ASGI)


@pytest.mark.parametrize("name", ["in_wsgi", "without_outer_layer"])
def test_beside_flask_on_gunicorn(file, tmp_path, name):
    paths = [path for path in IN_WSGI if name == "in_wsgi" or path != "/twice"]
    options = ("--workers", "2", "--threads", "2")
    with gunicorn_with(f"tests.world.nested_sites:{name}()", tmp_path, dict(os.environ), *options) as url:
        for inside in paths:
            signs_in(url, file, inside, paths)


def test_a_flask_site_on_uvicorn(file):
    from a2wsgi import WSGIMiddleware

    with uvicorn_with(WSGIMiddleware(nested_sites.in_wsgi()), lifespan="off") as url:
        for inside in IN_WSGI:
            signs_in(url, file, inside, IN_WSGI)
