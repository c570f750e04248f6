"""A browser for WSGI applications of any release: it needs nothing but them."""

import io
from http.cookies import SimpleCookie
from wsgiref.util import setup_testing_defaults


class Browser:
    def __init__(self, app, cookies=""):
        self.app = app
        self.cookies = dict(pair.split("=", 1) for pair in cookies.split("; ") if pair)

    def header(self):
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def get(self, path, expected="200"):
        """The text of a page that must be answered with this status."""
        path, _, query = path.partition("?")
        environ = {
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "HTTP_COOKIE": self.header(),
            "HTTP_USER_AGENT": "Browser/1.0",
            "wsgi.input": io.BytesIO(),
        }
        setup_testing_defaults(environ)
        told = []
        body = self.app(environ, lambda status, headers, exc_info=None: told.append((status, headers)))
        text = b"".join(body).decode()
        if hasattr(body, "close"):
            body.close()
        ((status, headers),) = told
        assert status.startswith(expected), (status, text)
        for name, value in headers:
            if name.lower() == "set-cookie":
                for cookie in SimpleCookie(value).values():
                    if cookie["max-age"] == "0" or "1970" in cookie["expires"]:
                        self.cookies.pop(cookie.key, None)
                    else:
                        self.cookies[cookie.key] = cookie.value
        return text
