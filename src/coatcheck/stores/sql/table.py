"""The tables: their names, their columns, and the statements that make them.

No column holds text. A user's id is kept as its UTF-8 bytes, so that no collation takes one user for another, no
trailing space is folded away, and a NUL is a byte like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    insert,
    literal_column,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.ddl import ExecutableDDLElement
from sqlalchemy.sql.expression import Executable

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import REVISION_BYTES

__all__ = ["DIALECTS", "FORMAT", "Tables", "ddl", "dialect_named", "making", "tables"]

FORMAT = 1
"""The layout of the tables. It stands in the only row of the second table."""

_PREFIX = re.compile(r"[a-z][a-z0-9_:]{0,38}[_:]")
_ON_MYSQL: Mapping[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
_LONGEST_USER = 255 * 4  # characters, and bytes of UTF-8 in each
DIALECTS: tuple[str, ...] = ("postgresql", "mysql", "sqlite")
"""The databases that `ddl` knows; MariaDB takes what MySQL takes."""


class Tables(NamedTuple):
    """The tables of one prefix."""

    sessions: Table
    meta: Table


def tables(prefix: str) -> Tables:
    """The tables of a prefix: a ``:`` in it becomes ``_``, so those of "coatcheck:" are coatcheck_sessions and _meta.

    Raises:
        ConfigurationError: The name of a table can't begin with it.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            "prefix must be 2 to 40 small letters, digits or _ and : in a database, begin with a letter and end with"
            f" : or _ (there, a : is a _ in the names of the tables), not {prefix!r}"
        )
    name, metadata = prefix.replace(":", "_"), MetaData()
    sessions = Table(
        f"{name}sessions",
        metadata,
        Column("key", LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb"), primary_key=True),
        Column("data", LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
        # The first bytes of the data, new with each write: a write names the revision that it replaces.
        Column(
            "revision",
            LargeBinary(REVISION_BYTES).with_variant(mysql.BINARY(REVISION_BYTES), "mysql", "mariadb"),
            nullable=False,
        ),
        # The entry of the index, if the session is somebody's.
        Column("user_id", LargeBinary().with_variant(mysql.VARBINARY(_LONGEST_USER), "mysql", "mariadb")),
        Column("signed_in", BigInteger),
        Column("until", BigInteger),
        Column("expires", BigInteger, nullable=False),
        Column("live", SmallInteger, nullable=False),
        **_ON_MYSQL,
    )
    column = sessions.c
    signed_in = column.user_id.is_not(None)
    Index(
        f"{name}sessions_user",
        column.user_id,
        column.signed_in.desc(),
        column.key,
        postgresql_where=signed_in,
        sqlite_where=signed_in,
    )
    Index(f"{name}sessions_expires", column.expires, column.live)
    meta = Table(
        f"{name}meta",
        metadata,
        Column("format", Integer, primary_key=True, autoincrement=False),
        **_ON_MYSQL,
    )
    return Tables(sessions, meta)


def making(made: Tables) -> list[ExecutableDDLElement | Executable]:
    """The statements that make the tables, in order; the last says that they are complete."""
    indexes = sorted(made.sessions.indexes, key=lambda index: str(index.name))
    return [
        CreateTable(made.sessions),
        *(CreateIndex(index) for index in indexes),
        CreateTable(made.meta),
        insert(made.meta).values(format=literal_column(str(FORMAT))).inline(),
    ]


def dialect_named(name: str) -> Dialect:
    """SQLAlchemy's dialect of a database; it needs no driver.

    Raises:
        ConfigurationError: It is none of `DIALECTS`, nor "mariadb".
    """
    if name not in (*DIALECTS, "mariadb"):
        raise ConfigurationError(f"dialect must be one of {', '.join(DIALECTS)}, not {name!r}")
    module: Any = import_module(f"sqlalchemy.dialects.{'mysql' if name == 'mariadb' else name}")
    dialect: Dialect = module.dialect()
    return dialect


def ddl(dialect: str, prefix: str = "coatcheck:") -> str:
    """The statements that make the tables, for migrations of the application's own.

    Raises:
        ConfigurationError: The dialect is none of `DIALECTS`, or the prefix can't be one.
    """
    named = dialect_named(dialect)
    texts = [str(_compiled(statement, named)) for statement in making(tables(prefix))]
    lines = [line.rstrip() for text in texts for line in f"{text.strip()};".replace("\t", "    ").split("\n")]
    return "\n".join(lines) + "\n"


def _compiled(statement: ExecutableDDLElement | Executable, dialect: Dialect) -> object:
    element: Any = statement
    return element.compile(dialect=dialect)
