"""A file, a store on it, and a record of the statements that its connections run."""

from contextlib import closing

import pytest

from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import Connections


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        yield store


@pytest.fixture
def connections(monkeypatch):
    return Connections(monkeypatch)
