"""One Django site on each of its engines, and on ours. Called like flask_app.py.

LIBRARY is "db", "cached_db", "cache", "signed_cookies", or "coatcheck", which carries over those of MOVES_FROM.
"""

import json
import os
import sys
from datetime import timedelta

import django
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, login, logout
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from tests.migrate.apps.browser import Browser

LIBRARY = os.environ["LIBRARY"]
EVENTS = []
KEY = os.environ["DJANGO_SECRET_KEY"]
FALLBACKS = os.environ.get("DJANGO_FALLBACKS", "").split()


def source():
    from coatcheck.migrate import DjangoSessions

    how = os.environ["MOVES_FROM"]
    if how == "cache":
        import redis

        return DjangoSessions(redis.from_url(os.environ["OLD_REDIS"]))
    if how == "sqlalchemy":
        from sqlalchemy import create_engine

        engine = create_engine(f"sqlite:///{os.environ['DATABASE']}")
        return DjangoSessions(engine, secret_key=KEY, fallbacks=FALLBACKS)
    return DjangoSessions(**({"cookie": "sessionid"} if "COOKIE" in os.environ else {}))


ours = LIBRARY == "coatcheck"
package = "coatcheck.frameworks.django"
settings.configure(
    DEBUG=True,
    SECRET_KEY=KEY,
    SECRET_KEY_FALLBACKS=FALLBACKS,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ="LOCAL_TIME" not in os.environ,
    TIME_ZONE="America/Los_Angeles",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "ATOMIC_REQUESTS": "ATOMIC" in os.environ,
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ.get("OLD_REDIS", "redis://localhost"),
        }
    },
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    SESSION_ENGINE=package if ours else f"django.contrib.sessions.backends.{LIBRARY}",
    MESSAGE_STORAGE=(
        f"{package}.messages.Storage" if ours else "django.contrib.messages.storage.session.SessionStorage"
    ),
    MIDDLEWARE=[
        f"{package}.SessionMiddleware" if ours else "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    COATCHECK={
        "url": os.environ.get("NEW"),
        "on_event": EVENTS.append,
        **({"from_": source(), "keep_old": "KEEP_OLD" in os.environ} if ours else {}),
    }
    if ours
    else {},
)
if ours and "COOKIE" in os.environ:
    settings.SESSION_COOKIE_NAME = os.environ["COOKIE"]
django.setup()


def sign_in(request, user):
    found, _ = get_user_model().objects.get_or_create(username=user)
    login(request, found, backend="django.contrib.auth.backends.ModelBackend")
    request.session.update({"cart": [1, {"a": 2}], "text": "tea für zwei"})
    messages.error(request, "hello", extra_tags="loud")
    if "expiry" in request.GET:
        at, _, seconds = request.GET["expiry"].rpartition(" ")
        moment = timezone.now() + timedelta(seconds=int(seconds))
        request.session.set_expiry(moment if at else int(seconds))
    return HttpResponse("in")


def put(request, name, value):
    request.session[name] = value
    return HttpResponse("put")


def me(request):
    fields = {name: request.session[name] for name in request.session.keys() if name[0] != "_"}  # noqa: SIM118
    return HttpResponse(json.dumps({**fields, "user": request.user.get_username()}))


def waiting(request):
    return HttpResponse(
        json.dumps([[m.level_tag, m.message, m.extra_tags] for m in messages.get_messages(request)])
    )


def sign_out(request):
    logout(request)
    return HttpResponse("out")


def fails(request):
    request.session["lost"] = str(request.user)
    raise RuntimeError("after the session was read")


def ends(request):
    session = request.session
    return HttpResponse(json.dumps([session.get_expire_at_browser_close(), session.get_expiry_age()]))


def told(_):
    return HttpResponse(json.dumps([(event.kind, event.user, event.reason) for event in EVENTS]))


urlpatterns = [
    path("in/<user>", sign_in),
    path("put/<name>/<value>", put),
    path("me", me),
    path("messages", waiting),
    path("out", sign_out),
    path("fails", fails),
    path("ends", ends),
    path("events", told),
]

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "prepare":
        call_command("migrate", verbosity=0)
    elif command == "serve":
        import waitress

        waitress.serve(get_wsgi_application(), host="127.0.0.1", port=int(arguments[0]), threads=16)
    else:
        browser = Browser(get_wsgi_application(), cookies=arguments[0])
        bodies = [browser.get(each, os.environ.get("EXPECT", "200")) for each in arguments[1:]]
        print(json.dumps({"cookies": browser.header(), "bodies": bodies}))
