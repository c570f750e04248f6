"""The URLs of Redis and Valkey, and the options beside them: checked when the application is built."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from coatcheck.addresses import StoreURL, parts_of, places_of
from coatcheck.errors import ConfigurationError

__all__ = ["Address", "address_of", "no_host"]

_FORM = "redis://[user:password@]host[:port][/database]"
_TLS = ("tls_ca", "tls_cert", "tls_key")
_SENTINEL = ("sentinel_username", "sentinel_password")
_IGNORED = {"family", "protocol"}  # of other clients


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
    parts = parts_of(url)
    scheme, path, places = parts.scheme, parts.path, parts.hosts
    login_options = _login(parts)
    given = {name: value for name, value in options.items() if value is not None}
    query = {name: value for name, value in parts.query.items() if name not in _IGNORED}
    if scheme == "unix":
        if places or not path.startswith("/") or path == "/":
            raise ConfigurationError(
                "A socket's URL is unix:///absolute/path.sock or unix://user:password@/path."
            )
        _refuse(given, *_TLS, *_SENTINEL)
        _refuse_query(query, {"db"})
        chosen = {"db": _number(query["db"])} if "db" in query else {}
        return Address(kind="server", path=unquote(path), options={**login_options, **chosen})
    base, _, suffix = scheme.partition("+")
    kind, tls = suffix or "server", base in {"rediss", "valkeys"}
    default = 26379 if kind == "sentinel" else 6379
    hosts = tuple((place.host, place.port or default) for place in places_of(places, _FORM))
    if kind == "server" and len(hosts) > 1:
        raise ConfigurationError(
            "redis:// names one server; for several, there are redis+sentinel and redis+cluster."
        )
    service, database = _path(kind, path)
    if kind != "sentinel":
        _refuse(given, *_SENTINEL)
    if kind == "server" and "db" in query and not path.strip("/"):
        database = _number(query.pop("db"))
    _refuse_query(query, {"ssl_cert_reqs", "ssl_ca_certs", "ssl_check_hostname"} if tls else set())
    if not tls:
        _refuse(given, *_TLS)
    tls_options = _tls_options(given, query) if tls else {}
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
    parts = parts_of(url)
    login = parts.user is not None or parts.password is not None
    if (
        login
        or parts.hosts
        or parts.path.strip("/")
        or parts.query
        or any(value is not None for value in options.values())
    ):
        raise ConfigurationError(
            "Give a client, or a URL with its options; beside a client the URL is redis:// alone."
        )


def _login(parts: StoreURL) -> dict[str, str | None]:
    if parts.user and parts.password is None:
        raise ConfigurationError(
            "A URL with a user has a password too: redis://user:password@host; without a user, redis://:password@host."
        )
    if parts.password == "":
        raise ConfigurationError("The URL's password is empty.")
    return {"username": parts.user, "password": parts.password}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigurationError("The URL's database is a number, the last part of its path.")
    return int(text)


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
    if len(parts) > 1:
        raise ConfigurationError("The URL's database is a number, the last part of its path.")
    return service, _number(parts[0]) if parts else 0


def _refuse(options: Mapping[str, str], *names: str) -> None:
    if refused := sorted(options.keys() & set(names)):
        reason = "needs rediss://" if refused[0].startswith("tls") else "needs redis+sentinel://"
        raise ConfigurationError(f"{', '.join(refused)} {reason}.")


def _refuse_query(query: Mapping[str, str], known: set[str]) -> None:
    if unknown := sorted(query.keys() - known):
        why = "is not understood: leave it out. Options are keyword arguments, such as deadline= or max_connections="
        if unknown[0].startswith(("ssl", "tls")):
            why = "needs rediss://"
            if "ssl_cert_reqs" in known:
                why = (
                    "is not understood: leave it out, or give tls_ca=, tls_cert= and tls_key= beside the URL"
                )
        raise ConfigurationError(f"{', '.join(unknown)} in the query of the URL {why}.")


def _tls_options(given: Mapping[str, str], query: Mapping[str, str]) -> dict[str, Any]:
    """The options of redis-py. The server's certificate and name are checked, unless the URL says otherwise."""
    ca, cert, key = (given.get(name) for name in _TLS)
    ca = ca or query.get("ssl_ca_certs")
    if key is not None and cert is None:
        raise ConfigurationError("tls_key is the key of tls_cert, which is missing.")
    checks = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    names = query.get("ssl_check_hostname", "true").lower()
    if checks not in {"none", "optional", "required"} or names not in {"true", "false"}:
        raise ConfigurationError(
            "Write ?ssl_cert_reqs=none or required, and ?ssl_check_hostname=false or true."
        )
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
        "ssl_cert_reqs": "none" if checks == "none" else "required",
        "ssl_check_hostname": checks != "none" and names == "true",
    }
