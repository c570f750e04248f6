"""The `StoreError` for each error of a driver. Classes are compared by name, since valkey-py has its own.

No message repeats the text of a server or a driver, since it may contain arguments of a command.
"""

from __future__ import annotations

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.silent import frameless

__all__ = ["code_in", "code_of", "failure", "is_outage", "is_reply", "refusal"]

_CODES = {
    "AskError": "ASK",
    "AuthenticationError": "NOAUTH",
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""For some errors, the drivers remove the code from the text: it is known by the class only."""

_ACL = (
    "the user of the URL needs +get +mget +exists +set +getrange +del +evalsha +eval +zrange +zmscore +zscore +zadd"
    " +zrem +pexpire +persist +scan +info +time, on the keys ~PREFIX*"
)
_IS_CLUSTER = "the server is part of a cluster: its URL begins with redis+cluster://"
_MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    "OOM": (StoreFull, "the server's memory is full"),
    "READONLY": (StoreReadOnly, "the server is a replica, and takes no writes"),
    "MISCONF": (StoreReadOnly, "the server can't save to its disk, and takes no writes"),
    "NOREPLICAS": (StoreReadOnly, "the server has too few replicas, and takes no writes"),
    "LOADING": (StoreUnavailable, "the server is still loading its data"),
    "BUSY": (StoreUnavailable, "the server is busy with a script"),
    "CLUSTERDOWN": (StoreUnavailable, "the cluster is down"),
    "MASTERDOWN": (StoreUnavailable, "the replica has lost its primary"),
    "TRYAGAIN": (StoreUnavailable, "the cluster is moving the key"),
    "ASK": (StoreUnavailable, "the cluster is moving the key"),
    "MOVED": (StoreUnavailable, _IS_CLUSTER),
    "CROSSSLOT": (StoreUnavailable, _IS_CLUSTER),
    "NOAUTH": (StoreUnavailable, "the server wants a password, or another one: redis://user:password@host"),
    "NOPASS": (
        StoreUnavailable,
        "the server has no password for this user: leave it out of the URL, or set requirepass",
    ),
    "DB": (StoreUnavailable, "the server has no database of the number in the URL"),
    "WRONGPASS": (StoreUnavailable, "the server knows no such user and password"),
    "NOPERM": (StoreUnavailable, f"the server does not permit it: {_ACL}"),
}


def is_reply(error: Exception) -> bool:
    """Whether a driver's error is the server's answer to one command, and the connection is still good."""
    return _is_a(error, "ResponseError")


def is_outage(error: Exception) -> bool:
    """Whether a failed exchange says that the server can't be reached."""
    return code_of(error) not in {"DB", "NOAUTH", "NOPASS", "WRONGPASS", "NOPERM", "READONLY"}


def code_of(error: Exception) -> str | None:
    """The code with which a server refused a command; None: the error is not the server's."""
    text = str(error)
    if "previous master is now" in text:  # so redis-py says READONLY under Sentinel
        return "READONLY"
    if text.startswith(("WRONGPASS", "invalid username-password")):
        return "WRONGPASS"
    if "without any password configured" in text:
        return "NOPASS"
    for kind in type(error).__mro__:
        if kind.__name__ in _CODES:
            return _CODES[kind.__name__]
    return code_in(text) if is_reply(error) else None


def code_in(text: str) -> str:
    """The code that the text of a refusal begins with."""
    if "ACL failure in script" in text or "The user executing the script" in text:
        return "NOPERM"
    first = text.partition(" ")[0]
    return first if first.isupper() and first.isalpha() else "ERR"


def refusal(code: str) -> StoreError:
    """The error for a command that the server refused, and so did not run."""
    kind, meaning = _MEANINGS.get(code, (StoreUnavailable, "the server refused a command"))
    error = kind(f"{meaning} ({code})")
    if isinstance(error, StoreUnavailable):
        error.ambiguous = False
    return error


def failure(where: str, cause: Exception, *, ambiguous: bool) -> StoreError:
    """The error for an exchange that failed.

    Args:
        where: The server, for the message.
        cause: The driver's error.
        ambiguous: Whether the server may have run a write of it.
    """
    if not ambiguous and (code := code_of(cause)) is not None:
        error = refusal(code)
    elif _is_a(cause, "TimeoutError"):
        error = StoreTimeout(f"{where} did not answer within the deadline", ambiguous=ambiguous)
    else:
        reason = type(_root_of(cause)).__name__
        error = StoreUnavailable(
            f"{where} can't be reached ({reason}): is it running, and is its address right?",
            ambiguous=ambiguous,
        )
    error.__cause__ = frameless(cause)
    return error


def _is_a(error: Exception, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _root_of(error: BaseException) -> BaseException:
    # The drivers wrap everything in a ConnectionError; a certificate that does not fit should be named.
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error
