"""Making the tables, where somebody asks for it."""

from __future__ import annotations

from coatcheck.errors import StoreError
from coatcheck.stores._sql_calls import Desk
from coatcheck.stores._sql_errors import Kind, kind_of
from coatcheck.stores._sql_table import making
from coatcheck.stores._sql_wire import Wire
from coatcheck.stores._sql_work import HalfMade, check_format

__all__ = ["create_tables"]


def create_tables(wire: Wire, desk: Desk) -> None:
    """Make the tables, unless they are there. Never alters one.

    Raises:
        StoreError: They are of another format.
    """
    if _are_there(wire, desk):
        return
    # One transaction, but for MySQL, where each of them is one.
    wire.begin()
    for statement in making(desk.tables):
        try:
            wire.run(wire.say.in_words(statement).text)
        except Exception as error:
            # Another is making them, or was interrupted.
            if not wire.say.is_mysql or kind_of(error, desk.driver) is not Kind.EXISTS:
                raise
    wire.commit()


def _are_there(wire: Wire, desk: Desk) -> bool:
    try:
        check_format(wire, desk.prefix)
    except HalfMade:
        if wire.say.is_mysql:  # another is making them, or was interrupted: what is missing is made
            return False
        raise
    except StoreError:
        raise
    except Exception as error:
        if kind_of(error, desk.driver) is Kind.NO_TABLE:
            return False
        raise
    return True
