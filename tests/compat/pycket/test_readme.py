"""The examples of the old library's READMEs. Changed: the imports, the ports, and what was wrong in them.

What was wrong: the dicts of settings were not closed, ``print`` was a statement, ``('localhost:11211')`` is no tuple
(it is taken for one server all the same). And `get` of what was just set, in the first request of a visitor, was None.
"""

import pytest
import tornado.web

from tests.compat.pycket.site import SECRET, Site, cookie_of
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


def mixin_of(generation):
    if generation == "0.1":
        from coatcheck.compat.pycket01.session import SessionMixin
    else:
        from coatcheck.compat.pycket.session import SessionMixin

    class MyHandler(tornado.web.RequestHandler, SessionMixin):
        def get(self):
            self.session.set("foo", ["bar", "baz"])
            foo = self.session.get("foo")  # will get back the list ['bar', 'baz']
            self.write(repr(foo))

    return MyHandler


def manager_of(generation):
    if generation == "0.1":
        from coatcheck.compat.pycket01.session import SessionManager
    else:
        from coatcheck.compat.pycket.session import SessionManager

    class MyHandler(tornado.web.RequestHandler):
        def get(self):
            session = SessionManager(self)
            session.set("foo", ["bar", "baz"])
            foo = session.get("foo")  # will get back the list ['bar', 'baz']
            session.get("this doesn't exist", "so give me this instead")
            session["gimme"] = "Fire!"
            self.write(
                repr([foo, session["gimme"], session.get("this doesn't exist", "so give me this instead")])
            )

    return MyHandler


def notifications_of(generation):
    if generation == "0.1":
        from coatcheck.compat.pycket01.notification import NotificationMixin
    else:
        from coatcheck.compat.pycket.notification import NotificationMixin

    class Telling(tornado.web.RequestHandler, NotificationMixin):
        def post(self):
            self.notifications.set("saved", "Your changes are saved.")

        def get(self):
            self.write(repr(self.notifications.get("saved")))

    return Telling


@pytest.fixture(
    params=["redis", "memcached", "memcached as written", "0.1", "0.1 without settings of the cookie"]
)
def example(request, redis_port, memcached_port):
    """The generation, the settings as each README has them, and whether the cookie is to last."""
    redis = {"host": "localhost", "port": redis_port, "db_sessions": 10, "db_notifications": 11}
    cookies = {"expires_days": 120}
    match request.param:
        case "redis":
            storage = {**redis, "max_connections": 2**31}
            settings = {"pycket": {"engine": "redis", "storage": storage, "cookies": cookies}}
        case "memcached":
            storage = {"servers": (f"localhost:{memcached_port}",)}
            settings = {"pycket": {"engine": "memcached", "storage": storage, "cookies": cookies}}
        case "memcached as written":
            storage = {"servers": f"localhost:{memcached_port}"}
            settings = {"pycket": {"engine": "memcached", "storage": storage, "cookies": cookies}}
        case "0.1":
            settings = {"pycket_redis": redis, "pycket_cookies": cookies}
        case _:
            settings = {"pycket_redis": {"host": HOST, "port": redis_port}}
    return "0.1" if "pycket_redis" in settings else "0.3", settings, "expires_days" in repr(settings)


def test_the_readme_runs(example):
    generation, settings, lasting = example
    handlers = [
        (r"/", mixin_of(generation)),
        (r"/manager", manager_of(generation)),
        (r"/notifications", notifications_of(generation)),
    ]
    application = tornado.web.Application(handlers, cookie_secret=SECRET, **settings)
    with Site([], application=application) as running:
        visitor = running.visitor()
        first = visitor.get("/")
        assert first.text == "['bar', 'baz']"
        assert bool(cookie_of(first)["expires"]) is lasting
        assert visitor.get("/manager").text == "[['bar', 'baz'], 'Fire!', 'so give me this instead']"
        assert visitor.post("/notifications").status_code == 200
        assert visitor.get("/notifications").text == "'Your changes are saved.'"
        assert visitor.get("/notifications").text == "None"
