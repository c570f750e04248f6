"""Small APIs of hug."""

import itertools

from coatcheck.frameworks.hug import SessionMiddleware
from tests.behaviours import perform
from tests.compat.hug_store_redis.quietly import hug

_names = (f"tests_hug_api{number}" for number in itertools.count())  # hug makes a module of each


def api_of(sessions, *, api=None, **options):
    """An API with our middleware."""
    api = hug.API(next(_names)) if api is None else api
    api.http.add_middleware(SessionMiddleware(api, sessions, **options))
    return api


def player(sessions):
    """The handler that plays the scripts of the list."""

    def play(request, response):
        answer = perform(request.query_string, request.context["session"], sessions, hug.redirect.see_other)
        response.status = f"{answer.status} -"
        response.delete_header("Content-Type")
        for name, value in answer.headers:
            response.append_header(name, value)
        if isinstance(answer.body, list):
            return b"".join(answer.body)
        response.stream = answer.body
        return None

    return play


def raw(content, request=None, response=None):
    """An output format: bytes as they are, and nothing where the handler has set a stream."""
    return content


raw.content_type = "text/plain"


class Visit:
    """A visitor with a jar of cookies, to an API of one handler that each request chooses."""

    def __init__(self, sessions, api=None, cookies=(), **options):
        self.api = api_of(sessions, **options) if api is None else api
        self.cookies = dict(cookies)

    def get(self, handler, **options):
        hug.get("/play", api=self.api, **options)(handler)
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": pairs} if pairs else {}
        response = hug.test.get(self.api, "/play", headers=headers, scheme="https")
        self.lines = [value for name, value in response.headers if name == "set-cookie"]
        for line in self.lines:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return response

    def fields(self):
        return self.get(lambda request: request.context["session"]).data


def add(name="a", value=1):
    def handler(request):
        request.context["session"][name] = value

    return handler


def get(request):
    return request.context["session"].get("a")


def broken(request):
    request.context["session"]["a"] = "unwanted"
    raise ZeroDivisionError
