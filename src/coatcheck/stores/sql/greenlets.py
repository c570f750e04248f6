"""gevent beside psycopg, which chooses as it is imported how it waits for the server."""

from __future__ import annotations

import selectors
import sys

from coatcheck.errors import ConfigurationError

__all__ = ["refuse_late_patch"]


def refuse_late_patch() -> None:
    """Refuse to connect where psycopg would hold up every greenlet of the process while it waits.

    Raises:
        ConfigurationError: The standard library was patched after psycopg had been imported.
    """
    waiting = sys.modules.get("psycopg.waiting")
    if getattr(waiting, "DefaultSelector", selectors.DefaultSelector) is not selectors.DefaultSelector:
        raise ConfigurationError(
            "gevent has patched the standard library after psycopg was imported, so each wait for PostgreSQL would hold "
            "up the whole worker. Patch it first: with `gunicorn --preload -k gevent`, begin gunicorn.conf.py with "
            "`from gevent import monkey; monkey.patch_all()`."
        )
