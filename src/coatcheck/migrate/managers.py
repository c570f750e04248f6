"""The managers that carry over the sessions of another library."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from coatcheck.config import Settings
from coatcheck.core.calls import Flow
from coatcheck.core.moving import Moving
from coatcheck.core.old_sessions import Source
from coatcheck.core.requests import Requests
from coatcheck.core.users import Users
from coatcheck.errors import ConfigurationError, ForeignSessionWarning
from coatcheck.http.token import key_of
from coatcheck.manager import Manager, checked_user, handle_or_none, refuse_other_kind, shares_docs_of
from coatcheck.session import Session
from coatcheck.sessions import AsyncSessions, Sessions

__all__ = ["AsyncMigrating", "Migrating"]

_OF_A_SOURCE = ("name", "cookie", "removes", "id_in", "read", "remove")


class _Moves(Manager):
    """What both managers share."""

    _requests: Moving  # type: ignore[mutable-override]
    _sources: Sequence[Source]
    _keep_old: bool

    def _take_over(self, sessions: Any, sources: Source | Sequence[Source], *, keep_old: bool) -> None:
        if isinstance(sessions, _Moves):
            raise ConfigurationError(
                "Give one Migrating all sources: from_=[FlaskSessionRecords(...), FlaskCookie(...)]."
            )
        several: Any = list(sources) if isinstance(sources, list | tuple) else [sources]
        for source in several or [None]:
            if isinstance(source, type) or not all(hasattr(source, name) for name in _OF_A_SOURCE):
                raise ConfigurationError(
                    f"from_ takes the sessions of another library, such as FlaskSessionRecords(...), not {source!r:.60}."
                )
        if sessions.store.index == "none" and (keep_old or not all(source.removes for source in several)):
            raise ConfigurationError(
                "Memcached may lose the mark that an old session was moved, and a logout would be undone: use another store, "
                "or a source whose sessions can be removed, without keep_old=True."
            )
        # As `with_settings` copies a manager: both share the store, its connections and the event counts.
        vars(self).update(sessions.__dict__)
        self._sources, self._keep_old = several, keep_old
        self._use(sessions.settings, sessions.store.index)

    def _end_old_of(self, user: str, now: int, keep: Session | str | None) -> Flow[None]:
        if self.settings.identity is None:
            raise ConfigurationError(
                "revoke_user can't tell whose the old sessions are: name the field with the user's id, identity=\"user_id\"."
            )
        handle = handle_or_none(keep)
        kept = None if handle is None else key_of(handle)
        return self._requests.marks.end_old_of(checked_user(user), now, kept or b"")

    def agrees_with(self, outer: Session, *, named: bool = True) -> bool:
        """See `Manager.agrees_with`. An outer layer that moves nothing is named once, by a warning."""
        agrees = super().agrees_with(outer, named=named)
        if agrees and not isinstance(outer.sessions, _Moves) and not self._rival_named:
            self._rival_named = True
            warnings.warn(
                "Two session layers serve one request and share one session. Only the inner one is a Migrating, and the "
                "outer one opens the session: no old session is carried over. Give both the Migrating.",
                ForeignSessionWarning,
                stacklevel=2,
            )
        return agrees

    def _cookie_names(self) -> list[bytes]:
        return [*super()._cookie_names(), *(source.cookie.encode() for source in self._sources)]

    def _flows(self, settings: Settings, users: Users, random: Callable[[int], bytes]) -> Requests:
        for source in self._sources if self._keep_old else ():
            if source.cookie.encode() == settings.cookie_name:
                raise ConfigurationError(
                    f"With keep_old=True the new cookie needs another name than the old one, {source.cookie!r}. It would "
                    "replace the old one in the browser, and no server with the old library would find its session. Name the "
                    "new one by CookieSettings(name=...), in Flask and Django by SESSION_COOKIE_NAME, and the old one by the source's "
                    f"cookie={source.cookie!r}."
                )
        return Moving(settings, users, random, self._sources, keep_old=self._keep_old)


class Migrating(_Moves, Sessions):
    """`Sessions` that carries over the sessions of another library.

    Example::

        sessions = Migrating(
            Sessions.from_url(url, secret=secret), from_=FlaskSessionRecords(redis.from_url(old_url))
        )
    """

    def __init__(
        self, sessions: Sessions, *, from_: Source | Sequence[Source], keep_old: bool = False
    ) -> None:
        """Make a manager with the store and the settings of another one.

        Args:
            sessions: The other one. Its setting `identity` says which of the old fields names the user.
            from_: Where the old sessions are. Of several, each is asked in turn.
            keep_old: Leave the old records where they are until a logout, for servers that still run with the old library,
                and to go back. What changes from then on is not in them.

        Raises:
            ConfigurationError: No source is named; or with `keep_old` the new cookie has the name of the old one, and would
                take its place in the browser.
        """
        refuse_other_kind(sessions.store, wanted_async=False)
        self._take_over(sessions, from_, keep_old=keep_old)

    def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        """As `Sessions.revoke_user`. Those of the user that have not been carried over yet are ended here, too.

        Servers with the old library still accept them. A Redis that evicts keys (``volatile-…``, ``allkeys-…``) may lose
        the mark that ends them.
        """
        now = self._now()
        self._run(self._end_old_of(user, now, keep), now)
        return super().revoke_user(user, keep)


class AsyncMigrating(_Moves, AsyncSessions):
    """`AsyncSessions` that carries over the sessions of another library. Their store is asked in a thread.

    Example::

        sessions = AsyncMigrating(
            AsyncSessions.from_url(url, secret=secret), from_=StarletteCookie(old_secret)
        )
    """

    @shares_docs_of(Migrating.__init__)
    def __init__(
        self, sessions: AsyncSessions, *, from_: Source | Sequence[Source], keep_old: bool = False
    ) -> None:
        refuse_other_kind(sessions.store, wanted_async=True)
        self._take_over(sessions, from_, keep_old=keep_old)

    @shares_docs_of(Migrating.revoke_user)
    async def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        now = self._now()
        await self._run(self._end_old_of(user, now, keep), now)
        return await super().revoke_user(user, keep)
