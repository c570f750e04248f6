"""Who may post a form, in either half of the shop."""

from __future__ import annotations

from urllib.parse import urlsplit

from coatcheck.session import Session

__all__ = ["is_foreign", "refusal", "token_of"]


def token_of(session: Session) -> str:
    """What every form carries: the session's CSRF token, or "" while nothing is stored for the visitor.

    To make a token for a mere visit would store something for everybody who looks in. Without a session there is
    nothing yet that another site could abuse, and forms that come from other sites are refused all the same.
    """
    return "" if session.is_new else session.csrf_token()


def is_foreign(fetch_site: str | None, origin: str | None, host: str) -> bool:
    """Whether a form comes from another site, by the request's Sec-Fetch-Site, Origin and Host.

    Browsers say where a form comes from, and no page can make them lie.
    """
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc != host


def refusal(session: Session, sent: str) -> tuple[str, str] | None:
    """Why a form with this token is refused, as a title and a text; None if it is the visitor's own."""
    if session.check_csrf(sent) or (session.is_new and not sent):
        return None
    if session.is_new:
        return (
            "Your session has ended",
            "It was signed out here or on another device, or it has expired. Nothing was changed.",
        )
    return (
        "That form is out of date",
        (
            "It is from before you signed in or out, or it is not one of ours. Nothing was changed: "
            "go back, load the page again, and send it once more."
        ),
    )
