"""Writes and removals on a connection. Sync and async run the same code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from coatcheck.errors import StoreError, StoreUnavailable, TooLarge, copy_of
from coatcheck.model.ports import Conflict
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Failed, Kind, failure
from coatcheck.stores.sql.operations import load
from coatcheck.stores.sql.statements import Change

__all__ = ["Changes"]

_OVERHEAD = 4096  # bytes of a statement beside the data; the user's id takes up to 2,040
_IN_THE_WAY = {Kind.BUSY, Kind.EXISTS}  # the row that lies there tells its caller how to go on


class Changes:
    """Changes of distinct keys, each made or refused by itself. Called on a connection, it makes them."""

    def __init__(self, changes: Sequence[Change], where: str) -> None:
        """Prepare them; `where` is the database, for messages."""
        self._keys = [change.key for change in changes]
        self._where = where
        # Neither made nor refused. In the order of the keys, so that two batches that lock the same rows never wait for
        # each other in a circle.
        self._open = {change.key: change for change in sorted(changes, key=lambda change: change.key)}
        self._sending: Collection[bytes] = ()  # the keys of those that were sent last
        self._missed: list[bytes] = []  # the keys of writes to rows that are not as expected
        self._answers: dict[bytes, Any] = {}

    def __call__(self, connection: Connection) -> None:
        """Make those that are open. It can be called again after a failure."""
        if connection.database.packet is not None:
            self._refuse_above(connection.database.packet)
        if len(self._keys) > 1:
            if connection.say.several:
                self._at_once(connection)
            else:
                self._in_transaction(connection)
        for change in [*self._open.values()]:
            self._sending = (change.key,)
            self._settle(change, self._make(connection, change))
        self._sending = ()
        if self._missed:
            found = load(connection, self._missed)
            self._answers.update(zip(self._missed, map(Conflict, found), strict=True))

    def answered(self, error: StoreError | None = None) -> list[Any]:
        """The answers in order; those that are missing since the call failed are `error`."""
        for key in self._keys:
            if error is not None and key not in self._answers:
                copy = self._answers[key] = copy_of(error)
                if isinstance(copy, StoreUnavailable):
                    copy.ambiguous = copy.ambiguous and key in self._sending
        return [self._answers[key] for key in self._keys]

    def _refuse_above(self, packet: int) -> None:
        """Refuse what the server would: MySQL and MariaDB close the connection while it is sent, which looks like an outage.

        The data is counted twice, since the drivers send it escaped or as hexadecimal text.
        """
        limit = (packet - _OVERHEAD) // 2
        for change in [*self._open.values()]:
            size = len(change.values.get("b_data", b""))
            if size > limit:
                del self._open[change.key]
                self._answers[change.key] = TooLarge(
                    f"The record has {size} bytes, and {self._where} takes at most {limit}. Set its max_allowed_packet to"
                    " more than twice the setting max_bytes, or keep large things elsewhere and their ids in the session.",
                    size=size,
                    limit=limit,
                )

    def _make(self, connection: Connection, change: Change) -> bool | Failed:
        """Whether a row was changed; or how the server refused it.

        Raises:
            Failed: It may have been changed, or nothing can be done on this connection.
        """
        try:
            return connection.change(connection.say.single[change.kind], change.values) == 1
        except Failed as met:
            if met.kind is Kind.NO_TABLE or not met.definite:
                raise
            return met

    def _settle(self, change: Change, outcome: bool | Failed) -> None:
        """Note the outcome of a change."""
        del self._open[change.key]
        writes = change.kind != "remove"
        if writes and (outcome is False or (isinstance(outcome, Failed) and outcome.kind in _IN_THE_WAY)):
            self._missed.append(change.key)
        elif isinstance(outcome, Failed):
            self._answers[change.key] = failure(outcome, self._where)
        else:
            self._answers[change.key] = None if writes else outcome

    def _at_once(self, connection: Connection) -> None:
        """One statement for all of a kind. Where the server refuses it, they stay open."""
        for kind, statement in connection.say.several.items():
            some = [change for change in self._open.values() if change.kind == kind]
            if not some:
                continue
            self._sending = {change.key for change in some}
            values = {name: [change.values[name] for change in some] for name in some[0].values}
            try:
                changed = connection.change_several(statement, values)
            except Failed as met:
                if not met.definite:
                    raise
            else:
                for change in some:
                    self._settle(change, change.key in changed)

    def _in_transaction(self, connection: Connection) -> None:
        """One transaction for all, so that the server writes its log once. Where it fails, they stay open."""
        changes = [*self._open.values()]
        try:
            connection.begin()
            outcomes = [self._make(connection, change) for change in changes]
            if any(isinstance(outcome, Failed) for outcome in outcomes):
                connection.roll_back()
                return
            self._sending = [*self._open]
            connection.commit()
        except Failed as met:
            if not met.definite:
                raise
            connection.roll_back()
        else:
            for change, outcome in zip(changes, outcomes, strict=True):
                self._settle(change, outcome)
