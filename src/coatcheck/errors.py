"""Every error that Coatcheck raises on purpose.

::

    CoatcheckError
    ├── ConfigurationError (ValueError)     impossible settings; raised when they are built
    ├── NotStorable (TypeError)             a value that would not come back unchanged
    ├── TooLarge (ValueError)               a record or a cookie over its limit
    ├── DecodeError (ValueError)            one field of a record can't be read; the others can
    ├── NotLoaded (RuntimeError)            the session was used before it was loaded (async only)
    ├── WouldBlock (RuntimeError)           a synchronous call would block the event loop
    ├── CannotSendCookie (RuntimeError)     a new cookie was needed, but none can be sent any more
    ├── RequestOver (RuntimeError)          a change after the request's end, when nothing stores it any more
    ├── SessionGone (LookupError)           `edit` of a session that does not exist or has ended
    └── StoreError                          a store operation failed
        ├── StoreUnavailable                the store can't be reached, or did not answer
        │   └── StoreTimeout                the store did not answer within its deadline
        ├── StoreFull                       the store has no room left
        ├── StoreReadOnly                   the store takes no writes
        └── RevocationIncomplete            the store may have lost part of its index of users

A missing session is never an exception: it is ``None``, or an empty session. No message contains a
token, a secret or a value of a session.
"""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = [
    "CannotSendCookie",
    "CoatcheckError",
    "ConfigurationError",
    "DecodeError",
    "ForeignSessionWarning",
    "InsecureTransportWarning",
    "NotLoaded",
    "NotStorable",
    "RequestOver",
    "RevocationIncomplete",
    "SessionGone",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreTimeout",
    "StoreUnavailable",
    "TooLarge",
    "WouldBlock",
]


class CoatcheckError(Exception):
    """The base of every error that Coatcheck raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments can't be copied or pickled otherwise, for worker processes.
        return _again, (type(self), self.args, vars(self).copy())


def _again(
    kind: type[CoatcheckError], args: tuple[object, ...], evidence: dict[str, object]
) -> CoatcheckError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(evidence)
    return error


class ConfigurationError(CoatcheckError, ValueError):
    """Impossible settings, alone or in combination. The message says what to write instead."""


class NotStorable(CoatcheckError, TypeError):
    """A value that would not come back from the store unchanged.

    Raised by the assignment; for a value that was put into a nested container later, at the end of the request, of
    which nothing is then written.

    Attributes:
        field: The top-level key of the value, if it is known.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class DecodeError(CoatcheckError, ValueError):
    """The stored bytes of one field can't be read. The other fields of the session work.

    Attributes:
        field: The field's name.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(CoatcheckError, ValueError):
    """A record over ``max_bytes``, or a cookie over the 4096 bytes that browsers accept (RFC 6265bis §5.6).

    Raised before anything is written.

    Attributes:
        size: The actual size in bytes.
        limit: The largest size in bytes that is allowed.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class NotLoaded(CoatcheckError, RuntimeError):
    """The session was used before it was loaded. Only async sessions that load on demand raise this."""


class WouldBlock(CoatcheckError, RuntimeError):
    """A synchronous call for a session of an async manager, in the thread of its event loop, would block the loop."""


class CannotSendCookie(CoatcheckError, RuntimeError):
    """A change needs a new cookie, but the response's headers were already sent, or there is no response.

    Nothing of the change was written.
    """


class RequestOver(CoatcheckError, RuntimeError):
    """A session was changed after its request had ended: by a thread or a task that outlives it, or a late callback.

    Nothing would store the change, so it is refused. `edit` changes a session outside a request. The session can still
    be read.
    """

    def __init__(self) -> None:
        super().__init__(
            "The session's request (or its `edit` block) has ended, so nothing would store this change. Make it before "
            "the response is sent. Outside the request write `with sessions.edit(handle) as session:` (`async with` where "
            "the manager is AsyncSessions), where `handle` is the `session.handle` that was read while the request ran."
        )


class SessionGone(CoatcheckError, LookupError):
    """The session given to ``edit`` does not exist, or it ended before the changes were stored.

    Attributes:
        handle: The session's public name.
    """

    def __init__(self, message: str, *, handle: str) -> None:
        super().__init__(message)
        self.handle = handle


class StoreError(CoatcheckError):
    """A store operation failed. The driver's own error is the ``__cause__``.

    Attributes:
        retry_after: Seconds after which a client may try again, for the ``Retry-After`` header.
    """

    retry_after = 1


class StoreUnavailable(StoreError):
    """The store can't be reached. Whether the session exists is unknown.

    Attributes:
        ambiguous: Whether the write may have been carried out all the same. False where it certainly was not: no
            connection was made, nothing was sent, or the operation only reads.
        resting: Whether the store was not called, because it had failed several times in a row.
    """

    resting: bool = False

    def __init__(self, message: str, *, ambiguous: bool = True) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class StoreTimeout(StoreUnavailable):
    """The store did not answer within its deadline."""


class StoreFull(StoreError):
    """The store has no room left. Nothing was written."""


class StoreReadOnly(StoreError):
    """The store takes no writes. Nothing was written."""


class RevocationIncomplete(StoreError):
    """All sessions of the user that the index lists were ended, but the store may have lost part of that index.

    Sessions of the user may still be live. The message names the setting that prevents this.

    Attributes:
        ended: How many sessions were ended.
    """

    def __init__(self, message: str, *, ended: int = 0) -> None:
        super().__init__(message)
        self.ended = ended


class ForeignSessionWarning(UserWarning):
    """Another session middleware, or one of ours with other settings, stands in the way of this one."""


class InsecureTransportWarning(UserWarning):
    """A cookie with ``Secure`` was set on a plain-http response; no browser will send it back."""


_Error = TypeVar("_Error", bound=Exception)


def copy_of(error: _Error) -> _Error:
    """A copy of an error, for a second caller of the same batch.

    Raising one object in several callers would add the frames of each to the traceback of all.
    """
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy
