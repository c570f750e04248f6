"""A Django site whose views are the test's, with logins and an admin."""

from tests.frameworks.django_site import MIDDLEWARE, OURS  # first, since it configures Django

# isort: split

from contextlib import contextmanager
from functools import cache
from io import StringIO

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.core.management import call_command
from django.http import HttpResponse
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment
from django.urls import path

from coatcheck import CookieSettings, Sessions
from coatcheck.frameworks.django.admin import SessionsOfUser
from tests.behaviours.site import SECRET

__all__ = ["MIDDLEWARE", "OURS", "a_site", "me", "new_user", "views", "visit"]

views = {}
site = admin.AdminSite()


class Users(SessionsOfUser, UserAdmin):
    pass


site.register(get_user_model(), Users)


def call(request, name):
    return views[name](request) or HttpResponse("done")


async def acall(request, name):
    return await views[name](request) or HttpResponse("done")


urlpatterns = [path("admin/", site.urls), path("async/<name>", acall), path("<name>", call)]


@cache
def migrate():
    call_command("migrate", stdout=StringIO(), run_syncdb=True)


@contextmanager
def a_site(store, clock):
    """The manager of the site, in Django's test environment."""
    migrate()
    cookie = CookieSettings(name="sessionid")
    manager = Sessions(
        store, secret=SECRET, identity="_auth_user_id", insecure_http=True, clock=clock, cookie=cookie
    )
    setup_test_environment()
    with override_settings(
        COATCHECK=manager,
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SESSION_EXPIRE_AT_BROWSER_CLOSE=False,
    ):
        yield manager
    teardown_test_environment()
    get_user_model().objects.all().delete()


def new_user(name, **more):
    return get_user_model().objects.create_user(name, f"{name}@example.org", "pass", **more)


def visit(name, view, client):
    views[name] = view
    return client.get(f"/{name}")


def me(request):
    return HttpResponse(request.user.username)
