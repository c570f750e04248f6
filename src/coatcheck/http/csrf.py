"""CSRF tokens: a secret, masked anew for each page.

A page that is compressed tells by its length which parts of it repeat (BREACH). A token that is different in each page
repeats nothing.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hmac import compare_digest

__all__ = ["SAFE_METHODS", "SECRET_BYTES", "is_masked", "masked"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing (RFC 9110 §9.2.1), and need no token."""
SECRET_BYTES = 32
# Base64 decoders pass over what is none of its characters, and raise where too few are left.
_GRAMMAR = re.compile(rb"[A-Za-z0-9_-]{86}").fullmatch


def masked(secret: bytes, mask: bytes) -> str:
    """The token of `secret`: the mask, and the secret combined with it, as base64url."""
    return urlsafe_b64encode(mask + _combined(secret, mask)).rstrip(b"=").decode()


def is_masked(token: str | bytes | None, secret: bytes) -> bool:
    """Whether `token` is one of `secret`. What a client sends may be anything."""
    if isinstance(token, str):
        token = token.encode("ascii", "replace")
    if not isinstance(token, bytes) or not _GRAMMAR(token):
        return False
    both = urlsafe_b64decode(token + b"==")
    mask, rest = both[:SECRET_BYTES], both[SECRET_BYTES:]
    return compare_digest(_combined(rest, mask), secret)


def _combined(one: bytes, other: bytes) -> bytes:
    return bytes([a ^ b for a, b in zip(one, other, strict=True)])
