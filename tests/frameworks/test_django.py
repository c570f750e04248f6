"""Django: the shared list, through both of Django's handlers."""

import gc

import django
import pytest

from tests.behaviours import AsgiClient, ErrorPages, HttpBehaviours, Portal, WsgiClient
from tests.behaviours.forbidden import forbids
from tests.behaviours.served import OnUvicorn, OnWaitress
from tests.frameworks import django_site
from tests.frameworks.django_site import MIDDLEWARE, handler

NOT_STORED = "Django stores nothing of a response of 5xx, and the module keeps that"
ONE_PER_NAME = "Django's responses have one cookie of a name, whatever its path"
_as_django_has_it = forbids(
    test_an_error_that_the_handler_returned_is_a_response_like_any_other=NOT_STORED,
    test_the_applications_own_cookies_stay_as_they_are_each_a_line_of_its_own=ONE_PER_NAME,
)


@_as_django_has_it
class TestWsgi(HttpBehaviours):
    def build(self, sessions):
        return WsgiClient(handler(sessions))


@_as_django_has_it
class TestWsgiWithAPageOfItsOwn(ErrorPages, HttpBehaviours):
    def build(self, sessions):
        return WsgiClient(handler(sessions))

    @pytest.fixture(autouse=True)
    def _with_a_page(self, monkeypatch):
        monkeypatch.setattr(django_site, "handler500", django_site.sorry, raising=False)


class TestWsgiServed(OnWaitress, TestWsgiWithAPageOfItsOwn):
    trusts_proxy = False  # Django does (SECURE_PROXY_SSL_HEADER)


class _Trimmed(AsgiClient):
    async def _send(self, request, note):
        reply = await super()._send(request, note)
        reply.headers = [(name, value.strip()) for name, value in reply.headers]
        return reply


# Django leaves the file of a request's body open where the response breaks off.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*Spooled:pytest.PytestUnraisableExceptionWarning")
class _Asgi(HttpBehaviours):
    untouched = ("load",)
    middleware = MIDDLEWARE[:1]
    joins_cookies = django.VERSION >= (6,)  # before, by commas

    @pytest.fixture(autouse=True)
    def _run_a_loop(self):
        self._portal = Portal()
        yield
        self._portal.close()

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _files_are_closed_while_that_is_no_warning(cls):
        yield
        gc.collect()

    def build(self, sessions):
        return _Trimmed(handler(sessions, asgi=True, MIDDLEWARE=self.middleware), self._portal)


@_as_django_has_it
class TestAsgi(_Asgi):
    pass


@_as_django_has_it
class TestAsgiWithAnAsyncView(_Asgi):
    middleware = (*MIDDLEWARE[:1], "tests.frameworks.django_site.with_async_views")


class TestAsgiServed(OnUvicorn, TestAsgiWithAnAsyncView):
    pass
