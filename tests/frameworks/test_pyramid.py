"""Pyramid: the shared list, and what request.session is."""

from tests.behaviours import ErrorPages, HttpBehaviours, WsgiClient, perform
from tests.behaviours.served import OnWaitress
from tests.frameworks.pyramid_apps import Response, app_of, configured, httpexceptions


def leave(place):
    raise httpexceptions.HTTPSeeOther(place)


def player(sessions):
    """The view that plays the scripts of the list."""

    def play(request):
        answer = perform(request.query_string, request.session, sessions, leave)
        return Response(status=answer.status, headerlist=answer.headers, app_iter=answer.body)

    return play


class TestInMemory(HttpBehaviours):
    def build(self, sessions):
        return WsgiClient(app_of(configured(sessions), play=player(sessions)))


class TestWithAnExceptionView(ErrorPages, HttpBehaviours):
    def build(self, sessions):
        def sorry(request):
            request.session["page"] = "seen"
            return Response(b"sorry", status=500)

        config = configured(sessions)
        config.add_exception_view(sorry)
        return WsgiClient(app_of(config, play=player(sessions)))


class TestServed(OnWaitress, TestWithAnExceptionView):
    pass
