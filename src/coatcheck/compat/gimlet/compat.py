"""What was once needed to run on Python 2, for those who import it."""

from __future__ import annotations

__all__ = ["PY3", "to_native_str"]

PY3: bool = True


def to_native_str(s: str | bytes) -> str:
    """`s` as str; bytes must be ASCII."""
    return s if isinstance(s, str) else s.decode("ascii")
