"""The token in the visitor's cookie, and the ring of secrets that signs it.

A token is a selector (16 random bytes, the record's key), a secret (32 random bytes, of which the store holds
only the SHA-256) and a MAC (keyed BLAKE2b, 16 bytes) over both, made with a key that is derived from the
ring's secret and the cookie's name. As text it is base64url without padding: 86 characters, and only one way to
write each token.
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
# 64 bytes leave 4 bits of the last character unused; they must be zero, so that no token has a second spelling.
_GRAMMAR = re.compile(rb"[A-Za-z0-9_-]{85}[AQgw]").fullmatch
_HANDLE = re.compile(r"[0-9a-f]{32}").fullmatch
_FROM_URLSAFE = bytes.maketrans(b"-_", b"+/")

_MAKE_ONE = (
    "Make a good one with `coatcheck secret` or "
    '`python -c "import secrets; print(secrets.token_urlsafe(32))"`, and keep it out of the source.'
)
# Secrets of 32 characters and more that stand in well-read documentation, so that everybody knows them.
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
    """A token that we signed. Shows nothing of itself.

    Attributes:
        key: The selector, under which the record lies.
        secret: The secret itself.
        secret_hash: Its SHA-256, as the record holds it.
        current: Whether the ring's newest secret signed it.
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
    """The secrets of an application, the newest first: the first signs, each verifies.

    Args:
        secrets: One secret or several, each at least 32 bytes; a str counts as its UTF-8.
        purpose: What the signatures are for: the cookie's name. A token taken from another name is not ours.

    Raises:
        ConfigurationError: No secret, or one that is too short or well known.
    """

    __slots__ = ("_known_good", "_rotating", "_signing")

    def __init__(self, secrets: str | bytes | Sequence[str | bytes], *, purpose: str) -> None:
        several = isinstance(secrets, Sequence) and not isinstance(secrets, str | bytes)
        given: list[object] = list(secrets) if several else [secrets]
        if not given:
            raise ConfigurationError(f"No secret was given. {_MAKE_ONE}")
        ring = [_checked(secret) for secret in given]
        self._known_good: dict[bytes, Token] = {}
        label = b"coatcheck 1 token " + purpose.encode()
        # Keyed BLAKE2b is a MAC by its own specification (RFC 7693 §2.1), and takes a fifth of HMAC-SHA256's time.
        self._signing = tuple(
            blake2b(digest_size=_MAC_BYTES, key=hmac.digest(secret, label, "sha256")) for secret in ring
        )
        self._rotating = tuple(hmac.digest(secret, b"coatcheck 1 rotation", "sha256") for secret in ring)

    def __repr__(self) -> str:
        return f"<Ring of {len(self._signing)}>"

    def sign(self, token: Token) -> str:
        """The text of `token`, signed by the newest secret."""
        body = token.key + token.secret
        return urlsafe_b64encode(body + _mac(self._signing[0], body)).rstrip(b"=").decode()

    def verify(self, text: bytes) -> Token | None:
        """The token that `text` is, if we signed it; None for anything else, whatever bytes it is."""
        # A visitor shows one token many times. Whether its session still lives, the store says each time.
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

    def successor(self, token: Token) -> Token:
        """What `token` becomes at a periodic rotation: the same for every request that holds it."""
        return self._derived(self._rotating[0], token)

    def successor_with(self, token: Token, secret_hash: bytes) -> Token | None:
        """The successor of `token` whose secret has the SHA-256 `secret_hash`, under any secret of the ring."""
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
    """The SHA-256 by which a record knows a secret. Not keyed, so that it outlives the ring."""
    return sha256(secret).digest()


def handle_of(key: bytes) -> str:
    """The public name of the session under `key`: 32 hexadecimal digits, safe to log and to put in a URL."""
    return key.hex()


def key_of(handle: str) -> bytes | None:
    """The key that `handle` names, or None where it is no handle at all."""
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
            f"The secret is too short: {len(raw)} bytes, where at least {_MINIMUM_SECRET_BYTES} are needed. {_MAKE_ONE}"
        )
    if raw.lower() in _PUBLISHED or len(set(raw)) < 8 or (raw.isascii() and _is_placeholder(raw)):
        raise ConfigurationError(f"The secret is one that anybody can guess. {_MAKE_ONE}")
    return raw


def _is_placeholder(raw: bytes) -> bool:
    """Whether next to nothing is left of a text without the words of which placeholders are made."""
    return len(_PLACEHOLDERS.sub(b"", _NOT_ALPHANUMERIC.sub(b"", raw.lower()))) < 12
