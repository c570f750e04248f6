"""The parts of a store's URL, as hosting platforms and other libraries write it.

No error of this module, and no error that it was raised from, shows a part of the URL that may hold a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from coatcheck.errors import ConfigurationError
from coatcheck.silent import silent

__all__ = ["ENCODE", "KNOWN", "Place", "StoreURL", "file_of", "parts_of", "places_of"]

KNOWN = (
    "There are memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db,"
    " memcached://host:port,host:port, memcached:///path/of/a/socket, redis://host:port/0,"
    " postgresql://user:password@host/database, mysql://user:password@host/database."
)
ENCODE = (
    "In a user or password, write each character that is not a letter or digit of ASCII percent-encoded: / as %2F,"
    " @ as %40, : as %3A, # as %23, ? as %3F, % as %25."
)
_DRIVERS: Mapping[str, tuple[str, frozenset[str]]] = {
    "postgres": ("postgresql", frozenset({"psycopg", "psycopg2", "psycopg_async", "asyncpg", "pg8000"})),
    "postgresql": ("postgresql", frozenset({"psycopg", "psycopg2", "psycopg_async", "asyncpg", "pg8000"})),
    "mysql": ("mysql", frozenset({"pymysql", "aiomysql", "asyncmy", "mysqldb", "mysqlconnector"})),
    "mysql2": ("mysql", frozenset()),
    "mariadb": ("mysql", frozenset({"pymysql", "aiomysql", "asyncmy", "mysqldb", "mariadbconnector"})),
    "sqlite": ("sqlite", frozenset({"pysqlite", "aiosqlite"})),
}
"""For the first part of a scheme: the store, and the drivers that SQLAlchemy's URLs may name after a +."""
_INSTEAD: Mapping[str, str] = {
    "http": "An address for a REST interface is no URL of a store: take the one that begins with redis or rediss.",
    "https": "An address for a REST interface is no URL of a store: take the one that begins with redis or rediss.",
    "sqlite3": "Write sqlite:/// before a relative path, sqlite://// in all before an absolute one.",
    "file": "Write sqlite:/// before a relative path, sqlite://// in all before an absolute one.",
    "memcache": "Write memcached:// in place of memcache://.",
    "redis+socket": "Write unix:///path/of/the/socket.",
    "redis+unix": "Write unix:///path/of/the/socket.",
    "redis+ssl": "Write rediss://.",
    "redis+tls": "Write rediss://.",
    "pgsql": "Write postgresql://.",
    "psql": "Write postgresql://.",
}
_LOCAL = ("memory", "sqlite")
_WITHOUT_QUERY = (*_LOCAL, "memcached")
_NO_SCHEME = (
    (
        r"(?i)jdbc:",
        "Leave out jdbc:, and put the user and password before the host: mysql://user:password@host/db.",
    ),
    (r".*[\s=][\"']?[a-z][a-z0-9+]*://", "Write the URL alone, without what stands before it."),
    (
        r"(?i)sqlite:",
        "Write sqlite:///relative/path.db or sqlite:////absolute/path.db, with all its slashes.",
    ),
    (
        r"[\w.-]+:[0-9]+,.*(?i:password=|ssl=)",
        "Write Azure's connection string as a URL: rediss://:ACCESS_KEY@HOST.redis.cache.windows.net:6380/0.",
    ),
    (r"\[?[\w.:-]+\]?:[0-9]+(,[\w.-]+:[0-9]+)*", "Write redis:// or memcached:// before a host and port."),
    (
        r"(?i)(.*[\s;])?(host|hostaddr|dbname|server|data source|user id)\s*=",
        "Write a connection string as a URL: postgresql://user:password@host/database.",
    ),
    (r"[A-Za-z]:[\\/]", "Write sqlite:/// before a path of Windows: sqlite:///C:/folder/sessions.db."),
)
"""How a text without a scheme begins, and what to write instead."""


class Place(NamedTuple):
    """A host, and its port if the URL names one."""

    host: str
    port: int | None


class StoreURL(NamedTuple):
    """A URL in parts. Its `repr` shows none of them.

    Attributes:
        scheme: In small letters, without a driver of SQLAlchemy's, and without the aliases of platforms.
        user: Decoded; None where the URL has none. So is the password.
        hosts: Between the user and the path, as it stands there.
        path: With its first slash, as it stands there.
        query: Decoded.
    """

    scheme: str
    user: str | None
    password: str | None
    hosts: str
    path: str
    query: Mapping[str, str]

    def __repr__(self) -> str:
        return silent(self)


def parts_of(url: object) -> StoreURL:
    """The parts of a URL. Spaces and quotes around it are left out.

    Raises:
        ConfigurationError: It has none. The message says what to write.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"A store's URL is a str, not {type(url).__name__}. {KNOWN}")
    text = _bare(url)
    if not text:
        raise ConfigurationError(f"The store's URL is empty: is its environment variable set? {KNOWN}")
    if any(letter < " " or "\x7f" <= letter < "\xa0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigurationError("A store's URL has no line breaks and no other control characters.")
    head, mark, rest = text.partition("://")
    if not mark or head.lower().startswith("jdbc:") or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+._-]*", head):
        raise ConfigurationError(f"{_instead_of(text)} {KNOWN}")
    scheme = _scheme_of(head.lower())
    authority, path, query = _split(scheme, rest)
    login, _, hosts = authority.rpartition("@")
    user, colon, password = login.partition(":")
    return StoreURL(
        scheme,
        _decoded(user) or None,
        _decoded(password) if colon else None,
        hosts,
        path,
        _options_of(query),
    )


def places_of(hosts: str, form: str) -> list[Place]:
    """The hosts and ports of a list with commas.

    Raises:
        ConfigurationError: One of them is none, where `form` is what to write.
    """
    return [_place(name, form) for name in hosts.split(",")]


def file_of(url: StoreURL) -> str:
    """The path of the file that an ``sqlite:`` URL names.

    Raises:
        ConfigurationError: It has two slashes, or names a file that SQLite can't have.
    """
    if url.hosts or url.user or url.password:
        raise ConfigurationError(
            "An sqlite:// URL has no host: write sqlite:///relative/path.db or sqlite:////absolute/path.db."
        )
    path = unquote(url.path.removeprefix("/"))
    if path.startswith("~"):
        raise ConfigurationError(
            "Write the home directory out, with four slashes: sqlite:////home/user/sessions.db."
        )
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", path):
        raise ConfigurationError(
            "This is a path of Windows: here, an absolute one is sqlite:////path/sessions.db."
        )
    if "\0" in path:
        raise ConfigurationError("A path has no zero byte.")
    return path


def _bare(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def _instead_of(text: str) -> str:
    for pattern, advice in _NO_SCHEME:
        if re.match(pattern, text):
            return advice
    return "A URL without a scheme names no built-in store."


def _scheme_of(head: str) -> str:
    base, _, driver = head.partition("+")
    if head in _INSTEAD:
        raise ConfigurationError(f"{_INSTEAD[head]} {KNOWN}")
    if base not in _DRIVERS:
        return head
    scheme, drivers = _DRIVERS[base]
    if driver and driver not in drivers:
        raise ConfigurationError(
            f"{base}+{driver}:// names a driver that the store can't use: write {scheme}://."
        )
    return scheme


def _split(scheme: str, rest: str) -> tuple[str, str, str]:
    if "#" in rest:
        raise ConfigurationError(f"A store's URL has no part after a #. {ENCODE} In a path, write # as %23.")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if query and scheme in _WITHOUT_QUERY:
        raise ConfigurationError(
            f"The URL of {scheme}:// has no query: options are keyword arguments of from_url. In a path, write ? as %3F."
        )
    if scheme not in _LOCAL:
        if "@" in path or "@" in query or authority.count("@") > 1:
            raise ConfigurationError(
                f"The URL has an @ too many, or another character in its password. {ENCODE}"
            )
        if " " in f"{authority}{path}{query}":
            raise ConfigurationError("A store's URL has no spaces: write each as %20.")
    return authority, f"{slash}{path}", query


def _decoded(text: str) -> str:
    raw = unquote_to_bytes(text)
    # Not decoded strictly: the error would hold the password.
    decoded = raw.decode(errors="replace")
    if decoded.encode() != raw or "\0" in decoded:
        raise ConfigurationError(f"The percent-encoding of the user or password is not UTF-8. {ENCODE}")
    return decoded


def _options_of(query: str) -> dict[str, str]:
    if query and not re.fullmatch(r"[A-Za-z_.-]+=[^&]*(&[A-Za-z_.-]+=[^&]*)*", query):
        raise ConfigurationError(f"The query of a store's URL is name=value&name=value. {ENCODE}")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ConfigurationError("The query of a store's URL says something twice.")
    if options.keys() & {"user", "username", "password", "passwd", "pwd"}:
        raise ConfigurationError("The user and password stand before the host: scheme://user:password@host.")
    return options


def _place(name: str, form: str) -> Place:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?:?", name)
    if found is None or not 0 < int(found[3] or 1) < 65536:
        raise ConfigurationError(f"The URL's host or port is not valid: write {form}.")
    return Place(found[1] or found[2], int(found[3]) if found[3] else None)
