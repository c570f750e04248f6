"""The session of a WSGI request, for frameworks that have hooks of their own around a handler."""

from __future__ import annotations

from typing import Any, TypeVar

from coatcheck.responder import ENVIRON_KEY, Responder, SharedResponder, session_in
from coatcheck.session import Session
from coatcheck.sessions import Sessions

__all__ = ["begin_request", "is_sent_by_server", "path_of"]

_S = TypeVar("_S", bound=Session)


def begin_request(
    sessions: Sessions, environ: dict[str, Any], session_type: type[_S]
) -> tuple[_S, Responder]:
    """Open the session of a request, or share that of an outer layer, and put it into the environment.

    Args:
        sessions: The manager.
        environ: The request's environment.
        session_type: The class of the session.
    """
    responder: Responder
    outer = session_in(environ)
    if outer is not None and sessions.agrees_with(outer):
        session = sessions.share(outer, session_type)
        responder = SharedResponder(sessions, session, outer)
    else:
        # PEP 3333: the header is bytes as latin-1 text. Frameworks parse it; here it is as it came.
        session = sessions.open(
            environ.get("HTTP_COOKIE", ""),
            client=environ.get("HTTP_USER_AGENT", ""),
            path=path_of(environ),
            session_type=session_type,
        )
        responder = Responder(sessions, session)
    environ[ENVIRON_KEY] = session
    return session, responder


def path_of(environ: dict[str, Any]) -> str:
    """The path within the application, decoded (PEP 3333 has its bytes as latin-1 text)."""
    path: str = environ.get("PATH_INFO", "")
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


def is_sent_by_server(body: object, environ: dict[str, Any]) -> bool:
    """Whether the server sends the body by itself, and no code of the application runs meanwhile."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))
