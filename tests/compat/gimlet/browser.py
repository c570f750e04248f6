"""A browser for WSGI applications, and the application that gimlet's own tests drove."""

from http.cookies import SimpleCookie

from tests.compat.gimlet.quiet import HTTPNotFound, Request, Response

SECRET = "a secret of the tests, long enough"
OTHER_SECRET = "another secret of the tests, as long"


class Browser:
    """Keeps cookies between requests."""

    def __init__(self, app):
        self.app = app
        self.cookies = {}

    def get(self, url, *, base="http://localhost", headers=()):
        self.request = Request.blank(url, base_url=base, headers=dict(headers))
        if self.cookies:
            self.request.headers["Cookie"] = "; ".join(
                f"{name}={value}" for name, value in self.cookies.items()
            )
        response = self.request.get_response(self.app)
        response.app_iter = [response.body]  # a generator runs to its end
        for line in response.headers.getall("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return response

    def text(self, url, **options):
        return self.get(url, **options).text


def set_cookies(response):
    """The Set-Cookie lines of a response by name; each name once."""
    lines = response.headers.getall("Set-Cookie")
    named = {line.partition("=")[0]: line for line in lines}
    assert len(named) == len(lines)
    return named


class Actions:
    """``/set/key/value`` and so on, with the options of the session's methods as the query."""

    def __init__(self, key="gimlet.session"):
        self.key = key

    def __call__(self, environ, start_response):
        request = Request(environ)
        action, *arguments = request.path_info.strip("/").split("/")
        options = {name: bool(int(value)) for name, value in request.params.items()}
        answer = getattr(self, action)(environ[self.key], *arguments, **options)
        response = (
            answer if isinstance(answer, Response) else Response(text=answer, content_type="text/plain")
        )
        return response(environ, start_response)

    def nothing(self, session):
        return "nothing"

    def set(self, session, key, value, **options):
        session.set(key, value, **options)
        return "ok"

    def sets(self, session, *pairs):
        for key in pairs:
            session[key] = key
        return "ok"

    def get(self, session, key, **options):
        if options:
            return str(session.get(key, **options))
        try:
            return str(session[key])
        except KeyError:
            return HTTPNotFound(f"key {key} not found")

    def has(self, session, key):
        return str(key in session).lower()

    def append(self, session, key, value):
        session.setdefault(key, [])
        session[key].append(value)
        session.save()
        return "ok"

    def append_only(self, session, key, value):
        session[key].append(value)
        return "ok"

    def flatten(self, session, key):
        return ":".join(session[key])

    def is_permanent(self, session, key):
        return str(session.is_permanent(key))

    def delete(self, session, key):
        try:
            del session[key]
        except KeyError:
            return HTTPNotFound(f"key {key} not found")
        return "ok"

    def id(self, session):
        return session.id.decode("utf8")

    def time(self, session):
        return str(session.created_time)

    def timestamp(self, session):
        return str(session.created_timestamp)

    def len(self, session):
        return str(len(session))

    def iter(self, session):
        return "\n".join(iter(session))

    def repr(self, session):
        return repr(session)

    def invalidate(self, session):
        session.invalidate()
        return "ok"

    def flash(self, session, message):
        session.flash(message)
        return "ok"

    def pop_flash(self, session):
        return ",".join(session.pop_flash())

    def fail(self, session, key):
        session[key] = "lost"
        raise LookupError("the application failed")
