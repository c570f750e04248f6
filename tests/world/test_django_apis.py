"""Django REST framework and Django Ninja as they are: APIs whose clients are known by their session."""

from tests.world.django_site import PASSWORD, FormBrowser, new_user, site  # first, since it configures Django

# isort: split

import pytest
from django.contrib.auth import get_user_model, login, logout
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import Client
from django.test.utils import setup_test_environment, teardown_test_environment
from django.urls import path
from ninja import NinjaAPI
from ninja.security import django_auth
from ninja.testing import TestClient as NinjaClient
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

__all__ = ["site"]


class Basket(APIView):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response([request.user.username, request.session.get("basket", [])])

    def post(self, request):
        request.session["basket"] = [*request.session.get("basket", []), request.data["good"]]
        return self.get(request)


api = NinjaAPI(auth=django_auth)


@api.get("/basket")
def shown(request):
    return [request.auth.username, request.session.get("basket", [])]


@api.post("/basket")
def filled(request, good: str):
    request.session["basket"] = [*request.session.get("basket", []), good]
    return shown(request)


def log_in(request):
    login(request, get_user_model().objects.get(username="ada"))
    get_token(request)
    return HttpResponse()


def log_out(request):
    logout(request)
    return HttpResponse()


urlpatterns = [
    path("in", log_in),
    path("out", log_out),
    path("rest/basket", Basket.as_view()),
    path("ninja/", api.urls),
]


@pytest.fixture
def browser(site):
    new_user()
    browser = FormBrowser()
    browser.get("/in")
    return browser


@pytest.fixture
def test_environment(site):
    setup_test_environment()
    yield
    teardown_test_environment()


def put(browser, address, good="pear", **more):
    return browser.send("POST", f"{address}?good={good}", json={"good": good}, **more)


@pytest.mark.parametrize(("address", "refusal"), [("/rest/basket", 403), ("/ninja/basket", 401)])
class TestSessions:
    def test_the_session_names_the_user_and_is_stored(self, browser, address, refusal):
        assert browser.get(address).json() == ["ada", []]
        assert put(browser, address).json() == ["ada", ["pear"]]
        assert browser.get(address).json() == ["ada", ["pear"]]

    def test_a_visitor_and_a_public_name_are_refused(self, site, browser, address, refusal):
        stranger = browser.another()
        assert stranger.get(address).status_code == refusal
        (info,) = site.of_user(str(get_user_model().objects.get().pk))
        stranger.token = f"{info.handle}{site.find(info.handle).mark}"
        assert stranger.get(address).status_code == refusal

    def test_a_change_without_the_token_is_refused(self, browser, address, refusal):
        assert put(browser, address, headers={"x-csrftoken": ""}).status_code == 403
        assert browser.get(address).json() == ["ada", []]

    def test_a_logout_on_one_device_ends_that_one_and_a_revocation_all(self, site, browser, address, refusal):
        other, copied = browser.another(), browser.twin()
        other.get("/in")
        browser.get("/out")
        answers = [each.get(address).status_code for each in (browser, copied, other)]
        assert answers == [refusal, refusal, 200]
        site.revoke_user(str(get_user_model().objects.get().pk))
        assert other.get(address).status_code == refusal


@pytest.mark.usefixtures("test_environment")
class TestTheirClients:
    def test_rest_frameworks_client_logs_in_and_out(self):
        new_user()
        client = APIClient()
        assert client.get("/rest/basket").status_code == 403
        assert client.login(username="ada", password=PASSWORD)
        assert client.post("/rest/basket", {"good": "pear"}).json() == ["ada", ["pear"]]
        assert client.session["basket"] == ["pear"]
        client.logout()
        assert client.get("/rest/basket").status_code == 403

    def test_rest_frameworks_client_can_be_logged_in_by_force(self):
        client = APIClient(enforce_csrf_checks=True)
        client.force_login(new_user())
        assert client.get("/rest/basket").json() == ["ada", []]
        assert client.post("/rest/basket", {"good": "pear"}).status_code == 403

    def test_ninja_is_tested_by_djangos_client(self):
        client = Client()
        client.force_login(new_user())
        assert client.post("/ninja/basket?good=pear").json() == ["ada", ["pear"]]
        assert client.session["basket"] == ["pear"]

    def test_ninjas_own_client_takes_the_session_of_djangos(self):
        user, client = new_user(), Client()
        client.force_login(user)
        session = client.session
        answer = NinjaClient(api).post("/basket?good=pear", user=user, session=session)
        assert answer.json() == ["ada", ["pear"]]
        session.save()
        assert client.get("/ninja/basket").json() == ["ada", ["pear"]]
