"""A WSGI server that only looks on."""

from wsgiref.util import setup_testing_defaults

from coatcheck import Sessions, StoreUnavailable
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore, ManualClock
from tests.behaviours.site import SECRET

DOWN = StoreUnavailable("the test says so", ambiguous=False)
ENVIRON_KEY = "coatcheck.session"


class Server:
    """What a server sees of an application: each call, in order."""

    def __init__(self, app, store=None, **options):
        self.journal = []
        self.store = FailingStore(store or MemoryStore())
        self.sessions = Sessions(self.store, secret=SECRET, clock=ManualClock(), **options)
        self.app = SessionMiddleware(app, self.sessions)
        self.cookies = {}

    def environ(self, **more):
        environ = {}
        setup_testing_defaults(environ)
        environ["wsgi.url_scheme"] = "https"
        environ["QUERY_STRING"] = ""
        environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ |= more
        return environ

    def start_response(self, status, headers, exc_info=None):
        if exc_info is not None and "body" in self.journal:
            raise exc_info[1]
        self.journal.append("head")
        self.status, self.headers, self.exc_info = status, headers, exc_info
        for header, line in headers:
            if header == "Set-Cookie":
                name, _, value = line.split(";")[0].partition("=")
                self.cookies[name] = value

        def write(data):
            self.journal.append("body")
            self.written.append(data)

        return write

    def get(self, **more):
        """The body; everything else lies in attributes."""
        self.journal, self.written = [], []
        self.status = self.headers = None
        result = self.app(self.environ(**more), self.start_response)
        try:
            for chunk in result:
                if chunk:
                    assert "head" in self.journal
                    self.journal.append("body")
                self.written.append(chunk)
        finally:
            if hasattr(result, "close"):
                result.close()
        return b"".join(self.written)

    def value(self, name):
        """A field of the visitor's session, in a request of its own."""
        inner, self.app.app = self.app.app, _reads(name)
        try:
            return self.get().decode()
        finally:
            self.app.app = inner

    @property
    def ours(self):
        return [value for name, value in self.headers or () if name == "Set-Cookie"]


def _reads(name):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [str(environ[ENVIRON_KEY].get(name)).encode()]

    return app


HEADERS = [("Content-Type", "text/plain")]
