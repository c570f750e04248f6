"""Making the tables, on request."""

from __future__ import annotations

from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Failed, Kind
from coatcheck.stores.sql.operations import HalfMade, check_format
from coatcheck.stores.sql.table import Tables, making

__all__ = ["CREATING", "create_tables"]

CREATING = 30.0
"""How long it may take (seconds)."""


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
