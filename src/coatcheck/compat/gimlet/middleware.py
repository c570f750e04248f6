"""Sessions for any WSGI application: ``environ["gimlet.session"]``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from coatcheck.compat.gimlet.factories import session_factory_factory
from coatcheck.compat.gimlet.session import Session

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports the deprecated `cgi`
    from webob import Request, Response

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["SessionMiddleware"]


class SessionMiddleware:
    """Gives each request its `Session`, and writes it before the response's headers are sent.

    If the application raises, nothing is written.
    """

    def __init__(
        self,
        app: WSGIApplication,
        secret: Any,
        environ_key: Any = "gimlet.session",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Wrap an application.

        Args:
            app: The WSGI application.
            secret: As in `session_factory_factory`.
            environ_key: The session's key in the environ. Any other type than str is the backend, as in gimlet's
                documentation.
            *args: The arguments of `session_factory_factory` from `backend` on.
            **kwargs: The arguments of `session_factory_factory`.
        """
        if not isinstance(environ_key, str):
            args, environ_key = (environ_key, *args), "gimlet.session"
        self.app: WSGIApplication = app
        self.environ_key: str = environ_key
        self.session_factory: type[Session] = session_factory_factory(secret, *args, **kwargs)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = Request(environ)
        session = self.session_factory(request)
        environ[self.environ_key] = session
        status, headers, body, exc_info = request.call_application(self.app, catch_exc_info=True)
        try:
            response = Response(status=status, headerlist=list(headers), app_iter=body)
            session.write_callback(request, response)
        except BaseException:
            if (close := getattr(body, "close", None)) is not None:
                close()
            raise
        start_response(response.status, response.headerlist, exc_info)
        return body
