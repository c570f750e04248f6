"""Make session classes from settings."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from coatcheck.compat._plain import Allow, named
from coatcheck.compat.gimlet.backends.base import Backend, BaseBackend
from coatcheck.compat.gimlet.cookies import Cookies
from coatcheck.compat.gimlet.crypto import Crypter
from coatcheck.compat.gimlet.serializer import URLSafeCookieSerializer
from coatcheck.compat.gimlet.session import Session, log
from coatcheck.compat.gimlet.util import parse_settings
from coatcheck.errors import ConfigurationError

__all__ = ["SideBySideWarning", "session_factory_factory", "session_factory_from_settings"]

_LONGEST_COOKIE = timedelta(days=400)
_SHORTEST_SECRET = 16


class SideBySideWarning(UserWarning):
    """Cookies and records are written in gimlet's formats, and are only as safe as gimlet's."""


def session_factory_factory(
    secret: str | bytes | Sequence[str | bytes],
    backend: Backend | None = None,
    clientside: bool | None = None,
    cookie_name_temporary: str = "gimlet-n",
    cookie_name_permanent: str = "gimlet-p",
    encryption_key: str | bytes | Sequence[str | bytes] | None = None,
    permanent: bool = False,
    *,
    side_by_side: bool = False,
    read_old: bool = True,
    allow: Allow = (),
    permanent_lifetime: timedelta | float | str = _LONGEST_COOKIE,
    temporary_lifetime: timedelta | float | str = timedelta(days=30),
    clock: Callable[[], float] = time.time,
) -> type[Session]:
    """A subclass of `Session` with these settings.

    Args:
        secret: Seals the cookies. In a sequence the first secret seals, and all open.
        backend: Stores the records: any object with ``[id]``. None: all data is in the cookies.
        clientside: The default for `Session.set`: whether a key is stored in the cookie.
        cookie_name_temporary: The cookie of the keys that end with the browser.
        cookie_name_permanent: The cookie of the permanent keys.
        encryption_key: 64 hexadecimal digits, needed beside the secret to open a cookie; or several, the newest first.
        permanent: The default for `Session.set`: whether a key is permanent.
        side_by_side: Write gimlet's formats while servers with gimlet still run: pickles of builtins, signed with SHA-1,
            encrypted with AES-ECB. Warns.
        read_old: Whether cookies in gimlet's format are read. Turn it off when all have been replaced.
        allow: The classes that old pickles may contain besides plain types.
        permanent_lifetime: The lifetime of unused permanent keys, as a timedelta or in seconds.
        temporary_lifetime: The same for the other keys, if the browser is never closed.
        clock: Returns seconds since 1970.

    Raises:
        ValueError: The settings are impossible.
        TypeError: A secret is neither str nor bytes.
    """
    if backend is None:
        if clientside is False:
            raise ValueError("cannot configure default of clientside=False with no backend present")
        clientside = True
    else:
        clientside = bool(clientside)
    secrets = [_bytes(each) for each in _several(secret)]
    if not secrets or not all(secrets):
        raise ConfigurationError("secret is required")
    if min(map(len, secrets)) < _SHORTEST_SECRET:
        log.warning(
            "The secret is short, and an attacker who guesses it can forge cookies. `coatcheck secret` makes a good one."
        )
    keys = _several(encryption_key) if encryption_key else [b""]
    crypters = [Crypter(key) if key else None for key in keys]
    lifetimes = {"perm": _span(permanent_lifetime), "nonperm": _span(temporary_lifetime)}
    if max(lifetimes.values()) > _LONGEST_COOKIE:
        raise ConfigurationError("Browsers keep no cookie for longer than 400 days (RFC 6265bis §5.5).")
    classes = named(allow)
    if isinstance(backend, BaseBackend):
        backend.side_by_side = side_by_side or backend.side_by_side
        backend.classes = {**backend.classes, **classes}
    if side_by_side:
        warnings.warn(
            "side_by_side writes gimlet's cookies and records: signed with SHA-1, encrypted only with AES-ECB, without "
            "an expiry. Turn it off when no server runs gimlet any more.",
            SideBySideWarning,
            stacklevel=2,
        )
    configuration: dict[str, Any] = {
        "backend": backend,
        "channel_names": {"perm": cookie_name_permanent, "nonperm": cookie_name_temporary},
        "channel_opts": {"perm": {"max_age": lifetimes["perm"]}, "nonperm": {}},
        "defaults": {"permanent": permanent, "clientside": clientside},
        "lifetimes": lifetimes,
        "serializer": URLSafeCookieSerializer(secrets[0], backend, crypters[0], classes=classes),
        "cookies": Cookies(
            secrets,
            crypters,
            side_by_side=side_by_side,
            read_old=read_old,
            classes=classes,
            randomness=os.urandom,
        ),
        "clock": staticmethod(clock),
    }
    return type("SessionFactory", (Session,), configuration)


def session_factory_from_settings(settings: Mapping[str, Any], prefix: str = "gimlet.") -> type[Session]:
    """A session class from an application's settings; see `parse_settings`."""
    return session_factory_factory(**parse_settings(settings, prefix))


def _several(value: str | bytes | Sequence[str | bytes]) -> list[str | bytes]:
    return [value] if isinstance(value, str | bytes) else list(value)


def _bytes(secret: object) -> bytes:
    if isinstance(secret, str):
        return secret.encode()
    if isinstance(secret, bytes):
        return secret
    raise TypeError(f"secret must be str or bytes, not {type(secret).__name__}")


def _span(value: timedelta | float | str) -> timedelta:
    span = value if isinstance(value, timedelta) else timedelta(seconds=float(value))
    if span < timedelta(seconds=1):
        raise ConfigurationError("A lifetime must be at least one second.")
    return span
