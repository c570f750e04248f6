"""The cookies of the two channels, in two formats: sealed and bound to their name and channel, or gimlet's own.

A cookie with a dot is in gimlet's format, one without a dot is sealed. A cookie is never tried in the other format.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol, cast

from coatcheck.compat.gimlet.backends.base import encoded
from coatcheck.compat.gimlet.crypto import Crypter
from coatcheck.compat.gimlet.serializer import URLSafeCookieSerializer
from coatcheck.errors import DecodeError
from coatcheck.http.cookie import values_of
from coatcheck.model import codec
from coatcheck.model.sealing import RANDOM_BYTES, Sealer, from_text, to_text
from coatcheck.silent import silent

__all__ = ["BadCookie", "Cookie", "Cookies", "Written", "cookies_in"]

_PLAIN, _COMPRESSED = b"\0", b"\1"
_LONGEST_PLAIN = 2048
"""Longer data is compressed, since it would not fit into a cookie. Shorter data is not: the compressed size of a secret
beside text of the visitor's choice reveals something about the secret."""
_LONGEST_UNPACKED = 1 << 20


class BadCookie(ValueError):
    """The cookie has no valid signature or seal, or can't be read. The message says why, and shows none of its data."""


class Cookie(NamedTuple):
    """The content of a cookie."""

    id: bytes
    created: int
    client_data: dict[Any, Any]
    issued: int | None
    """When the cookie was set; None in gimlet's format, which does not contain it."""
    current: bool
    """Whether it was written with the present settings: the newest secret, and the same format."""

    def __repr__(self) -> str:
        return silent(self)


class Written(Protocol):
    """The part of a channel that is written to its cookie."""

    id: bytes
    created_timestamp: int
    client_data: dict[Any, Any]


class Cookies:
    """Reads and writes the cookies of a site."""

    def __init__(
        self,
        secrets: Sequence[bytes],
        crypters: Sequence[Crypter | None],
        *,
        side_by_side: bool,
        read_old: bool,
        classes: dict[str, type],
        randomness: Callable[[int], bytes],
    ) -> None:
        """`secrets` and `crypters` (encryption keys) are rings, the newest first."""
        # The sealing key contains the encryption key, so that the secret alone opens nothing.
        keys = [
            len(secret).to_bytes(4, "big") + secret + (crypter.key if crypter else b"")
            for secret, crypter in product(secrets, crypters)
        ]
        self._keys = keys
        self._sealers: dict[tuple[str, str], Sealer] = {}
        self._old = [
            URLSafeCookieSerializer(secret, None, crypter, classes=classes)
            for secret, crypter in product(secrets, crypters)
        ]
        self.side_by_side: bool = side_by_side
        self._reads_old = read_old
        self._randomness = randomness

    def read(self, value: bytes, *, name: str, channel: str) -> Cookie:
        """The content of the cookie `value`.

        Raises:
            BadCookie: No secret of the ring wrote it, or it can't be read.
        """
        return self._read_old(value) if b"." in value else self._read_sealed(value, name, channel)

    def write(self, written: Written, *, name: str, channel: str, now: int) -> str:
        """The cookie's value for a channel.

        Raises:
            NotStorable: A value in it would not come back unchanged.
        """
        if self.side_by_side:
            return self._old[0].dumps(written)
        head = (binascii.unhexlify(written.id), written.created_timestamp, now)
        data = encoded(written.client_data)
        packed = codec.encode((*head, data))
        packed = _PLAIN + packed if len(packed) <= _LONGEST_PLAIN else _COMPRESSED + zlib.compress(packed, 9)
        return to_text(self._sealer(name, channel).seal(packed, self._randomness(RANDOM_BYTES)))

    def _sealer(self, name: str, channel: str) -> Sealer:
        sealer = self._sealers.get((name, channel))
        if sealer is None:
            sealer = self._sealers[name, channel] = Sealer(self._keys, purpose=f"gimlet {channel}", name=name)
        return sealer

    def _read_sealed(self, value: bytes, name: str, channel: str) -> Cookie:
        try:
            packed, current = self._sealer(name, channel).open(from_text(value))
            if packed[:1] == _COMPRESSED:
                packed = _PLAIN + zlib.decompressobj().decompress(packed[1:], _LONGEST_UNPACKED)
            raw_id, created, issued, data = codec.decode(packed[1:])
            client_data = cast("dict[Any, Any]", codec.decode(data))
        except (DecodeError, zlib.error, ValueError, TypeError):
            raise BadCookie("it is not sealed by a secret of this site") from None
        return Cookie(
            binascii.hexlify(raw_id), created, client_data, issued, current=current and not self.side_by_side
        )

    def _read_old(self, value: bytes) -> Cookie:
        if not self._reads_old:
            raise BadCookie("it is in gimlet's format, and read_old is off")
        why = "it is not signed by a secret of this site"
        for serializer in self._old:
            try:
                key, created, data = serializer.loads(value)
            except ValueError as error:
                # The next key of the ring may still read it.
                why = str(error) if isinstance(error, DecodeError) else why
                continue
            is_newest = serializer.secret_key == self._old[0].secret_key
            return Cookie(key, created, data, None, current=self.side_by_side and is_newest)
        raise BadCookie(why)


def cookies_in(request: Any, name: str) -> list[bytes]:
    """The values of all cookies called `name`, from the raw header if the request has one."""
    environ = getattr(request, "environ", None)
    header: str | None = environ.get("HTTP_COOKIE") if environ else None
    if header is not None:
        return values_of(header.encode("latin-1", "replace"), name.encode())
    value: str | None = request.cookies.get(name)
    return [] if value is None else [value.encode("utf-8", "replace")]
