"""gevent that patches the standard library late: refused, since each query would hold up all."""

import selectors
import socket
import sys
from types import SimpleNamespace

import pytest

from coatcheck import ConfigurationError, Sessions
from coatcheck.errors import StoreUnavailable
from tests.servers.process import HOST, free_port
from tests.visitor import SECRET


def ping(kind="postgresql"):
    with Sessions.from_url(f"{kind}://ada@{HOST}:{free_port()}/db", secret=SECRET) as sessions:
        sessions.ping()


def test_a_late_patch_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(selectors, "DefaultSelector", object)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"gunicorn\.conf\.py .*monkey\.patch_all\(\)") as caught:
            ping()
        assert caught.value.__cause__ is None


def test_an_early_patch_is_none(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "psycopg.waiting", SimpleNamespace(DefaultSelector=selectors.DefaultSelector)
    )
    with pytest.raises(StoreUnavailable):
        ping()
    monkeypatch.setitem(sys.modules, "psycopg.waiting", SimpleNamespace())  # of another version
    with pytest.raises(StoreUnavailable):
        ping()


def test_a_late_patch_is_refused_for_mysql_too(monkeypatch):
    class Patched:
        __module__ = "gevent._socket3"

    port = free_port()
    monkeypatch.setattr(sys.modules[__name__], "free_port", lambda: port)
    monkeypatch.setattr(socket, "socket", Patched)
    with pytest.raises(
        ConfigurationError, match=r"wait for MySQL .*gunicorn\.conf\.py .*monkey\.patch_all\(\)"
    ):
        ping("mysql")


def test_sockets_that_something_else_replaces_are_not_gevents(monkeypatch):
    class Guarded(socket.socket):
        pass

    monkeypatch.setattr(socket, "socket", Guarded)
    with pytest.raises(StoreUnavailable):
        ping("mysql")
