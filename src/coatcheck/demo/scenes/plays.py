"""The six scenes. Each plays in front of either side, and says what it saw there, in the shop owner's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from coatcheck.demo.scenes.naive import InTheCookie, InTheStore
from coatcheck.demo.scenes.stage import Stage

__all__ = ["SCENES", "Scene", "Seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """How a scene ended on one side."""

    good: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A scene, and what to tell of it."""

    id: str
    title: str
    story: str
    play: Callable[[Stage], Seen]
    here: str
    """How Coatcheck does it."""
    there: str
    """Why the naive session does what it does."""
    peers: str
    """Which libraries do the same."""
    naive: type[InTheStore | InTheCookie] = InTheStore


def two_tabs(stage: Stage) -> Seen:
    ada = stage.browser("Ada")
    ada.post("/take/coat")
    with stage.during(ada, "/take/scarf"):
        ada.post("/take/umbrella")
    basket = ada.look().basket
    lost = [good for good in ("umbrella", "scarf") if good not in basket]
    if not lost:
        return Seen(good=True, said="The umbrella and the scarf are both in her basket.")
    gone = "The umbrella and the scarf are gone" if len(lost) > 1 else f"The {lost[0]} is gone"
    return Seen(good=False, said=f"{gone}. Ada was told that all was in her basket.")


def late_answer(stage: Stage) -> Seen:
    ada = stage.browser("Ada")
    ada.post("/take/coat")
    with stage.during(ada, "/look-at/scarf"):
        ada.post("/sign-in/Ada")
    if ada.look().user == "Ada":
        return Seen(good=True, said="Ada is signed in, as she should be.")
    return Seen(good=False, said="Ada is signed out again. She did nothing wrong, and has no idea why.")


def sign_out(stage: Stage) -> Seen:
    ada = stage.browser("Ada")
    ada.post("/sign-in/Ada")
    with stage.during(ada, "/take/scarf"):
        ada.post("/sign-out")
    ada.name = "The next visitor"
    if ada.look().user is None:
        return Seen(good=True, said="The next visitor is a stranger to the shop.")
    return Seen(good=False, said="The next visitor is signed in as Ada, with her basket.")


def stolen_cookie(stage: Stage) -> Seen:
    ada = stage.browser("Ada")
    ada.post("/sign-in/Ada")
    thief = ada.copied("The thief")
    ada.post("/sign-out")
    if thief.look().user is None:
        return Seen(good=True, said="The copy opens nothing any more.")
    return Seen(good=False, said="The copy still opens Ada’s account. Signing out did not help her.")


def store_away(stage: Stage) -> Seen:
    ada = stage.browser("Ada")
    ada.post("/sign-in/Ada")
    with stage.away():
        meanwhile = ada.look(also=HTTPStatus.SERVICE_UNAVAILABLE)
    if meanwhile.status == HTTPStatus.SERVICE_UNAVAILABLE:
        then = "For that moment the shop asked her to try again."
    else:
        then = "For that moment the shop took her for a stranger."
    if ada.look().user == "Ada":
        return Seen(good=True, said=f"{then} Then it knew Ada, as before.")
    return Seen(
        good=False,
        said=f"{then} Then it was too late: her cookie had been thrown away, and Ada is signed out.",
    )


def lost_phone(stage: Stage) -> Seen:
    laptop, phone = stage.browser("Ada’s laptop"), stage.browser("Ada’s phone")
    laptop.post("/sign-in/Ada")
    phone.post("/sign-in/Ada")
    laptop.post("/end-the-other", also=HTTPStatus.NOT_IMPLEMENTED)
    then = phone.look().user, laptop.look().user
    if then == (None, "Ada"):
        return Seen(good=True, said="The phone is signed out. The laptop stays signed in.")
    return Seen(good=False, said="Whoever has the phone is still signed in as Ada. The shop can’t end it.")


SCENES = (
    Scene(
        id="two-tabs",
        title="Two tabs, one basket",
        story="Ada puts the umbrella into her basket in one tab and, at the same moment, the scarf in another.",
        play=two_tabs,
        here="Each request stores what it changed, on the condition that the session is still as it was read. "
        "The scarf’s request found that the umbrella had come first, and added the scarf to that.",
        there="Each request reads the whole session and writes the whole session back. The scarf’s request wrote "
        "what it had read before the umbrella was there.",
        peers="Flask-Session, starsessions, Litestar, aiohttp-session, Beaker and Django lose one of the two.",
    ),
    Scene(
        id="late-answer",
        title="A late answer after a login",
        story="A page is slow. Ada signs in meanwhile, and then the slow page answers.",
        play=late_answer,
        here="A request that began before the sign-in counts as late. It stores nothing and sets no cookie. "
        "What it wanted to note, that Ada had looked at the scarf, is left out.",
        there="The slow page writes its old session back, and its answer puts the old cookie over the new one.",
        peers="Flask-Session, starsessions and aiohttp-session do the same. Django answers the slow page with an error.",
    ),
    Scene(
        id="sign-out",
        title="A logout during a click",
        story="On a library’s computer, Ada signs out while her last click is still being answered. "
        "Then the next visitor sits down.",
        play=sign_out,
        here="A mark stays where the session was. A request that comes late finds it, and stores nothing.",
        there="The sign-out deletes the session. The click, which had read it before, writes it back and sets its cookie.",
        peers="Flask-Session, starsessions, Litestar, aiohttp-session and Beaker bring the session back. "
        "Django does not: the click gets an error.",
    ),
    Scene(
        id="stolen-cookie",
        title="A stolen cookie after a logout",
        story="Somebody copied Ada’s cookie. She signs out. Then the thief uses the copy.",
        play=stolen_cookie,
        here="The session is in the store and the sign-out ends it there, so that every copy of the cookie is worthless.",
        there="The whole session is in the cookie. The sign-out removes it from Ada’s browser, and from nowhere else.",
        peers="Flask’s own sessions and Starlette’s SessionMiddleware work like this. Libraries that keep the session in "
        "a store end it there at the sign-out. In some of them a click under way brings it back: see “A logout during a click”.",
        naive=InTheCookie,
    ),
    Scene(
        id="store-away",
        title="The store is gone for a moment",
        story="Ada is signed in. The server that keeps the sessions is away for a moment, and she opens a page. "
        "Then it is back, and she opens another.",
        play=store_away,
        here="An outage is an error: 503, with Retry-After, and her cookie stays as it is.",
        there="No answer from the store counts as “no session”. An empty session removes the cookie.",
        peers="Of ten libraries, only Django with its cache backend did the same. Flask-Session, starsessions, Litestar and "
        "aiohttp-session answered with an error, after three to four seconds; nobody was signed out.",
    ),
    Scene(
        id="lost-phone",
        title="A lost phone",
        story="Ada is signed in on her laptop and on her phone. The phone is lost. From the laptop she ends its session.",
        play=lost_phone,
        here="The sessions of each user can be listed, and ended one by one or all at once.",
        there="A blob lies under its id, and only the phone knows that. The shop finds no session by its user.",
        peers="Flask-Session, starsessions, Litestar, aiohttp-session and Beaker have no call for it. Django ends all of "
        "a user’s sessions, by changing the password. django-user-sessions and fastapi-redis-sdk list them, and end one or all.",
    ),
)
