"""The settings, with all their defaults. What can't work, alone or together, fails here, when they are built."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TypedDict, get_args

from coatcheck.errors import ConfigurationError
from coatcheck.events import Event
from coatcheck.http.cookie import CookieTemplate
from coatcheck.http.paths import Prefixes
from coatcheck.http.token import Ring
from coatcheck.model.lifetimes import Lifetimes, milliseconds
from coatcheck.model.merges import MergeRule

__all__ = ["CookieSettings", "Options", "OutagePolicy", "Revocation", "Settings"]

OutagePolicy = Literal["closed", "anonymous"]
_POLICIES = get_args(OutagePolicy)
Revocation = Literal["index", "epoch"]
_LONGEST_COOKIE = timedelta(days=400)


@dataclass(frozen=True, kw_only=True)
class CookieSettings:
    """The session's cookie. It is always HttpOnly."""

    name: str | None = None
    """Its name. None: ``__Host-session``; with a domain or another path ``__Secure-session``; with
    ``insecure_http`` ``session``. The prefixes make browsers refuse a cookie that a subdomain or a plain-http page
    planted (RFC 6265bis §4.1.3)."""

    domain: str | None = None
    """None keeps the cookie to the one host. A domain sends it to all its subdomains, and lets each of them plant
    one: several cookies of our name may then arrive. Four are tried, and the one that is a live session counts; if
    several are, none does."""

    path: str = "/"
    """The path below which browsers send it. No protection: pages of one host can reach each other."""

    samesite: Literal["Lax", "Strict", "None"] = "Lax"
    """``None`` sends the cookie with requests that other sites start: then every form needs a CSRF token."""

    partitioned: bool = False
    """One cookie per embedding site (CHIPS), for pages that live in other sites' frames."""

    def template(self, *, insecure_http: bool) -> CookieTemplate:
        """The cookie that these settings make.

        Raises:
            ConfigurationError: They don't go together.
        """
        if self.name is not None:
            name = self.name
        elif insecure_http:
            name = "session"
        elif self.domain is None and self.path == "/":
            name = "__Host-session"
        else:
            name = "__Secure-session"
        return CookieTemplate(
            name=name,
            secure=not insecure_http,
            path=self.path,
            domain=self.domain,
            samesite=self.samesite,
            partitioned=self.partitioned,
        )


class Options(TypedDict, total=False):
    """The keyword arguments that `Sessions` takes: the fields of `Settings`."""

    secret: str | bytes | Sequence[str | bytes]
    idle_timeout: timedelta
    absolute_timeout: timedelta
    remember_idle: timedelta
    remember_absolute: timedelta
    rotate_every: timedelta | None
    rotation_grace: timedelta
    late_window: timedelta
    cookie: CookieSettings
    insecure_http: bool
    outage: OutagePolicy | Mapping[str, OutagePolicy]
    revocation: Revocation
    merge: Mapping[str, MergeRule]
    deadline: timedelta
    max_bytes: int
    max_flashes: int
    max_sessions_per_user: int | None
    on_event: Callable[[Event], None] | None
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be chosen about sessions but the store.

    Raises:
        ConfigurationError: Something is out of its range, or two things don't go together.
    """

    secret: str | bytes | Sequence[str | bytes] = field(repr=False)
    """What signs the tokens: at least 32 bytes, from `coatcheck secret`. Several: the first signs, all verify. Put
    a new one in front; a session's cookie is signed anew when it is used, so the old one can go after a while."""

    idle_timeout: timedelta = timedelta(hours=24)
    """How long a session lives without being used (OWASP; ASVS 7.3.1). Use is noted every tenth of it."""

    absolute_timeout: timedelta = timedelta(days=30)
    """How long it lives at all, from the sign-in, or from its creation while nobody signed in (ASVS 7.3.2)."""

    remember_idle: timedelta = timedelta(days=30)
    """`idle_timeout` for a session that is `permanent`."""

    remember_absolute: timedelta = timedelta(days=90)
    """`absolute_timeout` for a session that is `permanent`; also how long the browser keeps its cookie."""

    rotate_every: timedelta | None = None
    """Change the secret of a session that is used every so often; None: only at sign-in and `rotate()`."""

    rotation_grace: timedelta = timedelta(seconds=60)
    """How long the old secret is good after the periodic rotation's new one was first seen."""

    late_window: timedelta = timedelta(seconds=120)
    """How long after a sign-in a request with the old cookie counts as late (its writes are dropped, and it
    gets no cookie that could undo the sign-in), and not as a stranger's."""

    cookie: CookieSettings = CookieSettings()
    """The cookie's name and attributes."""

    insecure_http: bool = False
    """For local development and test clients on plain http only: no ``Secure``, no name prefix. On a network,
    whoever listens then reads the cookie."""

    outage: OutagePolicy | Mapping[str, OutagePolicy] = "closed"
    """What a request gets that needs its session while the store fails. ``closed``: 503 with Retry-After.
    ``anonymous``: an empty session that can be read; what is put in is dropped, signing in and out raise. A mapping
    chooses by the path within the application: ``{"/goods": "anonymous"}`` stands for ``/goods`` and all below it; the
    longest prefix counts, and what has none is ``closed``."""

    revocation: Revocation = "index"
    """How `revoke_user` finds a user's sessions. ``index``: by the store's list of them. ``epoch``: by one small value
    per user that says which sign-ins count, for a Redis that evicts keys (``allkeys-*``). It takes one more round trip
    for each request of a user who is signed in. Memcached always works like that."""

    merge: Mapping[str, MergeRule] = field(default_factory=dict[str, MergeRule])
    """Rules for fields that two requests change at the same time: ``{"visits": merges.add}``. Without a rule, values
    that were edited in place are merged, and of two that were assigned the later write stands."""

    deadline: timedelta = timedelta(seconds=2)
    """How long a store operation may take, with all its repetitions, before it is a `StoreTimeout`."""

    max_bytes: int = 256 * 1024
    """How large a record may be, in bytes."""

    max_flashes: int = 100
    """How many flash messages a session holds at most. The oldest go first."""

    max_sessions_per_user: int | None = None
    """How many sessions a user may have at a time (ASVS 7.1.2): a sign-in ends those that signed in longest ago. It
    takes one more round trip then, and one where there is something to end. None: as many as he likes."""

    on_event: Callable[[Event], None] | None = field(default=None, repr=False)
    """Called with each `Event`, in the request's own thread. What it raises is logged, and goes no further."""

    clock: Callable[[], float] = field(default=time.time, repr=False)
    """Seconds since 1970, UTC."""

    ring: Ring = field(init=False, repr=False, compare=False)
    template: CookieTemplate = field(init=False, repr=False, compare=False)
    lifetimes: Lifetimes = field(init=False, repr=False, compare=False)
    rotate_every_ms: int | None = field(init=False, repr=False, compare=False)
    rotation_grace_ms: int = field(init=False, repr=False, compare=False)
    late_window_ms: int = field(init=False, repr=False, compare=False)
    cookie_name: bytes = field(init=False, repr=False, compare=False)
    outage_by_path: Prefixes[OutagePolicy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        template = self.cookie.template(insecure_http=self.insecure_http)
        derived = {
            "template": template,
            "cookie_name": template.name.encode(),
            "ring": Ring(self.secret, purpose=template.name),
            "lifetimes": Lifetimes(
                idle=milliseconds(self.idle_timeout),
                absolute=milliseconds(self.absolute_timeout),
                remember_idle=milliseconds(self.remember_idle),
                remember_absolute=milliseconds(self.remember_absolute),
            ),
            "rotate_every_ms": None if self.rotate_every is None else milliseconds(self.rotate_every),
            "rotation_grace_ms": milliseconds(self.rotation_grace),
            "late_window_ms": milliseconds(self.late_window),
            "outage_by_path": Prefixes("outage", {} if isinstance(self.outage, str) else self.outage),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def outage_at(self, path: str) -> OutagePolicy:
        """What a request for `path` gets while the store fails."""
        if isinstance(self.outage, str):
            return self.outage
        return self.outage_by_path.of(path or "/") or "closed"

    def _check(self) -> None:
        spans = ("idle_timeout", "absolute_timeout", "remember_idle", "remember_absolute", "rotate_every")
        for name in (*spans, "rotation_grace", "late_window", "deadline"):
            span = getattr(self, name)
            if span is None and name == "rotate_every":
                continue
            if not isinstance(span, timedelta):
                raise ConfigurationError(f"{name} must be a timedelta, not {type(span).__name__}.")
            if name in spans and span < timedelta(seconds=1):
                raise ConfigurationError(f"{name} must be at least one second.")
            if span < timedelta(0):
                raise ConfigurationError(f"{name} must not be negative.")
        if self.idle_timeout > self.absolute_timeout:
            raise ConfigurationError(
                "idle_timeout must not be longer than absolute_timeout: it would never be reached."
            )
        if self.remember_idle > self.remember_absolute:
            raise ConfigurationError("remember_idle must not be longer than remember_absolute.")
        if max(self.absolute_timeout, self.remember_absolute) > _LONGEST_COOKIE:
            raise ConfigurationError(
                "absolute_timeout and remember_absolute may be 400 days at most: "
                "browsers keep no cookie longer (RFC 6265bis §5.5)."
            )
        for policy in self.outage.values() if isinstance(self.outage, Mapping) else [self.outage]:
            if policy not in _POLICIES:
                raise ConfigurationError(
                    f"outage must be 'closed' or 'anonymous', or one of them by path, not {policy!r}."
                )
        if not isinstance(self.cookie, CookieSettings):
            raise ConfigurationError("cookie must be a CookieSettings.")
        if self.deadline <= timedelta(0):
            raise ConfigurationError("deadline must be more than nothing.")
        if self.revocation not in get_args(Revocation):
            raise ConfigurationError(f"revocation must be 'index' or 'epoch', not {self.revocation!r}.")
        if not isinstance(self.merge, Mapping) or not all(
            isinstance(name, str) and callable(rule) for name, rule in self.merge.items()
        ):
            raise ConfigurationError(
                'merge must map names of fields to functions of (base, theirs, ours): {"visits": merges.add}.'
            )
        if type(self.max_flashes) is not int or self.max_flashes < 1:
            raise ConfigurationError("max_flashes must be at least 1, a whole number.")
        if not isinstance(self.max_bytes, int) or self.max_bytes < 1024:
            raise ConfigurationError("max_bytes must be at least 1024, a whole number.")
        most = self.max_sessions_per_user
        if most is not None and (type(most) is not int or most < 1):
            raise ConfigurationError(
                "max_sessions_per_user must be at least 1, a whole number; None for no limit."
            )
        if self.on_event is not None and not callable(self.on_event):
            raise ConfigurationError("on_event must be a callable that takes an Event.")
        if not callable(self.clock):
            raise ConfigurationError(
                "clock must be a callable that gives seconds since 1970, as time.time does."
            )
