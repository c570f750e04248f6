"""The two managers: each opens a session from a request and closes it into a response.

Both run the same flows (`coatcheck.core.requests`, `coatcheck.core.admin`). They differ in how they call the store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Unpack, overload

from coatcheck.administration import Administration, AsyncAdministration
from coatcheck.config import Options, Settings
from coatcheck.core.calls import Flow
from coatcheck.core.lifecycle import LOOKED_AT, UNTOUCHED, Outcome
from coatcheck.core.requests import Requests
from coatcheck.core.state import State
from coatcheck.errors import CoatcheckError, NotLoaded, StoreError, StoreTimeout, WouldBlock
from coatcheck.http.token import Token
from coatcheck.manager import SessionInfo, refuse_other_kind, settings_from, shares_docs_of, teller_of
from coatcheck.model.fields import Flash
from coatcheck.model.ports import AsyncStore, Index, Store
from coatcheck.outages import Outages
from coatcheck.runner import Runner
from coatcheck.session import Session, state_of
from coatcheck.urls import StoreOptions, async_store_from_url, split_options, store_from_url

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSessions", "SessionInfo", "Sessions"]

T = TypeVar("T")
_RequestFlow: TypeAlias = Callable[[Requests, State, int], Flow[T]]
SessionT = TypeVar("SessionT", bound=Session)
_LOOP_PATIENCE = 5.0
"""Seconds that an event loop has, beyond the deadline of the store, to answer a thread."""
_LOAD_IT = (
    "The session is not loaded yet, and loading it here would block the event loop: `await sessions.load(session)` "
    'first, or use load="eager" in the middleware.'
)
_AWAIT_IT = (
    "This session belongs to an async manager, and storing it here would block its event loop: write `await` and the "
    "method of the async manager, or call this from a thread."
)
_NOT_ENDED = "the store failed to end a session that a failed request had ended"
log: logging.Logger = logging.getLogger("coatcheck")


class Sessions(Administration):
    """The manager for synchronous applications.

    As a context manager, or by `shutdown()`, it closes its store at the end. Its methods are safe for threads.
    """

    def __init__(self, store: Store, **options: Unpack[Options]) -> None:
        """Make a manager on a store.

        Args:
            store: The store of the records.
            options: The fields of `Settings`. Only `secret` is required.

        Raises:
            ConfigurationError: The settings contradict each other, or the store.
        """
        refuse_other_kind(store, wanted_async=False)
        self.store = store
        self._outages = Outages(store)
        self._beginning = threading.Lock()
        super().__init__(settings_from(options), store.index)

    def _use(self, settings: Settings, index: Index) -> None:
        super()._use(settings, index)
        patience = settings.deadline.total_seconds()
        self._runner = Runner(self.store, self._swap, patience, teller_of(self), self._outages)
        self._run = self._runner.run

    @classmethod
    def from_url(cls, url: str, **options: Unpack[StoreOptions]) -> Self:
        """Make a manager on the store that a URL names.

        Args:
            url: ``memory://``, ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db``,
                ``redis://host:port/0``, ``postgresql://…``, ``mysql://…`` or ``memcached://host:port,host:port``.
            options: The fields of `Settings`, and the options of the store itself.

        Raises:
            ConfigurationError: The URL names no store, or the settings contradict each other.
            StoreError: The store can't be opened.
        """
        wanted, rest = split_options(options)
        settings_from(rest)  # before a store makes its file: wrong settings must leave none
        return cls(store_from_url(url, wanted), **rest)

    def with_settings(self, **options: Unpack[Options]) -> Self:
        """Another manager on the same store, with some settings changed. Both share the event counts."""
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.index)
        return other

    def __enter__(self) -> Self:
        with suppress(StoreError):  # it is logged, and may be over at the first request
            self.ping()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """Close the store. The next use opens it again. A use while it closes raises `StoreUnavailable`."""
        self._runner.close()

    # Requests: called by the framework modules

    @overload
    def open(self, cookies: bytes | str, *, client: str = "", path: str = "") -> Session: ...
    @overload
    def open(
        self, cookies: bytes | str, *, client: str = "", path: str = "", session_type: type[SessionT]
    ) -> SessionT: ...
    def open(
        self,
        cookies: bytes | str,
        *,
        client: str = "",
        path: str = "",
        session_type: type[Session] = Session,
    ) -> Session:
        """The session of a request. The store is not called before the session is used.

        Args:
            cookies: The raw Cookie header: its bytes, or their latin-1 text as in WSGI; empty for none.
            client: The User-Agent header. A sign-in stores it for the user's list of devices.
            path: The request's decoded path within the application, for an `outage` by path.
            session_type: The class of the session.
        """
        return session_type(partial(self._begin, cookies, client, path), self)

    def _begin(self, cookies: bytes | str, client: str, path: str, session: Session) -> State:
        # Threads that share a session may use it at once, but it must have one state, loaded once.
        with self._beginning:
            if (state := session._state) is None:
                raw = cookies if isinstance(cookies, bytes) else cookies.encode("latin-1", "replace")
                state = session._state = State(raw, client, self._load, self.settings)
                state.path, state.owner = path, self
                state.head_sent, state.over, state.failed = (
                    session._head_sent,
                    session._over,
                    session._failed,
                )
                # Reentrant, since an event listener runs while its thread holds the lock, and may use the session.
                state.turn = threading.RLock()
            return state

    def _load(self, state: State) -> None:
        with state.turn:
            if not state.ready:
                now = int(self.settings.clock() * 1000)
                self._run(self._requests.load(state, now), now)

    def close(self, session: Session, *, secure: bool = True, last: bool = False) -> Outcome:
        """Store the request's changes. Returns the cookie and headers for its response.

        Called before the response's headers are sent, and again when the response ends: changes made in between are
        stored then, but can't change the cookie.

        Args:
            session: The session from `open`.
            secure: Whether the request came by https.
            last: Whether the request has ended. From now on a change of the session raises `RequestOver`.

        Raises:
            StoreError: The changes are not stored, so the response must not claim success.
            NotStorable: A nested value can't be stored; nothing was stored.
            TooLarge: The record would be too large; nothing was stored.
            CannotSendCookie: A change needs a new cookie after the headers were sent; nothing was stored.
        """
        state = session._state
        if state is None:
            session._head_sent, session._over = True, session._over or last
            return UNTOUCHED
        if not state.looked_at:
            state.head_sent, state.over = True, last or state.over
            return UNTOUCHED
        # Within the turn: another thread of the request may be storing something, and its time comes first.
        with state.turn:
            now = int(self.settings.clock() * 1000)
            if not (state.changes or state.mutable_reads or state.acted) and (
                state.head_sent or self._requests.nothing_is_due(state, now)
            ):
                state.head_sent, state.over = True, last or state.over
                return LOOKED_AT
            flow = self._requests.close(state, now, failed=state.failed, head_sent=state.head_sent, last=last)
            outcome = self._run(flow, now)
            state.head_sent = True
        if outcome.set_cookie is not None and not secure:
            self._warn_of_http()
        return outcome

    def fail(self, session: Session, error: BaseException | None = None) -> None:
        """The request's handler raised: store its endings now, and drop every other change.

        From now on nothing is stored but endings and what `save` and `take` are called for, whatever the framework
        answers. A `StoreError` is logged, not raised, so that the handler's own error is the one that propagates.

        Args:
            session: The session.
            error: What the handler raised. After an outage, a middleware answers 503 where the framework answers
                500, unless `error` is something else than a `StoreError`.
        """
        if self.note_failure(session):
            try:
                self._in_turn(session, Requests.fail)
            except StoreError:
                log.exception(_NOT_ENDED)
        _leave_alone(session, error)

    def wins_over(self, session: Session, rival: Token) -> bool:
        """Whether a session stands against one that an inner layer began for the same response, with the token `rival`.

        The one that signed in stands, or else `session`. The other's record is destroyed.
        """
        return self._in_turn(session, partial(Requests.wins_over, rival=rival))

    def _of_nobody(self) -> Session:
        return self.open(b"")

    # For a session that a handler holds

    def load(self, session: Session) -> None:
        """Load the session now, instead of at the first access. This does not count as use of the session.

        Raises:
            StoreError: The session can't be loaded.
        """
        session._glance()

    def save(self, session: Session, *, create: bool = False) -> bool:
        """Store the changes so far, before the request ends. A new cookie is sent with the response's headers.

        Args:
            session: The session.
            create: Make a record also without a field, so that the session has a handle.

        Returns:
            Whether there were changes, and they are stored. Those of a session that ended meanwhile are not.

        Raises:
            StoreError: The changes are not stored.
            CannotSendCookie: The changes need a new cookie, but the headers were already sent.
        """
        return self._in_turn(
            session,
            lambda requests, state, now: requests.save(state, now, head_sent=state.head_sent, create=create),
        )

    def reload(self, session: Session) -> bool:
        """Read what other requests have stored since this one loaded the session. Its own changes stay.

        A value that was read before is another object afterwards. Returns whether the session still exists.

        Raises:
            StoreError: The session can't be read.
        """
        return self._in_turn(session, Requests.reload)

    def take(self, session: Session, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically: no other request gets the same values.

        The removal is stored when this returns, even if the request fails later. Missing fields are left out.
        """
        return self._in_turn(session, partial(Requests.take, names=names))

    def take_flashes(self, session: Session, category: str | None = None) -> list[Flash]:
        """Remove the waiting messages and return them, the oldest first. Each message is returned to one request only.

        With a `category`, only its messages are taken.
        """
        return self._in_turn(session, partial(Requests.take_flashes, category=category))

    def is_live(self, session: Session) -> bool:
        """Whether the session still exists. Asks the store each time, for long connections."""
        self.load(session)
        state = state_of(session)
        owner: Sessions | AsyncSessions = state.owner
        if isinstance(owner, AsyncSessions):
            return self._in_turn(session, Requests.is_live)
        now = owner._now()
        return owner._run(owner._requests.is_live(state, now), now)

    def _in_turn(self, session: Session, flow: _RequestFlow[T]) -> T:
        self.load(session)
        state = state_of(session)
        # The manager that opened it: an inner layer that shares an outer one's session may have another store.
        owner: Sessions | AsyncSessions = state.owner
        if isinstance(owner, AsyncSessions):
            return owner._from_a_thread(state, flow, WouldBlock(_AWAIT_IT))
        with state.turn:
            now = owner._now()
            return owner._run(flow(owner._requests, state, now), now)


class AsyncSessions(AsyncAdministration):
    """The manager for asynchronous applications, under asyncio or uvloop.

    As an async context manager, or by `shutdown()`, it closes its store at the end. It has the methods of `Sessions`;
    those that wait for the store are coroutines.
    """

    def __init__(self, store: AsyncStore, **options: Unpack[Options]) -> None:
        """Make a manager on a store.

        Args:
            store: The store of the records.
            options: The fields of `Settings`. Only `secret` is required.

        Raises:
            ConfigurationError: The settings contradict each other, or the store.
        """
        refuse_other_kind(store, wanted_async=True)
        from coatcheck.runner_async import refuse_trio
        from coatcheck.stores.coalesce import PerLoop, Tasks

        self.store = store
        self._refuse_trio = refuse_trio
        self._outages = Outages(store)
        self._beginning = threading.Lock()
        self._tasks = PerLoop(Tasks)
        super().__init__(settings_from(options), store.index)

    def _use(self, settings: Settings, index: Index) -> None:
        super()._use(settings, index)
        import asyncio  # which sync applications don't need

        from coatcheck.runner_async import AsyncRunner

        self._running_loop = asyncio.get_running_loop

        patience = settings.deadline.total_seconds()
        self._runner = AsyncRunner(
            self.store, self._swap, patience, teller_of(self), self._outages, self._tasks
        )
        self._run = self._runner.run

    @classmethod
    @shares_docs_of(Sessions.from_url)
    def from_url(cls, url: str, **options: Unpack[StoreOptions]) -> Self:
        wanted, rest = split_options(options)
        settings_from(rest)
        return cls(async_store_from_url(url, wanted), **rest)

    @shares_docs_of(Sessions.with_settings)
    def with_settings(self, **options: Unpack[Options]) -> Self:
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.index)
        return other

    async def __aenter__(self) -> Self:
        with suppress(StoreError):
            await self.ping()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @shares_docs_of(Sessions.shutdown)
    async def shutdown(self) -> None:
        await self._runner.close()

    # Requests: called by the framework modules

    @overload
    def open(self, cookies: bytes | str, *, client: str = "", path: str = "") -> Session: ...
    @overload
    def open(
        self, cookies: bytes | str, *, client: str = "", path: str = "", session_type: type[SessionT]
    ) -> SessionT: ...
    @shares_docs_of(Sessions.open)
    def open(
        self,
        cookies: bytes | str,
        *,
        client: str = "",
        path: str = "",
        session_type: type[Session] = Session,
    ) -> Session:
        try:
            loop = self._running_loop()
        except RuntimeError:
            self._refuse_trio()
            loop = None
        return session_type(partial(self._begin, cookies, client, path, loop), self)

    def _begin(
        self,
        cookies: bytes | str,
        client: str,
        path: str,
        loop: asyncio.AbstractEventLoop | None,
        session: Session,
    ) -> State:
        # Threads of its handlers may begin at once, too.
        with self._beginning:
            if (state := session._state) is None:
                raw = cookies if isinstance(cookies, bytes) else cookies.encode("latin-1", "replace")
                state = session._state = State(raw, client, self._load_for_thread, self.settings)
                state.path, state.owner, state.loop = path, self, loop
                state.head_sent, state.over, state.failed = (
                    session._head_sent,
                    session._over,
                    session._failed,
                )
            return state

    @shares_docs_of(Sessions.close)
    async def close(self, session: Session, *, secure: bool = True, last: bool = False) -> Outcome:
        state = session._state
        if state is None:
            session._head_sent, session._over = True, session._over or last
            return UNTOUCHED
        if not state.looked_at:
            state.head_sent, state.over = True, last or state.over
            return UNTOUCHED
        if not (state.changes or state.mutable_reads or state.acted) and (
            state.head_sent or self._requests.nothing_is_due(state, int(self.settings.clock() * 1000))
        ):
            state.head_sent, state.over = True, last or state.over
            return LOOKED_AT
        closing = self._close(state, last)
        # An ending is carried out even if its request is cancelled.
        outcome = await (self._alone(closing) if state.to_destroy or state.restarted else closing)
        if outcome.set_cookie is not None and not secure:
            self._warn_of_http()
        return outcome

    async def _close(self, state: State, last: bool) -> Outcome:
        async with _turn_of(state):
            now = int(self.settings.clock() * 1000)  # other tasks of the request may have been first
            flow = self._requests.close(state, now, failed=state.failed, head_sent=state.head_sent, last=last)
            outcome = await self._run(flow, now)
            state.head_sent = True
            return outcome

    @shares_docs_of(Sessions.fail)
    async def fail(self, session: Session, error: BaseException | None = None) -> None:
        if self.note_failure(session):
            try:
                # In its own task: an ending is carried out even if its request is cancelled.
                await self._alone(self._in_turn(session, Requests.fail))
            except StoreError:
                log.exception(_NOT_ENDED)
        _leave_alone(session, error)

    async def preload(self, session: Session) -> None:
        """Load the session before its handler runs. This does not count as use of the session.

        A store's failure is raised when the handler uses the session, not here: a handler that does not use it is
        not disturbed by an outage.
        """
        state = session._state
        if state is None:
            state = session._begin(session)
        if not state.ready:
            owner: Sessions | AsyncSessions = state.owner
            if isinstance(owner, Sessions):
                await self._in_a_thread(partial(owner._load, state))
                return
            now = int(owner.settings.clock() * 1000)
            await owner._run(owner._requests.load(state, now), now)

    @shares_docs_of(Sessions.wins_over)
    async def wins_over(self, session: Session, rival: Token) -> bool:
        return await self._alone(self._in_turn(session, partial(Requests.wins_over, rival=rival)))

    def _of_nobody(self) -> Session:
        return self.open(b"")

    # For handlers that run in threads

    def _load_for_thread(self, state: State) -> None:
        """Load a session that is looked at before it was loaded."""
        self._from_a_thread(state, _loading, NotLoaded(_LOAD_IT))

    def _from_a_thread(self, state: State, flow: _RequestFlow[T], refusal: CoatcheckError) -> T:
        """Run a flow in the session's event loop, for a caller in another thread. `refusal` is raised in the loop's own."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if state.loop is None or state.loop.is_closed():
                raise refusal from None
        else:
            raise refusal
        work = asyncio.run_coroutine_threadsafe(self._taking_turns(state, flow), state.loop)
        try:
            return work.result(self.settings.deadline.total_seconds() + _LOOP_PATIENCE)
        except TimeoutError:
            work.cancel()
            late = "the event loop did not answer the thread of a handler: something blocks it"
            raise StoreTimeout(late, ambiguous=True) from None

    # For a session that a handler holds

    @shares_docs_of(Sessions.load)
    async def load(self, session: Session) -> None:
        await self.preload(session)
        session._glance()  # raises a failure of the load

    @shares_docs_of(Sessions.save)
    async def save(self, session: Session, *, create: bool = False) -> bool:
        # In its own task: if the caller is cancelled but still responds, its response has the new cookie.
        return await self._alone(
            self._in_turn(
                session,
                lambda requests, state, now: requests.save(
                    state, now, head_sent=state.head_sent, create=create
                ),
            )
        )

    @shares_docs_of(Sessions.reload)
    async def reload(self, session: Session) -> bool:
        return await self._in_turn(session, Requests.reload)

    @shares_docs_of(Sessions.take)
    async def take(self, session: Session, *names: str) -> dict[str, Any]:
        return await self._in_turn(session, partial(Requests.take, names=names))

    @shares_docs_of(Sessions.take_flashes)
    async def take_flashes(self, session: Session, category: str | None = None) -> list[Flash]:
        return await self._in_turn(session, partial(Requests.take_flashes, category=category))

    @shares_docs_of(Sessions.is_live)
    async def is_live(self, session: Session) -> bool:
        await self.load(session)
        state = state_of(session)
        owner: Sessions | AsyncSessions = state.owner
        if isinstance(owner, Sessions):
            return await self._in_a_thread(partial(owner.is_live, session))
        now = owner._now()
        return await owner._run(owner._requests.is_live(state, now), now)

    async def _in_turn(self, session: Session, flow: _RequestFlow[T]) -> T:
        await self.load(session)
        state = state_of(session)
        owner: Sessions | AsyncSessions = state.owner
        if isinstance(owner, Sessions):
            return await self._in_a_thread(partial(owner._in_turn, session, flow))
        return await owner._taking_turns(state, flow)

    async def _in_a_thread(self, work: Callable[[], T]) -> T:
        """Run `work` of a session that a synchronous manager opened: its store would block the event loop."""
        import asyncio

        return await asyncio.to_thread(work)

    async def _taking_turns(self, state: State, flow: _RequestFlow[T]) -> T:
        async with _turn_of(state):
            now = self._now()
            return await self._run(flow(self._requests, state, now), now)

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in a task that completes even if the caller is cancelled. `shutdown` waits for it."""
        import asyncio

        task = self._runner.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise


def _loading(requests: Requests, state: State, now: int) -> Flow[None]:
    return requests.load(state, now)


def _turn_of(state: State) -> asyncio.Lock:
    """The lock that serialises commits of a session: two tasks of a request must not create two records."""
    if state.turn is None:
        import asyncio

        state.turn = asyncio.Lock()
    turn: asyncio.Lock = state.turn
    return turn


def _leave_alone(session: Session, error: BaseException | None) -> None:
    """Let the framework's answer to `error` go out, if that is not the store's failure."""
    if session._state is not None and error is not None and not isinstance(error, StoreError):
        session._state.met = None


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Log the error of a task whose caller was cancelled."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the changes of a cancelled request are not stored", exc_info=error)
