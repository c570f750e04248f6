"""Django's settings."""

import os
from pathlib import Path

from examples.one_session.settings import SETTINGS, URL

SECRET_KEY = SETTINGS["secret"]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "examples.one_session.django_app"
INSTALLED_APPS = [
    "coatcheck.frameworks.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "coatcheck.frameworks.django.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "coatcheck.frameworks.django.auth.Backend",  # a user who signed in at another of the six
]
SESSION_ENGINE = "coatcheck.frameworks.django"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True  # as in the other five
MESSAGE_STORAGE = "coatcheck.frameworks.django.messages.Storage"
COATCHECK = {"url": URL, **SETTINGS}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DJANGO_DATABASE"]}}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
    }
]
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "/django/"
USE_TZ = True
