"""Django, configured for all tests of this folder: every app that they need, on our engine and middleware."""

from __future__ import annotations

import django
from django.conf import settings

OURS = "coatcheck.frameworks.django"

if not settings.configured:
    settings.configure(
        ACCOUNT_EMAIL_VERIFICATION="none",
        ACCOUNT_RATE_LIMITS=False,
        ALLOWED_HOSTS=["site.test", "127.0.0.1", "testserver"],
        AUTHENTICATION_BACKENDS=["allauth.account.auth_backends.AuthenticationBackend"],
        AUTH_PASSWORD_VALIDATORS=[],
        COATCHECK={"url": "memory://"},
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:world?mode=memory&cache=shared",
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
        HEADLESS_CLIENTS=["app", "browser"],
        INSTALLED_APPS=[
            OURS,
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.humanize",
            "django.contrib.messages",
            "django.contrib.sessions",
            "allauth",
            "allauth.account",
            "allauth.headless",
            "allauth.socialaccount",
            "allauth.socialaccount.providers.openid_connect",
            "allauth.usersessions",
            "rest_framework",
        ],
        LOGGING_CONFIG=None,
        LOGIN_REDIRECT_URL="/me",
        MESSAGE_STORAGE=f"{OURS}.messages.Storage",
        MIDDLEWARE=[
            f"{OURS}.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "allauth.account.middleware.AccountMiddleware",
            "allauth.usersessions.middleware.UserSessionsMiddleware",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        SECRET_KEY="c0d9Zt0hQx1rJYm7pKf2vN8sWb4uLgE6oAiXyTzCqRk",
        SESSION_ENGINE=OURS,
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
        USERSESSIONS_TRACK_ACTIVITY=True,
    )
    django.setup()
