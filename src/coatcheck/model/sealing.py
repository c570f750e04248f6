"""Sealing: what leaves our hands and must come back unread and unchanged.

AES-256-GCM, with a key and a nonce of its own for each message: HKDF-SHA256 (RFC 5869) derives both from a secret of
the ring and 24 random bytes that lead the message. So no pair of key and nonce comes twice, however many messages one
secret seals, and no count has to be kept (decision 11 has the bounds).

A sealed value is ``version (1) ‖ random (24) ‖ ciphertext ‖ tag (16)``. What it is bound to is authenticated with it
and not repeated in it: version, purpose, name, and whatever the caller binds it to besides (the session's key, the
field, a limit). A value that was taken from anywhere else does not open.

Whatever is wrong with a sealed value, the answer is the same `DecodeError`, and no other way of reading is tried.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from coatcheck.errors import ConfigurationError, DecodeError

__all__ = ["OVERHEAD", "RANDOM_BYTES", "Opened", "Sealer", "from_text", "to_text"]

RANDOM_BYTES = 24
OVERHEAD = 1 + RANDOM_BYTES + 16
"""How many bytes longer a sealed value is than what was sealed."""
_VERSION = b"\x01"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_LABEL = b"coatcheck 1 sealing"
_TEXT = re.compile(rb"[A-Za-z0-9_-]*").fullmatch
_FROM_URLSAFE = bytes.maketrans(b"-_", b"+/")


class Opened(NamedTuple):
    """What was sealed, and whether the ring's newest secret sealed it."""

    data: bytes
    current: bool


class Sealer:
    """Seals with the first secret of a ring, opens with any of them.

    Args:
        secrets: The newest first. A secret that is left out ends what it sealed.
        purpose: What is sealed (``"client keys"``, ``"field"``). Nothing that is sealed for one opens for another.
        name: Where it is kept: the cookie's name, the store's prefix.

    Raises:
        ConfigurationError: There is no secret, or an empty one.
    """

    __slots__ = ("_bound", "_roots")

    def __init__(self, secrets: Sequence[bytes], *, purpose: str, name: str) -> None:
        if not secrets or not all(secrets):
            raise ConfigurationError("Sealing needs a secret, and none that is empty.")
        self._bound: tuple[bytes, ...] = (_VERSION, purpose.encode(), name.encode())
        self._roots: tuple[bytes, ...] = tuple(
            _derived(secret, _framed([_LABEL, *self._bound])) for secret in secrets
        )

    def __repr__(self) -> str:
        return f"<Sealer with {len(self._roots)} secrets>"

    def seal(self, data: bytes, random: bytes, *, bound_to: Iterable[bytes] = ()) -> bytes:
        """The sealed value.

        Args:
            data: What to seal.
            random: `RANDOM_BYTES` bytes from the operating system, for this message alone.
            bound_to: What must be told again, the same, to open it.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(random) != RANDOM_BYTES:
            raise ValueError(f"sealing takes {RANDOM_BYTES} random bytes")
        key, nonce = _message_key(self._roots[0], random)
        sealed = AESGCM(key).encrypt(nonce, data, _framed([*self._bound, *bound_to]))
        return _VERSION + random + sealed

    def open(self, sealed: bytes, *, bound_to: Iterable[bytes] = ()) -> Opened:
        """What was sealed.

        Raises:
            DecodeError: Whatever is wrong: it is always the same one.
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
    """Bytes as base64url without padding, as they fit into a cookie."""
    return urlsafe_b64encode(sealed).rstrip(b"=").decode()


def from_text(text: bytes) -> bytes:
    """What `to_text` was given. There is one spelling only.

    Raises:
        DecodeError: It is no such text; the same error as that of `Sealer.open`.
    """
    if _TEXT(text) and len(text) % 4 != 1:
        raw = a2b_base64(text.translate(_FROM_URLSAFE) + b"=" * (-len(text) % 4))
        if to_text(raw).encode() == text:
            return raw
    raise _unopened()


def _unopened() -> DecodeError:
    return DecodeError("the sealed value can't be opened")


def _framed(parts: Iterable[bytes]) -> bytes:
    """Several byte strings as one, of which no other several make the same."""
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
