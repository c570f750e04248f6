"""A Django site in this process, with middleware and manager of the test's choice."""

from types import ModuleType

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import path

from coatcheck.frameworks.django import get_session
from tests.behaviours import perform

OURS = "coatcheck.frameworks.django"
MIDDLEWARE = [
    f"{OURS}.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
        COATCHECK={"url": "memory://"},
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:django?mode=memory&cache=shared",
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            OURS,
        ],
        LOGGING_CONFIG=None,
        MESSAGE_STORAGE=f"{OURS}.messages.Storage",
        MIDDLEWARE=MIDDLEWARE,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="tests.frameworks.django_site",
        SECRET_KEY="c0d9Zt0hQx1rJYm7pKf2vN8sWb4uLgE6oAiXyTzCqRk",
        SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
        SESSION_ENGINE=OURS,
        SESSION_EXPIRE_AT_BROWSER_CLOSE=True,  # as the list of behaviours has it
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        USE_TZ=True,
    )
    django.setup()


def handler(sessions, *, asgi=False, **changed):
    """A handler whose middleware has `sessions` for its manager."""
    changed = {"MIDDLEWARE": MIDDLEWARE[:1], **changed}
    with override_settings(COATCHECK=sessions, **changed):
        return ASGIHandler() if asgi else _trimmed(WSGIHandler())


def _trimmed(app):
    """Django puts a space in front of its cookies, which no client sees (RFC 9110 §5.5)."""

    def trimmed(environ, start_response):
        def start(status, headers, *exc_info):
            return start_response(status, [(name, value.strip()) for name, value in headers], *exc_info)

        return app(environ, start)

    return trimmed


def _response(answer, body=None):
    if isinstance(answer.body, list):
        response = HttpResponse(answer.body, status=answer.status)
    else:
        response = StreamingHttpResponse(answer.body if body is None else body, status=answer.status)
    for name, value in answer.headers:
        if name.lower() == "set-cookie":
            response.cookies.load(value)
        else:
            response[name] = f"{response[name]}, {value}" if name in response else value
    return response


async def _body(chunks):
    over = object()
    while (chunk := await sync_to_async(next)(chunks, over)) is not over:
        yield chunk


def play(request):
    session = get_session(request)
    answer = perform(request.META["QUERY_STRING"], session, session.sessions)
    return _response(answer, _body(answer.body) if hasattr(request, "scope") else None)


async def aplay(request):
    session = get_session(request)
    answer = await sync_to_async(perform)(request.META["QUERY_STRING"], session, session.sessions)
    return _response(answer, _body(answer.body))


def sorry(request):
    get_session(request)["page"] = "seen"
    return HttpResponse("sorry", status=500)


urlpatterns = [path("play", play)]
async_urls = ModuleType("async_urls")
async_urls.urlpatterns = [path("play", aplay)]


def with_async_views(get_response):
    def middleware(request):
        request.urlconf = async_urls
        return get_response(request)

    return middleware
