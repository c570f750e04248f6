"""The token in the visitor's cookie, and the ring of secrets that signs it.

A token consists of a selector (16 random bytes, the record's key), a secret (32 random bytes; the store holds only
its SHA-256) and a MAC over both (keyed BLAKE2b, 16 bytes). The MAC's key is derived from a secret of the ring and the
cookie's name. The text form is base64url without padding: 86 characters, exactly one spelling per token.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import blake2b, sha256

from coatcheck.errors import ConfigurationError

__all__ = ["SECRET_BYTES", "SELECTOR_BYTES", "Ring", "Token", "handle_of", "key_of", "secret_hash_of"]

SELECTOR_BYTES = 16
SECRET_BYTES = 32
_MAC_BYTES = 16
_MOST_REMEMBERED = 4096
_MINIMUM_SECRET_BYTES = 32
# 64 bytes leave 4 bits of the last character unused. They must be zero, so that each token has one spelling.
_GRAMMAR = re.compile(rb"[A-Za-z0-9_-]{85}[AQgw]").fullmatch
_HANDLE = re.compile(r"[0-9a-f]{32}").fullmatch
_FROM_URLSAFE = bytes.maketrans(b"-_", b"+/")

_MAKE_ONE = (
    "Make one with `coatcheck secret` or "
    '`python -c "import secrets; print(secrets.token_urlsafe(32))"`, and keep it out of the source.'
)
# Secrets of at least 32 characters from well-known documentation, and so publicly known.
_PUBLISHED = {
    b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
}
_PLACEHOLDERS = re.compile(
    rb"djangoinsecure|change(me|this|it)|replace(me|this)|super|your|my|app|the|flask|test|development|dev|secret"
    rb"|password|passwd|example|insecure|default|please|key|session|cookie|signing|keep|very|long|here"
)
_NOT_ALPHANUMERIC = re.compile(rb"[^a-z0-9]")


class Token:
    """A token with a valid signature. Its repr shows no secret.

    Attributes:
        key: The selector: the record's key.
        secret: The token's secret.
        secret_hash: The SHA-256 of the secret, as stored in the record.
        current: Whether the newest secret of the ring signed it.
    """

    __slots__ = ("current", "key", "secret", "secret_hash")

    def __init__(self, key: bytes, secret: bytes, *, current: bool = True) -> None:
        self.key: bytes = key
        self.secret: bytes = secret
        self.secret_hash: bytes = secret_hash_of(secret)
        self.current: bool = current

    def __repr__(self) -> str:
        return f"<Token of {handle_of(self.key)}>"


class Ring:
    """The secrets of an application, the newest first. The first signs, all verify.

    Args:
        secrets: One secret or several, each at least 32 bytes; a str counts as its UTF-8.
        purpose: The cookie's name. A token that was signed for another name is refused.

    Attributes:
        fingerprints: One of each secret, the same for every cookie's name: by them two rings can be compared.

    Raises:
        ConfigurationError: There is no secret, or one is too short or publicly known.
    """

    __slots__ = ("_known_good", "_rotating", "_signing", "fingerprints")

    FINGERPRINT_BYTES: int = 8

    def __init__(self, secrets: str | bytes | Sequence[str | bytes], *, purpose: str) -> None:
        several = isinstance(secrets, Sequence) and not isinstance(secrets, str | bytes)
        given: list[object] = list(secrets) if several else [secrets]
        if not given:
            raise ConfigurationError(f"No secret was given. {_MAKE_ONE}")
        ring = [_checked(secret) for secret in given]
        self._known_good: dict[bytes, Token] = {}
        label = b"coatcheck 1 token " + purpose.encode()
        # Keyed BLAKE2b is specified as a MAC (RFC 7693 §2.1), and takes a fifth of the time of HMAC-SHA256.
        self._signing = tuple(
            blake2b(digest_size=_MAC_BYTES, key=hmac.digest(secret, label, "sha256")) for secret in ring
        )
        self._rotating = tuple(hmac.digest(secret, b"coatcheck 1 rotation", "sha256") for secret in ring)
        self.fingerprints: frozenset[bytes] = frozenset(
            hmac.digest(secret, b"coatcheck 1 fingerprint", "sha256")[: self.FINGERPRINT_BYTES]
            for secret in ring
        )

    def __repr__(self) -> str:
        return f"<Ring of {len(self._signing)}>"

    def has_secrets_of(self, other: Ring) -> bool:
        """Whether both have the same secrets, in the same order."""
        return hmac.compare_digest(b"".join(self._rotating), b"".join(other._rotating))

    def sign(self, token: Token) -> str:
        """The text form of `token`, signed by the newest secret."""
        body = token.key + token.secret
        return urlsafe_b64encode(body + _mac(self._signing[0], body)).rstrip(b"=").decode()

    def verify(self, text: bytes) -> Token | None:
        """The token of `text`, or None if no secret of the ring signed it. Accepts any bytes."""
        # A token arrives with many requests. Only its signature is remembered; whether its session lives is the store's.
        known = self._known_good.get(text)
        if known is not None:
            return known
        if not _GRAMMAR(text):
            return None
        raw = a2b_base64(text.translate(_FROM_URLSAFE) + b"==")
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        current = True
        for keyed in self._signing:
            if hmac.compare_digest(_mac(keyed, body), mac):
                token = Token(body[:SELECTOR_BYTES], body[SELECTOR_BYTES:], current=current)
                if len(self._known_good) >= _MOST_REMEMBERED:
                    self._known_good.clear()
                self._known_good[text] = token
                return token
            current = False
        return None

    def adopted(self, key: bytes, name: bytes) -> list[Token]:
        """The tokens of what has another name elsewhere: one by each secret of the ring, the newest first."""
        return [Token(key, hmac.digest(each, b"adopted " + name, "sha256")) for each in self._rotating]

    def successor(self, token: Token) -> Token:
        """The token after a periodic rotation: the same for every parallel request with `token`."""
        return self._derived(self._rotating[0], token)

    def successor_with(self, token: Token, secret_hash: bytes) -> Token | None:
        """The successor of `token` by any secret of the ring whose hash is `secret_hash`, or None."""
        for key in self._rotating:
            if (successor := self._derived(key, token)).secret_hash == secret_hash:
                return successor
        return None

    @staticmethod
    def _derived(key: bytes, token: Token) -> Token:
        return Token(token.key, hmac.digest(key, token.key + token.secret, "sha256"))


def _mac(keyed: blake2b, body: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(body)
    return mac.digest()


def secret_hash_of(secret: bytes) -> bytes:
    """The SHA-256 of a token's secret, as stored in the record. Not keyed, so that it outlives the ring."""
    return sha256(secret).digest()


def handle_of(key: bytes) -> str:
    """The public name of the session with `key`: 32 hexadecimal digits, safe to log and to put in a URL."""
    return key.hex()


def key_of(handle: str) -> bytes | None:
    """The key of `handle`, or None if it is not a handle.

    Raises:
        TypeError: It is not a text at all.
    """
    if not isinstance(handle, str):
        raise TypeError(
            f"A handle is a str, not {type(handle).__name__}. `session.handle` is None until the session is stored: "
            "`save(session, create=True)` stores it."
        )
    return bytes.fromhex(handle) if _HANDLE(handle) else None


def _checked(secret: object) -> bytes:
    if not isinstance(secret, str | bytes):
        raise ConfigurationError(f"A secret must be str or bytes, not {type(secret).__name__}. {_MAKE_ONE}")
    try:
        raw = secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ConfigurationError(f"The secret is not text. {_MAKE_ONE}") from None
    if len(raw) < _MINIMUM_SECRET_BYTES:
        raise ConfigurationError(
            f"The secret is too short: {len(raw)} bytes; at least {_MINIMUM_SECRET_BYTES} are required. {_MAKE_ONE}"
        )
    if raw.lower() in _PUBLISHED or len(set(raw)) < 8 or (raw.isascii() and _is_placeholder(raw)):
        raise ConfigurationError(f"The secret is easy to guess. {_MAKE_ONE}")
    return raw


def _is_placeholder(raw: bytes) -> bool:
    """Whether the text consists almost only of words that are common in placeholders."""
    return len(_PLACEHOLDERS.sub(b"", _NOT_ALPHANUMERIC.sub(b"", raw.lower()))) < 12
