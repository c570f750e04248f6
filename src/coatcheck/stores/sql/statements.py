"""The statements of the store, put into the words of a database once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from coatcheck.model.ports import Write, revision_of
from coatcheck.silent import silent
from coatcheck.stores.sql.table import Tables

__all__ = ["Change", "Statement", "Statements"]

_NUMBERS = ("signed_in", "until", "expires", "live")
_WRITTEN = ("data", "revision", "user_id", *_NUMBERS)
"""The columns that a write sets."""
_MYSQL = {"mysql", "mariadb"}
_MYSQL_CLOCK = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
_CLOCKS = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    "mysql": _MYSQL_CLOCK,
    "mariadb": _MYSQL_CLOCK,
}
_SKIPS_SINCE_MARIADB, _SKIPS_SINCE_MYSQL = (10, 6), (8, 0, 1)


class Statement:
    """One statement. Its values go by names that begin with ``b_``."""

    __slots__ = ("_hexed", "_order", "text")

    def __init__(self, clause: Any, dialect: sa.Dialect) -> None:
        self._hexed = _takes_hex(dialect)
        compiled = clause.compile(dialect=dialect)
        self.text: str = compiled.string
        if dialect.driver == "psycopg":
            # Bytes in an array are sent in binary form. As text, psycopg sends other bytes where the database has
            # standard_conforming_strings = off.
            self.text = self.text.replace(")s::BYTEA[]", ")b::BYTEA[]")
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)

    def bound(self, values: Mapping[str, object]) -> Any:
        """The values as the driver takes them."""
        if self._hexed:
            values = {
                name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()
            }
        if self._order is None:
            return values
        return tuple([values[name] for name in self._order])


class Change(NamedTuple):
    """A row to be changed: by which statement (see `Statements.single`), under which key, and the statement's values."""

    kind: str
    key: bytes
    values: Mapping[str, Any]

    def __repr__(self) -> str:
        return silent(self)

    @classmethod
    def of_write(cls, write: Write) -> Change:
        """A write of the port's."""
        entry = write.entry
        values = {
            "b_key": write.key,
            "b_data": write.data,
            "b_revision": revision_of(write.data),
            "b_user_id": None if entry is None else entry.user.encode(),
            "b_signed_in": None if entry is None else entry.signed_in,
            "b_until": None if entry is None else entry.until,
            "b_expires": write.expires,
            "b_live": int(write.live),
            "b_expected": write.expected,
        }
        return cls("create" if write.expected is None else "update", write.key, values)


class Statements:
    """All statements of the store, for one kind of database.

    Attributes:
        single: The statements that change a row: create, update, remove.
        format: The format of the tables, and the server's limit for the size of a statement in bytes, if it has one.
        several: The same for several rows, of which they return the keys; where the database takes arrays as values.
        dead: The keys of expired rows, which it locks; locked ones are passed over where the server can.
        sweep: Removes what has expired, where one statement can.
        begins: Begins a transaction.
        clock: The server's clock (ms since 1970); None: there is no server, or it is not known how to ask.
    """

    def __init__(self, made: Tables, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._sessions = sessions = made.sessions
        columns = sessions.c
        self.has_arrays: bool = dialect.name == "postgresql"
        # Not BEGIN: with sql_mode=ORACLE, MariaDB takes that for the beginning of a block.
        self.begins: str = "BEGIN IMMEDIATE" if dialect.name == "sqlite" else "START TRANSACTION"
        self.clock: Statement | None = None
        if dialect.name in _CLOCKS:
            self.clock = self.compiled(sa.text(f"SELECT {_CLOCKS[dialect.name]}"))
        key = self._value("key")
        row = {name: self._value(name) for name in _WRITTEN}
        written = (columns.key == key, columns.revision == self._value("expected"))
        self.single: Mapping[str, Statement] = {
            "create": self.compiled(self._creating().values({"key": key, **row})),
            "update": self.compiled(sa.update(sessions).values(row).where(*written)),
            "remove": self.compiled(sa.delete(sessions).where(columns.key == key)),
        }
        on_mysql = dialect.name in _MYSQL
        packet = "@@max_allowed_packet" if on_mysql else "NULL"
        self.format: Statement = self.compiled(
            sa.select(made.meta.c.format, sa.literal_column(packet, sa.BigInteger()))
        )
        self.read: Statement = self.compiled(
            sa.select(columns.data, columns.revision).where(columns.key == key)
        )
        self.read_several: Callable[[int], Statement] = cache(self._read_several)
        self.delete_several: Callable[[int], Statement] = cache(self._delete_several)
        entries = _page(
            sa.select(columns.key, columns.signed_in, columns.until)
            .where(columns.user_id == self._value("user_id"), columns.until > self._value("now"))
            .order_by(columns.signed_in.desc(), columns.key)
        )
        self.entries: Statement = self.compiled(entries)
        signed_in = self._value("signed_in")
        # The first condition says nothing new, but the index can be entered by it.
        behind = (columns.signed_in <= signed_in, sa.or_(columns.signed_in < signed_in, columns.key > key))
        self.entries_after: Statement = self.compiled(entries.where(*behind))
        live = (columns.expires > self._value("now"), columns.live == sa.literal_column("1"))
        self.count: Statement = self.compiled(sa.select(sa.func.count()).select_from(sessions).where(*live))
        dead = _page(
            sa.select(columns.key).where(columns.expires <= self._value("now")).order_by(columns.expires)
        ).with_for_update(skip_locked=_skips_locked(dialect))
        self.dead: Statement = self.compiled(dead)
        self.several: Mapping[str, Statement] = {}
        self.sweep: Statement | None = None
        if self.has_arrays:
            self.several = self._several()
            # As an array, since a subquery that locks may be run again for each row that it is compared with.
            keys = sa.func.array(dead.scalar_subquery(), type_=sa.ARRAY(sa.LargeBinary()))
            self.sweep = self.compiled(sa.delete(sessions).where(columns.key == sa.any_(keys)))

    def compiled(self, clause: Any) -> Statement:
        """A statement in the words of this database."""
        return Statement(clause, self._dialect)

    def keys(self, keys: Sequence[bytes]) -> dict[str, object]:
        """The values of a statement for so many keys."""
        if self.has_arrays:
            return {"b_key": list(keys)}
        return {f"b_key{number}": key for number, key in enumerate(keys)}

    def _value(self, name: str) -> Any:
        if name in (*_NUMBERS, "now", "limit"):
            return _number(name)
        value = sa.bindparam(f"b_{name}", type_=sa.LargeBinary())
        return sa.func.unhex(value) if _takes_hex(self._dialect) else value

    def _read_several(self, number: int) -> Statement:
        columns = self._sessions.c
        return self.compiled(
            sa.select(columns.key, columns.data, columns.revision).where(self._among(number))
        )

    def _delete_several(self, number: int) -> Statement:
        return self.compiled(sa.delete(self._sessions).where(self._among(number)))

    def _among(self, number: int) -> sa.ColumnElement[bool]:
        key = self._sessions.c.key
        if self.has_arrays:  # one statement for any number of keys
            return key == sa.any_(_array("key"))
        return key.in_([self._value(f"key{one}") for one in range(number)])

    def _creating(self) -> Any:
        dialect: Any = {"postgresql": postgresql, "sqlite": sqlite}.get(self._dialect.name)
        if dialect is None:
            # MySQL's own ways to pass over a row that is there also pass over other faults, or don't tell of it.
            return sa.insert(self._sessions)
        return dialect.insert(self._sessions).on_conflict_do_nothing(index_elements=["key"])

    def _several(self) -> Mapping[str, Statement]:
        """`single` for PostgreSQL's rows of several arrays."""
        columns = self._sessions.c
        names = ("key", *_WRITTEN, "expected")
        types: list[Any] = [
            sa.column(name, sa.BigInteger() if name in _NUMBERS else sa.LargeBinary()) for name in names
        ]
        rows = sa.func.unnest(*map(_array, names)).table_valued(*types, name="given").render_derived()
        given = rows.c
        made = sa.select(*[given[name] for name in ("key", *_WRITTEN)])
        written = (columns.key == given.key, columns.revision == given.expected)
        several = {
            "create": self._creating().from_select(["key", *_WRITTEN], made),
            "update": sa.update(self._sessions)
            .values({name: given[name] for name in _WRITTEN})
            .where(*written),
            "remove": sa.delete(self._sessions).where(self._among(0)),
        }
        return {kind: self.compiled(clause.returning(columns.key)) for kind, clause in several.items()}


def _number(name: str) -> Any:
    return sa.bindparam(f"b_{name}", type_=sa.BigInteger())


def _array(name: str) -> Any:
    return sa.bindparam(
        f"b_{name}", type_=postgresql.ARRAY(sa.BigInteger() if name in _NUMBERS else postgresql.BYTEA())
    )


def _page(rows: Any) -> Any:
    # With an OFFSET in words: SQLAlchemy gives SQLite's LIMIT another as a value of its own.
    return rows.limit(_number("limit")).offset(sa.literal_column("0"))


def _takes_hex(dialect: sa.Dialect) -> bool:
    """Whether bytes are sent as hexadecimal text.

    aiomysql takes none beside a PyMySQL of 1.2: it writes them by a function that is no longer there.
    """
    return dialect.driver == "aiomysql"


def _skips_locked(dialect: Any) -> bool:
    if dialect.name not in _MYSQL:
        return bool(dialect.name == "postgresql")
    version = tuple(part for part in dialect.server_version_info or () if isinstance(part, int))
    return version >= (_SKIPS_SINCE_MARIADB if dialect.is_mariadb else _SKIPS_SINCE_MYSQL)
