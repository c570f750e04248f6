"""gimlet's helpers for Python 2, for applications that import them."""

from __future__ import annotations

__all__ = ["PY3", "to_native_str"]

PY3: bool = True


def to_native_str(s: str | bytes) -> str:
    """`s` as a str. Bytes must be ASCII."""
    return s if isinstance(s, str) else s.decode("ascii")
