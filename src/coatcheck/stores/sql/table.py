"""The tables: their names, their columns, and the statements that make them.

No column holds text. A user's id is kept as its UTF-8 bytes, so that no collation takes one user for another, no
trailing space is folded away, and a NUL is a byte like any other.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import REVISION_BYTES

__all__ = ["DIALECTS", "FORMAT", "Tables", "ddl", "dialect_named", "making", "tables"]

FORMAT = 1
"""The layout of the tables. It stands in the only row of the second table."""
DIALECTS: tuple[str, ...] = ("postgresql", "mysql", "sqlite")
"""The databases that `ddl` knows; MariaDB takes what MySQL takes."""
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,38}:")
_LONGEST_USER = 255 * 4  # characters, and bytes of UTF-8 in each


class Tables(NamedTuple):
    """The tables of one prefix."""

    sessions: sa.Table
    meta: sa.Table


def tables(prefix: str) -> Tables:
    """The tables of a prefix: those of "coatcheck:" are coatcheck_sessions and coatcheck_meta.

    Each prefix has tables of its own: the only ``:`` that it may have is at its end.

    Raises:
        ConfigurationError: The name of a table can't begin with it.
    """
    if not isinstance(prefix, str):
        raise ConfigurationError(f"prefix must be a str, not {type(prefix).__name__}.")
    if not _PREFIX.fullmatch(prefix):
        instead = re.sub("[:_]+$", "", prefix).replace(":", "_") + ":"
        remedy = f" Write {instead!r}." if _PREFIX.fullmatch(instead) else ""
        raise ConfigurationError(
            "prefix must be a small letter, up to 38 small letters, digits and _, and a : at the end in a database"
            f" (shop: for the tables shop_sessions and shop_meta), not {prefix!r}.{remedy}"
        )
    name, metadata = prefix.replace(":", "_"), sa.MetaData()
    on_mysql: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
    sessions = sa.Table(
        f"{name}sessions",
        metadata,
        sa.Column("key", _bytes(mysql.BINARY(16)), primary_key=True),
        sa.Column("data", _bytes(mysql.MEDIUMBLOB()), nullable=False),
        # The first bytes of the data, new with each write: a write names the revision that it replaces.
        sa.Column("revision", _bytes(mysql.BINARY(REVISION_BYTES)), nullable=False),
        # The entry of the index, where there is one.
        sa.Column("user_id", _bytes(mysql.VARBINARY(_LONGEST_USER))),
        sa.Column("signed_in", sa.BigInteger),
        sa.Column("until", sa.BigInteger),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("live", sa.SmallInteger, nullable=False),
        **on_mysql,
    )
    columns = sessions.c
    of_users = columns.user_id, columns.signed_in.desc(), columns.key
    has_user: dict[str, Any] = dict.fromkeys(
        ("postgresql_where", "sqlite_where"), columns.user_id.is_not(None)
    )
    sa.Index(f"{name}sessions_user", *of_users, **has_user)
    sa.Index(f"{name}sessions_expires", columns.expires, columns.live)
    number = sa.Column("format", sa.Integer, primary_key=True, autoincrement=False)
    return Tables(sessions, sa.Table(f"{name}meta", metadata, number, **on_mysql))


def _bytes(on_mysql: Any) -> Any:
    return sa.LargeBinary().with_variant(on_mysql, "mysql", "mariadb")


def making(made: Tables) -> list[Any]:
    """The statements that make the tables, in order. The last says that they are complete."""
    indexes = sorted(made.sessions.indexes, key=lambda index: str(index.name))
    complete = sa.insert(made.meta).values(format=sa.literal_column(str(FORMAT))).inline()
    return [CreateTable(made.sessions), *map(CreateIndex, indexes), CreateTable(made.meta), complete]


def dialect_named(name: str) -> sa.Dialect:
    """SQLAlchemy's dialect of a database; it needs no driver.

    Raises:
        ConfigurationError: It is none of `DIALECTS`, nor "mariadb".
    """
    if name not in (*DIALECTS, "mariadb"):
        raise ConfigurationError(f"dialect must be one of {', '.join(DIALECTS)}, not {name!r}")
    return sa.make_url(f"{name}://").get_dialect()()


def ddl(dialect: str, prefix: str = "coatcheck:") -> str:
    """The statements that make the tables, for migrations of the application's own.

    Raises:
        ConfigurationError: The dialect is none of `DIALECTS`, or the prefix can't be one.
    """
    named = dialect_named(dialect)
    texts = [str(statement.compile(dialect=named)) for statement in making(tables(prefix))]
    lines = [line.rstrip() for text in texts for line in f"{text.strip()};".replace("\t", "    ").split("\n")]
    return "\n".join(lines) + "\n"
