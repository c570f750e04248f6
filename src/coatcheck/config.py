"""The settings, with all their defaults. Impossible values and combinations fail here, when the settings are built."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from operator import methodcaller
from typing import Any, Literal, TypedDict, get_args

from coatcheck.errors import ConfigurationError
from coatcheck.events import Event
from coatcheck.http.cookie import CookieTemplate
from coatcheck.http.paths import Prefixes
from coatcheck.http.token import Ring
from coatcheck.model.fields import PRIVATE
from coatcheck.model.lifetimes import LONGEST_COOKIE, Lifetimes, milliseconds
from coatcheck.model.merges import MergeRule

__all__ = ["CookieSettings", "Options", "OutagePolicy", "Revocation", "Settings"]

OutagePolicy = Literal["closed", "anonymous"]
_POLICIES = get_args(OutagePolicy)
Revocation = Literal["index", "epoch"]
_CLOCK: Callable[[], float] = partial(methodcaller("time"), time)
"""`time.time`, looked up at each call, since tests replace it (freezegun); by C code, since each request calls it."""
Identity = str | tuple[str, Callable[[Any], object]]


@dataclass(frozen=True, kw_only=True)
class CookieSettings:
    """The session's cookie. It is always HttpOnly."""

    name: str | None = None
    """The cookie's name. None stands for ``__Host-session``; with a domain or another path for ``__Secure-session``;
    with ``insecure_http`` for ``coatcheck``, which no framework's own session uses. The prefixes make browsers refuse a cookie that a subdomain or a plain-http
    page planted (RFC 6265bis §4.1.3)."""

    domain: str | None = None
    """None keeps the cookie on one host. With a domain, browsers send the cookie to all its subdomains, and each
    subdomain can plant a cookie of the same name. Up to four such cookies are tried: if exactly one belongs to a live
    session, that one counts; if several do, none counts."""

    path: str = "/"
    """Browsers send the cookie to this path and below it. This does not protect it: pages of one host can reach each
    other."""

    samesite: Literal["Lax", "Strict", "None"] = "Lax"
    """``"None"`` sends the cookie with requests that other sites start; every form then needs a CSRF token."""

    partitioned: bool = False
    """Keep one cookie per embedding site (CHIPS), for pages that are shown in frames of other sites."""

    former: tuple[CookieSettings, ...] = ()
    """The cookies that the site had before, each under another name. They still open their sessions, and are replaced by
    this cookie. Remove them when no session is left that only they name: after the longest of `absolute_timeout`,
    `remember_absolute` and any `set_lifetime(absolute=…)` of the site."""

    def former_templates(self, *, insecure_http: bool) -> tuple[CookieTemplate, ...]:
        """The cookies that the site had before.

        Raises:
            ConfigurationError: They are no tuple of settings, two have one name, or one has former cookies of its own.
        """
        former: object = self.former
        if not isinstance(former, tuple) or not all(isinstance(each, CookieSettings) for each in self.former):
            raise ConfigurationError(
                'former must be a tuple of CookieSettings: former=(CookieSettings(name="shop"),).'
            )
        names = {self.template(insecure_http=insecure_http).name}
        templates: list[CookieTemplate] = []
        for each in self.former:
            template = each.template(insecure_http=insecure_http)
            if each.former:
                raise ConfigurationError(
                    f"The former cookie {template.name} has former cookies: name all in one tuple."
                )
            if template.name in names:
                raise ConfigurationError(
                    f"Two cookies of the site are named {template.name!r}: a request can't say which of them it has. "
                    "With other attributes, give the new cookie another name, too."
                )
            names.add(template.name)
            templates.append(template)
        return tuple(templates)

    def template(self, *, insecure_http: bool) -> CookieTemplate:
        """The cookie that these settings describe.

        Raises:
            ConfigurationError: Two of the settings contradict each other.
        """
        if self.name is not None:
            name = self.name
        elif insecure_http:
            name = "coatcheck"
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
    identity: Identity | None
    deadline: timedelta
    max_bytes: int
    max_flashes: int
    max_sessions_per_user: int | None
    on_event: Callable[[Event], None] | None
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a manager, except the store.

    Raises:
        ConfigurationError: A value is out of range, or two settings contradict each other.
    """

    secret: str | bytes | Sequence[str | bytes] = field(repr=False)
    """The secret that signs the tokens: at least 32 bytes, from `coatcheck secret`. In a sequence the first secret signs
    and all verify. To replace a secret, put the new one in front. Cookies are signed again when their session is used;
    remove the old secret when no session is left that only it signed: after the longest of `absolute_timeout`,
    `remember_absolute` and any `set_lifetime(absolute=…)` of the site."""

    idle_timeout: timedelta = timedelta(hours=24)
    """How long an unused session lives (OWASP; ASVS 7.3.1). Use is recorded once per tenth of this time."""

    absolute_timeout: timedelta = timedelta(days=30)
    """The longest life of a session, counted from its sign-in, or from its creation without one (ASVS 7.3.2)."""

    remember_idle: timedelta = timedelta(days=30)
    """`idle_timeout` for a session that is `permanent`."""

    remember_absolute: timedelta = timedelta(days=90)
    """`absolute_timeout` for a session that is `permanent`. The browser keeps the cookie for the same time."""

    rotate_every: timedelta | None = None
    """How often the secret of a session in use is changed. None: only by `sign_in` and `rotate()`.

    It shortens the use of a cookie that was copied from an old backup or log. It does not detect a thief who keeps using
    a copy: that copy is rotated, too.
    """

    rotation_grace: timedelta = timedelta(seconds=60)
    """How long the old secret is still accepted after a request first came with the new one of a periodic rotation."""

    late_window: timedelta = timedelta(seconds=120)
    """For how long after a sign-in a request with the old cookie counts as late. The writes of a late request are
    dropped, and its response sets no cookie, which could undo the sign-in. Afterwards the old cookie counts as invalid."""

    cookie: CookieSettings = CookieSettings()
    """The cookie's name and attributes."""

    insecure_http: bool = False
    """Omit ``Secure`` and the name prefix, for local development and test clients on plain http. On a network this lets
    any eavesdropper read the cookie."""

    outage: OutagePolicy | Mapping[str, OutagePolicy] = "closed"
    """The answer to a request that needs its session while the store fails. ``closed``: 503 with Retry-After.
    ``anonymous``: an empty session; fields that are set are dropped, and signing in or out raises. A mapping chooses by
    the path within the application: ``{"/goods": "anonymous"}`` covers ``/goods`` and all paths below it. The longest
    prefix counts; paths without a prefix are ``closed``."""

    revocation: Revocation = "index"
    """How `revoke_user` ends a user's sessions. ``index``: the store lists them. ``epoch``: one small value per user says
    which sign-ins still count, for a Redis that evicts keys (``allkeys-*``). ``epoch`` costs one more round trip for
    each request of a signed-in user. Memcached always uses epochs."""

    merge: Mapping[str, MergeRule] = field(default_factory=dict[str, MergeRule])
    """Rules for fields that two requests change at the same time: ``{"visits": merges.add}``. Without a rule, values
    that were edited in place are merged, and the later of two assignments wins."""

    identity: Identity | None = None
    """The field that names the user, for code that signs in by setting it: ``"user_id"``, or a pair of its name and a
    function that reads the id out of its value: ``("user", lambda user: user["email"])``. When the session is stored,
    another id than before is a `sign_in` of that user; None, ``""`` or no field is a `sign_out`. An id is a str, an int or
    a UUID. What the request set stays, whatever the order. A session that has the field already keeps its secret."""

    deadline: timedelta = timedelta(seconds=2)
    """How long a store operation may take, retries included, before it raises `StoreTimeout`."""

    max_bytes: int = 256 * 1024
    """The largest size of a record, in bytes."""

    max_flashes: int = 100
    """The largest number of flash messages in a session. Beyond it the oldest are dropped."""

    max_sessions_per_user: int | None = None
    """The largest number of sessions per user (ASVS 7.1.2). A sign-in beyond it ends the sessions with the oldest
    sign-ins. It costs one more round trip per sign-in, and another where a session must be ended. None: no limit."""

    on_event: Callable[[Event], None] | None = field(default=None, repr=False)
    """Called with each `Event`, in the thread of the request. Its exceptions are logged, not raised."""

    clock: Callable[[], float] = field(default=_CLOCK, repr=False)
    """The clock: returns seconds since 1970 (UTC)."""

    ring: Ring = field(init=False, repr=False, compare=False)
    template: CookieTemplate = field(init=False, repr=False, compare=False)
    lifetimes: Lifetimes = field(init=False, repr=False, compare=False)
    identity_field: str | None = field(init=False, repr=False, compare=False)
    identity_of: Callable[[Any], object] | None = field(init=False, repr=False, compare=False)
    rotate_every_ms: int | None = field(init=False, repr=False, compare=False)
    rotation_grace_ms: int = field(init=False, repr=False, compare=False)
    late_window_ms: int = field(init=False, repr=False, compare=False)
    cookie_name: bytes = field(init=False, repr=False, compare=False)
    former: tuple[tuple[CookieTemplate, Ring], ...] = field(init=False, repr=False, compare=False)
    outage_by_path: Prefixes[OutagePolicy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        template = self.cookie.template(insecure_http=self.insecure_http)
        name, read = self.identity if isinstance(self.identity, tuple) else (self.identity, None)
        derived = {
            "template": template,
            "cookie_name": template.name.encode(),
            "former": tuple(
                (each, Ring(self.secret, purpose=each.name))
                for each in self.cookie.former_templates(insecure_http=self.insecure_http)
            ),
            "identity_field": name,
            "identity_of": read,
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
        """The policy for requests to `path` while the store fails."""
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
        if max(self.absolute_timeout, self.remember_absolute) > LONGEST_COOKIE:
            raise ConfigurationError(
                "absolute_timeout and remember_absolute must not exceed 400 days: "
                "browsers keep no cookie longer (RFC 6265bis §5.5)."
            )
        for policy in self.outage.values() if isinstance(self.outage, Mapping) else [self.outage]:
            if policy not in _POLICIES:
                raise ConfigurationError(
                    f"outage must be 'closed' or 'anonymous', or a mapping of paths to them, not {policy!r}."
                )
        if not isinstance(self.cookie, CookieSettings):
            raise ConfigurationError("cookie must be a CookieSettings.")
        if self.deadline <= timedelta(0):
            raise ConfigurationError("deadline must be greater than zero.")
        if self.revocation not in get_args(Revocation):
            raise ConfigurationError(f"revocation must be 'index' or 'epoch', not {self.revocation!r}.")
        if not isinstance(self.merge, Mapping) or not all(
            isinstance(name, str) and callable(rule) for name, rule in self.merge.items()
        ):
            raise ConfigurationError(
                'merge must map names of fields to functions of (base, theirs, ours): {"visits": merges.add}.'
            )
        self._check_identity()
        if type(self.max_flashes) is not int or self.max_flashes < 1:
            raise ConfigurationError("max_flashes must be a whole number, at least 1.")
        if not isinstance(self.max_bytes, int) or self.max_bytes < 1024:
            raise ConfigurationError("max_bytes must be a whole number, at least 1024.")
        most = self.max_sessions_per_user
        if most is not None and (type(most) is not int or most < 1):
            raise ConfigurationError(
                "max_sessions_per_user must be a whole number, at least 1, or None for no limit."
            )
        if self.on_event is not None and not callable(self.on_event):
            raise ConfigurationError("on_event must be a callable that takes an Event.")
        if not callable(self.clock):
            raise ConfigurationError(
                "clock must be a callable that returns seconds since 1970, like time.time."
            )

    def _check_identity(self) -> None:
        name: object = self.identity
        if isinstance(name, tuple):
            if len(name) != 2 or not callable(name[1]):
                raise ConfigurationError(
                    'identity must be the name of a field, or a pair of it and a function: ("user", lambda user: user["id"]).'
                )
            name = name[0]
        if name is None:
            return
        if not isinstance(name, str) or not name or name.startswith(PRIVATE):
            raise ConfigurationError("identity must be the name of a field, a str.")
        if name in self.merge:
            raise ConfigurationError(f"merge must not name {name!r}: the identity field is never merged.")
