"""Both halves of the shop on one address: Flask behind a bridge from ASGI to WSGI, and FastAPI under /express.

Each half has a manager of its own, sync and async, on the same records, with the same settings. That is all that it
takes for them to share every visitor's session.
"""

from __future__ import annotations

from typing import Any, Unpack, cast

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI
from flask import Flask
from jinja2 import BytecodeCache

from coatcheck.config import Options
from coatcheck.demo.app import create_app
from coatcheck.demo.express import EXPRESS, create_express
from coatcheck.demo.history import History
from coatcheck.frameworks.asgi import App, Receive, Scope, Send
from coatcheck.model.ports import AsyncStore, Store
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.urls import async_store_from_url

__all__ = ["Site", "async_twin"]

_THREADS = 16


class Site:
    """The whole shop, as an ASGI application."""

    def __init__(
        self,
        store: Store,
        async_store: AsyncStore,
        *,
        compiled: BytecodeCache | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Open both halves.

        Args:
            store: Where the sessions are.
            async_store: The same place, for an event loop; it is closed when the server shuts down.
            compiled: Where the templates are kept compiled.
            options: The fields of `Settings`.

        Raises:
            ConfigurationError: The settings, or the settings and the stores, don't go together.
        """
        history = History()
        self.flask: Flask = create_app(store, history, **options)
        if compiled is not None:
            self.flask.jinja_env.bytecode_cache = compiled
        addresses = self.flask.url_map.bind("")

        def url_of(endpoint: str, **values: str) -> str:
            return addresses.build(endpoint, values)

        self.express: FastAPI = create_express(async_store, history, url_of, compiled=compiled, **options)
        self._counter = cast("App", self.express)
        self._rail = cast("Any", WSGIMiddleware)(self.flask, workers=_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's start and end."""
        path: str = scope.get("path", "")
        if scope["type"] == "lifespan" or path == EXPRESS or path.startswith(f"{EXPRESS}/"):
            await self._counter(scope, receive, send)
        else:
            await self._rail(scope, receive, send)


def async_twin(store: Store, url: str) -> AsyncStore:
    """The store that `url` names once more, for an event loop. What is in memory is only there once, and shared."""
    return AsyncMemoryStore(store) if isinstance(store, MemoryStore) else async_store_from_url(url, {})
