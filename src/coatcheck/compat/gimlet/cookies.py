"""The cookies of the two channels: sealed, and bound to their name and channel; or as gimlet wrote them.

Which of the two a cookie is, its dot tells: a sealed one has none. Neither is tried in place of the other.
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

__all__ = ["BadCookie", "Cookie", "Cookies", "Written", "cookies_in"]

_PLAIN, _COMPRESSED = b"\0", b"\1"
_LONGEST_PLAIN = 2048
"""Longer data is compressed, since it would not fit into a cookie otherwise. Shorter data is not: how well a secret can
be compressed beside what a visitor typed tells something of it."""
_LONGEST_UNPACKED = 1 << 20


class BadCookie(ValueError):
    """A cookie that is not ours, or can't be read. The text says why, and shows nothing of it."""


class Cookie(NamedTuple):
    """What a cookie says."""

    id: bytes
    created: int
    client_data: dict[Any, Any]
    issued: int | None
    """When it was sent; None: gimlet's cookies don't tell."""
    current: bool
    """Whether it is as we would write it now: sealed with the newest secret, say."""


class Written(Protocol):
    """What is written of a channel."""

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
        """Make it of the rings of secrets and encryption keys, the newest first."""
        # With an encryption key, who knows only the secret can read nothing.
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
        """What the cookie says.

        Raises:
            BadCookie: It is not ours, or says nothing that can be read.
        """
        return self._read_old(value) if b"." in value else self._read_sealed(value, name, channel)

    def write(self, written: Written, *, name: str, channel: str, now: int) -> str:
        """The value of a channel's cookie.

        Raises:
            NotStorable: A value in it would not come back as what it was.
        """
        if self.side_by_side:
            return self._old[0].dumps(written)
        told = (binascii.unhexlify(written.id), written.created_timestamp, now)
        data = encoded(written.client_data)
        packed = codec.encode((*told, data))
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
            raise BadCookie("it is not sealed by our secret") from None
        return Cookie(
            binascii.hexlify(raw_id), created, client_data, issued, current=current and not self.side_by_side
        )

    def _read_old(self, value: bytes) -> Cookie:
        if not self._reads_old:
            raise BadCookie("it is one of gimlet's, which are no longer read")
        why = "it is not signed by our secret"
        for serializer in self._old:
            try:
                key, created, data = serializer.loads(value)
            except ValueError as error:
                # What can't be read under one key of the ring may be read under the next.
                why = str(error) if isinstance(error, DecodeError) else why
                continue
            is_newest = serializer.secret_key == self._old[0].secret_key
            return Cookie(key, created, data, None, current=self.side_by_side and is_newest)
        raise BadCookie(why)


def cookies_in(request: Any, name: str) -> list[bytes]:
    """The values of the cookies called `name`: read from the header itself where there is one."""
    environ = getattr(request, "environ", None)
    header: str | None = environ.get("HTTP_COOKIE") if environ else None
    if header is not None:
        return values_of(header.encode("latin-1", "replace"), name.encode())
    value: str | None = request.cookies.get(name)
    return [] if value is None else [value.encode("utf-8", "replace")]
