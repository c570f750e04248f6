"""What is said to a database, in its own dialect: each statement is put into words once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Dialect,
    Integer,
    LargeBinary,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from coatcheck.stores._sql_table import Tables

__all__ = ["Statement", "Statements"]

_YES: ColumnElement[int] = literal_column("1")
_SKIPS_SINCE_MARIADB, _SKIPS_SINCE_MYSQL = (10, 6), (8, 0, 1)


class Statement:
    """One statement, and how its values go with it."""

    __slots__ = ("_fixed", "_hexed", "_order", "text")

    def __init__(self, clause: Any, dialect: Dialect, *, hexed: bool = False) -> None:
        self._hexed = hexed
        compiled = clause.compile(dialect=dialect)
        self.text: str = compiled.string
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)
        # What SQLAlchemy adds of its own, as an OFFSET of 0.
        given: Mapping[str, object] = compiled.params or {}
        self._fixed: dict[str, object] = {
            name: value for name, value in given.items() if not name.startswith("b_")
        }

    def bound(self, values: Mapping[str, object]) -> Any:
        """The values as the driver takes them."""
        if self._fixed:
            values = {**values, **self._fixed}
        if self._hexed:
            values = {
                name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()
            }
        if self._order is None:
            return values
        return tuple([values[name] for name in self._order])


class Statements:
    """All that the store says to one kind of database.

    The values go by these names: key, keys, data, user, signed_in, expires, version, old (the version that must
    still be there), live, now, limit.
    """

    def __init__(self, made: Tables, dialect: Dialect) -> None:
        self._dialect = dialect
        sessions, column = made.sessions, made.sessions.c
        self._sessions = sessions
        self.is_postgresql: bool = dialect.name == "postgresql"
        self.is_mysql: bool = dialect.name in {"mysql", "mariadb"}
        self.begins: str = "BEGIN IMMEDIATE" if dialect.name == "sqlite" else "BEGIN"
        # aiomysql takes no bytes beside a PyMySQL of 1.2: it writes them by a function that is no longer there.
        self._hexed = dialect.driver == "aiomysql"
        self._locks = dialect.name != "sqlite"
        self._skips = self.is_postgresql or (self.is_mysql and _skips_locked(dialect))
        key, now = self._value("key"), bindparam("b_now", type_=BigInteger)
        self.format: Statement = self.in_words(select(made.meta.c.format))
        row = (column.data, column.version)
        self.read: Statement = self.in_words(select(*row).where(column.key == key))
        changed = {
            column.data: self._value("data"),
            column.expires: _number("expires"),
            column.version: _number("version"),
        }
        everything = {
            **changed,
            column.user_id: self._value("user"),
            column.signed_in: _number("signed_in"),
            column.live: _number("live"),
        }
        still_there = (column.key == key, column.version == _number("old"))
        # Only signing in changes the user: leaving his index alone makes an update cheaper.
        self.update: Statement = self.in_words(update(sessions).values(changed).where(*still_there))
        self.replace: Statement = self.in_words(update(sessions).values(everything).where(*still_there))
        self.create: Statement = self.in_words(self._creating({**everything, column.key: key}))
        self.lives: Statement = self.in_words(
            select(column.key, column.signed_in)
            .where(column.user_id == self._value("user"), column.expires > now)
            .order_by(column.signed_in.desc(), column.key)
        )
        self.count: Statement = self.in_words(
            select(func.count()).select_from(sessions).where(column.expires > now, column.live == _YES)
        )
        dead = (
            select(column.key)
            .where(column.expires <= now)
            .order_by(column.expires)
            .limit(bindparam("b_limit", type_=Integer))
        )
        self.dead: Statement = self.in_words(self._locking(dead, skip=True))
        self.sweep: Statement | None = None
        if self.is_postgresql:
            # As an array, since a subquery that locks may be run again for each row that it is compared with.
            keys = func.array(self._locking(dead, skip=True).scalar_subquery(), type_=ARRAY(LargeBinary()))
            self.sweep = self.in_words(
                delete(sessions).where(column.key == any_(keys), column.expires <= now)
            )
        self.read_several = cache(self._read_several)
        self.lock = cache(self._lock)
        self.delete_dead = cache(self._delete_dead)

    def keys(self, keys: Sequence[bytes]) -> dict[str, object]:
        """The values of a statement for so many keys."""
        if self.is_postgresql:
            return {"b_keys": list(keys)}
        return {f"b_key{number}": key for number, key in enumerate(keys)}

    def _read_several(self, number: int) -> Statement:
        column = self._sessions.c
        return self.in_words(select(column.key, column.data, column.version).where(self._among(number)))

    def _lock(self, number: int) -> Statement:
        """The rows of these keys, in their order, so that no two transactions wait for each other."""
        column = self._sessions.c
        rows = select(column.key, column.data, column.version).where(self._among(number)).order_by(column.key)
        return self.in_words(self._locking(rows))

    def _delete_dead(self, number: int) -> Statement:
        now = bindparam("b_now", type_=BigInteger)
        return self.in_words(
            delete(self._sessions).where(self._among(number), self._sessions.c.expires <= now)
        )

    def _among(self, number: int) -> ColumnElement[bool]:
        key = self._sessions.c.key
        if self.is_postgresql:  # one statement for any number of keys
            return key == any_(bindparam("b_keys", type_=postgresql.ARRAY(postgresql.BYTEA())))
        return key.in_([self._value(f"key{one}") for one in range(number)])

    def _locking(self, rows: Any, *, skip: bool = False) -> Any:
        if not self._locks:
            return rows
        return rows.with_for_update(skip_locked=skip and self._skips)

    def _creating(self, row: Mapping[Any, Any]) -> Any:
        # MySQL's own ways to pass over a row that is there also pass over other faults, or don't tell of it.
        if self.is_mysql:
            return insert(self._sessions).values(row)
        dialect: Any = postgresql if self.is_postgresql else sqlite
        return dialect.insert(self._sessions).values(row).on_conflict_do_nothing(index_elements=["key"])

    def in_words(self, clause: Any) -> Statement:
        """A statement in the words of this database."""
        return Statement(clause, self._dialect, hexed=self._hexed)

    def _value(self, name: str) -> Any:
        value = bindparam(f"b_{name}", type_=LargeBinary())
        return func.unhex(value) if self._hexed else value


def _number(name: str) -> Any:
    return bindparam(f"b_{name}", type_=BigInteger())


def _skips_locked(dialect: Any) -> bool:
    version = tuple(part for part in dialect.server_version_info or () if isinstance(part, int))
    return version >= (_SKIPS_SINCE_MARIADB if dialect.is_mariadb else _SKIPS_SINCE_MYSQL)
