"""Test clients that are signed in: the cookie of a prepared session lies in the client's jar."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.cookiejar import CookieJar
from http.cookies import BaseCookie, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import Request

from coatcheck.errors import ConfigurationError
from coatcheck.testing.prepared import async_prepared, prepared

if TYPE_CHECKING:  # so that a test of a store imports no more than the port
    from coatcheck.config import Settings
    from coatcheck.session import Session
    from coatcheck.sessions import AsyncSessions, Sessions

__all__ = ["SignInAs"]


class SignInAs:
    """``sign_in_as(client, "ada", basket=["scarf"])``: the client's next requests are those of a signed-in visitor.

    The client is one of Flask, Werkzeug, Quart, Django (also its ``RequestFactory``, and REST framework's ``APIClient``),
    Starlette, FastAPI, Litestar, aiohttp, httpx (also an ``AsyncClient``) or WebTest. The session is a new one, and its
    cookie replaces the one that the client has. `header` serves every other client.
    """

    def __init__(self, sessions: Sessions | AsyncSessions) -> None:
        """Sign clients in to an application.

        Args:
            sessions: The manager of the application, or another with the same settings on the same store. An
                asynchronous one is called in an event loop of its own, so that signing in is never awaited.
        """
        self._sessions = sessions

    def __call__(self, client: object, user: str | None, /, **fields: Any) -> str:
        """Store a session, put its cookie into the jar of `client`, and return its handle.

        With the handle, ``sessions.find(handle)`` looks into the session after the requests.

        Args:
            client: The test client.
            user: The user to sign in. None: a visitor who is not signed in, but has fields.
            fields: The session's fields.

        Raises:
            ConfigurationError: The client would not send the cookie to its application.
            TypeError: The client is of an unknown kind.
            ValueError: There is neither a user nor a field.
        """
        session = self._prepared(user, fields)
        for value in self._sessions.cookie_of(session).values():
            _put(client, value, self._sessions.settings)
        assert session.handle is not None  # it is stored
        return session.handle

    def header(self, user: str | None, /, **fields: Any) -> dict[str, str]:
        """Store a session, and return the headers of its visitor's requests, for a client without a jar.

        ``sessions.open(headers["Cookie"])`` looks into the session after the requests.

        Args:
            user: The user to sign in. None: a visitor who is not signed in, but has fields.
            fields: The session's fields.

        Raises:
            ValueError: There is neither a user nor a field.
        """
        ((name, value),) = self._sessions.cookie_of(self._prepared(user, fields)).items()
        return {"Cookie": f"{name}={value}"}

    def _prepared(self, user: str | None, fields: dict[str, Any]) -> Session:
        from coatcheck.sessions import Sessions

        if user is None and not fields:
            raise ValueError("A session with neither a user nor a field is not stored: it has no cookie.")
        sessions = self._sessions
        if isinstance(sessions, Sessions):
            return prepared(sessions, fields, user)
        with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
            return thread.submit(asyncio.run, async_prepared(sessions, fields, user)).result()


class _Response:
    """A response as `http.cookiejar` sees it."""

    def __init__(self, set_cookie: str) -> None:
        self._headers = Message()
        self._headers["Set-Cookie"] = set_cookie

    def info(self) -> Message:
        return self._headers


def _put(client: Any, value: str, settings: Settings) -> None:
    """Put the cookie into the client's jar, as a response of its application would."""
    cookie, name = settings.cookie, settings.template.name
    cookies = getattr(client, "cookies", None)
    if isinstance(jar := getattr(cookies, "jar", None), CookieJar):  # httpx, Starlette, Litestar
        _extract(jar, str(client.base_url), value, settings, "base_url={!r}")
    elif isinstance(jar := getattr(client, "cookiejar", None), CookieJar):  # WebTest
        environ = client.extra_environ
        scheme, host = environ.get("wsgi.url_scheme", "http"), environ.get("HTTP_HOST", "localhost")
        _extract(jar, f"{scheme}://{host}", value, settings, "an extra_environ of {!r}")
    elif isinstance(cookies, BaseCookie):  # Django; it sends every cookie everywhere
        cookies[name] = value
    elif hasattr(client, "application") and hasattr(client, "set_cookie"):  # Werkzeug, Flask
        domain = cookie.domain or _own_name(client.application)
        client.set_cookie(name, value, domain=domain, origin_only=cookie.domain is None, path=cookie.path)
    elif isinstance(getattr(client, "cookie_jar", None), CookieJar):  # Quart
        client.set_cookie(_own_name(client.app), name, value, path=cookie.path, domain=cookie.domain)
    elif hasattr(jar := getattr(getattr(client, "session", None), "cookie_jar", None), "filter_cookies"):
        _update(jar, client.make_url(cookie.path), value, settings)  # aiohttp
    else:
        raise TypeError(
            f"The cookie jar of {client!r} is unknown here: send the headers that sign_in_as.header(user, …) returns "
            "with each request, or give the client the cookie that coatcheck.testing.cookies_for returns."
        )


def _own_name(application: Any) -> str | None:
    """The host under which the test clients of Flask and Quart request their application."""
    name = getattr(application, "config", {}).get("SERVER_NAME") or "localhost"
    return urlsplit(f"//{name}").hostname


def _update(jar: Any, url: Any, value: str, settings: Settings) -> None:
    """Put the cookie into aiohttp's jar, and see whether it comes out again.

    Raises:
        ConfigurationError: It does not.
    """
    template = settings.template
    cookies: SimpleCookie = SimpleCookie({template.name: value})
    morsel = cookies[template.name]
    morsel["path"], morsel["domain"] = settings.cookie.path, settings.cookie.domain or ""
    morsel["secure"] = template.secure
    jar.update_cookies(cookies, url)
    sent = jar.filter_cookies(url).get(template.name)
    if sent is None or sent.value != value:
        raise ConfigurationError(
            f"The client would not send the cookie of {template} to {str(url)!r}. Set insecure_http=True and no domain "
            "of the cookie in the settings of the tests, or send the headers that sign_in_as.header(user, …) returns."
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
