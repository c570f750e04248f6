"""Every error that Coatcheck raises on purpose.

::

    CoatcheckError
    ├── ConfigurationError (ValueError)     settings that can't work; raised when they are built
    ├── NotStorable (TypeError)             a value that would not come back as what it was
    ├── TooLarge (ValueError)               a record or a cookie over its limit
    ├── DecodeError (ValueError)            one field of a record can't be read; the others can
    ├── NotLoaded (RuntimeError)            the session was touched before it was loaded (async only)
    ├── CannotSendCookie (RuntimeError)     a new cookie was needed where none can be sent any more
    ├── SessionGone (LookupError)           `edit` of a session that doesn't exist, or no longer
    └── StoreError                          the store did not do what it was asked
        ├── StoreUnavailable                it can't be reached, or didn't answer
        │   └── StoreTimeout                … within its deadline
        ├── StoreFull                       it has no room left
        ├── StoreReadOnly                   it takes no writes
        └── RevocationIncomplete            it may have lost part of its index of users

"There is no such session" is never an exception: it is ``None``, or an empty session. No message
carries a token, a secret or a value of a session.
"""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = [
    "CannotSendCookie",
    "CoatcheckError",
    "ConfigurationError",
    "DecodeError",
    "InsecureTransportWarning",
    "NotLoaded",
    "NotStorable",
    "RevocationIncomplete",
    "SessionGone",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreTimeout",
    "StoreUnavailable",
    "TooLarge",
]


class CoatcheckError(Exception):
    """The base of every error that Coatcheck raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # So that one with evidence can be copied, and sent out of a worker process.
        return _again, (type(self), self.args, vars(self).copy())


def _again(
    kind: type[CoatcheckError], args: tuple[object, ...], evidence: dict[str, object]
) -> CoatcheckError:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(evidence)
    return error


class ConfigurationError(CoatcheckError, ValueError):
    """Settings that can't work, alone or together. The message says what to write instead."""


class NotStorable(CoatcheckError, TypeError):
    """A value that the codec can't give back as what it was.

    Raised where the value is assigned, or, for something put into a nested container later, at the
    end of the request; then nothing of that request is written.

    Attributes:
        field: The top-level key under which the value was put, if it is known.
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
    """A record over ``max_bytes``, or a cookie over the 4096 bytes that browsers take (RFC 6265bis §5.6).

    Raised before anything is written.

    Attributes:
        size: The size in bytes that was reached.
        limit: The size in bytes that is allowed.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class NotLoaded(CoatcheckError, RuntimeError):
    """The session was touched before it was loaded. Only an async session that loads on demand can be."""


class CannotSendCookie(CoatcheckError, RuntimeError):
    """A change would need a new cookie, but the head of the response has left, or there is no response.

    Nothing of it was written.
    """


class SessionGone(CoatcheckError, LookupError):
    """The session that ``edit`` was asked for does not exist, or ended before the changes were stored.

    Attributes:
        handle: The session's public name.
    """

    def __init__(self, message: str, *, handle: str) -> None:
        super().__init__(message)
        self.handle = handle


class StoreError(CoatcheckError):
    """The store did not do what it was asked. The driver's own error is the ``__cause__``.

    Attributes:
        retry_after: After how many seconds a client may try again; goes into ``Retry-After``.
    """

    retry_after = 1


class StoreUnavailable(StoreError):
    """The store can't be reached. It says nothing about whether the session exists.

    Attributes:
        ambiguous: Whether a write that was asked for may have been done all the same. A store that is sure that it was
            not (no connection was made, nothing was sent) says False. Where only reading failed, it is False.
    """

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
    """The sessions of a user that could be found were ended, but the store may have lost part of its index.

    The cure is another setting: the message names it. Until then, some session of the user may still be alive.

    Attributes:
        ended: How many sessions were ended.
    """

    def __init__(self, message: str, *, ended: int = 0) -> None:
        super().__init__(message)
        self.ended = ended


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
