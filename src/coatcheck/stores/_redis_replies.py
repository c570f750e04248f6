"""How the replies of a Redis server are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar, cast

from coatcheck.errors import StoreError
from coatcheck.model.ports import Found, Unreadable
from coatcheck.model.record import APPLIED, Applied, Change, Create, RecordError, Refused, Update, decode
from coatcheck.stores import _redis_script as script
from coatcheck.stores._redis_errors import Said, failure_of

__all__ = ["Reply", "answer_to", "done", "found", "only_answers", "scores_of"]

_T = TypeVar("_T")
Reply: TypeAlias = Any
"""What a server said: bytes, a number, a list, None, or an exception: `Said`, or a `StoreError` if it said nothing."""

_UPDATED: dict[int, Applied | Refused] = {
    script.APPLIED: APPLIED,
    script.NOT_ROTATED: Applied(rotated=False),
    script.GONE: Refused.GONE,
    script.CHANGED: Refused.CHANGED,
    script.UNREADABLE: Refused.UNREADABLE,
}


def found(key: bytes, reply: Reply) -> Found | StoreError:
    """What lies under a key, by the reply to a GET."""
    if reply is None:
        return None
    if isinstance(reply, bytes):
        try:
            return decode(key, reply)
        except RecordError as error:
            return Unreadable(str(error))
    if isinstance(reply, Said) and reply.code == "WRONGTYPE":
        return Unreadable("what lies there is no string, and so not of this store")
    return failure_of(reply)


def done(reply: Reply) -> Reply:
    """The reply, if it is no failure.

    Raises:
        StoreError: It is one.
    """
    if isinstance(reply, Exception):
        raise failure_of(reply)
    return reply


def only_answers(answers: Sequence[_T | StoreError]) -> Sequence[_T]:
    """The answers, if none is a failure.

    Raises:
        StoreError: The first failure. Of several members, it says in `answers` what became of each.
    """
    for answer in answers:
        if isinstance(answer, StoreError):
            if len(answers) > 1:
                answer.answers = tuple(answers)
            raise answer
    return cast("Sequence[_T]", answers)


def answer_to(change: Change, reply: Reply) -> Applied | Refused | StoreError:
    """What became of a change."""
    if isinstance(reply, int):
        return _UPDATED[reply]
    if isinstance(reply, Exception):
        return failure_of(reply)
    if isinstance(change, Create):
        return APPLIED if reply else Refused.EXISTS
    if isinstance(change, Update) and change.take:
        rotated, *values = cast("list[Any]", reply)
        taken = {name: value for name, value in zip(change.take, values, strict=True) if value is not None}
        return Applied(taken, bool(rotated))
    return failure_of(reply)


def scores_of(reply: Any) -> dict[bytes, int]:
    """The members of a sorted set, with their scores."""
    # As pairs, from a client that speaks RESP3.
    if reply and isinstance(reply[0], list):
        return {member: int(score) for member, score in reply}
    return {member: int(score) for member, score in zip(reply[::2], reply[1::2], strict=True)}
