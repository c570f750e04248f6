"""gimlet's documentation, word for word but for the imports; and the two ways to use it, served."""

import functools
import threading
import urllib.request
from contextlib import closing
from http.cookiejar import CookieJar
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from coatcheck.compat.gimlet.backends import pyredis
from coatcheck.compat.gimlet.factories import session_factory_from_settings
from coatcheck.compat.gimlet.session import Session
from tests.compat.gimlet.browser import SECRET, Browser, set_cookies
from tests.compat.gimlet.quiet import Configurator, PyramidNotFound, PyramidResponse, Request
from tests.servers.process import HOST

pytestmark = pytest.mark.xdist_group("gimlet")

QUICK_START = """
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.backends.pyredis import RedisBackend

backend = RedisBackend()

app = SuperAwesomeApp()
app = SessionMiddleware(app, 's3krit', backend)
"""
IN_THE_APPLICATION = """
session = environ['gimlet.session']
session['user'] = 'Frodo'
"""
KEY_OPTIONS = """
session.set('cart_id', 12345, clientside=True)
session.set('account_id', 777, permanent=False)
session.set('cart_id', 12345, clientside=True, permanent=True)
"""


class SuperAwesomeApp:
    """Runs the documentation's lines in a request."""

    def __call__(self, environ, start_response):
        session = environ["gimlet.session"]
        match environ["PATH_INFO"]:
            case "/user":
                exec(IN_THE_APPLICATION, {"environ": environ})
            case "/options":
                exec(KEY_OPTIONS, {"session": session})
            case "/out":
                session.invalidate()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{session.id.decode()} {sorted(session.items())}".encode()]


@pytest.fixture
def quick_start(one_redis, database, monkeypatch):
    """What the quick start makes, with the Redis of the tests in the place of the one on the usual port."""
    here = functools.partial(pyredis.RedisBackend, HOST, one_redis.port, database)
    monkeypatch.setattr(pyredis, "RedisBackend", here)
    namespace = {"SuperAwesomeApp": SuperAwesomeApp}
    exec(QUICK_START, namespace)
    with closing(namespace["backend"]):
        yield namespace["app"]


def test_the_quick_start_and_the_key_options(quick_start, raw):
    """1.2: in gimlet, the quick start made the backend the environ's key."""
    browser = Browser(quick_start)
    told, _, items = browser.text("/user").partition(" ")
    assert items == "[('user', 'Frodo')]"
    assert len(raw.keys()) == 1
    again, _, items = browser.text("/").partition(" ")
    assert (again, items) == (told, "[('user', 'Frodo')]")
    browser.get("/options")
    assert browser.text("/").endswith("[('account_id', 777), ('cart_id', 12345), ('user', 'Frodo')]")
    browser.get("/out")
    assert raw.keys() == []
    assert browser.text("/").endswith(" []")


def test_the_quick_start_served_over_http(quick_start):
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    with make_server(HOST, 0, quick_start, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        base = f"http://{HOST}:{server.server_port}"
        answers = []
        for path in ("/user", "/"):
            with opener.open(base + path, timeout=30) as answer:
                answers.append(answer.read())
        server.shutdown()
        thread.join()
    assert answers[0] == answers[1]
    assert b"Frodo" in answers[1]


@pytest.fixture
def pyramid(one_redis, database):
    """A Pyramid application whose sessions come from its settings, as strings, as an ini file gives them."""
    settings = {
        "gimlet.secret": SECRET,
        "gimlet.backend": "pyredis",
        "gimlet.backend.host": HOST,
        "gimlet.backend.port": str(one_redis.port),
        "gimlet.backend.db": str(database),
        "gimlet.backend.prefix": "site.",
        "gimlet.permanent": "false",
    }
    before = dict(settings)
    factory = session_factory_from_settings(settings)
    assert settings == before, "nothing of the application's settings is changed"

    def put(request):
        request.session["user"] = "Frodo"
        # As applications for gimlet before 0.5.2 do it.
        request.add_response_callback(request.session.response_callback)
        return PyramidResponse("put")

    def get(request):
        return PyramidResponse(str(sorted(request.session)))

    def untouched(request):
        return PyramidResponse("nothing")

    def not_found(request):
        request.session["seen"] = 1
        raise PyramidNotFound

    def fails(request):
        request.session["lost"] = 1
        raise LookupError("unhandled")

    def out(request):
        request.session.invalidate()
        return PyramidResponse("out")

    def token(request):
        return PyramidResponse(request.session.get_csrf_token())

    def checked(request):
        return PyramidResponse("checked")

    def flash(request):
        request.session.flash(request.params["m"])
        return PyramidResponse(str(request.session.peek_flash()))

    with Configurator(settings=settings) as config:
        config.set_session_factory(factory)
        for view in (put, get, untouched, not_found, fails, out, token, flash):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__)
        config.add_route("checked", "/checked")
        config.add_view(checked, route_name="checked", require_csrf=True)
        app = config.make_wsgi_app()
    with closing(factory.backend):
        yield Browser(app)


class TestPyramid:
    """[KEEP] 1.11."""

    def test_values_are_kept(self, pyramid, raw):
        pyramid.get("/put")
        assert pyramid.text("/get") == "['user']"
        (key,) = raw.keys()
        assert key.startswith(b"site.")

    def test_a_view_that_does_not_use_the_session_costs_nothing(self, pyramid):
        assert set_cookies(pyramid.get("/untouched")) == {}
        pyramid.get("/put")
        assert set_cookies(pyramid.get("/untouched")) == {}

    def test_the_write_of_an_exception_view_is_kept(self, pyramid):
        assert pyramid.get("/not_found").status_int == 404
        assert pyramid.text("/get") == "['seen']"

    def test_after_an_unhandled_exception_nothing_is_written(self, pyramid, raw):
        with pytest.raises(LookupError):
            pyramid.get("/fails")
        assert raw.keys() == []
        assert pyramid.cookies == {}

    def test_logging_out_ends_the_session(self, pyramid, raw):
        pyramid.get("/put")
        thief = Browser(pyramid.app)
        thief.cookies = dict(pyramid.cookies)
        pyramid.get("/out")
        assert raw.keys() == []
        assert thief.text("/get") == "[]"

    def test_pyramids_check_of_the_csrf_token(self, pyramid):
        token = pyramid.text("/token")
        assert pyramid.text("/token") == token

        def post(token):
            request = Request.blank("/checked", POST={"csrf_token": token})
            request.headers["Cookie"] = "; ".join(
                f"{name}={value}" for name, value in pyramid.cookies.items()
            )
            return request.get_response(pyramid.app).status_int

        assert post(token) == 200
        assert post("0" * 40) == 400

    def test_messages(self, pyramid):
        pyramid.get("/flash?m=one")
        assert pyramid.text("/flash?m=two") == "['one', 'two']"

    def test_the_session_has_all_of_pyramids_interface(self):
        from tests.compat.gimlet.quiet import ISession

        wanted = set(ISession.names(all=True))
        assert {name for name in wanted if not hasattr(Session, name)} == set()
