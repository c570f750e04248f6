"""A Django site with websockets by Channels, on uvicorn; its pages log in and out, and fill the session."""

from tests.world.django_site import new_user, site  # first, since it configures Django

# isort: split

from contextlib import contextmanager

import httpx
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.contrib.auth import get_user_model, login, logout
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.test.utils import override_settings
from django.urls import path
from websockets.sync.client import connect

from tests.world.serving import uvicorn_with

__all__ = ["browser_of", "new_user", "served", "site", "socket", "urlpatterns"]


def me(request):
    shown = {
        "user": request.user.username,
        "pk": str(request.user.pk),
        "basket": request.session.get("basket"),
    }
    return JsonResponse({"name": request.session.session_key, **shown})


def fill(request):
    request.session["basket"] = ["pear"]
    return me(request)


def log_in(request, who):
    login(request, get_user_model().objects.get(username=who))
    return me(request)


def log_out(request):
    logout(request)
    return me(request)


urlpatterns = [path("me", me), path("fill", fill), path("in/<who>", log_in), path("out", log_out)]


@contextmanager
def served(sockets, stack=AuthMiddlewareStack):
    """The address of the site; `sockets` are the routes of its websockets."""
    with override_settings(SESSION_COOKIE_SECURE=False):
        pages = get_asgi_application()
        app = ProtocolTypeRouter({"http": pages, "websocket": stack(URLRouter(sockets))})
        with uvicorn_with(app) as address:
            yield address


def browser_of(address):
    return httpx.Client(base_url=address)


def socket(address, path, browser):
    """A websocket that the browser opens."""
    cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies.jar)
    return connect(f"ws{address.removeprefix('http')}{path}", additional_headers={"Cookie": cookie})
