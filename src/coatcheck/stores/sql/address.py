"""The URLs of databases: what each part of them is for SQLAlchemy and the drivers."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlalchemy import URL

from coatcheck.addresses import parts_of, places_of
from coatcheck.errors import ConfigurationError
from coatcheck.silent import silent

__all__ = ["DatabaseAddress", "address_of"]

_LIBPQ = {
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "channel_binding"),
    *("gssencmode", "target_session_attrs", "options", "host", "port"),
}
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_IGNORED = {
    # Of the pools of other clients. The store's pool fits every pooler, and its deadline bounds connecting.
    *("pgbouncer", "connection_limit", "pool_timeout", "pool_size", "connect_timeout", "supa"),
    *("statement_cache_size", "prepared_statement_cache_size", "prepare_threshold", "application_name"),
    *("charset", "reconnect"),  # utf8mb4 always, and connections that broke are made anew
}
_MYSQL_MODES: Mapping[str, tuple[ssl.VerifyMode, bool] | None] = {
    "DISABLED": None,
    "PREFERRED": (ssl.CERT_NONE, False),
    "REQUIRED": (ssl.CERT_NONE, False),
    "VERIFY_CA": (ssl.CERT_REQUIRED, False),
    "VERIFY_IDENTITY": (ssl.CERT_REQUIRED, True),
}
"""Whether the server's certificate and its name are checked, by MySQL's names."""


class DatabaseAddress(NamedTuple):
    """A URL for SQLAlchemy, and arguments for the driver."""

    url: URL
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        return silent(self)


def address_of(text: str) -> DatabaseAddress:
    """The database that a URL names.

    Raises:
        ConfigurationError: The URL names no host or no database, or its query is not understood.
    """
    parts = parts_of(text)
    dialect, database = parts.scheme, unquote(parts.path[1:])
    form = f"{dialect}://user:password@host/database"
    if not database or "/" in database:
        raise ConfigurationError(f"The URL names no database: write {form}.")
    options = {name: value for name, value in parts.query.items() if name not in _IGNORED}
    query, arguments = (_of_postgresql if dialect == "postgresql" else _of_mysql)(options)
    places = places_of(parts.hosts, form) if parts.hosts else []
    if any("%2f" in place.host.lower() for place in places):
        option = "host=/its/directory" if dialect == "postgresql" else "unix_socket=/path/to/it"
        raise ConfigurationError(f"A socket is no host: write {dialect}://user:password@/database?{option}.")
    host, port = places[0] if len(places) == 1 else (None, None)
    if len(places) > 1:
        if dialect != "postgresql":
            raise ConfigurationError(f"The URL names several hosts: write {form}.")
        query["host"] = ",".join(place.host for place in places)
        query["port"] = ",".join(str(place.port or 5432) for place in places)
    url = URL.create(dialect, parts.user, parts.password, host, port, database, query)
    return DatabaseAddress(url, arguments)


def _of_postgresql(options: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    given: dict[str, Any] = dict(options)
    if (tls := given.pop("ssl", None)) is not None:  # so write asyncpg and node-postgres
        given["sslmode"] = {"true": "require", "1": "require", "false": "disable"}.get(tls, tls)
    if given.get("sslmode", "prefer") not in _SSLMODES:
        raise ConfigurationError(f"sslmode is one of {', '.join(_SSLMODES)}: write ?sslmode=require.")
    _refuse(given.keys() - _LIBPQ, "postgresql")
    return given, {}


def _of_mysql(options: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    given = {name.lower().replace("-", "_"): value for name, value in options.items()}
    query = {name: given.pop(name) for name in ("unix_socket",) if name in given}
    ca, cert, key = (given.pop(name, None) for name in ("ssl_ca", "ssl_cert", "ssl_key"))
    asked = given.pop("ssl_mode", given.pop("sslmode", None))
    _refuse(given.keys(), "mysql")
    # The default is that of MySQL's own clients: TLS where the server offers it, but not through a socket.
    default = "VERIFY_IDENTITY" if ca else "REQUIRED" if cert else "DISABLED" if query else "PREFERRED"
    mode = (asked or default).upper()
    if mode not in _MYSQL_MODES:
        raise ConfigurationError(
            f"ssl_mode is one of {', '.join(_MYSQL_MODES)}: write ?ssl_mode=VERIFY_IDENTITY."
        )
    checks = _MYSQL_MODES[mode]
    if (key and not cert) or (checks is None and (ca or cert)):
        raise ConfigurationError(
            "ssl_key needs ssl_cert, and ssl_mode=DISABLED takes none of ssl_ca, ssl_cert and ssl_key."
        )
    if checks is None:
        return query, {"ssl": None, "ssl_required": False}
    try:
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = checks[1]
        context.verify_mode = checks[0]
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError("ssl_ca, ssl_cert or ssl_key can't be read, or they don't fit.") from error
    return query, {"ssl": context, "ssl_required": mode != "PREFERRED"}


def _refuse(names: set[str] | Any, dialect: str) -> None:
    if unknown := sorted(names):
        tls = dialect == "mysql" and unknown[0].startswith(("ssl", "tls"))
        raise ConfigurationError(
            f"{', '.join(unknown)} in the query of a {dialect}:// URL is not understood: "
            f"{'for TLS write ?ssl_mode=VERIFY_IDENTITY, or' if tls else 'leave it out, or, if the driver knows it,'}"
            " make an engine with it, and give it as client=create_engine(…)."
        )
