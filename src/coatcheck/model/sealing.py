"""Sealing: authenticated encryption of data that is kept outside the application.

The cipher is AES-256-GCM with a new key and nonce for each message. HKDF-SHA256 (RFC 5869) derives both from a secret
of the ring and the 24 random bytes that precede the ciphertext. So no pair of key and nonce repeats, and the messages
per secret need not be counted (decision 11 has the bounds).

A sealed value is ``version (1) ‖ random (24) ‖ ciphertext ‖ tag (16)``. It is bound to its version, purpose and name,
and to the context that the caller gives (the session's key, the field, a limit): these are authenticated but not
contained in it. A value from another context does not open.

Every failure to open is the same `DecodeError`, so that it tells nothing about the cause. No other format is tried.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from coatcheck.errors import ConfigurationError, DecodeError
from coatcheck.silent import silent

__all__ = ["OVERHEAD", "RANDOM_BYTES", "Opened", "Sealer", "from_text", "to_text"]

RANDOM_BYTES = 24
OVERHEAD = 1 + RANDOM_BYTES + 16
"""The number of bytes that sealing adds."""
_VERSION = b"\x01"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_LABEL = b"coatcheck 1 sealing"
_TEXT = re.compile(rb"[A-Za-z0-9_-]*").fullmatch
_FROM_URLSAFE = bytes.maketrans(b"-_", b"+/")


class Opened(NamedTuple):
    """The opened data, and whether the newest secret of the ring sealed it."""

    data: bytes
    current: bool

    def __repr__(self) -> str:
        return silent(self)


class Sealer:
    """Seals with the first secret of a ring, opens with any of them.

    Args:
        secrets: The secrets of the ring, the newest first. Values of a secret that is removed can't be opened any more.
        purpose: The kind of data (``"client keys"``, ``"field"``). A value for one purpose does not open for another.
        name: The place of the data: the cookie's name, the store's prefix.

    Raises:
        ConfigurationError: There is no secret, or one is empty.
    """

    __slots__ = ("_bound", "_roots")

    def __init__(self, secrets: Sequence[bytes], *, purpose: str, name: str) -> None:
        if not secrets or not all(secrets):
            raise ConfigurationError("Sealing needs at least one secret, and no secret may be empty.")
        self._bound: tuple[bytes, ...] = (_VERSION, purpose.encode(), name.encode())
        self._roots: tuple[bytes, ...] = tuple(
            _derived(secret, _framed([_LABEL, *self._bound])) for secret in secrets
        )

    def __repr__(self) -> str:
        return f"<Sealer with {len(self._roots)} secrets>"

    def seal(self, data: bytes, random: bytes, *, bound_to: Iterable[bytes] = ()) -> bytes:
        """The sealed value of `data`.

        Args:
            data: The bytes to seal.
            random: `RANDOM_BYTES` bytes from the operating system, never used before.
            bound_to: The context. Opening the value needs the same context.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(random) != RANDOM_BYTES:
            raise ValueError(f"sealing takes {RANDOM_BYTES} random bytes")
        key, nonce = _message_key(self._roots[0], random)
        sealed = AESGCM(key).encrypt(nonce, data, _framed([*self._bound, *bound_to]))
        return _VERSION + random + sealed

    def open(self, sealed: bytes, *, bound_to: Iterable[bytes] = ()) -> Opened:
        """The data of a sealed value.

        Raises:
            DecodeError: The value can't be opened. The error does not tell why.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(sealed) >= OVERHEAD and sealed[:1] == _VERSION:
            random, body = sealed[1 : 1 + RANDOM_BYTES], sealed[1 + RANDOM_BYTES :]
            bound = _framed([*self._bound, *bound_to])
            for root in self._roots:
                key, nonce = _message_key(root, random)
                try:
                    return Opened(AESGCM(key).decrypt(nonce, body, bound), root is self._roots[0])
                except InvalidTag:
                    continue
        raise _unopened()


def to_text(sealed: bytes) -> str:
    """A sealed value as base64url without padding, for a cookie."""
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def from_text(text: bytes) -> bytes:
    """The bytes of a text from `to_text`. Other spellings of the same bytes are refused.

    Raises:
        DecodeError: The text is not one from `to_text`; the same error as from `Sealer.open`.
    """
    if _TEXT(text) and len(text) % 4 != 1:
        raw = a2b_base64(text.translate(_FROM_URLSAFE) + b"=" * (-len(text) % 4))
        if to_text(raw).encode() == text:
            return raw
    raise _unopened()


def _unopened() -> DecodeError:
    return DecodeError("the sealed value can't be opened")


def _framed(parts: Iterable[bytes]) -> bytes:
    """An unambiguous encoding of several byte strings as one: each is preceded by its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _derived(secret: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(secret)


def _message_key(root: bytes, random: bytes) -> tuple[bytes, bytes]:
    """The key and the nonce of one message."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    derived = HKDFExpand(SHA256(), _KEY_BYTES + _NONCE_BYTES, info=random).derive(root)
    return derived[:_KEY_BYTES], derived[_KEY_BYTES:]
