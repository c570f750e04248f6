"""The URLs of Redis and Valkey, and the options beside them: checked when the application is built."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from coatcheck.errors import ConfigurationError

__all__ = ["Address", "address_of", "no_host"]

_FORM = "redis://[user:password@]host[:port][/database]"
_TLS = ("tls_ca", "tls_cert", "tls_key")
_SENTINEL = ("sentinel_username", "sentinel_password")


class Address(Struct, frozen=True, kw_only=True):
    """Where the servers are, and how to log in. Its `repr` shows no password.

    Attributes:
        kind: ``server``, ``sentinel`` or ``cluster``.
        hosts: Hosts and ports of servers or Sentinels.
        path: The socket of the server, in place of a host.
        service: The name under which Sentinels know the servers.
        tls: Whether connections use TLS.
        options: User, password, database and TLS files, as redis-py's connections take them.
        sentinel_options: The same for connections to Sentinels.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str = ""
    tls: bool = False
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Address {self.where}>"

    @property
    def where(self) -> str:
        """The servers, for messages: no user, no password."""
        if self.path is not None:
            return f"unix://{self.path}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        suffix = "" if self.kind == "server" else f"+{self.kind}"
        service = f"/{self.service}" if self.service else ""
        return f"{'rediss' if self.tls else 'redis'}{suffix}://{hosts}{service}"


def address_of(url: str, options: Mapping[str, str | None]) -> Address:
    """The servers that a URL names, with the options `tls_…` and `sentinel_…`.

    Raises:
        ConfigurationError: The URL or an option can't work. The message shows nothing of the URL, since a password may
            stand in a wrong place.
    """
    scheme, netloc, path, *_ = urlsplit(url)
    login, _, places = netloc.rpartition("@")
    login_options = _login(login)
    given = {name: value for name, value in options.items() if value is not None}
    if scheme == "unix":
        if places or not path.startswith("/") or path == "/":
            raise ConfigurationError(
                "A socket's URL is unix:///absolute/path.sock or unix://user:password@/path."
            )
        _refuse(given, *_TLS, *_SENTINEL)
        return Address(kind="server", path=unquote(path), options=login_options)
    base, _, suffix = scheme.partition("+")
    kind, tls = suffix or "server", base in {"rediss", "valkeys"}
    hosts = tuple(_host(place, 26379 if kind == "sentinel" else 6379) for place in places.split(","))
    if kind == "server" and len(hosts) > 1:
        raise ConfigurationError(
            "redis:// names one server; for several, there are redis+sentinel and redis+cluster."
        )
    service, database = _path(kind, path)
    if kind != "sentinel":
        _refuse(given, *_SENTINEL)
    if not tls:
        _refuse(given, *_TLS)
    tls_options = _tls_options(given) if tls else {}
    sentinel_login = {name.removeprefix("sentinel_"): given.get(name) for name in _SENTINEL}
    return Address(
        kind=kind,
        hosts=hosts,
        service=service,
        tls=tls,
        options={**login_options, "db": database, **tls_options},
        sentinel_options={**sentinel_login, "ssl": tls, **tls_options} if kind == "sentinel" else {},
    )


def no_host(url: str, options: Mapping[str, str | None]) -> None:
    """Check that a URL beside a ready client says nothing that the client knows already.

    Raises:
        ConfigurationError: It does.
    """
    _, netloc, path, *_ = urlsplit(url)
    if netloc or path.strip("/") or any(value is not None for value in options.values()):
        raise ConfigurationError(
            "Give a client, or a URL with its options; beside a client the URL is redis:// alone."
        )


def _login(text: str) -> dict[str, str | None]:
    user, colon, password = text.partition(":")
    if user and not colon:
        raise ConfigurationError(
            "A URL with a user has a password too: redis://user:password@host; without a user, redis://:password@host."
        )
    if colon and not password:
        raise ConfigurationError("The URL's password is empty.")
    if ":" in password or "@" in text:
        raise ConfigurationError("In a user or password, write : as %3A and @ as %40.")
    return {"username": unquote(user) or None, "password": unquote(password) or None}


def _host(place: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, given = parts.hostname, parts.port
    except ValueError:  # whose text may be a password: of user:hush/x@host, the port is "hush"
        raise ConfigurationError(f"The URL's host or port is not valid: it looks like {_FORM}.") from None
    if not host or parts.path or " " in place or given == 0:
        raise ConfigurationError(f"The URL names no host: it looks like {_FORM}.")
    return host, given or port


def _path(kind: str, path: str) -> tuple[str, int]:
    parts = [unquote(part) for part in path.split("/")[1:] if part]
    if kind == "cluster":
        if parts:
            raise ConfigurationError("A cluster has one database only: redis+cluster://host:port,host:port.")
        return "", 0
    service = ""
    if kind == "sentinel":
        if not parts:
            raise ConfigurationError(
                "The URL names no service: redis+sentinel://host:port,host:port/service/0."
            )
        service = parts.pop(0)
    if len(parts) > 1 or (parts and not (parts[0].isascii() and parts[0].isdigit())):
        raise ConfigurationError("The URL's database is a number, the last part of its path.")
    return service, int(parts[0]) if parts else 0


def _refuse(options: Mapping[str, str], *names: str) -> None:
    if refused := sorted(options.keys() & set(names)):
        reason = "needs rediss://" if refused[0].startswith("tls") else "needs redis+sentinel://"
        raise ConfigurationError(f"{', '.join(refused)} {reason}.")


def _tls_options(given: Mapping[str, str]) -> dict[str, Any]:
    """The options of redis-py. The server's certificate and name are always checked."""
    ca, cert, key = (given.get(name) for name in _TLS)
    if key is not None and cert is None:
        raise ConfigurationError("tls_key is the key of tls_cert, which is missing.")
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError("tls_ca, tls_cert or tls_key can't be read, or they don't fit.") from error
    return {
        "ssl_ca_certs": ca,
        "ssl_certfile": cert,
        "ssl_keyfile": key,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    }
