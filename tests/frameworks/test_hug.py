"""hug: the shared list, in its own middleware."""

from tests.behaviours import ErrorPages, HttpBehaviours, WsgiClient
from tests.behaviours.served import OnWaitress
from tests.compat.hug_store_redis.quietly import HTTPStatus, hug
from tests.frameworks.hug_apps import api_of, player, raw


def served(api, sessions):
    hug.http("/play", accept=("GET", "HEAD"), api=api, output=raw)(player(sessions))
    return WsgiClient(api.http.server(None))


class TestInMemory(HttpBehaviours):
    no_looks = frozenset({"fail"})

    def build(self, sessions):
        return served(api_of(sessions), sessions)


class TestWithAnExceptionHandler(ErrorPages, HttpBehaviours):
    no_looks = frozenset({"fail"})

    def build(self, sessions):
        api = api_of(sessions)

        @hug.exception(Exception, exclude=HTTPStatus, api=api, output=raw)
        def sorry(request, response, exception):
            request.context["session"].fail(exception)
            request.context["session"]["page"] = "seen"
            response.status = hug.HTTP_500
            return b"sorry"

        return served(api, sessions)


class TestServed(OnWaitress, TestWithAnExceptionHandler):
    pass
