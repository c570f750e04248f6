"""The headers of a response that depends on a session or sets its cookie."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["add_vary", "amend", "forbid_storing", "unavailable"]

_PAST = "Thu, 01 Jan 1970 00:00:00 GMT"


def amend(
    headers: Iterable[tuple[str, str]], set_cookie: str | None, *, vary: str | None = "Cookie"
) -> list[tuple[str, str]]:
    """The headers of a response, completed for its session.

    Args:
        headers: The application's headers, in order. Its other cookies are kept unchanged.
        set_cookie: The value of the session's Set-Cookie header, or None. It takes the place of other Set-Cookie headers
            of its name, and sets ``Cache-Control: no-store`` and an ``Expires`` in the past.
        vary: The request header that the response depends on, or None.
    """
    amended = list(headers)
    if set_cookie is None and vary is not None:
        # The budget of calls per read: nothing to join.
        for name, _ in amended:
            if name.lower() == "vary":
                break
        else:
            amended.append(("Vary", vary))
            return amended
    if vary is not None:
        amended = _joined(amended, "Vary", lambda existing: add_vary(existing, vary))
    if set_cookie is not None:
        ours = set_cookie[: set_cookie.index("=") + 1]
        amended = [
            (name, value)
            for name, value in amended
            if name.lower() != "set-cookie" or not value.lstrip().startswith(ours)
        ]
        amended = _joined(amended, "Cache-Control", forbid_storing)
        # Caches that are configured to ignore Cache-Control would otherwise serve one visitor's cookie to others.
        amended = _joined(amended, "Expires", lambda _: _PAST)
        amended.append(("Set-Cookie", set_cookie))
    return amended


def _joined(headers: list[tuple[str, str]], name: str, change: Callable[[str], str]) -> list[tuple[str, str]]:
    """The headers, with all headers called `name` joined into one and changed."""
    lowered = name.lower()
    values = [value for other, value in headers if other.lower() == lowered]
    kept = [header for header in headers if header[0].lower() != lowered]
    return [*kept, (name, change(", ".join(values)))]


def add_vary(existing: str | None, field: str) -> str:
    """The Vary header `existing` with `field` added, unless it contains `field` (in any case) or ``*``."""
    if not existing or not existing.strip():
        return field
    named = [part.strip().lower() for part in existing.split(",")]
    if "*" in named or field.lower() in named:
        return existing
    return f"{existing}, {field}"


def forbid_storing(existing: str | None) -> str:
    """The Cache-Control header `existing` with ``no-store`` added, and never weaker than before (RFC 9111 §5.2.2.5)."""
    kept = [part.strip() for part in (existing or "").split(",") if part.strip()]
    if any(part.lower() == "no-store" for part in kept):
        return existing or ""
    kept = [part for part in kept if part.lower() != "public" and not part.lower().startswith("s-maxage")]
    return ", ".join([*kept, "no-store"])


def unavailable(retry_after: int) -> tuple[str, list[tuple[str, str]], bytes]:
    """The 503 response for a store failure: status line, headers, body.

    Args:
        retry_after: Seconds after which the client may try again.
    """
    body = b"The service is not available at the moment. Please try again.\n"
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(retry_after)),
        ("Cache-Control", "no-store"),
    ]
    return "503 Service Unavailable", headers, body
