"""Sessions for Starlette: ``request.session``, as people know it.

::

    from starlette.middleware import Middleware
    from coatcheck.frameworks.starlette import SessionMiddleware

    app = Starlette(routes=…, middleware=[Middleware(SessionMiddleware, sessions=sessions)])

Nothing here imports Starlette: its `request.session` is ``scope["session"]``. Type checkers take that for a
``dict[str, Any]``, and `get_session` for what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coatcheck.errors import ConfigurationError
from coatcheck.frameworks import asgi
from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.responder import ENVIRON_KEY
from coatcheck.session import Session

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

__all__ = ["SessionMiddleware", "StarletteSession", "get_session"]


class StarletteSession(AsyncBoundSession):
    """A `Session` that brings what waits with it: ``await request.session.save()``."""


class SessionMiddleware(asgi.SessionMiddleware):
    """`coatcheck.frameworks.asgi.SessionMiddleware`, handing out a `StarletteSession`."""

    session_type: type[Session] = StarletteSession


def get_session(connection: HTTPConnection) -> StarletteSession:
    """The session of a request or a websocket, with its type. This call does not load it.

    It is also the one of Coatcheck where a middleware of another library has put its own at ``request.session``.

    Raises:
        ConfigurationError: There is no session: the middleware is missing.
    """
    session = connection.scope.get(ENVIRON_KEY)
    if not isinstance(session, StarletteSession):
        raise ConfigurationError(
            "There is no session: app.add_middleware(SessionMiddleware, sessions=sessions) with the SessionMiddleware of "
            "coatcheck.frameworks.starlette or coatcheck.frameworks.fastapi."
        )
    return session
