"""Authlib's demo for Django, in our WSGI middleware: `request.session` is the session of the environ."""

from __future__ import annotations

from tests.world import django_settings  # first, since it configures Django

# isort: split

import sys
from types import ModuleType

import pytest
from authlib.integrations.django_client import OAuth, OAuthError
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.test.utils import override_settings
from django.urls import path, reverse

from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.responder import ENVIRON_KEY
from tests.world.authlib_logins import AuthlibLogins

__all__ = ["django_settings"]

oauth: OAuth


def with_session(get_response):
    """In place of django.contrib.sessions."""

    def middleware(request):
        request.session = request.environ[ENVIRON_KEY]
        return get_response(request)

    return middleware


def home(request):
    return JsonResponse(request.session.get("user"), safe=False)


def login(request):
    redirect_uri = request.build_absolute_uri(reverse("auth"))
    return oauth.google.authorize_redirect(request, redirect_uri)


def auth(request):
    try:
        token = oauth.google.authorize_access_token(request)
    except OAuthError as error:
        return HttpResponse(error.error)
    request.session["user"] = token["userinfo"]
    return redirect("/")


def logout(request):
    request.session.pop("user", None)
    return redirect("/")


def basket(request, good):
    request.session.setdefault("basket", []).append(good)
    return JsonResponse(request.session["basket"], safe=False)


urls = ModuleType("tests.world.django_urls")
urls.urlpatterns = [
    path("", home),
    path("login", login),
    path("auth", auth, name="auth"),
    path("logout", logout),
    path("basket/<good>", basket),
]


class TestDjango(AuthlibLogins):
    WSGI = True

    @pytest.fixture(autouse=True)
    def with_urls(self, monkeypatch):
        monkeypatch.setitem(sys.modules, urls.__name__, urls)
        with override_settings(ROOT_URLCONF=urls.__name__, MIDDLEWARE=[f"{__name__}.with_session"]):
            yield

    def app(self, managers):
        global oauth
        oauth = self.registered(OAuth())
        return SessionMiddleware(get_wsgi_application(), managers.sync)
