"""An API of hug under a real HTTP server, and a visitor with a jar of cookies."""

import http.client
import itertools
import json
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from tests.compat.hug_store_redis.quietly import hug
from tests.servers.process import HOST

# hug makes a module of each name.
_names = (f"tests_hug_site{number}" for number in itertools.count())


class _Silent(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Site:
    """Serves on a free port, in one thread, so that requests come one after the other in one context."""

    def __init__(self, application):
        self._server = make_server(HOST, 0, application, handler_class=_Silent)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def visitor(self, **cookies):
        return Visitor(self.port, cookies)

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Visitor:
    """Keeps cookies, also the `Secure` ones that a browser would not send over plain http."""

    def __init__(self, port, cookies):
        self.port, self.cookies = port, cookies
        self.set_cookies = []

    def get(self, path):
        """The answer, from JSON; the status and the Set-Cookie lines stay here."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        self.status, self.headers = response.status, response.headers
        self.set_cookies = response.headers.get_all("Set-Cookie") or []
        for line in self.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return json.loads(body) if response.headers.get_content_type() == "application/json" else body


def api_with(*middleware, **handlers):
    """A WSGI application of hug: each handler is called with the request, at the path of its name."""
    api = hug.API(next(_names))
    for each in middleware:
        api.http.add_middleware(each)

    def route(name, handler):
        @hug.get(f"/{name}", api=api)
        def answer(request):
            return handler(request)

    for name, handler in (HANDLERS | handlers).items():
        route(name, handler)
    return api.http.server()


def session_of(request):
    return request.context["session"]


def change(*names):
    return lambda request: session_of(request).update(dict.fromkeys(names, 1))


def count(request):
    session = session_of(request)
    session["visits"] = session.get("visits", 0) + 1
    return session["visits"]


def fail(request):
    session_of(request)["kept"] = True
    raise hug.HTTPError(hug.HTTP_500, "Broken", "on purpose")


HANDLERS = {
    "count": count,
    "untouched": lambda request: "untouched",
    "read": lambda request: session_of(request).get("visits"),
    "read_twice": lambda request: [session_of(request).get(name) for name in ("visits", "missing")],
    "all": lambda request: dict(session_of(request)),
    "change": change("a"),
    "change_twice": change("a", "b"),
    "read_and_change": lambda request: (session_of(request).get("visits"), change("b")(request)),
    "clear": lambda request: session_of(request).clear(),
    "replace": lambda request: request.context.__setitem__("session", {"new": True}),
    "bad": lambda request: session_of(request).update(bad=object()),
    "fail": fail,
}
