"""What goes wrong at a Redis server, and what it means. Told by behaviour and names: valkey-py has classes of its own.

No message repeats what a server or a driver said of a command: its arguments may stand in there.
"""

from __future__ import annotations

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable

__all__ = ["Broken", "Said", "failure_of", "is_reply", "said"]

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
"""Of some replies the drivers keep the code only as the name of a class."""

_ACL = (
    "the user of the URL needs +get +mget +exists +set +del +evalsha +eval +zrange +zadd +zscore +zrem"
    " +zremrangebyscore +pttl +pexpire +scan +getrange +ping, on the keys ~PREFIX*"
)
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
    "MOVED": (StoreUnavailable, "the server is part of a cluster: its URL begins with redis+cluster://"),
    "NOAUTH": (StoreUnavailable, "the server wants a password, or another one: redis://user:password@host"),
    "WRONGPASS": (StoreUnavailable, "the server knows no such user and password"),
    "NOPERM": (StoreUnavailable, f"the server does not permit it: {_ACL}"),
}


class Said(Exception):
    """An error with which a server answered one command. That command was not done."""

    def __init__(self, code: str, address: tuple[str, int] | None = None) -> None:
        super().__init__(code)
        self.code: str = code
        self.address: tuple[str, int] | None = address


class Broken(Exception):
    """A round trip did not come to its end.

    Attributes:
        cause: The driver's error.
        sent: Whether some of it may have been done.
    """

    def __init__(self, where: str, cause: Exception, *, sent: bool) -> None:
        super().__init__(where)
        self.where: str = where
        self.cause: Exception = cause
        self.sent: bool = sent

    @property
    def code(self) -> str | None:
        """What the server said, where the drivers end the connection for it."""
        if "previous master is now" in str(self.cause):
            return "READONLY"
        return _code_by_class(self.cause)

    @property
    def is_refusal(self) -> bool:
        """Whether the server turned the caller away, and would do so again."""
        return self.code in {"NOAUTH", "WRONGPASS", "NOPERM"}

    @property
    def is_outage(self) -> bool:
        """Whether the server can't be reached; not so where a pool had no connection left."""
        return not self.is_refusal and not _is_a(self.cause, "MaxConnectionsError")

    def failure(self, *, writes: bool) -> StoreError:
        """What it means for one command."""
        if isinstance(self.cause, StoreError):
            return self.cause
        if (code := self.code) is not None:
            return _with_cause(failure_of(Said(code)), self.cause)
        if _is_a(self.cause, "TimeoutError"):
            error: StoreError = StoreTimeout(
                f"{self.where} did not answer within the deadline", ambiguous=self.sent and writes
            )
        else:
            error = StoreUnavailable(f"{self.where} can't be reached ({type(_root_of(self.cause)).__name__})")
        return _with_cause(error, self.cause)


def is_reply(error: Exception) -> bool:
    """Whether a driver's error is a server's answer to one command, after which the next answer can be read."""
    return _is_a(error, "ResponseError")


def said(error: Exception) -> Said:
    """A driver's error, as what the server said."""
    code = _code_by_class(error)
    if code is None:
        first = str(error).partition(" ")[0]
        code = first if first.isupper() and first.isalpha() else "ERR"
    address = None
    if code in {"MOVED", "ASK"}:
        address = (str(getattr(error, "host", "")), int(getattr(error, "port", 0)))
    return Said(code, address)


def failure_of(reply: object) -> StoreError:
    """What a reply that is no answer means."""
    if isinstance(reply, StoreError):
        return reply
    if isinstance(reply, Said):
        kind, meaning = _MEANINGS.get(reply.code, (StoreUnavailable, "the server refused a command"))
        return kind(f"{meaning} ({reply.code})")
    return StoreUnavailable(f"the server answered with a {type(reply).__name__}, which it should not")


def _is_a(error: Exception, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _code_by_class(error: Exception) -> str | None:
    if str(error).startswith(("WRONGPASS", "invalid username-password")):
        return "WRONGPASS"
    for kind in type(error).__mro__:
        if kind.__name__ in _CODES:
            return _CODES[kind.__name__]
    return None


def _root_of(error: BaseException) -> BaseException:
    # The drivers wrap everything in a ConnectionError; a certificate that does not fit should be called so.
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


def _with_cause(error: StoreError, cause: Exception) -> StoreError:
    error.__cause__ = cause
    return error
