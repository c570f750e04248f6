"""Applications of several frameworks on one Redis store, and the replies to their visitors."""

from coatcheck import AsyncSessions, Sessions
from coatcheck.stores.redis import async_from_url, from_url
from tests.behaviours import Browser, Portal
from tests.behaviours.site import SECRET
from tests.frameworks import test_asgi, test_flask, test_wsgi

BUILD = {"wsgi": test_wsgi.build, "flask": test_flask.build}


class RedisSite:
    """One application: over "wsgi", "flask" or "asgi"."""

    def __init__(self, framework, url, prefix, *, settings=None, **options):
        self.events = []
        settings = {"secret": SECRET, "on_event": self.events.append, **(settings or {})}
        options = {"prefix": prefix, **options}
        if framework == "asgi":
            self.portal = Portal()
            self.sessions = self.portal.call(self._made(url, options, settings))
            self.client = test_asgi.build(self.sessions, self.portal)
        else:
            self.portal = None
            self.sessions = Sessions(from_url(url, **options), **settings)
            self.client = BUILD[framework](self.sessions)

    async def _made(self, url, options, settings):
        return AsyncSessions(async_from_url(url, **options), **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.portal is None:
            self.sessions.shutdown()
        else:
            self.portal.call(self.sessions.shutdown())
            self.portal.close()

    def call(self, method, *arguments, **named):
        """A method of the manager, which is awaited where it has to be."""
        answer = getattr(self.sessions, method)(*arguments, **named)
        return answer if self.portal is None else self.portal.call(answer)

    def send(self, request):
        return self.client.send(request, lambda _: None)

    def browser(self, *steps):
        """A visitor, after the `steps`, if any."""
        browser = Browser(self.send)
        if steps:
            reply = browser.play(*steps)
            assert reply.status == 200, (reply.body, reply.raised)
        return browser

    def key_of(self, browser):
        (cookie,) = browser.cookies.values()
        return self.sessions.settings.ring.verify(cookie.encode()).key
