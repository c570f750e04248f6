"""A request in plain words: what the visitor did, and what became of it."""

from __future__ import annotations

from http import HTTPStatus

from coatcheck.demo.goods import GOODS
from coatcheck.demo.steps import Request

__all__ = ["consequences", "headline"]

_DID = {
    "GET /": "You looked at the rail",
    "POST /": "You watched a scene",
    "GET /basket": "You looked at your basket",
    "POST /basket/add": "You took {goods}",
    "POST /basket/change": "You changed {goods} in your basket",
    "GET /sign-in": "You were about to sign in",
    "POST /sign-in": "You signed in",
    "POST /sign-out": "You signed out",
    "GET /devices": "You looked at your devices",
    "POST /devices/end": "You signed out another device",
    "POST /devices/end-others": "You signed out all your other devices",
    "GET /what-happened": "You read this page",
    "POST /theme": "You chose a theme",
    "GET /express": "You looked at the express counter",
    "GET /express/docs": "You read the counter’s documentation",
    "GET /express/api/basket": "A program read your basket",
}
_WANTED = {
    "POST /": "You wanted to watch a scene",
    "POST /basket/add": "You wanted to take {goods}",
    "POST /basket/change": "You wanted to change {goods} in your basket",
    "POST /sign-in": "You wanted to sign in",
    "POST /sign-out": "You wanted to sign out",
    "POST /devices/end": "You wanted to sign out another device",
    "POST /devices/end-others": "You wanted to sign out all your other devices",
    "POST /theme": "You wanted to choose a theme",
}
"""For a request that was refused, or failed."""
_FAILED = "failed: "
_BECAME = (
    ("another request wrote first", "Another request of yours came first. This one was added to it."),
    ("began a session", "You got a session, and your browser a cookie with nothing but a random token."),
    ("signed in", "The sign-in is stored."),
    ("changed the secret", "Your browser got a new token. A copy of the old one is worth nothing."),
    ("ended a session", "A session has ended. Nothing brings it back."),
    ("noted which sign-ins", "It is noted which sign-ins count. All others have ended."),
    ("“basket:", "Your basket was stored before you had the answer."),
    ("“theme”", "Your theme is stored."),
    ("to be shown once", "The message that you saw is taken away: it is shown once."),
    (
        "noted that the session is in use",
        "It is noted that you are still here. That happens once an hour at most.",
    ),
)
_AT_THE_COUNTER = "/express"


def headline(request: Request) -> str:
    """What the visitor did."""
    key = f"{request.method} {request.path}"
    known = _DID | _WANTED if request.status >= HTTPStatus.BAD_REQUEST else _DID
    did = known.get(key)
    if did is None and request.path.startswith(f"{_AT_THE_COUNTER}/"):
        did = known.get(f"{request.method} {request.path.removeprefix(_AT_THE_COUNTER)}")
    told = " · ".join(_told(request))
    goods = " and ".join(f"the {good.name}" for good in GOODS if f"“basket:{good.id}”" in told)
    return f"You asked for {request.path}" if did is None else did.format(goods=goods or "something")


def consequences(request: Request) -> list[str]:
    """What became of it."""
    words = _told(request)
    # What another request than one about the basket removes goes with the session, or with the user before.
    stored = [word for word in words if "/basket/" in request.path or not word.startswith("removed ")]
    told = " · ".join(stored)
    became: list[str] = []
    if _FAILED in told and request.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        became.append("The store could not be reached or took nothing, and the shop said so.")
    elif _FAILED in told:
        became.append("The store could not be reached once. The answer did not depend on it.")
    became += [said for word, said in _BECAME if word in told]
    if len(stored) < len(words):
        became.append("What the session held before was removed.")
    if HTTPStatus.BAD_REQUEST <= request.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        became.append("The shop refused it." if request.method == "POST" else "There is no such page.")
    if not request.steps:
        became.append("The store was not asked.")
    elif not request.wrote:
        became.append("Nothing was written.")
    return became or ["What changed is stored."]


def _told(request: Request) -> list[str]:
    return [word for step in request.steps for word in step.told]
