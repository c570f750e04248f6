"""Managers of both kinds, and a browser."""

from __future__ import annotations

import pytest

from tests.sessions.scene import Failing
from tests.visitor import Blocking, Visitor, make_sessions


@pytest.fixture(params=["sync", "async"])
def make(request):
    """Makes managers of either kind, called in the same way."""
    runners = []

    def make(**options):
        if request.param == "sync":
            return make_sessions(**options)
        sessions = Blocking(**options)
        runners.append(sessions.runner)
        return sessions

    yield make
    for runner in runners:
        runner.close()


@pytest.fixture
def sessions(make):
    return make()


@pytest.fixture
def visitor(sessions):
    return Visitor(sessions)


@pytest.fixture
def failing():
    return make_sessions(Failing())
