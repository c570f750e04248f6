"""Django's tests of session engines, for ours."""

from django.test import SimpleTestCase
from sessions_tests.tests import SessionTestsMixin

from coatcheck.frameworks.django import SessionStore


class Ours(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore
