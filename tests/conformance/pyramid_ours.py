"""A plugin for pytest: where Pyramid's tests make a session of Pyramid's, or a cookie of one, it is one of ours."""

import secrets
import time
from datetime import timedelta

from pyramid import csrf, session, testing
from pyramid.registry import Registry

from coatcheck import CookieSettings, Sessions
from coatcheck.frameworks import pyramid as module
from coatcheck.frameworks.pyramid import CSRFStoragePolicy, PyramidSession, _session_of
from coatcheck.frameworks.pyramid_settings import SESSIONS
from coatcheck.stores.memory import MemoryStore

STORE = MemoryStore()
SECRET = secrets.token_urlsafe(32)
NAME = "session"


class Ours(PyramidSession):
    """With the messages of a queue where the tests put them and look for them: in a field ``_f_{queue}``."""

    def __getitem__(self, name):
        if not name.startswith("_f_"):
            return super().__getitem__(name)
        if not (waiting := self.peek_flash(name[3:])):
            raise KeyError(name)
        return waiting

    def get(self, name, default=None):
        try:
            return self[name]
        except KeyError:
            return default

    def __setitem__(self, name, value):
        if name.startswith("_f_"):
            for message in value:
                self.flash(message, name[3:])
        else:
            super().__setitem__(name, value)


def sessions(clock=time.time, **options):
    cookie = CookieSettings(
        name=options.get("cookie_name", NAME), path=options.get("path", "/"), domain=options.get("domain")
    )
    timeout = options.get("timeout", 1200)
    idle = timedelta(days=400) if timeout is None else timedelta(seconds=int(timeout))
    return Sessions(
        STORE,
        secret=SECRET,
        clock=clock,
        cookie=cookie,
        idle_timeout=idle,
        absolute_timeout=timedelta(days=400),
        insecure_http=not options.get("secure", False),
    )


def factory(_serializer=None, **options):
    manager = sessions(**options)

    def open_session(request):
        cookies = "; ".join(f"{name}={value}" for name, value in request.cookies.items())
        request.environ["HTTP_COOKIE"] = cookies
        request.scheme = "http"
        request.registry = Registry()
        request.registry.settings = {SESSIONS: manager}
        return _session_of(request)

    return open_session


def cookie_of(value):
    if not isinstance(value, tuple):
        return value
    used, _created, state = value
    manager = sessions(clock=lambda: used, timeout=None)
    opened = manager.open("")
    opened.update(state)
    manager.save(opened)
    return manager.cookie_of(opened)[NAME]


def session_with(fields=None):
    opened = sessions().open("", session_type=Ours)
    opened.update(fields or {})
    return opened


def with_ours(request_type):
    """Requests that tests give the fields of their session, as a dict or none, have them in one of ours."""

    def make(*args, session=None, **options):
        request = request_type(*args, **options)
        request.session = session_with(session)
        return request

    return make


def pytest_configure():
    module.PyramidSession = Ours
    module._Visit.note = module._Visit.store  # the tests call the first response callback only
    session.BaseCookieSessionFactory = factory
    csrf.SessionCSRFStoragePolicy = CSRFStoragePolicy
    testing.DummySession = session_with


def pytest_collection_modifyitems(items):
    modules = {item.module.__name__.rpartition(".")[2]: item.module for item in items}
    modules["test_session"].TestBaseCookieSession._serialize = staticmethod(cookie_of)
    for name in ("test_csrf", "test_authentication"):
        modules[name].DummyRequest = with_ours(modules[name].DummyRequest)
    helper = modules["test_authentication"].TestSessionAuthenticationHelper
    helper._makeRequest = lambda self, session=None: modules["test_authentication"].DummyRequest(
        session=session
    )
