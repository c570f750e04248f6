"""Reads Cookie headers and writes Set-Cookie headers.

The frameworks' parsers disagree about quotes, escapes, white space and duplicates, and some allow a name prefix to be
forged. So the raw bytes of the header are parsed here. The value of the session cookie is always a token, so nothing
is unquoted or unescaped.
"""

from __future__ import annotations

import re

from coatcheck.errors import ConfigurationError, TooLarge

__all__ = ["CookieTemplate", "values_of"]

MAXIMUM_BYTES = 4096
_MAXIMUM_ATTRIBUTE = 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 token
_PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e]*").fullmatch
_DOMAIN = re.compile(r"\.?[0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?").fullmatch
_WHITE = b" \t"


def values_of(header: bytes, name: bytes) -> list[bytes]:
    """The values of all cookies called `name` in a Cookie header, in order.

    Accepts any bytes, never raises, and runs in linear time. Only SP and HTAB are trimmed, names are compared byte for
    byte, and a value ends at the next semicolon, even inside quotes.
    """
    if header.startswith(name + b"=") and b";" not in header:
        return [header[len(name) + 1 :].strip(_WHITE)]  # fast path for the common case of a single cookie
    values: list[bytes] = []
    size = len(name)
    at = header.find(name)
    while at >= 0:
        end = header.find(b";", at)
        if end < 0:
            end = len(header)
        # Between the last semicolon, or the start, and the name there must be only white space.
        before = header[header.rfind(b";", 0, at) + 1 : at]
        if before == b" " or not before.strip(_WHITE):
            rest = header[at + size : end].strip(_WHITE)
            if rest[:1] == b"=":
                values.append(rest[1:].lstrip(_WHITE))
        at = header.find(name, end)
    return values


class CookieTemplate:
    """A cookie's name and attributes. It writes the setting and the clearing, so that their attributes always match.

    Raises:
        ConfigurationError: Browsers refuse this combination of attributes, or an attribute could break the header.
    """

    __slots__ = ("_attributes", "name", "secure")

    def __init__(
        self,
        *,
        name: str,
        secure: bool,
        path: str = "/",
        domain: str | None = None,
        samesite: str = "Lax",
        partitioned: bool = False,
    ) -> None:
        _check(name, secure, path, domain, samesite, partitioned=partitioned)
        self.name: str = name
        self.secure: bool = secure
        attributes = [f"; Path={path}"]
        if domain is not None:
            attributes.append(f"; Domain={domain}")
        if secure:
            attributes.append("; Secure")
        attributes.append(f"; HttpOnly; SameSite={samesite}")
        if partitioned:
            attributes.append("; Partitioned")
        self._attributes = "".join(attributes)

    def __repr__(self) -> str:
        return f"<CookieTemplate {self.name}{self._attributes}>"

    def set(self, value: str, *, max_age: int | None) -> str:
        """The value of the Set-Cookie header.

        Args:
            value: The cookie's value.
            max_age: Its lifetime in seconds; None: until the browser closes.

        Raises:
            TooLarge: The name and the value are longer than browsers accept.
        """
        size = len(self.name) + len(value)
        if size > MAXIMUM_BYTES:
            raise TooLarge(
                f"The cookie {self.name} would have {size} bytes; browsers drop cookies over {MAXIMUM_BYTES}.",
                size=size,
                limit=MAXIMUM_BYTES,
            )
        lasting = "" if max_age is None else f"; Max-Age={max_age}"
        return f"{self.name}={value}{lasting}{self._attributes}"

    def clear(self) -> str:
        """The value of the Set-Cookie header that removes the cookie."""
        return f"{self.name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{self._attributes}"


def _check(
    name: str, secure: bool, path: str, domain: str | None, samesite: str, *, partitioned: bool
) -> None:
    if not _NAME(name) or len(name) > 256:
        raise ConfigurationError(
            f"The cookie name {name!r} is not a token (RFC 9110 §5.6.2): use letters, digits, '-' and '_' only."
        )
    if not _PATH(path) or len(path) > _MAXIMUM_ATTRIBUTE:
        raise ConfigurationError(
            f"The cookie path {path!r} must begin with '/' and contain no ';' and no control characters."
        )
    if domain is not None and (not _DOMAIN(domain) or len(domain) > _MAXIMUM_ATTRIBUTE):
        raise ConfigurationError(f"The cookie domain {domain!r} is not a domain name.")
    if samesite not in ("Lax", "Strict", "None"):
        raise ConfigurationError(f"samesite must be 'Lax', 'Strict' or 'None', not {samesite!r}.")
    lowered = name.lower()
    if lowered.startswith(("__host-", "__secure-", "__http-")) and not secure:
        raise ConfigurationError(
            f"A cookie named {name!r} must be Secure (RFC 6265bis §4.1.3): leave insecure_http off, or use a name without prefix."
        )
    if lowered.startswith("__host-") and (domain is not None or path != "/"):
        raise ConfigurationError(
            f"A cookie named {name!r} must have no domain and the path '/' (RFC 6265bis §4.1.3.2): "
            "use the name '__Secure-session', or leave the name out."
        )
    if not secure and samesite == "None":
        raise ConfigurationError("Browsers refuse SameSite=None without Secure: leave insecure_http off.")
    if not secure and partitioned:
        raise ConfigurationError("Browsers refuse Partitioned without Secure: leave insecure_http off.")
