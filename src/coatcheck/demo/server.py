"""The demo's server: uvicorn, on one address, until it is told to stop."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from contextlib import closing, suppress
from types import FrameType

import uvicorn

from coatcheck.addresses import parts_of
from coatcheck.config import Options
from coatcheck.demo.secret import secret_for
from coatcheck.demo.site import Site, async_twin
from coatcheck.errors import CoatcheckError
from coatcheck.sessions import Sessions
from coatcheck.urls import store_from_url

__all__ = ["CannotListen", "serve"]

_SECONDS_TO_FINISH = 10
_LOCAL = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - asked for, not bound


class CannotListen(CoatcheckError):
    """The address can't be had."""


def serve(store_url: str, *, host: str, port: int) -> None:
    """Open the shop, say where, and serve until SIGINT or SIGTERM.

    Raises:
        CoatcheckError: The address can't be had, or the store can't be opened.
    """
    with _listening(host, port) as listener:
        store = store_from_url(store_url, {})
        with closing(store):
            if (create := getattr(store, "create_tables", None)) is not None:
                create()  # a server's, which are not made by using them
            options = Options(secret=secret_for(store_url), insecure_http=True)
            sessions = Sessions(store, **options)
            sessions.ping()  # a store that can't be reached is told of before the shop opens
            sessions.sweep()
            app = Site(store, async_twin(store, store_url), **options)
            server = uvicorn.Server(_config(app))
            with suppress(KeyboardInterrupt):
                # uvicorn finishes what it has begun, and then hands the signal on to us.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, _stop)
                sys.stdout.write(_welcome(host, listener.getsockname()[1], store_url))
                sys.stdout.flush()
                server.run(sockets=[listener])


def _config(app: Site) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # The same on every machine, whatever else is installed there.
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody stands before the demo, so nobody is believed
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )


def _stop(number: int, _frame: FrameType | None) -> None:
    # The next one ends the process at once, should something hang.
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(f"Port {port} of {host} is in use: take another with --port.") from error
        raise CannotListen(f"Can't listen on {host}, port {port}: {error.strerror or error}.") from error


def _welcome(host: str, port: int, store_url: str) -> str:
    shown = _EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    reach = (
        "plain http, for this machine only"
        if host in _LOCAL
        else "plain http: whoever listens on your network can read the cookies"
    )
    return f"The demo shop is open at http://{shown}:{port} ({reach}; sessions in {_shown(store_url)}). Ctrl-C closes it.\n"


def _shown(store_url: str) -> str:
    """A store's URL without a password."""
    parts = parts_of(store_url)
    login = "…@" if parts.user or parts.password else ""
    return f"{parts.scheme}://{login}{parts.hosts}{parts.path}"
