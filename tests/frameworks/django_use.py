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
from django.db import connection as of_this_thread
from django.db.backends.signals import connection_created
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
def threads_disconnected():
    """Close the connections that other threads made. Django closes none to a database in memory, and from Python 3.13 on
    that is a warning in whichever test is running when they are collected.
    """
    made = []

    def note(connection, **_):
        made.append((connection, connection.connection))

    connection_created.connect(note)
    yield
    connection_created.disconnect(note)
    for connection, opened in made:
        if opened is not of_this_thread.connection:
            opened.close()
            connection.connection = None


@contextmanager
def a_site(store, clock):
    """The manager of the site, in Django's test environment."""
    migrate()  # in this thread, whose connection keeps the database
    cookie = CookieSettings(name="sessionid")
    manager = Sessions(
        store, secret=SECRET, identity="_auth_user_id", insecure_http=True, clock=clock, cookie=cookie
    )
    setup_test_environment()
    with (
        threads_disconnected(),
        override_settings(
            COATCHECK=manager,
            MIDDLEWARE=MIDDLEWARE,
            ROOT_URLCONF=__name__,
            SESSION_EXPIRE_AT_BROWSER_CLOSE=False,
        ),
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
