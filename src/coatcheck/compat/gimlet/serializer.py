"""gimlet's cookie format: a pickle, signed with HMAC-SHA1.

A cookie is ``body . signature``, both base64url without padding. The body is the payload (id, creation time, pickle),
encrypted if there is a key, then compressed if that is shorter. A leading dot marks a compressed body.
"""

from __future__ import annotations

import binascii
import hmac
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha1
from struct import Struct
from typing import Any, Protocol

from coatcheck.compat._pickler import PROTOCOL_OF_OLD, dumps
from coatcheck.compat._plain import Allowed
from coatcheck.compat.gimlet.crypto import Crypter
from coatcheck.compat.pickles import loads

__all__ = ["BadSignature", "CookieSerializer", "URLSafeCookieSerializer"]

_LATEST = 0x7FFFFFFF
_LONGEST_PAYLOAD = 1 << 20


class BadSignature(ValueError):
    """The secret did not sign this cookie."""


class _Channel(Protocol):
    id: bytes
    created_timestamp: int
    client_data: dict[Any, Any]


class CookieSerializer:
    """The payload of a cookie: the id in 16 bytes, the creation time in 32 bits, a pickle of the client data."""

    packer: Struct = Struct("<16si")

    def __init__(
        self,
        secret: str | bytes,
        backend: object = None,
        crypter: Crypter | None = None,
        *,
        classes: Allowed | None = None,
    ) -> None:
        """The arguments are gimlet's; `classes` are those that pickles may contain, by name."""
        self.secret_key: bytes = secret.encode() if isinstance(secret, str) else secret
        self.backend: object = backend
        self.crypter: Crypter | None = crypter
        self._classes: Allowed = classes or {}
        # The key derivation of itsdangerous, "django-concat", with its default salt.
        self._key = sha1(b"itsdangerous" + b"signer" + self.secret_key, usedforsecurity=False).digest()

    def load_payload(self, payload: bytes) -> tuple[bytes, int, dict[Any, Any]]:
        """The id, creation time and client data of a payload.

        Raises:
            ValueError: The payload can't be read (its subclass `DecodeError`), or was encrypted with another key.
        """
        if self.crypter is not None:
            payload = self.crypter.decrypt(payload)
        if len(payload) <= self.packer.size:
            raise ValueError("the cookie's payload is too short")
        raw_id, created = self.packer.unpack(payload[: self.packer.size])
        data: Any = loads(payload[self.packer.size :], self._classes)
        if not issubclass(type(data), dict):
            raise ValueError("the cookie's payload is not a session")  # noqa: TRY004 - callers expect ValueError for bad data
        return binascii.hexlify(raw_id), created, data

    def dump_payload(self, channel: _Channel) -> bytes:
        """The payload of a channel. Times beyond 32 bits (from 2038 on) become the largest that fits."""
        created = min(channel.created_timestamp, _LATEST)
        payload = self.packer.pack(binascii.unhexlify(channel.id), created)
        payload += dumps(channel.client_data, self._classes, PROTOCOL_OF_OLD)
        return payload if self.crypter is None else self.crypter.encrypt(payload)


class URLSafeCookieSerializer(CookieSerializer):
    """The cookie's value: the encoded and signed payload."""

    def loads(self, text: str | bytes) -> tuple[bytes, int, dict[Any, Any]]:
        """The id, creation time and client data of a cookie.

        Raises:
            BadSignature: The secret did not sign it.
            ValueError: The signature is good, but the payload can't be read.
        """
        raw = text.encode() if isinstance(text, str) else text
        body, dot, signature = raw.rpartition(b".")
        if not dot or not hmac.compare_digest(self._signature(body), signature):
            raise BadSignature("it is not signed by a secret of this site")
        compressed = body.startswith(b".")
        payload = _from_base64(body.removeprefix(b"."))
        if compressed:
            unpacker = zlib.decompressobj()
            try:
                payload = unpacker.decompress(payload, _LONGEST_PAYLOAD)
            except zlib.error:
                raise ValueError("the cookie's payload can't be decompressed") from None
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError("the cookie's payload is too large")
        return self.load_payload(payload)

    def dumps(self, channel: _Channel) -> str:
        """The cookie's value for a channel."""
        payload = self.dump_payload(channel)
        compressed = zlib.compress(payload)
        shorter = len(compressed) < len(payload) - 1
        body = b"." + _to_base64(compressed) if shorter else _to_base64(payload)
        return (body + b"." + self._signature(body)).decode()

    def _signature(self, body: bytes) -> bytes:
        return _to_base64(hmac.digest(self._key, body, "sha1"))


def _to_base64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


def _from_base64(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
