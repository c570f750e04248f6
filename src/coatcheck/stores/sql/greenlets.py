"""gevent that patches the standard library late: after what waits for the server was chosen, as it was imported."""

from __future__ import annotations

import selectors
import socket
import sys

from coatcheck.errors import ConfigurationError

__all__ = ["refuse_late_patch", "refuse_late_sockets"]


def refuse_late_patch() -> None:
    """Refuse to connect where psycopg would hold up every greenlet of the process while it waits.

    Raises:
        ConfigurationError: The standard library was patched after psycopg had been imported.
    """
    waiting = sys.modules.get("psycopg.waiting")
    if getattr(waiting, "DefaultSelector", selectors.DefaultSelector) is not selectors.DefaultSelector:
        raise _late("psycopg was imported", "PostgreSQL")


def refuse_late_sockets(kind: type[socket.socket]) -> None:
    """The same for PyMySQL, over sockets of `kind`.

    Raises:
        ConfigurationError: The standard library was patched after `kind` had been made of its socket.
    """
    if socket.socket.__module__.startswith("gevent.") and not issubclass(kind, socket.socket):
        raise _late("the store was made", "MySQL")


def _late(after: str, server: str) -> ConfigurationError:
    return ConfigurationError(
        f"gevent has patched the standard library after {after}, so each wait for {server} would hold "
        "up the whole worker. Patch it first: with `gunicorn --preload -k gevent`, begin gunicorn.conf.py with "
        "`from gevent import monkey; monkey.patch_all()`."
    )
