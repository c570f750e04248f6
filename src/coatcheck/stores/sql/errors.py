"""The meaning of a database's errors, and the `StoreError` that each becomes."""

from __future__ import annotations

import enum
from typing import Any

from sqlalchemy import exc

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable

__all__ = ["Failed", "Kind", "failed", "failure"]


class Kind(enum.Enum):
    """The meaning of a failure. The value stands in the message of the `StoreError`."""

    LOST = "the connection failed; is the server running, can it be reached, and does its TLS fit the URL?"
    BUSY = "another transaction was in the way"
    OVERDUE = "it took too long"
    LATE = "no time was left for it"
    NO_CONNECTION = "no connection of the pool came free"
    REFUSED = (
        "the server refused the connection; check user, password, database and the server's limit of connections; a "
        "pooler also refuses options in the URL"
    )
    READ_ONLY = "the database takes no writes"
    FULL = "the database has no room left"
    TOO_LARGE = "the statement or its answer is larger than the server's max_allowed_packet"
    NO_TABLE = "the tables are not there"
    EXISTS = "the key is taken"
    OTHER = "the database refused"


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES: dict[str, Kind] = {
    "40001": Kind.BUSY,  # serialization_failure
    "40P01": Kind.BUSY,  # deadlock_detected
    "55P03": Kind.BUSY,  # lock_not_available
    "57014": Kind.OVERDUE,  # query_canceled: by statement_timeout
    "25P03": Kind.LOST,  # idle_in_transaction_session_timeout
    "25006": Kind.READ_ONLY,  # read_only_sql_transaction
    "53100": Kind.FULL,  # disk_full
    "53300": Kind.REFUSED,  # too_many_connections
    "57P01": Kind.LOST,  # admin_shutdown
    "57P02": Kind.LOST,  # crash_shutdown
    "57P03": Kind.LOST,  # cannot_connect_now
    "57P05": Kind.LOST,  # idle_session_timeout
    "42P01": Kind.NO_TABLE,  # undefined_table
    "23505": Kind.EXISTS,  # unique_violation
    "42P07": Kind.EXISTS,  # duplicate_table
    "42710": Kind.EXISTS,  # duplicate_object
}
_CLASSES: dict[str, Kind] = {"08": Kind.LOST, "28": Kind.REFUSED, "3D": Kind.REFUSED, "58": Kind.LOST}
# https://mariadb.com/kb/en/mariadb-error-codes/ and MySQL's: the same where both have one.
_NUMBERS: dict[int, Kind] = {
    **dict.fromkeys((0, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031), Kind.LOST),
    **dict.fromkeys((2002, 2003, 2006, 2012, 2013, 2014, 2026, 2027, 2055), Kind.LOST),
    **dict.fromkeys((1205, 1213, 3572), Kind.BUSY),
    **dict.fromkeys((1317, 1969, 3024), Kind.OVERDUE),
    **dict.fromkeys((1040, 1044, 1045, 1049, 1129, 1130, 1203, 1698), Kind.REFUSED),
    **dict.fromkeys((1290, 1792, 1836, 3100), Kind.READ_ONLY),
    **dict.fromkeys((1021, 1114, 3), Kind.FULL),
    1146: Kind.NO_TABLE,
    1153: Kind.TOO_LARGE,
    **dict.fromkeys((1050, 1061, 1062), Kind.EXISTS),
}
# https://www.sqlite.org/rescode.html
_RESULTS: dict[int, Kind] = {
    5: Kind.BUSY,
    6: Kind.BUSY,
    8: Kind.READ_ONLY,
    13: Kind.FULL,
    14: Kind.REFUSED,
    19: Kind.EXISTS,
}
_TIMEOUTS = {Kind.OVERDUE, Kind.LATE, Kind.NO_CONNECTION, Kind.BUSY}
_WITHOUT_ANSWER = {Kind.LOST, Kind.LATE, Kind.NO_CONNECTION, Kind.REFUSED}


class Failed(Exception):
    """A statement failed, or a connection could not be had. The driver's own error is the ``__cause__``.

    Attributes:
        kind: The meaning.
        definite: Whether the server itself said so: then the statement did nothing.
        told: The driver's exception type, and the server's code for the error.
    """

    def __init__(self, kind: Kind, error: BaseException) -> None:
        super().__init__(kind)
        code = _code_of(error)
        self.kind = kind
        self.definite: bool = kind not in _WITHOUT_ANSWER and (kind is not Kind.OVERDUE or code is not None)
        self.told: str = f"{type(error).__name__}{'' if code is None else f' {code}'}"


def failed(error: BaseException, driver: Any) -> Failed | None:
    """The meaning of an error of `driver`, a DB-API module; None: the database has nothing to do with it."""
    kind = _kind_of(error, driver)
    return None if kind is None else Failed(kind, error)


def failure(met: Failed, where: str, *, ambiguous: bool = False) -> StoreError:
    """The error for the caller. It has none of the driver's own text, which may quote what was to be written.

    `ambiguous` says whether a change was sent; where the server itself refused it, there is no doubt.
    """
    ambiguous = ambiguous and not met.definite
    told = f"{where}: {met.kind.value} ({met.told})"
    error: StoreError
    if met.kind in _TIMEOUTS:
        error = StoreTimeout(told, ambiguous=ambiguous)
    elif met.kind in _WITHOUT_ANSWER:
        error = StoreUnavailable(told, ambiguous=ambiguous)
    else:
        error = {Kind.READ_ONLY: StoreReadOnly, Kind.FULL: StoreFull}.get(met.kind, StoreError)(told)
    error.__cause__ = met.__cause__
    return error


def _code_of(error: BaseException) -> str | int | None:
    """The database's code for the error: an SQLSTATE, or a number."""
    for one in (error, error.__cause__):
        if one is not None and one.args and isinstance(one.args[0], int):
            return one.args[0]  # MySQL's, whose SQLSTATEs say less
        for name in ("sqlstate", "pgcode", "sqlite_errorcode"):
            code: Any = getattr(one, name, None)
            if isinstance(code, str | int):
                return code
    return None


def _kind_of(error: BaseException, driver: Any) -> Kind | None:
    if isinstance(error, TimeoutError):
        return Kind.OVERDUE
    if isinstance(error, exc.TimeoutError):
        return Kind.NO_CONNECTION
    if isinstance(error, OSError | EOFError | exc.DisconnectionError):
        return Kind.LOST
    if not isinstance(error, driver.Error | exc.SQLAlchemyError):
        return None
    code = _code_of(error)
    result: Any = getattr(error, "sqlite_errorcode", None)
    if result is not None:
        if "no such table" in str(error):
            return Kind.NO_TABLE
        if "already exists" in str(error):
            return Kind.EXISTS
        return _RESULTS.get(result & 0xFF, Kind.OTHER)
    if isinstance(code, str):
        return _STATES.get(code) or _CLASSES.get(code[:2], Kind.OTHER)
    if isinstance(code, int):
        return _NUMBERS.get(code, Kind.OTHER)
    # PyMySQL and aiomysql raise an InternalError where they and the server are no longer in step.
    if not isinstance(error, driver.OperationalError | driver.InterfaceError | driver.InternalError):
        return Kind.OTHER
    # Without a code the driver itself found the fault. libpq hands on a refusal to connect as text only.
    return Kind.REFUSED if "FATAL" in str(error) else Kind.LOST
