"""Keeps secrets from error trackers, which send the local variables of every frame of a traceback.

An object that holds a secret, a value or a password has a `silent` repr. A driver's own frames, which hold what it sends and
how it connects, are dropped from its errors (`frameless`).
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ["frameless", "silent"]

_Error = TypeVar("_Error", bound=BaseException)


def silent(held: object) -> str:
    """The repr of an object: the name of its class, and nothing that it holds."""
    return f"<{type(held).__name__}>"


def frameless(error: _Error) -> _Error:
    """`error`, and its causes, without the frames of their tracebacks."""
    causes: list[BaseException] = [error]
    for one in causes:
        one.__traceback__ = None
        # The context may be an exception of the application's own, which keeps its frames: it is only not shown here.
        one.__suppress_context__ = True
        if one.__cause__ is not None and one.__cause__ not in causes:
            causes.append(one.__cause__)
    return error
