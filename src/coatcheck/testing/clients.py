"""Test clients that are signed in: the cookie of a prepared session lies in the client's jar."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import Request

from coatcheck.errors import ConfigurationError
from coatcheck.testing.prepared import async_cookies_for, cookies_for

if TYPE_CHECKING:  # so that a test of a store imports no more than the port
    from coatcheck.config import Settings
    from coatcheck.sessions import AsyncSessions, Sessions

__all__ = ["SignInAs"]


class SignInAs:
    """``sign_in_as(client, "ada", basket=["scarf"])``: the client's next requests are those of a signed-in visitor.

    The client is one of Flask, Werkzeug, Starlette, FastAPI, httpx (also an ``AsyncClient``) or WebTest. The session is
    a new one, and its cookie replaces the one that the client has.
    """

    def __init__(self, sessions: Sessions | AsyncSessions) -> None:
        """Sign clients in to an application.

        Args:
            sessions: The manager of the application, or another with the same settings on the same store. An
                asynchronous one is called in an event loop of its own, so that signing in is never awaited.
        """
        self._sessions = sessions

    def __call__(self, client: object, user: str, /, **fields: Any) -> None:
        """Store a session, and put its cookie into the jar of `client`.

        Args:
            client: The test client.
            user: The user to sign in.
            fields: The session's fields.

        Raises:
            ConfigurationError: The client would not send the cookie to its application.
            TypeError: The client is of an unknown kind.
        """
        from coatcheck.sessions import Sessions

        sessions = self._sessions
        if isinstance(sessions, Sessions):
            cookies = cookies_for(sessions, fields, user=user)
        else:
            with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
                work = async_cookies_for(sessions, fields, user=user)
                cookies = thread.submit(asyncio.run, work).result()
        for value in cookies.values():
            _put(client, value, sessions.settings)


class _Response:
    """A response as `http.cookiejar` sees it."""

    def __init__(self, set_cookie: str) -> None:
        self._headers = Message()
        self._headers["Set-Cookie"] = set_cookie

    def info(self) -> Message:
        return self._headers


def _put(client: Any, value: str, settings: Settings) -> None:
    """Put the cookie into the client's jar, as a response of its application would."""
    if isinstance(
        jar := getattr(getattr(client, "cookies", None), "jar", None), CookieJar
    ):  # httpx, Starlette
        _extract(jar, str(client.base_url), value, settings, "base_url={!r}")
    elif isinstance(jar := getattr(client, "cookiejar", None), CookieJar):  # WebTest
        environ = client.extra_environ
        scheme, host = environ.get("wsgi.url_scheme", "http"), environ.get("HTTP_HOST", "localhost")
        _extract(jar, f"{scheme}://{host}", value, settings, "an extra_environ of {!r}")
    elif hasattr(client, "application") and hasattr(client, "set_cookie"):  # Werkzeug, Flask
        cookie = settings.cookie
        name = getattr(client.application, "config", {}).get("SERVER_NAME") or "localhost"
        domain = cookie.domain or urlsplit(f"//{name}").hostname
        client.set_cookie(
            settings.template.name, value, domain=domain, origin_only=cookie.domain is None, path=cookie.path
        )
    else:
        raise TypeError(
            f"The cookie jar of {client!r} is unknown here: give the client the cookie that "
            "coatcheck.testing.cookies_for returns."
        )


def _extract(jar: CookieJar, address: str, value: str, settings: Settings, remedy: str) -> None:
    """Put the cookie into a jar that keeps to the rules, and see whether it comes out again.

    Raises:
        ConfigurationError: It does not; `remedy` is what gives the client another address.
    """
    template = settings.template
    found = urlsplit(address)
    if found.hostname:
        response: Any = _Response(template.set(value, max_age=None))
        jar.extract_cookies(response, Request(address))  # noqa: S310 - nothing is requested
        probe = Request(urljoin(address, settings.cookie.path))  # noqa: S310 - as above
        jar.add_cookie_header(probe)
        if f"{template.name}={value}" in (probe.get_header("Cookie") or ""):
            return
    scheme = "https" if template.secure else "http"
    host = (settings.cookie.domain or found.hostname or "testserver").removeprefix(".")
    remedy = f"Give the client {remedy.format(f'{scheme}://{host}')}"
    if template.secure and found.scheme != "https":
        remedy += ", or set insecure_http=True in the settings of the tests"
    raise ConfigurationError(f"The client would not send the cookie of {template} to {address!r}. {remedy}.")
