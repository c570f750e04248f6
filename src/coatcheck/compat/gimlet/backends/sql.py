"""Records in a table, through SQLAlchemy: SQLite, PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    QueuePool,
    Table,
    case,
    create_engine,
    delete,
    insert,
    inspect,
    literal,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.sql.dml import Insert, Update

from coatcheck.compat.gimlet.backends.base import BaseBackend, Record, Renewal, Write, log
from coatcheck.errors import DecodeError, TooLarge

__all__ = ["SQLBackend"]

_DATA = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_NEVER = None
_DEADLOCK = 1213
_Row: TypeAlias = tuple[bytes, bytes, int | None]
_T = TypeVar("_T")


class SQLBackend(BaseBackend):
    """Stores each record in a row, under its bare id.

    A table that gimlet created is used unchanged. It has no column for the expiry, so its records never expire. A log
    message says how to add the column.
    """

    def __init__(
        self,
        url: str,
        table_name: str = "gimlet_channels",
        *,
        create: bool = True,
        side_by_side: bool = False,
        allow: Any = (),
        **engine_kwargs: Any,
    ) -> None:
        """Make a backend, and its table if it does not exist.

        Args:
            url: The database's URL for SQLAlchemy.
            table_name: The table's name.
            create: Whether a missing table is created.
            side_by_side: Write gimlet's format.
            allow: The classes that a pickle may contain besides plain types.
            **engine_kwargs: The arguments of SQLAlchemy's ``create_engine``.
        """
        super().__init__(side_by_side=side_by_side, allow=allow)
        address = make_url(url)
        is_sqlite = address.get_backend_name() == "sqlite"
        if is_sqlite and address.database in (None, "", ":memory:"):
            # An in-memory database belongs to its connection, so all threads must share one.
            engine_kwargs.setdefault("poolclass", QueuePool)
            engine_kwargs |= {"pool_size": 1, "max_overflow": 0}
            engine_kwargs["connect_args"] = {
                "check_same_thread": False,
                **engine_kwargs.get("connect_args", {}),
            }
        elif not is_sqlite:
            # Single statements need no BEGIN and COMMIT, which would cost round trips.
            engine_kwargs.setdefault("isolation_level", "AUTOCOMMIT")
            engine_kwargs.setdefault("pool_reset_on_return", None)
        self.engine: Engine = create_engine(address, **engine_kwargs)
        self._dialect: str = self.engine.dialect.name
        self.table: Table = Table(
            table_name,
            MetaData(),
            Column("id", Integer, primary_key=True),
            Column("key", CHAR(32), nullable=False, unique=True),
            Column("data", _DATA, nullable=False),
            Column("expires", BigInteger, nullable=True, index=True),
        )
        try:
            self._has_expiry: bool = self._prepare(create=create)
        except BaseException:
            self.engine.dispose()
            raise

    def _prepare(self, *, create: bool) -> bool:
        """Create a missing table. Returns whether the table has a column for the expiry."""
        table = self.table
        if create:
            # Several processes may start at once; all but one then fail to create the table.
            try:
                table.create(self.engine, checkfirst=True)
            except Exception:
                if not inspect(self.engine).has_table(table.name):
                    raise
        names = {column["name"] for column in inspect(self.engine).get_columns(table.name)}
        if "expires" not in names:
            log.warning(
                "The table %s was created by gimlet and has no column for the expiry: its records never expire. "
                "Add the column by ALTER TABLE %s ADD COLUMN expires BIGINT NULL.",
                table.name,
                table.name,
            )
        if not isinstance(self.engine.pool, QueuePool) or self.engine.pool.size() != 1:
            self.engine.dispose()  # a server that forks must not share the connection
        return "expires" in names

    def __getitem__(self, key: bytes) -> Any:
        return self._one(key, self._select([key]).get(key))

    def __setitem__(self, key: bytes, value: Any) -> None:
        row = (key, self.serialize(value), _NEVER)
        self._run(lambda connection: self._put(connection, [row]))

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """See `BaseBackend.read_many`. One SELECT."""
        rows = self._select(ids)
        return self._read((key, rows.get(key)) for key in ids)

    def _select(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        table = self.table
        wanted = select(table.c.key, table.c.data).where(self._is(ids))
        if self._has_expiry:
            wanted = wanted.where(or_(table.c.expires.is_(None), table.c.expires > int(time.time())))
        return {
            _id(row.key): row.data for row in self._run(lambda connection: connection.execute(wanted).all())
        }

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """See `BaseBackend.write_many`. One transaction, and a single statement where that is enough."""
        now = int(time.time())
        # Sorted by id, so that parallel requests lock rows in the same order and don't deadlock.
        rows: list[tuple[bytes, bytes, int | None, bool]] = [
            (write.id, self.serialize(write.data), now + write.seconds, write.there)
            for write in sorted(writes)
        ]
        old: list[_Row] = [row[:3] for row in rows if row[3]]
        new: list[_Row] = [row[:3] for row in rows if not row[3]]
        renewed = renewals if self._has_expiry else ()

        def write(connection: Connection) -> set[bytes]:
            ended = self._update(connection, old) if old else set[bytes]()
            if new:
                self._put(connection, new)
            if gone:
                connection.execute(delete(self.table).where(self._is(gone)))
            for renewal in renewed:
                ends = {"expires": now + renewal.seconds}
                connection.execute(update(self.table).where(self._is([renewal.id])).values(ends))
            return ended

        return self._run(write, several=bool(old) + bool(new) + bool(gone) + len(renewed) > 1)

    def _run(self, work: Callable[[Connection], _T], *, several: bool = False) -> _T:
        """Run `work` on a connection of the pool. It is retried once after a closed connection or a deadlock."""
        options = {"isolation_level": "READ COMMITTED"} if several and self._dialect != "sqlite" else {}

        def run() -> _T:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                return work(connection)

        try:
            return run()
        except DBAPIError as error:
            if not (error.connection_invalidated or _is_deadlock(error)):
                raise
        return run()

    def sweep(self) -> int:
        """Remove expired records. Returns their number. Requests don't do this, so run it from a periodic job."""
        if not self._has_expiry:
            return 0
        expired = delete(self.table).where(self.table.c.expires <= int(time.time()))
        return self._run(lambda connection: connection.execute(expired).rowcount)

    def _update(self, connection: Connection, rows: list[_Row]) -> set[bytes]:
        """Write rows that must still exist. Returns the ids of those that don't."""
        these = self._is([key for key, _, _ in rows])
        values: dict[str, Any] = {
            "data": case(*((self._is([key]), literal(raw, _DATA)) for key, raw, _ in rows))
        }
        if self._has_expiry:
            values["expires"] = case(*((self._is([key]), ends) for key, _, ends in rows))
        changed = self._sized(connection, update(self.table).where(these).values(values), rows)
        if changed == len(rows):
            return set()
        there = {_id(row.key) for row in connection.execute(select(self.table.c.key).where(these))}
        return {key for key, _, _ in rows} - there

    def _put(self, connection: Connection, rows: list[_Row]) -> None:
        """Insert rows, or replace existing ones."""
        if self._dialect == "sqlite":
            # gimlet on Python 3 wrote the key as a blob, with which a text key does not conflict.
            connection.execute(delete(self.table).where(self._is([key for key, _, _ in rows])))
        values = [
            {
                "key": self._key(key),
                "data": literal(raw, _DATA),
                **({"expires": ends} if self._has_expiry else {}),
            }
            for key, raw, ends in rows
        ]
        self._sized(connection, self._upsert(values), rows)

    def _upsert(self, values: list[dict[str, Any]]) -> Insert:
        changed = ["data", "expires"] if self._has_expiry else ["data"]
        if self._dialect in ("mysql", "mariadb"):
            into = mysql.insert(self.table).values(values)
            return into.on_duplicate_key_update({name: into.inserted[name] for name in changed})
        if self._dialect == "postgresql":
            onto = postgresql.insert(self.table).values(values)
            return onto.on_conflict_do_update(
                index_elements=["key"], set_={name: onto.excluded[name] for name in changed}
            )
        return insert(self.table).values(values)

    def _sized(self, connection: Connection, statement: Update | Insert, rows: list[_Row]) -> int:
        """Execute `statement`. Returns the number of rows that it changed."""
        try:
            return connection.execute(statement).rowcount
        except DataError as error:
            size = max(len(raw) for _, raw, _ in rows)
            raise TooLarge(
                f"The record has {size} bytes, more than the column accepts. The column of a table that gimlet created in "
                f"MySQL or MariaDB accepts 64 KiB: ALTER TABLE {self.table.name} MODIFY data LONGBLOB NOT NULL.",
                size=size,
                limit=0xFFFF,
            ) from error

    def _key(self, key: bytes) -> Any:
        # SQLite distinguishes blobs from text, and gimlet on Python 3 looks for a blob.
        if self._dialect == "sqlite" and self.side_by_side:
            return literal(key, LargeBinary)
        return key.decode("ascii")

    def _is(self, ids: Sequence[bytes]) -> Any:
        """The condition that selects the rows of `ids`, whether Python 2 or 3 wrote them."""
        column = self.table.c.key
        texts = column.in_([key.decode("ascii") for key in ids])
        if self._dialect != "sqlite":
            return texts
        return or_(texts, column.in_([literal(key, LargeBinary) for key in ids]))


def _id(key: str | bytes) -> bytes:
    # PostgreSQL pads CHAR(32) with blanks.
    return key.rstrip().encode("ascii") if isinstance(key, str) else bytes(key)


def _is_deadlock(error: DBAPIError) -> bool:
    return getattr(error.orig, "args", (None,))[:1] == (_DEADLOCK,)
