"""A plugin for pytest: every Flask application has our sessions."""

import secrets

import flask
import flask_own  # noqa: F401 - what the tests need anyway

from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore


def pytest_configure():
    sessions = Sessions(MemoryStore(), secret=secrets.token_urlsafe(32), insecure_http=True)
    flask.Flask.session_interface = SessionInterface(sessions)
