"""An identity provider on loopback: OpenID Connect's authorization code flow, with signed ID tokens (OpenID Connect Core 1.0).

Whoever is sent to it says which user they are: `consent` is the click on "continue as Ada".
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "shop", "shop's secret"
_KEY = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})


class Provider:
    """The provider; `url` is its issuer."""

    def __init__(self) -> None:
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, str] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def metadata(self) -> dict[str, object]:
        """What /.well-known/openid-configuration answers."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
        }

    def consent(self, authorization_url: str, user: str) -> str:
        """The path and query of the callback to which `user` is sent back."""
        target = urlsplit(authorization_url)
        assert f"{target.scheme}://{target.netloc}{target.path}" == f"{self.url}/authorize"
        asked = dict(parse_qsl(target.query, strict_parsing=True))
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        code = secrets.token_urlsafe()
        self.codes[code] = {**asked, "user": user}
        callback = urlsplit(asked["redirect_uri"])
        return f"{callback.path}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, object]:
        """Give a token for a code, once."""
        client = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        assert authorization == f"Basic {client}"
        asked = self.codes.pop(form["code"])
        assert form["redirect_uri"] == asked["redirect_uri"]
        token = secrets.token_urlsafe()
        self.tokens[token] = asked["user"]
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        if "openid" in asked.get("scope", ""):
            now = int(time.time())
            claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 3600}
            claims |= claims_of(asked["user"])
            if "nonce" in asked:
                claims["nonce"] = asked["nonce"]
            answer["id_token"] = jwt.encode({"alg": "RS256", "kid": "1"}, claims, _KEY)
        return answer

    def get(self, path: str, authorization: str) -> dict[str, object]:
        """What a GET answers."""
        if path == "/.well-known/openid-configuration":
            return self.metadata
        if path == "/jwks":
            return {"keys": [_KEY.as_dict(private=False)]}
        assert path == "/userinfo"
        return claims_of(self.tokens[authorization.removeprefix("Bearer ")])


def claims_of(user: str) -> dict[str, object]:
    """The claims about a user."""
    return {"sub": f"{user}-1", "name": user.title(), "email": f"{user}@example.com"}


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that serves."""
    made = Provider()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class WithProvider:
    """Tests of a program that sends its visitors to a provider."""

    provider: ClassVar[Provider]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def the_provider(cls) -> Iterator[None]:
        with provider() as cls.provider:
            yield


def _handler(made: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(lambda: made.get(urlsplit(self.path).path, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._answer(lambda: made.token(form, self.headers.get("Authorization", "")))

        def _answer(self, what) -> None:
            try:
                status, answer = 200, what()
            except (AssertionError, KeyError) as error:
                status, answer = 400, {"error": "invalid_request", "error_description": repr(error)}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
