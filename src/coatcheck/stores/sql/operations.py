"""Reading, sweeping and making the tables, on a connection. Sync and async run the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coatcheck.errors import StoreUnavailable
from coatcheck.model.ports import Entry, Found
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Failed, Kind
from coatcheck.stores.sql.table import FORMAT, Tables, making

__all__ = ["check_format", "count", "create_tables", "load", "ping", "sessions_of", "sweep"]

_AT_A_TIME = 500  # keys in one statement
_MOST_DEADLOCKS = 3


def check_format(connection: Connection, prefix: str) -> None:
    """Return if the tables are of the format that this release writes.

    Raises:
        StoreUnavailable: They are of another format, or not complete.
    """
    if not _are_complete(connection, prefix):
        raise StoreUnavailable(
            f"the tables of prefix {prefix!r} are not complete: run `coatcheck db create --store URL` once more",
            ambiguous=False,
        )


def ping(connection: Connection, prefix: str) -> int | None:
    """The server's clock (ms since 1970), where there is a server.

    Raises:
        StoreUnavailable: See `check_format`.
    """
    check_format(connection, prefix)
    clock = connection.say.clock
    return None if clock is None else int(connection.rows(clock, {})[0][0])


def create_tables(connection: Connection, tables: Tables, prefix: str) -> None:
    """Make the tables, or what an interrupted call has left to make. Never alters one.

    Raises:
        StoreError: They are of another format.
    """
    *parts, complete = making(tables)
    try:
        if _are_complete(connection, prefix):
            return
    except Failed as met:
        if met.kind is not Kind.NO_TABLE:
            raise
    for part in parts:
        _make(connection, part)
    # Another process may be making them, too, and of another release.
    if not _are_complete(connection, prefix):
        _make(connection, complete)


def _are_complete(connection: Connection, prefix: str) -> bool:
    rows = connection.rows(connection.say.format, {})
    formats = [row[0] for row in rows]
    connection.database.packet = rows[0][1] if rows else None
    if formats not in ([], [FORMAT]):
        raise StoreUnavailable(
            f"the tables of prefix {prefix!r} are of a format that this release can't read ({formats}, not"
            f" [{FORMAT}]); run the release that made them, or use another prefix",
            ambiguous=False,
        )
    return bool(formats)


def _make(connection: Connection, part: Any) -> None:
    try:
        connection.run(connection.say.compiled(part).text)
    except Failed as met:
        if met.kind is not Kind.EXISTS:
            raise


def load(connection: Connection, keys: Sequence[bytes]) -> list[Found | None]:
    """The data under each key."""
    if len(keys) == 1:
        rows = connection.rows(connection.say.read, {"b_key": keys[0]})
        return [_found(*rows[0]) if rows else None]
    found: dict[bytes, Found] = {}
    for some in _parts(keys):
        rows = connection.rows(connection.say.read_several(len(some)), connection.say.keys(some))
        found |= {bytes(key): _found(data, revision) for key, data, revision in rows}
    return [found.get(key) for key in keys]


def sessions_of(connection: Connection, user: str, now: int, limit: int, after: Entry | None) -> list[Entry]:
    """The user's entries, the newest sign-in first."""
    values: dict[str, object] = {"b_user_id": user.encode(), "b_now": now, "b_limit": limit}
    statement = connection.say.entries
    if after is not None:
        statement = connection.say.entries_after
        values |= {"b_signed_in": after.signed_in, "b_key": after.key}
    rows = connection.rows(statement, values)
    return [Entry(user, bytes(key), signed_in, until) for key, signed_in, until in rows]


def count(connection: Connection, now: int) -> int:
    """How many live records there are."""
    return int(connection.rows(connection.say.count, {"b_now": now})[0][0])


def sweep(connection: Connection, now: int, limit: int) -> int:
    """Remove at most `limit` rows that have expired. Finding them locks them, and passes over locked ones."""
    if limit <= 0:
        return 0
    for _ in range(_MOST_DEADLOCKS):
        try:
            return _sweep(connection, now, limit)
        except Failed as met:
            if met.kind is not Kind.BUSY:
                raise
            # Of two in each other's way the server has rolled back this one. The other goes on.
            connection.roll_back()
    return _sweep(connection, now, limit)


def _sweep(connection: Connection, now: int, limit: int) -> int:
    say, values = connection.say, {"b_now": now, "b_limit": limit}
    if say.sweep is not None:
        return connection.change(say.sweep, values)
    connection.begin()
    keys = [bytes(row[0]) for row in connection.rows(say.dead, values)]
    swept = 0
    for some in _parts(keys):
        swept += connection.change(say.delete_several(len(some)), say.keys(some))
    connection.commit()
    return swept


def _found(data: Any, revision: Any) -> Found:
    return Found(bytes(data), bytes(revision))


def _parts(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + _AT_A_TIME] for start in range(0, len(keys), _AT_A_TIME)]
