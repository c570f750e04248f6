"""Sessions by user or by public name: what an application does with them outside a request's own session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from coatcheck.core.start import clock_warning
from coatcheck.manager import Manager, SessionInfo, checked_user, handle_or_none, infos, shares_docs_of
from coatcheck.runner import Runner
from coatcheck.session import Session, end_of_request, state_of

if TYPE_CHECKING:
    from coatcheck.runner_async import AsyncRunner

__all__ = ["Administration", "AsyncAdministration"]

T = TypeVar("T")
_SWEPT_AT_A_TIME = 1000


class Administration(Manager):
    """The part of `coatcheck.Sessions` that is about sessions of others."""

    _runner: Runner

    if (
        TYPE_CHECKING
    ):  # what the manager has; an abstract class would make each `isinstance` of a request dear

        def load(self, session: Session) -> None: ...

        def _of_nobody(self) -> Session: ...

    def of_user(
        self, user: str, *, current: Session | None = None, limit: int = 100, after: str | None = None
    ) -> list[SessionInfo]:
        """The live sessions of a user, the newest sign-in first.

        Args:
            user: The id that was given to `Session.sign_in`.
            current: The session to mark as the current one. A sign-in of its own request is in the list, too.
            limit: The largest number of sessions to return.
            after: The last handle of the previous page; the list continues after it. If that session has ended since,
                the list is empty.

        Raises:
            ConfigurationError: The store has no index of users (Memcached).
        """
        if current is not None:
            self.load(current)
        now = self._now()
        state = None if current is None else state_of(current)
        return infos(
            self._runner.run(self._admin.of_user(checked_user(user), now, limit, after, state), now), state
        )

    def revoke(self, handle: str, user: str | None = None) -> bool:
        """End a session by its public name. Returns whether it did.

        Args:
            handle: The public name.
            user: End it only if this user is signed in to it. For a user's own list of devices give it: a handle that
                comes from a form may be anybody's. None: whoever has it.
        """
        now = self._now()
        return self._runner.run(
            self._admin.revoke(handle, now, None if user is None else checked_user(user)), now
        )

    def find(self, handle: str) -> Session | None:
        """The session of a public name, to read and change it; None: there is none. For administration only.

        A handle that came from a client must never be given to it: it proves nothing. This does not count as use of the
        session. `save` stores changes, and answers False where the session has ended meanwhile.
        """
        session = self._of_nobody()
        now = self._now()
        return session if self._runner.run(self._admin.find(state_of(session), now, handle), now) else None

    def exists(self, handle: str) -> bool:
        """Whether a session of this public name is alive. For administration only."""
        return self.find(handle) is not None

    def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        """End every session of a user that signed in before this call (ASVS 7.4.2, 7.4.3).

        Once it has returned, none of these sessions opens again, whatever ran in parallel. A sign-in that begins
        during the call is kept.

        Args:
            user: The id that was given to `Session.sign_in`.
            keep: A session, or its handle, that is not ended.

        Returns:
            The number of sessions that were ended; 0 where they are ended without being found (Memcached,
            ``revocation="epoch"``).

        Raises:
            RevocationIncomplete: The sessions in the index were ended, but the store may have lost part of the index.
        """
        now = self._now()
        return self._runner.run(self._admin.revoke_user(checked_user(user), now, handle_or_none(keep)), now)

    def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        """Set fields in every live session of a user. Returns the number of sessions.

        Raises:
            ConfigurationError: The store has no index of users (Memcached).
        """
        now = self._now()
        return self._runner.run(self._admin.update_user(checked_user(user), values, now), now)

    @contextmanager
    def edit(self, handle: str) -> Generator[Session]:
        """Change a session from a worker or a script. The changes are stored if the block ends without an exception.

        This does not count as use of the session, and can't change its cookie: `sign_in`, `rotate` and a change of
        `permanent` are refused.

        Raises:
            SessionGone: The session does not exist, or it ended before the changes were stored.
        """
        session = self._of_nobody()
        state = state_of(session)
        now = self._now()
        self._runner.run(self._admin.open_for_edit(state, now, handle), now)
        try:
            yield session
            now = self._now()
            self._runner.run(self._admin.close_edit(state, now, handle), now)
        finally:
            end_of_request(session)

    def count(self) -> int:
        """The number of live sessions.

        Raises:
            ConfigurationError: The store can't count them (Memcached).
        """
        return self._runner.run(self._admin.count(), self._now())

    def ping(self) -> None:
        """Return if the store can be reached, else raise a `StoreError`.

        The first call of a manager also logs a warning if the clock of the store's server is more than 5 seconds off, if
        the server may lose entries of the index of users, or if a site with other secrets uses the same prefix. Entering
        the manager, and the start of an ASGI server, do the same.
        """
        before = self._now()
        clock = self._runner.run(self._admin.ping(), before)
        if not self._has_looked_around:
            off = clock_warning(clock, before, self._now())
            self._looked_around(off, self._runner.run(self._admin.look_around(before), before))

    def sweep(self) -> int:
        """Remove expired records in bounded batches. Returns their number."""
        return self._runner.run(self._admin.sweep(_SWEPT_AT_A_TIME), self._now())


class AsyncAdministration(Manager):
    """The part of `coatcheck.AsyncSessions` that is about sessions of others."""

    _runner: AsyncRunner

    if TYPE_CHECKING:

        async def load(self, session: Session) -> None: ...

        def _of_nobody(self) -> Session: ...

        async def _alone(self, work: Coroutine[Any, Any, T]) -> T: ...

    @shares_docs_of(Administration.of_user)
    async def of_user(
        self, user: str, *, current: Session | None = None, limit: int = 100, after: str | None = None
    ) -> list[SessionInfo]:
        if current is not None:
            await self.load(current)
        now = self._now()
        state = None if current is None else state_of(current)
        flow = self._admin.of_user(checked_user(user), now, limit, after, state)
        return infos(await self._runner.run(flow, now), state)

    @shares_docs_of(Administration.revoke)
    async def revoke(self, handle: str, user: str | None = None) -> bool:
        now = self._now()
        flow = self._admin.revoke(handle, now, None if user is None else checked_user(user))
        return await self._runner.run(flow, now)

    @shares_docs_of(Administration.find)
    async def find(self, handle: str) -> Session | None:
        session = self._of_nobody()
        now = self._now()
        return (
            session if await self._runner.run(self._admin.find(state_of(session), now, handle), now) else None
        )

    @shares_docs_of(Administration.exists)
    async def exists(self, handle: str) -> bool:
        return await self.find(handle) is not None

    @shares_docs_of(Administration.revoke_user)
    async def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        now = self._now()
        flow = self._admin.revoke_user(checked_user(user), now, handle_or_none(keep))
        return await self._alone(self._runner.run(flow, now))

    @shares_docs_of(Administration.update_user)
    async def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        now = self._now()
        return await self._runner.run(self._admin.update_user(checked_user(user), values, now), now)

    @asynccontextmanager
    @shares_docs_of(Administration.edit)
    async def edit(self, handle: str) -> AsyncGenerator[Session]:
        session = self._of_nobody()
        state = state_of(session)
        now = self._now()
        await self._runner.run(self._admin.open_for_edit(state, now, handle), now)
        try:
            yield session
            now = self._now()
            await self._runner.run(self._admin.close_edit(state, now, handle), now)
        finally:
            end_of_request(session)

    @shares_docs_of(Administration.count)
    async def count(self) -> int:
        return await self._runner.run(self._admin.count(), self._now())

    @shares_docs_of(Administration.ping)
    async def ping(self) -> None:
        before = self._now()
        clock = await self._runner.run(self._admin.ping(), before)
        if not self._has_looked_around:
            off = clock_warning(clock, before, self._now())
            self._looked_around(off, await self._runner.run(self._admin.look_around(before), before))

    @shares_docs_of(Administration.sweep)
    async def sweep(self) -> int:
        return await self._runner.run(self._admin.sweep(_SWEPT_AT_A_TIME), self._now())
