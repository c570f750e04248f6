"""The Django site of a test's module, and a browser for its forms."""

from tests.world import django_settings  # first, since it configures Django

# isort: split

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test.utils import override_settings

from coatcheck.frameworks.django import sessions
from tests.world.logins import BASE, Browser

__all__ = ["PASSWORD", "FormBrowser", "django_settings", "new_user", "site"]

PASSWORD = "a lock without its key"


@pytest.fixture
def site(request):
    """The site with the addresses of a test's module, on a new store. Its manager."""
    call_command("migrate", verbosity=0)
    with override_settings(COATCHECK={"url": "memory://"}, ROOT_URLCONF=request.module.__name__):
        yield sessions()
        get_user_model().objects.all().delete()
        cache.clear()


def new_user(name="ada", **more):
    return get_user_model().objects.create_user(name, f"{name}@example.com", PASSWORD, **more)


class FormBrowser(Browser):
    """A browser that sends with each request what Django asks for against forged ones."""

    def __init__(self, app=None, *, wsgi=True, jar=None):
        super().__init__(app or get_wsgi_application(), wsgi=wsgi, jar=jar)

    def send(self, method, path, headers=(), **how):
        headers = {"referer": f"{BASE}/", "x-csrftoken": self.jar.get("csrftoken", ""), **dict(headers)}
        return super()._send(method, path, headers=headers, **how)

    _send = send

    @property
    def token(self):
        return self.jar.get(settings.SESSION_COOKIE_NAME)

    @token.setter
    def token(self, value):
        self.jar.set(settings.SESSION_COOKIE_NAME, value, domain="site.test")
