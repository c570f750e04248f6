"""The HTTP behaviours that every framework module keeps, as a suite for pytest.

Give it an application whose one handler plays the script in its query string; that is all::

    class TestMyFramework(HttpBehaviours):
        def build(self, sessions):
            def handler(environ, start_response):
                answer = perform(environ["QUERY_STRING"], environ["coatcheck.session"], sessions)
                start_response(f"{answer.status} -", answer.headers)
                return answer.body

            return WsgiClient(SessionMiddleware(handler, sessions))

`perform` is what a synchronous handler does (`tests.behaviours.app` tells the language of the scripts). An
asynchronous framework subclasses `AsyncHttpBehaviours`, and awaits `perform_async`. One that is neither WSGI nor ASGI
brings a `Client` of its own. The tests call from several threads at once.

A framework that catches what its handler raises, and answers a page of its own inside of the session's layer, keeps
`ErrorPages` too.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError("tests.behaviours runs on pytest: pip install 'coatcheck[testing]'") from _error

# So that a failing assertion shows its values in other people's projects, too.
for _part in (
    *("client", "cookies", "cost", "failing", "headers", "identity", "limits", "outage", "privacy", "races"),
    *("requests", "rotation", "streaming", "websockets", "writing"),
):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from tests.behaviours.aio import (  # noqa: E402 - the rewriting is first
    AsgiClient,
    AsyncHttpBehaviours,
    BlockingStore,
    Portal,
)
from tests.behaviours.app import (  # noqa: E402 - as above
    Answer,
    AsyncAnswer,
    perform,
    perform_async,
)
from tests.behaviours.client import Browser, Client, Reply, Request, WsgiClient  # noqa: E402 - as above
from tests.behaviours.failing import ErrorPages  # noqa: E402 - as above
from tests.behaviours.site import OpenSite, Site  # noqa: E402 - as above
from tests.behaviours.suite import HttpBehaviours  # noqa: E402 - as above

__all__ = [
    "Answer",
    "AsgiClient",
    "AsyncAnswer",
    "AsyncHttpBehaviours",
    "BlockingStore",
    "Browser",
    "Client",
    "ErrorPages",
    "HttpBehaviours",
    "OpenSite",
    "Portal",
    "Reply",
    "Request",
    "Site",
    "WsgiClient",
    "perform",
    "perform_async",
]
