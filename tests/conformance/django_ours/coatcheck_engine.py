"""Django's tests of session engines, for ours."""

from coatcheck.frameworks.django import SessionStore
from django.test import SimpleTestCase
from sessions_tests.tests import SessionTestsMixin


class Ours(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore
