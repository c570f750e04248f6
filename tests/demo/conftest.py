from __future__ import annotations

import secrets

import pytest
from jinja2 import FileSystemBytecodeCache

from coatcheck.demo.app import create_app
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import CountingStore, FailingStore, ManualClock
from tests.demo.process import Demo
from tests.demo.visitor import Visitor


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def failing():
    return FailingStore(MemoryStore())


@pytest.fixture
def store(failing):
    return CountingStore(failing)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Where the templates are kept compiled: each test has an application of its own."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(store, clock, compiled):
    app = create_app(store, secret=secrets.token_urlsafe(32), insecure_http=True, clock=clock)
    app.jinja_env.bytecode_cache = compiled
    return app


@pytest.fixture
def visitor(app):
    return Visitor(app)


@pytest.fixture
def other(app):
    return Visitor(app, agent="Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0")


@pytest.fixture
def demos(tmp_path, monkeypatch):
    """Starts `coatcheck demo` processes in a temporary folder, and stops them at the end."""
    monkeypatch.delenv("COATCHECK_SECRET", raising=False)
    started = []

    def start(*arguments, **kwargs):
        demo = Demo(tmp_path, *arguments, **kwargs)
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.stop()
