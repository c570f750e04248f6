"""The path that chooses the policy of an outage is decoded, whatever a client makes of it."""

import pytest

from coatcheck import StoreUnavailable
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.testing import cookies_for
from tests.behaviours.client import Request, environ_of
from tests.compat.hug_store_redis.quietly import hug
from tests.frameworks.hug_apps import api_of
from tests.frameworks.pyramid_apps import Response, configured


def by_wsgi(sessions):
    def application(environ, start_response):
        environ["coatcheck.session"].get("a")
        start_response("200 OK", [])
        return [b"x"]

    return SessionMiddleware(application, sessions)


def by_pyramid(sessions):
    config = configured(sessions)
    config.add_route("any", "/*rest")
    config.add_view(lambda request: Response(str(request.session.get("a"))), route_name="any")
    return config.make_wsgi_app()


def by_hug(sessions):
    api = api_of(sessions)
    hug.sink("/", api=api)(lambda request: request.context["session"].get("a"))
    return api.http.server()


@pytest.mark.parametrize("build", [by_wsgi, by_pyramid, by_hug])
@pytest.mark.parametrize(("path", "status"), [("/café", 200), ("/caf", 503), ("/cafe", 503)])
def test_a_path_that_is_not_ascii_chooses_its_policy(build, path, status, sessions, store):
    tolerant = sessions.with_settings(outage={"/café": "anonymous"})
    (pair,) = cookies_for(sessions, {"a": 1}).items()
    environ = environ_of(Request()) | {
        "PATH_INFO": path.encode().decode("latin-1"),
        "HTTP_COOKIE": "=".join(pair),
    }
    store.fail("load", error=StoreUnavailable("the test says so"))
    said = []
    b"".join(build(tolerant)(environ, lambda line, *_: said.append(line)))
    assert [line[:3] for line in said] == [str(status)]


def test_a_path_that_is_no_utf_8_is_a_path_like_any_other(sessions):
    environ = environ_of(Request()) | {"PATH_INFO": "/\xff\xfe"}
    app = by_wsgi(sessions.with_settings(outage={"/café": "anonymous"}))
    said = []
    assert app(environ, lambda line, *_: said.append(line)) == [b"x"]
    assert said == ["200 OK"]
