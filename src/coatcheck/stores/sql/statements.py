"""The statements of the store, put into the words of a database once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from coatcheck.model.ports import Write, revision_of
from coatcheck.stores.sql.table import Tables

__all__ = ["Change", "Statement", "Statements", "change_of"]

Change: TypeAlias = tuple[str, Mapping[str, object]]
"""The name of the statement that changes a row, and its values."""
_SKIPS_SINCE_MARIADB, _SKIPS_SINCE_MYSQL = (10, 6), (8, 0, 1)


class Statement:
    """One statement. Its values go by names that begin with ``b_``."""

    __slots__ = ("_fixed", "_hexed", "_order", "text")

    def __init__(self, clause: Any, dialect: sa.Dialect, *, hexed: bool = False) -> None:
        self._hexed = hexed
        compiled = clause.compile(dialect=dialect)
        self.text: str = compiled.string
        self._order: Sequence[str] | None = getattr(compiled, "positiontup", None)
        # SQLAlchemy's own, such as an OFFSET of 0.
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
    """All statements of the store, for one kind of database.

    Attributes:
        single: The statements that change a row: create, update, remove.
        several: The same for several rows, of which they return the keys; where the database takes arrays as values.
        sweep: Removes what has expired, where one statement can.
        begins: Begins a transaction.
    """

    def __init__(self, made: Tables, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        sessions, columns = made.sessions, made.sessions.c
        self._sessions = sessions
        self.has_arrays: bool = dialect.name == "postgresql"
        self.is_mysql: bool = dialect.name in {"mysql", "mariadb"}
        self.begins: str = "BEGIN IMMEDIATE" if dialect.name == "sqlite" else "BEGIN"
        # aiomysql takes no bytes beside a PyMySQL of 1.2: it writes them by a function that is no longer there.
        self._hexed = dialect.driver == "aiomysql"
        self._locks = dialect.name != "sqlite"
        self._skips = self.has_arrays or (self.is_mysql and _skips_locked(dialect))
        key, now = self._bytes("key"), _number("now")
        self.format: Statement = self.compiled(sa.select(made.meta.c.format))
        self.read: Statement = self.compiled(
            sa.select(columns.data, columns.revision).where(columns.key == key)
        )
        row: dict[str, Any] = {
            **{name: self._bytes(name) for name in ("data", "revision", "user_id")},
            **{name: _number(name) for name in ("signed_in", "until", "expires", "live")},
        }
        written = (columns.key == key, columns.revision == self._bytes("expected"))
        self.single: Mapping[str, Statement] = {
            "create": self.compiled(self._creating().values({"key": key, **row})),
            "update": self.compiled(sa.update(sessions).values(row).where(*written)),
            "remove": self.compiled(sa.delete(sessions).where(columns.key == key)),
        }
        self.several: Mapping[str, Statement] = {}
        self.entries: Statement = self.compiled(self._entries())
        earlier = columns.signed_in < _number("signed_in")
        self.entries_after: Statement = self.compiled(
            # The first condition says nothing new, but the index can be entered by it.
            self._entries().where(
                columns.signed_in <= _number("signed_in"), sa.or_(earlier, columns.key > key)
            )
        )
        self.count: Statement = self.compiled(
            sa.select(sa.func.count())
            .select_from(sessions)
            .where(columns.expires > now, columns.live == sa.literal_column("1"))
        )
        dead = (
            sa.select(columns.key)
            .where(columns.expires <= now)
            .order_by(columns.expires)
            .limit(_number("limit"))
        )
        self.dead: Statement = self.compiled(self._locking(dead))
        self.sweep: Statement | None = None
        if self.has_arrays:
            # As an array, since a subquery that locks may be run again for each row that it is compared with.
            keys = sa.func.array(self._locking(dead).scalar_subquery(), type_=sa.ARRAY(sa.LargeBinary()))
            self.sweep = self.compiled(sa.delete(sessions).where(columns.key == sa.any_(keys)))
            given = _unnested("key", *row, "expected").c
            rows = sa.select(*[given[name] for name in ("key", *row)])
            written = (columns.key == given.key, columns.revision == given.expected)
            update_several = sa.update(sessions).values({name: given[name] for name in row}).where(*written)
            self.several = {
                "create": self.compiled(
                    self._creating().from_select(["key", *row], rows).returning(columns.key)
                ),
                "update": self.compiled(update_several.returning(columns.key)),
                "remove": self.compiled(sa.delete(sessions).where(self._among(0)).returning(columns.key)),
            }
        self.read_several: Callable[[int], Statement] = cache(self._read_several)
        self.delete_several: Callable[[int], Statement] = cache(self._delete_several)

    def compiled(self, clause: Any) -> Statement:
        """A statement in the words of this database."""
        return Statement(clause, self._dialect, hexed=self._hexed)

    def keys(self, keys: Sequence[bytes]) -> dict[str, object]:
        """The values of a statement for so many keys."""
        if self.has_arrays:
            return {"b_key": list(keys)}
        return {f"b_key{number}": key for number, key in enumerate(keys)}

    def _read_several(self, number: int) -> Statement:
        columns = self._sessions.c
        return self.compiled(
            sa.select(columns.key, columns.data, columns.revision).where(self._among(number))
        )

    def _delete_several(self, number: int) -> Statement:
        return self.compiled(sa.delete(self._sessions).where(self._among(number)))

    def _among(self, number: int) -> ColumnElement[bool]:
        key = self._sessions.c.key
        if self.has_arrays:  # one statement for any number of keys
            return key == sa.any_(_array("key"))
        return key.in_([self._bytes(f"key{one}") for one in range(number)])

    def _entries(self) -> Any:
        columns = self._sessions.c
        return (
            sa.select(columns.key, columns.signed_in, columns.until)
            .where(columns.user_id == self._bytes("user_id"), columns.until > _number("now"))
            .order_by(columns.signed_in.desc(), columns.key)
            .limit(_number("limit"))
        )

    def _locking(self, rows: Any) -> Any:
        return rows.with_for_update(skip_locked=self._skips) if self._locks else rows

    def _creating(self) -> Any:
        dialect: Any = {"postgresql": postgresql, "sqlite": sqlite}.get(self._dialect.name)
        if dialect is None:
            # MySQL's own ways to pass over a row that is there also pass over other faults, or don't tell of it.
            return sa.insert(self._sessions)
        return dialect.insert(self._sessions).on_conflict_do_nothing(index_elements=["key"])

    def _bytes(self, name: str) -> Any:
        value = sa.bindparam(f"b_{name}", type_=sa.LargeBinary())
        return sa.func.unhex(value) if self._hexed else value


_NUMBERS = frozenset({"signed_in", "until", "expires", "live"})


def change_of(write: Write) -> Change:
    """A write as a change."""
    entry = write.entry
    return "create" if write.expected is None else "update", {
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


def _number(name: str) -> Any:
    return sa.bindparam(f"b_{name}", type_=sa.BigInteger())


def _array(name: str) -> Any:
    return sa.bindparam(
        f"b_{name}", type_=postgresql.ARRAY(sa.BigInteger() if name in _NUMBERS else postgresql.BYTEA())
    )


def _unnested(*names: str) -> Any:
    """PostgreSQL's rows of several arrays."""
    columns: list[Any] = [
        sa.column(name, sa.BigInteger() if name in _NUMBERS else sa.LargeBinary()) for name in names
    ]
    return sa.func.unnest(*map(_array, names)).table_valued(*columns, name="given").render_derived()


def _skips_locked(dialect: Any) -> bool:
    version = tuple(part for part in dialect.server_version_info or () if isinstance(part, int))
    return version >= (_SKIPS_SINCE_MARIADB if dialect.is_mariadb else _SKIPS_SINCE_MYSQL)
