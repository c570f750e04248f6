"""A manager in memory, and a browser."""

from __future__ import annotations

import pytest

from tests.visitor import Visitor, make_sessions


@pytest.fixture
def sessions():
    return make_sessions()


@pytest.fixture
def visitor(sessions):
    return Visitor(sessions)
