"""The one reader of Cookie headers, and the one writer of Set-Cookie.

The frameworks' own parsers disagree about quotes, escapes, white space and duplicates, and some let a name
prefix be forged; so the header is read here, on its bytes. A cookie's value is only ever a token, so nothing is
unquoted or unescaped.
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
    """The values of every cookie called `name` in a Cookie header, in order.

    Takes any bytes, never raises, and takes time linear in the header. Only SP and HTAB are trimmed; names are
    compared byte for byte; a value ends at the next semicolon, whatever quotes are in it.
    """
    if header.startswith(name + b"=") and b";" not in header:
        return [header[len(name) + 1 :].strip(_WHITE)]  # the one cookie that many visitors have
    values: list[bytes] = []
    size = len(name)
    at = header.find(name)
    while at >= 0:
        end = header.find(b";", at)
        if end < 0:
            end = len(header)
        # What stands before the name must be white space only, back to a semicolon or the start.
        before = header[header.rfind(b";", 0, at) + 1 : at]
        if before == b" " or not before.strip(_WHITE):
            rest = header[at + size : end].strip(_WHITE)
            if rest[:1] == b"=":
                values.append(rest[1:].lstrip(_WHITE))
        at = header.find(name, end)
    return values


class CookieTemplate:
    """A cookie without its value: writes both the setting and the clearing, so that the attributes always match.

    Raises:
        ConfigurationError: Attributes that no browser takes together, or that could break the header.
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
        """The value of the Set-Cookie header. `max_age` in seconds; None lasts as long as the browser does."""
        size = len(self.name) + len(value)
        if size > MAXIMUM_BYTES:
            raise TooLarge(
                f"The cookie {self.name} would have {size} bytes; browsers drop one over {MAXIMUM_BYTES}.",
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
            f"The cookie name {name!r} is not a token of RFC 9110: use letters, digits, '-' and '_' only."
        )
    if not _PATH(path) or len(path) > _MAXIMUM_ATTRIBUTE:
        raise ConfigurationError(
            f"The cookie path {path!r} must begin with '/' and have no ';' or control characters."
        )
    if domain is not None and (not _DOMAIN(domain) or len(domain) > _MAXIMUM_ATTRIBUTE):
        raise ConfigurationError(f"The cookie domain {domain!r} is not a domain name.")
    if samesite not in ("Lax", "Strict", "None"):
        raise ConfigurationError(f"samesite must be 'Lax', 'Strict' or 'None', not {samesite!r}.")
    lowered = name.lower()
    if lowered.startswith(("__host-", "__secure-", "__http-")) and not secure:
        raise ConfigurationError(
            f"A cookie named {name!r} must be Secure (RFC 6265bis §4.1.3): leave insecure_http off, or take a plain name."
        )
    if lowered.startswith("__host-") and (domain is not None or path != "/"):
        raise ConfigurationError(
            f"A cookie named {name!r} can have no domain and only the path '/' (RFC 6265bis §4.1.3.2): "
            "take '__Secure-session' for the name, or leave it out."
        )
    if not secure and samesite == "None":
        raise ConfigurationError("Browsers refuse SameSite=None without Secure: leave insecure_http off.")
    if not secure and partitioned:
        raise ConfigurationError("Browsers refuse Partitioned without Secure: leave insecure_http off.")
