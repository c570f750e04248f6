"""Sessions for FastAPI: a typed dependency that loads the session when a route asks for it.

::

    from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware

    app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")


    @app.get("/basket")
    async def basket(session: CurrentSession) -> list[str]:
        return session.get("basket", [])

A route that takes `CurrentSession` loads the session before it runs; one that does not costs nothing. In OpenAPI it
shows as a cookie.
"""

# No `from __future__ import annotations`: FastAPI 0.122 can not read them as text on an object that is called.
from typing import Annotated

try:
    from fastapi import Depends
    from fastapi.openapi.models import APIKey, APIKeyIn
    from fastapi.openapi.models import SecurityBase as SecurityModel
    from fastapi.requests import HTTPConnection
    from fastapi.security.base import SecurityBase
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without FastAPI
    raise ModuleNotFoundError(
        "coatcheck.frameworks.fastapi needs FastAPI: pip install 'coatcheck[fastapi]'"
    ) from _error

from coatcheck.frameworks import starlette
from coatcheck.frameworks.starlette import SessionMiddleware, StarletteSession

__all__ = ["CurrentSession", "SessionDependency", "SessionMiddleware", "get_session"]


class SessionDependency(SecurityBase):
    """Gives a route its loaded session, and OpenAPI the cookie's name."""

    def __init__(self, cookie_name: str = "__Host-session") -> None:
        """Make the dependency.

        Args:
            cookie_name: What OpenAPI calls the cookie; it must be the manager's, if that has another.
        """
        self.model: SecurityModel = APIKey.model_validate({"in": APIKeyIn.cookie, "name": cookie_name})
        self.scheme_name: str = "Session"

    async def __call__(self, connection: HTTPConnection) -> StarletteSession:
        """The session of a request or a websocket."""
        session = starlette.get_session(connection)
        await session.load()
        return session


get_session: SessionDependency = SessionDependency()
"""The dependency of `CurrentSession`, which is its key in ``app.dependency_overrides``.

Where there is no parameter to declare, ``await get_session(request)`` is the loaded session of a request or a websocket.
"""

CurrentSession = Annotated[StarletteSession, Depends(get_session)]
"""A loaded session: what a route writes as the type of its parameter."""
