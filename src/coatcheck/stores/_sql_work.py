"""What each method of the store does on a connection. Both colours run it: only the waiting differs.

A change is written on the condition that the row has the version that was read, and gives it another, random one. So
a writer whose connection broke can find out whether he wrote: he says it again, and then looks whose version is there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.model.ports import Found, Life, Unreadable
from coatcheck.model.record import (
    APPLIED,
    Applied,
    Change,
    Create,
    Record,
    RecordError,
    Refused,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)
from coatcheck.stores._sql_errors import Kind, kind_of
from coatcheck.stores._sql_recent import Recent, Row
from coatcheck.stores._sql_statements import Statement
from coatcheck.stores._sql_table import FORMAT
from coatcheck.stores._sql_wire import Wire

__all__ = ["HalfMade", "Writing", "check_format", "count", "lives_of", "load", "ping", "sweep"]

_AT_A_TIME = 500  # keys in one statement
_MISSES = 2
_random = random.SystemRandom()


class HalfMade(StoreError):
    """The tables are there, but nobody has said that they are complete."""


def check_format(wire: Wire, prefix: str) -> None:
    """Return if the tables are of the format that this release writes.

    Raises:
        HalfMade: They are being made, or their making was interrupted.
        StoreError: They are of another.
    """
    formats = [row[0] for row in wire.rows(wire.say.format, {})]
    if not formats:
        raise HalfMade(
            f"the tables of prefix {prefix!r} are not complete: run `coatcheck db create --store URL` once more"
        )
    if formats != [FORMAT]:
        raise StoreError(
            f"the tables of prefix {prefix!r} are of a format that this release can't read ({formats}, not"
            f" [{FORMAT}]); run the release that made them, or use another prefix"
        )


def load(wire: Wire, keys: Sequence[bytes], recent: Recent) -> list[Found]:
    """What lies under each key."""
    return [_found(key, row) for key, row in zip(keys, _rows(wire, keys, recent), strict=True)]


def _rows(wire: Wire, keys: Sequence[bytes], recent: Recent) -> list[Row | None]:
    if len(keys) == 1:
        return [_row(wire, keys[0], recent)]
    under: dict[bytes, Row] = {}
    for start in range(0, len(keys), _AT_A_TIME):
        some = keys[start : start + _AT_A_TIME]
        for key, data, version in wire.rows(wire.say.read_several(len(some)), wire.say.keys(some)):
            row = under[bytes(key)] = bytes(data), version
            recent.keep(bytes(key), row)
    return [under.get(key) for key in keys]


def _row(wire: Wire, key: bytes, recent: Recent) -> Row | None:
    rows = wire.rows(wire.say.read, {"b_key": key})
    if not rows:
        return None
    row = bytes(rows[0][0]), int(rows[0][1])
    recent.keep(key, row)
    return row


def _found(key: bytes, row: Row | None) -> Found:
    if row is None:
        return None
    try:
        return decode(key, row[0])
    except RecordError as error:
        return Unreadable(str(error))


def lives_of(wire: Wire, user: str, now: int) -> list[Life]:
    """The user's live sessions, the newest sign-in first."""
    rows = wire.rows(wire.say.lives, {"b_user": user.encode(), "b_now": now})
    return [Life(bytes(key), signed_in) for key, signed_in in rows]


def count(wire: Wire, now: int) -> int:
    """How many live records there are."""
    return int(wire.rows(wire.say.count, {"b_now": now})[0][0])


def sweep(wire: Wire, now: int, limit: int) -> int:
    """Remove at most `limit` rows that have expired; those that another is sweeping are left to him."""
    if limit <= 0:
        return 0
    values = {"b_now": now, "b_limit": limit}
    if wire.say.sweep is not None:
        return wire.changed(wire.say.sweep, values)
    wire.begin()
    keys = [bytes(row[0]) for row in wire.rows(wire.say.dead, values)]
    swept = 0
    for start in range(0, len(keys), _AT_A_TIME):
        some = keys[start : start + _AT_A_TIME]
        swept += wire.changed(wire.say.delete_dead(len(some)), {**wire.say.keys(some), "b_now": now})
    wire.commit()
    return swept


def ping(wire: Wire, prefix: str) -> None:
    """Return if the tables can be read."""
    check_format(wire, prefix)


class _Doubt(NamedTuple):
    """What was sent, and not answered: from which versions to which (None: no row), and what it would have come to."""

    versions: Mapping[bytes, tuple[int | None, int]]
    answers: list[Applied | Refused]
    statement: Statement | None = None
    values: Mapping[str, object] | None = None


class Writing:
    """Applying changes, on as many connections as it takes: what it sent before, it knows."""

    def __init__(self, changes: Sequence[Change], recent: Recent, driver: object) -> None:
        self._changes = changes
        self._recent = recent
        self._driver = driver
        self._doubt: _Doubt | None = None
        self._misses = 0
        self._creates_singly = False

    @property
    def in_doubt(self) -> bool:
        """Whether something was sent of which it is not known what became of it."""
        return self._doubt is not None

    def was_refused(self) -> None:
        """What was sent last did nothing: the server said so."""
        self._doubt = None

    def __call__(self, wire: Wire) -> list[Applied | Refused]:
        """Apply them all; on another connection, go on where the last one broke."""
        if len(self._changes) != 1:
            return self._together(wire) if self._changes else []
        change = self._changes[0]
        if self._doubt is not None and self._doubt.statement is not None:
            answers = self._say_again(wire, self._doubt, change.key)
            if answers is not None:
                return answers
        if isinstance(change, Create):
            return [self._create(wire, change.record)]
        while self._misses < _MISSES:
            answer = self._change(wire, change)
            if answer is not None:
                return [answer]
            self._misses += 1
        return self._together(wire)

    def _create(self, wire: Wire, record: Record) -> Applied | Refused:
        version = _new_version()
        row = _everything(record, version)
        self._doubt = _Doubt({record.key: (None, version)}, [APPLIED], wire.say.create, row)
        made = self._insert(wire, row)
        self._doubt = None
        if not made:
            return Refused.EXISTS
        self._recent.keep(record.key, (_data(row), version))
        return APPLIED

    def _insert_all(self, wire: Wire, rows: Sequence[Mapping[str, object]]) -> bool:
        return self._insert(wire, rows[0]) if len(rows) == 1 else self._insert(wire, rows)

    def _insert(self, wire: Wire, row: Mapping[str, object] | Sequence[Mapping[str, object]]) -> bool:
        try:
            if isinstance(row, Mapping):
                return wire.changed(wire.say.create, row) == 1
            return wire.change_each(wire.say.create, row) == len(row)
        except Exception as error:
            # MySQL has no way to pass over a row that is there, and over nothing else.
            if kind_of(error, self._driver) is Kind.EXISTS:
                return False
            raise

    def _change(self, wire: Wire, change: Change) -> Applied | Refused | None:
        """Apply a change to the row as it was read, if it is still so; None: it was not."""
        row = self._recent.take(change.key) if self._misses == 0 else None
        is_remembered = row is not None
        if row is None:
            row = _row(wire, change.key, self._recent)
        settled = settle(None if row is None else row[0], change)
        if settled.state is None:
            # Only what lies there now may refuse.
            return None if is_remembered else settled.answer
        assert row is not None
        version = _new_version()
        statement, values = _update(wire, settled.state, change, row[1], version)
        answers = [settled.answer]
        self._doubt = _Doubt({change.key: (row[1], version)}, answers, statement, values)
        written = wire.changed(statement, values) == 1
        self._doubt = None
        if not written:
            return None
        self._recent.keep(change.key, (_data(values), version))
        return settled.answer

    def _say_again(self, wire: Wire, doubt: _Doubt, key: bytes) -> list[Applied | Refused] | None:
        """Send what was not answered once more: it does nothing if it was done. None: it was not, and can't be."""
        assert doubt.statement is not None
        assert doubt.values is not None
        if doubt.statement is wire.say.create:
            written = self._insert(wire, doubt.values)
        else:
            written = wire.changed(doubt.statement, doubt.values) == 1
        if not written:
            self._look_whose(doubt, {key: _row(wire, key, self._recent)})
        self._doubt = None
        return doubt.answers

    def _look_whose(self, doubt: _Doubt, rows: Mapping[bytes, Row | None]) -> bool:
        """Whether what was in doubt was done (True) or not (False).

        Raises:
            StoreTimeout: Others have written since, so that nobody can say.
        """
        there = {key: row and row[1] for key, row in rows.items()}
        if any(there[key] == new for key, (_, new) in doubt.versions.items()):
            return True
        if doubt.statement is None and all(there[key] == old for key, (old, _) in doubt.versions.items()):
            return False
        raise StoreTimeout("the connection broke, and whether it wrote is not known", ambiguous=True)

    def _together(self, wire: Wire) -> list[Applied | Refused]:
        """All changes in one transaction, in the order of their keys, on rows that nobody else changes meanwhile."""
        say, changes = wire.say, self._changes
        keys = sorted({change.key for change in changes})
        wire.begin()
        rows: dict[bytes, Row | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), _AT_A_TIME):
            some = keys[start : start + _AT_A_TIME]
            for key, data, version in wire.rows(say.lock(len(some)), say.keys(some)):
                rows[bytes(key)] = bytes(data), version
        if self._doubt is not None:
            doubt = self._doubt
            done = self._look_whose(doubt, rows)
            self._doubt = None
            if done:
                wire.roll_back()
                return doubt.answers
        found = {key: row and row[1] for key, row in rows.items()}
        answers: dict[int, Applied | Refused] = {}
        creates: list[Mapping[str, object]] = []
        updates: dict[bytes, tuple[Statement, Mapping[str, object]]] = {}
        for number in sorted(range(len(changes)), key=lambda number: changes[number].key):
            change = changes[number]
            row = rows[change.key]
            settled = settle(None if row is None else row[0], change)
            answers[number] = settled.answer
            if settled.state is None:
                continue
            if isinstance(change, Create):
                version = _new_version()
                values: Mapping[str, object] = _everything(change.record, version)
                if not self._creates_singly:
                    creates.append(values)
                elif not self._insert(wire, values):
                    answers[number] = Refused.EXISTS
                    continue
            else:
                assert row is not None
                earlier = updates.get(change.key)
                version = row[1] if earlier else _new_version()
                old = earlier[1]["b_old"] if earlier else row[1]
                statement, values = _update(wire, settled.state, change, old, version)
                if earlier and earlier[0] is say.replace:  # it signed in, or ended
                    statement = say.replace
                updates[change.key] = statement, values
            rows[change.key] = _data(values), version
        if creates and not self._insert_all(wire, creates):
            # Never seen: another made a row under one of these keys a moment ago. Which one?
            wire.roll_back()
            self._creates_singly = True
            return self._together(wire)
        for statement in (say.update, say.replace):
            some_values = [values for one, values in updates.values() if one is statement]
            if len(some_values) == 1:
                wire.changed(statement, some_values[0])
            elif some_values:
                wire.change_each(statement, some_values)
        told = [answers[number] for number in range(len(changes))]
        versions = {
            key: (found[key], row[1]) for key, row in rows.items() if row is not None and row[1] != found[key]
        }
        if versions:
            self._doubt = _Doubt(versions, told)
            wire.commit()
            self._doubt = None
        else:
            wire.roll_back()
        for key in versions:
            row = rows[key]
            if row is not None:
                self._recent.keep(key, row)
        return told


def _new_version() -> int:
    return _random.getrandbits(63)


def _data(values: Mapping[str, object]) -> bytes:
    data = values["b_data"]
    assert isinstance(data, bytes)
    return data


def _update(
    wire: Wire, state: Record | Tombstone, change: Change, old: object, version: int
) -> tuple[Statement, Mapping[str, object]]:
    values = {**_everything(state, version), "b_old": old}
    is_plain = isinstance(state, Record) and isinstance(change, Update) and change.sign_in is None
    return (wire.say.update if is_plain else wire.say.replace), values


def _everything(state: Record | Tombstone, version: int) -> dict[str, object]:
    user = state.user if isinstance(state, Record) else None
    return {
        "b_key": state.key,
        "b_data": encode(state),
        "b_user": None if user is None else user.encode(),
        "b_signed_in": state.signed_in if isinstance(state, Record) and user is not None else None,
        "b_expires": state.expires,
        "b_version": version,
        "b_live": int(isinstance(state, Record)),
    }
