"""The session of a WSGI request, for frameworks that have hooks of their own around a handler."""

from __future__ import annotations

from typing import Any, TypeVar

from coatcheck.responder import ENVIRON_KEY, Responder, SharedResponder, session_in
from coatcheck.session import Session
from coatcheck.sessions import Sessions

__all__ = ["begin_request", "is_sent_by_server"]

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
        # PEP 3333: header and path are bytes as latin-1 text. Frameworks parse the header; here it is as it came.
        session = sessions.open(
            environ.get("HTTP_COOKIE", ""),
            client=environ.get("HTTP_USER_AGENT", ""),
            path=environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace"),
            session_type=session_type,
        )
        responder = Responder(sessions, session)
    environ[ENVIRON_KEY] = session
    return session, responder


def is_sent_by_server(body: object, environ: dict[str, Any]) -> bool:
    """Whether the server sends the body by itself, and no code of the application runs meanwhile."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))
