"""What gimlet's own tests asked for ([TEST] in its specification), said anew.

Each test names the section of the specification, and gimlet's own test.
"""

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from coatcheck.compat.gimlet.backends.sql import SQLBackend
from coatcheck.compat.gimlet.factories import session_factory_factory, session_factory_from_settings
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import Session
from coatcheck.compat.gimlet.util import asbool, parse_settings
from tests.compat.gimlet.browser import SECRET, Actions, Browser, set_cookies
from tests.compat.gimlet.conftest import KINDS, new_backend
from tests.compat.gimlet.quiet import Request, Response


@pytest.fixture
def backend():
    return {}


@pytest.fixture
def browser(backend):
    return Browser(SessionMiddleware(Actions(), SECRET, backend=backend))


@pytest.fixture
def without_backend():
    return Browser(SessionMiddleware(Actions(), SECRET))


pytestmark = pytest.mark.xdist_group("gimlet")


def held(backend):
    return list(backend.values())


class TestActions:
    """7.1: a plain dict is a legal backend, and holds exactly what the user put in."""

    def test_getset_basic(self, browser, backend):
        assert browser.get("/get/foo").status_int == 404
        assert held(backend) == []
        assert browser.text("/set/foo/bar") == "ok"
        assert held(backend) == [{"foo": "bar"}]
        assert browser.text("/get/foo") == "bar"
        assert held(backend) == [{"foo": "bar"}]

    def test_has_basic(self, browser, backend):
        assert browser.text("/has/foo") == "false"
        assert held(backend) == []
        browser.get("/set/foo/blah")
        assert browser.text("/has/foo") == "true"
        assert held(backend) == [{"foo": "blah"}]

    def test_delete_basic(self, browser, backend):
        """1.5: deleting the last key leaves the record as {}."""
        browser.get("/set/foo/blah")
        assert browser.text("/delete/foo") == "ok"
        assert held(backend) == [{}]

    def test_delete_nonexistent(self, browser):
        assert browser.get("/delete/foo").status_int == 404

    def test_set_permanent(self, browser, backend):
        """1.5 is_permanent; 7.2 (b): writing one channel sets both cookies."""
        browser.get("/set/boromir/111?permanent=1")
        assert browser.cookies.keys() == {"gimlet-n", "gimlet-p"}
        assert held(backend) == [{"boromir": "111"}]
        assert browser.text("/get/boromir") == "111"
        assert browser.text("/is_permanent/boromir") == "True"
        assert browser.text("/is_permanent/nothing") == "False"

    def test_cookie_metadata(self, browser):
        """1.8: secure iff https, HttpOnly, max-age on the permanent one only; the names."""
        cookies = set_cookies(browser.get("/set/frodo/ring", base="https://localhost"))
        assert cookies.keys() == {"gimlet-n", "gimlet-p"}
        lowered = {name: line.lower() for name, line in cookies.items()}
        for line in lowered.values():
            assert "; secure" in line
            assert "; httponly" in line
            assert "; path=/" in line
            assert "domain" not in line
        assert "max-age=" in lowered["gimlet-p"]
        assert "max-age" not in lowered["gimlet-n"]
        assert "expires" not in lowered["gimlet-n"]

    def test_no_secure_over_http(self, browser):
        for line in set_cookies(browser.get("/set/frodo/ring")).values():
            assert "secure" not in line.lower()

    def test_set_clientside(self, browser, backend):
        browser.get("/set/foo/bar?clientside=1")
        assert held(backend) == []
        assert browser.text("/get/foo") == "bar"

    def test_move_key_from_clientside_to_serverside(self, browser, backend):
        browser.get("/set/greeting/aloha?clientside=1")
        assert browser.text("/get/greeting?clientside=1") == "aloha"
        assert held(backend) == []
        browser.get("/set/greeting/jambo")
        assert browser.text("/get/greeting") == "jambo"
        assert held(backend) == [{"greeting": "jambo"}]
        backend.clear()
        assert browser.get("/get/greeting").status_int == 404

    def test_iter_len(self, browser, backend):
        browser.get("/set/frodo/baggins?clientside=1")
        assert held(backend) == []
        browser.get("/set/gandalf/grey")
        assert held(backend) == [{"gandalf": "grey"}]
        assert browser.text("/len") == "2"
        assert sorted(browser.text("/iter").split()) == ["frodo", "gandalf"]

    def test_id(self, browser):
        """1.5: bytes, 32 digits."""
        assert len(browser.get("/id").body) == 32

    def test_created_timestamp(self, browser):
        """7.2 (c): reading it of a fresh session makes it stick."""
        timestamp = int(browser.text("/timestamp"))
        created = datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None)
        assert browser.text("/time") == str(created)
        now = datetime.now(UTC).replace(tzinfo=None)
        assert created <= now
        assert now - created < timedelta(minutes=1)

    def test_reading_the_id_makes_it_stick(self, browser):
        assert browser.text("/id") == browser.text("/id")

    def test_repr(self, browser):
        browser.get("/set/frodo/baggins")
        browser.get("/set/samwise/gamgee?permanent=1")
        browser.get("/set/peregrin/took?clientside=1")
        shown = browser.text("/repr")
        assert shown.startswith("<Session \n-- perm --\nid ")
        for key in ("frodo", "samwise", "peregrin"):
            assert key in shown

    def test_mutate(self, browser):
        browser.get("/append/spider/itsy")
        browser.get("/append/spider/bitsy")
        assert browser.text("/flatten/spider") == "itsy:bitsy"


class TestNoBackend:
    def test_getset_basic(self, without_backend):
        assert without_backend.get("/get/foo").status_int == 404
        without_backend.get("/set/foo/bar")
        assert without_backend.text("/get/foo") == "bar"
        with pytest.raises(ValueError, match="no backend present is not supported"):
            without_backend.get("/set/quux/bogus-value?clientside=0")

    def test_bad_middleware_config(self):
        """1.3: clientside=False without a backend."""
        with pytest.raises(ValueError, match="cannot configure default of clientside=False"):
            SessionMiddleware(Actions(), SECRET, clientside=False)


class TestEncrypted:
    """1.10."""

    def test_getset_basic(self):
        browser = Browser(SessionMiddleware(Actions(), SECRET, encryption_key=os.urandom(32).hex().encode()))
        assert browser.get("/get/foo").status_int == 404
        browser.get("/set/foo/bar")
        assert browser.text("/get/foo") == "bar"
        with pytest.raises(ValueError, match="no backend present"):
            browser.get("/set/quux/bogus-value?clientside=0")

    def test_wrong_key_length(self):
        with pytest.raises(ValueError, match="must be 16, 24, or 32 bytes"):
            SessionMiddleware(Actions(), SECRET, encryption_key=os.urandom(20).hex())

    def test_non_hex_key(self):
        with pytest.raises(ValueError, match="64 hex digits"):
            SessionMiddleware(Actions(), SECRET, encryption_key="s" * 64)


class TestDeferredSet:
    """1.7: the session is used while the body is produced."""

    @pytest.fixture
    def browser(self, backend):
        def app(environ, start_response):
            request, session = Request(environ), environ["gimlet.session"]

            def body():
                for number in range(5):
                    yield str(number).encode()
                session.set("foo", "bar", clientside="clientside" in request.params)

            response = Response(content_type="text/plain")
            response.app_iter = body()
            return response(environ, start_response)

        return Browser(SessionMiddleware(app, SECRET, backend=backend))

    def test_deferred_set_backend(self, browser, backend):
        assert "4" in browser.text("/")
        assert held(backend) == [{"foo": "bar"}]

    def test_deferred_set_client(self, browser):
        with pytest.raises(ValueError, match="after the WSGI response has been returned"):
            browser.get("/?clientside=1")


class TestSession:
    @pytest.fixture
    def session(self):
        return session_factory_factory(SECRET)(Request.blank("/"))

    def test_session(self, session):
        session["a"] = "a"
        assert "a" in session
        assert "a" in session.channels["nonperm"]

    def test_session_nonperm(self, session):
        session.set("a", "a", permanent=False)
        assert "a" in session.channels["nonperm"]
        assert "a" not in session.channels["perm"]

    def test_invalidate(self, session):
        session["a"] = "a"
        session.invalidate()
        assert "a" not in session
        assert session == {}

    def test_flash(self, session):
        """1.6: flash, peek_flash, pop_flash."""
        assert session.peek_flash() == []
        session.flash("abc")
        session.flash("abc")
        assert session.peek_flash() == ["abc", "abc"]
        assert session.pop_flash() == ["abc", "abc"]
        assert session.peek_flash() == []
        session.flash("xyz", allow_duplicate=False)
        session.flash("xyz", allow_duplicate=False)
        assert session.peek_flash() == ["xyz"]

    def test_csrf(self, session):
        """1.6: a native str, the same at the second call."""
        assert "_csrft_" not in session
        token = session.get_csrf_token()
        assert session["_csrft_"] == token
        assert isinstance(token, str)
        assert len(token) == 40
        assert session.get_csrf_token() == token
        assert session.new_csrf_token() != token


class TestFunctional:
    """The session made and written by the application itself (1.5: write_callback is public)."""

    @pytest.fixture
    def browser(self):
        factory = session_factory_factory(SECRET)

        def app(environ, start_response):
            request, response = Request(environ), Response()
            session = environ["gimlet.session"] = factory(request)
            match request.path_info:
                case "/set":
                    session["a"] = "a"
                case "/invalidate":
                    session.invalidate()
                case "/mutate_set":
                    session["b"] = {"bar": 42}
                case "/mutate_get":
                    response.text = ",".join(f"{key}:{value}" for key, value in sorted(session["b"].items()))
                case "/mutate_nosave":
                    session["b"]["foo"] = 123
                case "/mutate_save":
                    session["b"]["foo"] = 123
                    session.save()
                case "/mangle_cookie":
                    response.set_cookie("gimlet-p", request.cookies["gimlet-p"].lower())
            session.write_callback(request, response)
            return response(environ, start_response)

        return Browser(app)

    def test_invalidate(self, browser):
        assert "Set-Cookie" in browser.get("/set").headers
        old = browser.cookies["gimlet-p"]
        response = browser.get("/invalidate")
        assert "gimlet-p" in set_cookies(response)
        assert browser.request.environ["gimlet.session"] == {}
        browser.get("/get")
        assert browser.cookies["gimlet-p"] not in ("", old)

    def test_bad_signature(self, browser):
        """1.8, 7.2 (a): a new cookie is issued though the view touches nothing."""
        browser.get("/set")
        original = browser.cookies["gimlet-p"]
        browser.get("/mangle_cookie")
        mangled = browser.cookies["gimlet-p"]
        assert mangled == original.lower()
        browser.get("/get")
        assert browser.cookies["gimlet-p"] not in (original, mangled)

    def test_mutate(self, browser):
        """7.7: what is changed in place is lost without save()."""
        browser.get("/mutate_set")
        assert browser.text("/mutate_get") == "bar:42"
        browser.get("/mutate_nosave")
        assert browser.text("/mutate_get") == "bar:42"
        browser.get("/mutate_save")
        assert browser.text("/mutate_get") == "bar:42,foo:123"


class TestBackends:
    """1.9."""

    @pytest.fixture(params=KINDS)
    def any_backend(self, request, table):
        with closing(new_backend(request, request.param, table)) as backend:
            yield backend

    def test_getset(self, any_backend):
        for key, value in [(b"foo", b"bar"), (b"foo", b"baz"), (b"small", b"world")]:
            any_backend[key] = value
            assert any_backend[key] == value

    def test_missing(self, any_backend):
        with pytest.raises(KeyError, match="not found"):
            any_backend[b"missing"]


class TestFactories:
    def test_create_factory(self):
        assert issubclass(session_factory_factory("super-secret-awesome-sauce"), Session)

    def test_create_factory_no_secret(self):
        with pytest.raises(TypeError):
            session_factory_factory()

    def test_create_factory_from_settings(self):
        factory = session_factory_from_settings({"gimlet.secret": "super-secret-awesome-sauce"})
        assert issubclass(factory, Session)


class TestUtil:
    """1.4."""

    @pytest.mark.parametrize("value", ["T", "trUe", "y", "yes", "on", "1", True, 1], ids=repr)
    def test_asbool_true(self, value):
        assert asbool(value) is True

    @pytest.mark.parametrize("value", ["a", "f", "false", "no", False, 0, None], ids=repr)
    def test_asbool_false(self, value):
        assert asbool(value) is False

    def test_parse_settings(self):
        options = parse_settings(
            {
                "gimlet.backend": "sql",
                "gimlet.backend.url": "sqlite:///:memory:",
                "gimlet.secret": "super-secret",
                "gimlet.permanent": "true",
                "non-gimlet-setting": None,
            }
        )
        assert options.keys() == {"backend", "secret", "permanent"}
        assert options["permanent"] is True
        assert isinstance(options["backend"], SQLBackend)
        options["backend"].close()

    @pytest.mark.parametrize("name", ["gimlet.backends.sql", "coatcheck.compat.gimlet.backends.sql"])
    def test_parse_settings_absolute_backend(self, name):
        settings = {"backend": name, "backend.url": "sqlite:///:memory:", "secret": "super-secret"}
        backend = parse_settings(settings, prefix="")["backend"]
        assert isinstance(backend, SQLBackend)
        backend.close()

    def test_parse_settings_none_backend(self):
        assert parse_settings({"backend": None, "secret": "super-secret"}, prefix="")["backend"] is None

    def test_parse_settings_bad_backend(self):
        with pytest.raises(ValueError, match="backend must be a subclass of BaseBackend"):
            parse_settings({"backend": object, "secret": "super-secret"}, prefix="")

    def test_parse_settings_unknown_backend(self):
        with pytest.raises(ImportError):
            parse_settings({"backend": "unknown_backend", "secret": "super-secret"}, prefix="")

    def test_parse_settings_no_secret(self):
        with pytest.raises(ValueError, match="secret is required"):
            parse_settings({})
