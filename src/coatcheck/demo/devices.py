"""Words for the list of devices."""

from __future__ import annotations

from datetime import datetime, timedelta

__all__ = ["ago", "device"]

# The first that fits: most browsers also claim to be the ones below them.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("HeadlessChrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "a Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def device(client: str) -> str:
    """What a User-Agent probably is, in words; what nobody knows is given as it is."""
    browser = next((name for mark, name in _BROWSERS if mark in client), None)
    system = next((name for mark, name in _SYSTEMS if mark in client), None)
    if browser is None:
        return client[:60] or "An unknown device"
    return browser if system is None else f"{browser} on {system}"


def ago(then: datetime, now: datetime) -> str:
    """How long ago, in words that stay true for a while."""
    passed = max(now - then, timedelta())
    for unit, name in (
        (timedelta(days=1), "day"),
        (timedelta(hours=1), "hour"),
        (timedelta(minutes=1), "minute"),
    ):
        if (count := passed // unit) >= 1:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"
