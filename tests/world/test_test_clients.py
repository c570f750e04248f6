"""`SignInAs` with the test clients of WebTest and of Django REST framework."""

from __future__ import annotations

import warnings

import pytest

from coatcheck import ConfigurationError, Sessions
from coatcheck.frameworks import wsgi
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import SignInAs
from tests.behaviours.site import SECRET

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)  # WebOb, up to Python 3.12
    import webtest

pytest_plugins = ["pytester"]


def seen(session):
    fields = {"user": session.user, "basket": [*session.get("basket", [])]}
    session.setdefault("basket", []).append("hat")
    return fields


@pytest.fixture
def sessions():
    return Sessions(MemoryStore(), secret=SECRET, insecure_http=True)


def webtest_client(sessions):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(seen(environ["coatcheck.session"])).encode()]

    return webtest.TestApp(wsgi.SessionMiddleware(app, sessions))


def test_webtests_client_is_signed_in_and_the_test_sees_what_came_of_it(sessions):
    client = webtest_client(sessions)
    handle = SignInAs(sessions)(client, "ada", basket=["scarf"])
    assert client.get("/").text == "{'user': 'ada', 'basket': ['scarf']}"
    assert sessions.find(handle)["basket"] == ["scarf", "hat"]
    SignInAs(sessions)(client, "grace")
    assert client.get("/").text == "{'user': 'grace', 'basket': []}"


def test_webtests_client_that_would_not_send_a_secure_cookie_is_refused():
    sessions = Sessions(MemoryStore(), secret=SECRET)
    client = webtest_client(sessions)
    with pytest.raises(ConfigurationError, match="an extra_environ of 'https://localhost"):
        SignInAs(sessions)(client, "ada")


def test_the_client_of_rest_framework_is_signed_in_and_the_test_sees_what_came_of_it(pytester):
    """In a process of its own, as its settings are those of a process."""
    pytester.makeconftest(
        """
        import django
        from django.conf import settings

        pytest_plugins = ["coatcheck.testing.pytest"]
        settings.configure(
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["coatcheck.frameworks.django.SessionMiddleware"],
            REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
            ROOT_URLCONF="test_rest",
            SESSION_ENGINE="coatcheck.frameworks.django",
        )
        django.setup()
        """
    )
    pytester.makepyfile(
        test_rest="""
        from django.test import override_settings
        from django.urls import path
        from rest_framework.response import Response
        from rest_framework.test import APIClient
        from rest_framework.views import APIView

        class View(APIView):
            def post(self, request):
                request.session["basket"] = [*request.session["basket"], request.data["good"]]
                return Response(request.session["basket"])

        urlpatterns = [path("basket", View.as_view())]

        def test_a_good_comes_into_the_basket(sessions, sign_in_as):
            with override_settings(COATCHECK=sessions):
                client = APIClient()
                handle = sign_in_as(client, "1", basket=["scarf"])
                assert client.post("/basket", {"good": "hat"}, format="json").json() == ["scarf", "hat"]
                assert sessions.find(handle)["basket"] == ["scarf", "hat"]
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"passed": 1}
