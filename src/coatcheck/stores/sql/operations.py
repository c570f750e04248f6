"""What each method of the store does on a connection. Sync and async run the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coatcheck.errors import StoreError, StoreUnavailable, copy_of
from coatcheck.model.ports import Conflict, Entry, Found
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Failed, Kind, failure
from coatcheck.stores.sql.statements import Change
from coatcheck.stores.sql.table import FORMAT, Tables, making

__all__ = ["CREATING", "Changes", "check_format", "count", "create_tables", "load", "sessions_of", "sweep"]

_AT_A_TIME = 500  # keys in one statement
CREATING = 30.0
"""How long it may take (seconds)."""
_IN_THE_WAY = {Kind.BUSY, Kind.EXISTS}  # the row that lies there tells its caller how to go on


class HalfMade(StoreUnavailable):
    """The tables are there, but nothing says that they are complete."""


def check_format(connection: Connection, prefix: str) -> None:
    """Return if the tables are of the format that this release writes.

    Raises:
        HalfMade: They are being made, or their making was interrupted.
        StoreUnavailable: They are of another format.
    """
    formats = [row[0] for row in connection.rows(connection.say.format, {})]
    if not formats:
        raise HalfMade(
            f"the tables of prefix {prefix!r} are not complete: run `coatcheck db create --store URL` once more",
            ambiguous=False,
        )
    if formats != [FORMAT]:
        raise StoreUnavailable(
            f"the tables of prefix {prefix!r} are of a format that this release can't read ({formats}, not"
            f" [{FORMAT}]); run the release that made them, or use another prefix",
            ambiguous=False,
        )


def create_tables(connection: Connection, tables: Tables, prefix: str) -> None:
    """Make the tables, unless they are there. Never alters one.

    Raises:
        StoreError: They are of another format.
    """
    try:
        check_format(connection, prefix)
    except HalfMade:
        if not connection.say.is_mysql:  # there, the missing ones are made
            raise
    except Failed as met:
        if met.kind is not Kind.NO_TABLE:
            raise
    else:
        return
    # One transaction, but for MySQL, where each statement is one.
    connection.begin()
    for statement in making(tables):
        try:
            connection.run(connection.say.compiled(statement).text)
        except Failed as met:
            # Another process is making them, or its making was interrupted.
            if met.kind is not Kind.EXISTS:
                raise
            if not connection.say.is_mysql:
                connection.roll_back()
                check_format(connection, prefix)
                return
    connection.commit()


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
    """Remove at most `limit` rows that have expired; the statement that finds them locks them, and skips locked ones."""
    if limit <= 0:
        return 0
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


class Changes:
    """Writes and removals of distinct keys, each made or refused by itself. Called on a connection, it makes them.

    Attributes:
        answers: The answer to each, by its number.
    """

    def __init__(self, changes: Sequence[Change], where: str) -> None:
        """Prepare them; `where` is the database, for messages."""
        self.answers: dict[int, Any] = {}
        self._changes = changes
        self._where = where
        self._missed: list[int] = []  # refused since the row is not as expected; it is still to be read
        self._sending: Sequence[int] = ()  # sent last

    def __call__(self, connection: Connection) -> None:
        """Make those that have no answer yet."""
        if len(self._changes) > 1:
            if connection.say.several:
                self._at_once(connection)
            else:
                self._in_transaction(connection)
        for number in self._open():
            self._sending = (number,)
            self._settle(number, self._change(connection, number))
        self._sending = ()
        if self._missed:
            found = load(connection, [self._key(number) for number in self._missed])
            self.answers.update(zip(self._missed, map(Conflict, found), strict=True))

    def answered(self, error: StoreError | None = None) -> list[Any]:
        """The answers in order; those that are missing since the call failed are `error`."""
        for number in range(len(self._changes)):
            if error is not None and number not in self.answers:
                copy = self.answers[number] = copy_of(error)
                if isinstance(copy, StoreUnavailable):
                    copy.ambiguous = copy.ambiguous and number in self._sending
        return [self.answers[number] for number in range(len(self._changes))]

    def _key(self, number: int) -> bytes:
        key = self._changes[number][1]["b_key"]
        assert isinstance(key, bytes)
        return key

    def _open(self) -> list[int]:
        """Those that were neither made nor refused, in the order of their keys: so rows are locked."""
        numbers = [
            number
            for number in range(len(self._changes))
            if number not in self.answers and number not in self._missed
        ]
        return sorted(numbers, key=self._key)

    def _change(self, connection: Connection, number: int) -> bool | Failed:
        """Whether a row was changed; or how the server refused it.

        Raises:
            Failed: It may have been changed, or nothing can be done on this connection.
        """
        kind, values = self._changes[number]
        try:
            return connection.change(connection.say.single[kind], values) == 1
        except Failed as met:
            if met.kind is Kind.NO_TABLE or not met.definite:
                raise
            return met

    def _settle(self, number: int, outcome: bool | Failed) -> None:
        """Take in what became of one."""
        writes = self._changes[number][0] != "remove"
        if writes and (outcome is False or (isinstance(outcome, Failed) and outcome.kind in _IN_THE_WAY)):
            self._missed.append(number)
        elif isinstance(outcome, Failed):
            self.answers[number] = failure(outcome, self._where)
        else:
            self.answers[number] = None if writes else outcome

    def _at_once(self, connection: Connection) -> None:
        """One statement for all of a kind. Where the server refuses it, each is tried by itself."""
        for kind, statement in connection.say.several.items():
            numbers = [number for number in self._open() if self._changes[number][0] == kind]
            if not numbers:
                continue
            self._sending = numbers
            rows = [self._changes[number][1] for number in numbers]
            try:
                keys = connection.change_several(
                    statement, {name: [row[name] for row in rows] for name in rows[0]}
                )
            except Failed as met:
                if not met.definite:
                    raise
            else:
                for number in numbers:
                    self._settle(number, self._key(number) in keys)

    def _in_transaction(self, connection: Connection) -> None:
        """One transaction for all, so that the server writes its log once. Where it fails, each is tried by itself."""
        numbers = self._open()
        try:
            connection.begin()
            outcomes = [self._change(connection, number) for number in numbers]
            if any(isinstance(outcome, Failed) for outcome in outcomes):
                connection.roll_back()
                return
            self._sending = numbers
            connection.commit()
        except Failed as met:
            if not met.definite:
                raise
            connection.roll_back()
        else:
            for number, outcome in zip(numbers, outcomes, strict=True):
                self._settle(number, outcome)


def _found(data: Any, revision: Any) -> Found:
    return Found(bytes(data), bytes(revision))


def _parts(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + _AT_A_TIME] for start in range(0, len(keys), _AT_A_TIME)]
