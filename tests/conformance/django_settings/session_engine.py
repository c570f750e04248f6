"""Django's tests of session engines, for the engine of the settings."""

from importlib import import_module

from django.conf import settings
from django.test import TestCase
from sessions_tests.tests import SessionTestsMixin


class EngineTests(SessionTestsMixin, TestCase):
    backend = import_module(settings.SESSION_ENGINE).SessionStore
