"""Fixtures for the tests of an application that uses sessions: a plugin for pytest.

In the ``conftest.py`` of the tests' root folder::

    pytest_plugins = ["coatcheck.testing.pytest"]

A fixture of the same name in a ``conftest.py`` takes the place of one of these:

===================== ================================================================================================
Fixture               What it is
===================== ================================================================================================
``coatcheck_clock``   A `ManualClock`.
``coatcheck_store``   A store in memory, empty at the beginning of each test.
``coatcheck_options`` The settings, as keyword arguments: a secret, that clock, and ``insecure_http=True``, since test
                      clients use plain http.
``sessions``          A `Sessions` of these.
``async_sessions``    An `AsyncSessions` of these, on the same store.
``sign_in_as``        A `SignInAs` with ``sessions``.
===================== ================================================================================================
"""

from __future__ import annotations

import secrets

try:
    import pytest
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError(
        "coatcheck.testing.pytest is a plugin for pytest: pip install 'coatcheck[testing]'"
    ) from _error

from coatcheck.config import Options
from coatcheck.model.ports import Store
from coatcheck.sessions import AsyncSessions, Sessions
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.clients import SignInAs
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.shim import awaitable

__all__ = [
    "async_sessions",
    "coatcheck_clock",
    "coatcheck_options",
    "coatcheck_store",
    "sessions",
    "sign_in_as",
]


@pytest.fixture
def coatcheck_clock() -> ManualClock:
    """The clock of the sessions: it stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def coatcheck_store() -> Store:
    """The store of the sessions: in memory, empty at the beginning of each test."""
    return MemoryStore()


@pytest.fixture
def coatcheck_options(coatcheck_clock: ManualClock) -> Options:
    """The settings of the sessions, as keyword arguments."""
    return {"secret": secrets.token_urlsafe(32), "clock": coatcheck_clock, "insecure_http": True}


@pytest.fixture
def sessions(coatcheck_store: Store, coatcheck_options: Options) -> Sessions:
    """The manager of a synchronous application."""
    return Sessions(coatcheck_store, **coatcheck_options)


@pytest.fixture
def async_sessions(coatcheck_store: Store, coatcheck_options: Options) -> AsyncSessions:
    """The manager of an asynchronous application, on the store of `sessions`."""
    return AsyncSessions(awaitable(coatcheck_store), **coatcheck_options)


@pytest.fixture
def sign_in_as(sessions: Sessions | AsyncSessions) -> SignInAs:
    """Signs a test client in, ``sign_in_as(client, "ada", basket=["scarf"])``, or gives the headers to send."""
    return SignInAs(sessions)
