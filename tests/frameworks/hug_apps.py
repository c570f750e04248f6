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
        answer = perform(request.query_string, request.context["session"], sessions)
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
