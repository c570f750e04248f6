"""The two managers: each opens a session from a request, and closes it into a response.

Both drive the same flows (`coatcheck.core.flows`); only what they do with an `Ask` differs.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from coatcheck.config import Options
from coatcheck.core.flows import Ask, Flow
from coatcheck.core.lifecycle import UNTOUCHED, Outcome
from coatcheck.core.state import State
from coatcheck.errors import StoreError
from coatcheck.manager import (
    Manager,
    SessionInfo,
    checked_user,
    handle_or_none,
    infos,
    log,
    refuse_colour,
    settings_from,
)
from coatcheck.model.ports import AsyncStore, Store
from coatcheck.session import Flash, Session, head_has_left, is_untouched, keep_state, note_head, state_of
from coatcheck.urls import StoreOptions, async_store_from_url, shared_out, store_from_url

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSessions", "SessionInfo", "Sessions"]

_T = TypeVar("_T")
SessionT = TypeVar("SessionT", bound=Session)
_Method = TypeVar("_Method", bound=Callable[..., object])
_SWEPT_AT_A_TIME = 1000


class Sessions(Manager):
    """The manager for synchronous applications.

    Used as a context manager, or with `shutdown()`, it closes its store at the end. Its methods may be called from
    several threads.
    """

    def __init__(self, store: Store, **options: Unpack[Options]) -> None:
        """Make a manager on a store.

        Args:
            store: Where the records are.
            options: The fields of `Settings`; `secret` is the one that must be given.

        Raises:
            ConfigurationError: The settings, or the settings and the store, don't go together.
        """
        refuse_colour(store, wanted_async=False)
        super().__init__(settings_from(options), store.capabilities)
        self.store = store
        self._beginning = threading.Lock()

    @classmethod
    def from_url(cls, url: str, **options: Unpack[StoreOptions]) -> Self:
        """Make a manager on the store that a URL names.

        Args:
            url: ``memory://``, ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db`` or
                ``memcached://host:port,host:port``.
            options: The fields of `Settings`, and what the store itself takes.

        Raises:
            ConfigurationError: The URL names no store, or the settings don't go together.
            StoreError: The store can't be opened.
        """
        wanted, rest = shared_out(options)
        settings_from(rest)  # bad settings must not leave a file behind
        return cls(store_from_url(url, wanted), **rest)

    def with_settings(self, **options: Unpack[Options]) -> Self:
        """Another manager on the same store, with some settings changed. They count their events together."""
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.capabilities)  # noqa: SLF001 - its own kind
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """Close the store. Calling it twice is harmless."""
        self.store.close()

    # A request: what the framework modules call

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
        """The session of a request. Asks the store nothing before it is looked at.

        Args:
            cookies: The Cookie header as it came: its bytes, or their latin-1 text as WSGI has it; empty for none.
            client: The User-Agent header, kept with a sign-in for the user's list of devices.
            path: The request's path within the application, decoded: where `outage` was chosen by path.
            session_type: The class of the session.
        """
        return session_type(partial(self._begin, cookies, client, path))

    def _begin(self, cookies: bytes | str, client: str, path: str, session: Session) -> State:
        # Threads that share a session may look at it at once: it gets one state, which is loaded once.
        lock = threading.Lock()

        def load(state: State) -> None:
            with lock:
                if not state.ready:
                    self._load(state, self._now())

        with self._beginning:
            return keep_state(session, self._state(cookies, client, path, load=load))

    def _load(self, state: State, now: int) -> None:
        flows = self._flows
        keys = flows.keys_to_load(state)
        if flows.has_nothing_to_load(state, keys):
            return
        try:
            found = self.store.load(keys, now) if keys else ()
        except StoreError as error:
            self._run(flows.not_loaded(state, now, error))
            return
        if not flows.holds_at_once(state, now, found):
            self._run(flows.loaded(state, now, found))

    def close(self, session: Session, *, failed: bool = False, secure: bool = True) -> Outcome:
        """Store what the request changed, and say what its response has to carry.

        Called when the head of the response is about to leave, and again when the response ends: what was changed
        in between is stored then, but can't change the cookie.

        Args:
            session: What `open` gave.
            failed: The handler raised: only ending the session is carried out.
            secure: Whether the request came by https.

        Raises:
            StoreError: The change is not stored: the response must not claim that it is.
            NotStorable: A nested value holds something that can't be stored; nothing was.
            TooLarge: The record would be too large; nothing was stored.
            CannotSendCookie: The change needs a new cookie after the head has left; nothing was stored.
        """
        if not failed and (outcome := self.close_at_once(session)) is not None:
            return outcome
        if is_untouched(session):
            return UNTOUCHED
        state = state_of(session)
        with self._turn_of(state):
            head_sent = head_has_left(session)
            outcome = self._run(self._flows.close(state, self._now(), failed=failed, head_sent=head_sent))
            note_head(session)
        self._warn_of_http(outcome, secure=secure)
        return outcome

    def abandon(self, session: Session) -> Outcome:
        """For a handler that raised: carry out only that it ended its session. Never raises.

        Where even that can't be stored, it is logged: the handler's own error is the one to go on.
        """
        try:
            return self.close(session, failed=True)
        except StoreError:
            log.exception("a session that was ended in a request that failed could not be ended in the store")
            return UNTOUCHED

    # What waits, for a session that a handler holds

    def load(self, session: Session) -> None:
        """Load the session now. It loads by itself at the first access; this is for doing it earlier.

        Raises:
            StoreError: The store can't say.
        """
        session.is_new  # noqa: B018 - looking is loading  # pyright: ignore[reportUnusedExpression]

    def save(self, session: Session) -> None:
        """Store the changes so far, before the request ends. A new cookie goes out with the response's head.

        Raises:
            StoreError: They are not stored.
            CannotSendCookie: They need a new cookie, and the head has left.
        """
        self.load(session)
        state = state_of(session)
        with self._turn_of(state):
            self._run(self._flows.save(state, self._now(), head_sent=head_has_left(session)))

    def take(self, session: Session, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically: no other request gets them too.

        Done when it returns, whatever becomes of the request. Names that are not there are left out.
        """
        self.load(session)
        state = state_of(session)
        with self._turn_of(state):
            return self._run(self._flows.take(state, self._now(), names))

    def take_flashes(self, session: Session) -> list[Flash]:
        """The messages that wait, the oldest first. They are gone when it returns: each is shown once."""
        self.load(session)
        state = state_of(session)
        with self._turn_of(state):
            return self._run(self._flows.take_flashes(state, self._now()))

    def is_live(self, session: Session) -> bool:
        """Whether the session still exists, by the store's word of now: for long connections."""
        self.load(session)
        return self._run(self._flows.is_live(state_of(session), self._now()))

    # Sessions from outside a request

    def of_user(
        self, user: str, *, current: Session | None = None, limit: int = 100, after: str | None = None
    ) -> list[SessionInfo]:
        """The live sessions of a user, the newest sign-in first.

        Args:
            user: The id that was given to `Session.sign_in`.
            current: The session to mark as the current one.
            limit: How many at most.
            after: The handle of the last one that was seen, to go on behind it. If that has ended since, there is
                no place to go on from: the list is empty.

        Raises:
            ConfigurationError: The store keeps no lists (Memcached).
        """
        records = self._run(self._flows.of_user(checked_user(user), self._now()))
        return infos(records, handle_or_none(current), limit, after)

    def revoke(self, handle: str) -> bool:
        """End a session by its public name. Whether there was one.

        Whether the caller may is the application's to check: compare with `of_user`.
        """
        return self._run(self._flows.revoke(handle, self._now()))

    def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        """End every session of a user that signed in before this call (ASVS 7.4.2, 7.4.3). How many it were.

        Once it returned, none of them opens again, whatever ran in parallel. A sign-in that begins during the call
        stands.

        Args:
            user: The id that was given to `Session.sign_in`.
            keep: A session, or its handle, to leave alone.

        Returns:
            How many; 0 from a store that ends them without finding them (Memcached).
        """
        return self._run(self._flows.revoke_user(checked_user(user), self._now(), handle_or_none(keep)))

    def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        """Set fields in every live session of a user. In how many it was.

        Raises:
            ConfigurationError: The store keeps no lists (Memcached).
        """
        return self._run(self._flows.update_user(checked_user(user), values, self._now()))

    @contextmanager
    def edit(self, handle: str) -> Generator[Session]:
        """Change a session from a worker or a script; stored when the block ends without an exception.

        It does not count as use, and can't change the cookie: no sign_in, no rotate, no change of `permanent`.

        Raises:
            SessionGone: There is no such session, or it ended before the changes were stored.
        """
        session = self.open(b"")
        state = state_of(session)
        self._run(self._flows.open_for_edit(state, self._now(), handle))
        yield session
        self._run(self._flows.close_edit(state, self._now(), handle))

    def count(self) -> int:
        """How many live sessions there are.

        Raises:
            ConfigurationError: The store can't count them (Memcached).
        """
        return self._run(self._flows.count(self._now()))

    def ping(self) -> None:
        """Return if the store can be reached, else raise a `StoreError`."""
        self._run(self._flows.ping())

    def sweep(self) -> int:
        """Remove expired records, in bounded batches. How many it were."""
        return self._run(self._flows.sweep(self._now(), _SWEPT_AT_A_TIME))

    def _turn_of(self, state: State) -> threading.RLock:
        """One at a time: two threads of a new visitor's request that store at once must not begin two sessions."""
        if state.turn is None:
            with self._beginning:
                # Of a kind that a listener, called in the middle of one's own turn, can take again.
                state.turn = state.turn or threading.RLock()
        turn: threading.RLock = state.turn
        return turn

    def _run(self, flow: Flow[_T]) -> _T:
        """Drive a flow: do what it asks, tell what it tells."""
        answer: Any = None
        failure: StoreError | None = None
        try:
            while True:
                wish = flow.send(answer) if failure is None else flow.throw(failure)
                answer, failure = None, None
                if isinstance(wish, Ask):
                    try:
                        answer = getattr(self.store, wish.operation)(*wish.arguments)
                    except StoreError as error:
                        failure = error
                else:
                    self._tell(wish)
        except StopIteration as stop:
            result: _T = stop.value
            return result


def _as(twin: Callable[..., object]) -> Callable[[_Method], _Method]:
    """Gives an async method the docstring of its synchronous twin: what they promise is the same."""

    def documented(method: _Method) -> _Method:
        method.__doc__ = twin.__doc__
        return method

    return documented


class AsyncSessions(Manager):
    """The manager for asynchronous applications, under asyncio or uvloop.

    Used as an async context manager, or with `shutdown()`, it closes its store at the end. What waits is awaited;
    apart from that it is `Sessions`, method by method.
    """

    def __init__(self, store: AsyncStore, **options: Unpack[Options]) -> None:
        """Make a manager on a store.

        Args:
            store: Where the records are.
            options: The fields of `Settings`; `secret` is the one that must be given.

        Raises:
            ConfigurationError: The settings, or the settings and the store, don't go together.
        """
        refuse_colour(store, wanted_async=True)
        super().__init__(settings_from(options), store.capabilities)
        self.store = store
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    @_as(Sessions.from_url)
    def from_url(cls, url: str, **options: Unpack[StoreOptions]) -> Self:
        wanted, rest = shared_out(options)
        settings_from(rest)
        return cls(async_store_from_url(url, wanted), **rest)

    @_as(Sessions.with_settings)
    def with_settings(self, **options: Unpack[Options]) -> Self:
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.capabilities)  # noqa: SLF001 - its own kind
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @_as(Sessions.shutdown)
    async def shutdown(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        while tasks := [task for task in self._tasks.copy() if task.get_loop() is loop]:
            await asyncio.wait(tasks)
        await self.store.close()

    # A request: what the framework modules call

    @overload
    def open(self, cookies: bytes | str, *, client: str = "", path: str = "") -> Session: ...
    @overload
    def open(
        self, cookies: bytes | str, *, client: str = "", path: str = "", session_type: type[SessionT]
    ) -> SessionT: ...
    @_as(Sessions.open)
    def open(
        self,
        cookies: bytes | str,
        *,
        client: str = "",
        path: str = "",
        session_type: type[Session] = Session,
    ) -> Session:
        return session_type(partial(self._begin, cookies, client, path))

    def _begin(self, cookies: bytes | str, client: str, path: str, session: Session) -> State:
        return keep_state(session, self._state(cookies, client, path, load=None))

    @_as(Sessions.close)
    async def close(self, session: Session, *, failed: bool = False, secure: bool = True) -> Outcome:
        if not failed and (outcome := self.close_at_once(session)) is not None:
            return outcome
        if is_untouched(session):
            return UNTOUCHED
        closing = self._close(session, failed=failed)
        # What ends a session must not end with its request.
        outcome = await (self._in_own_task(closing) if state_of(session).doomed else closing)
        self._warn_of_http(outcome, secure=secure)
        return outcome

    async def _close(self, session: Session, *, failed: bool) -> Outcome:
        state = state_of(session)
        async with _turn_of(state):
            head_sent = head_has_left(session)
            flow = self._flows.close(state, self._now(), failed=failed, head_sent=head_sent)
            outcome = await self._run(flow)
            note_head(session)
            return outcome

    @_as(Sessions.abandon)
    async def abandon(self, session: Session) -> Outcome:
        try:
            return await self.close(session, failed=True)
        except StoreError:
            log.exception("a session that was ended in a request that failed could not be ended in the store")
            return UNTOUCHED

    async def preload(self, session: Session) -> None:
        """Load the session before its handler runs, without counting as a look at it.

        A store that fails is raised when the handler looks, not here: a handler that does not look answers.
        """
        state = state_of(session)
        if state.ready:
            return
        flows = self._flows
        keys = flows.keys_to_load(state)
        if flows.has_nothing_to_load(state, keys):
            return
        now = self._now()
        try:
            found = await self.store.load(keys, now) if keys else ()
        except StoreError as error:
            await self._run(flows.not_loaded(state, now, error))
            return
        if not flows.holds_at_once(state, now, found):
            await self._run(flows.loaded(state, now, found))

    # What waits, for a session that a handler holds

    @_as(Sessions.load)
    async def load(self, session: Session) -> None:
        await self.preload(session)
        session.is_new  # noqa: B018 - looking raises what loading met  # pyright: ignore[reportUnusedExpression]

    @_as(Sessions.save)
    async def save(self, session: Session) -> None:
        await self.load(session)
        # In its own task: whoever does not wait for its end, and goes on, still gets the cookie that it brings.
        await self._in_own_task(self._save(session))

    async def _save(self, session: Session) -> None:
        state = state_of(session)
        async with _turn_of(state):
            head_sent = head_has_left(session)
            await self._run(self._flows.save(state, self._now(), head_sent=head_sent))

    @_as(Sessions.take)
    async def take(self, session: Session, *names: str) -> dict[str, Any]:
        await self.load(session)
        state = state_of(session)
        async with _turn_of(state):
            return await self._run(self._flows.take(state, self._now(), names))

    @_as(Sessions.take_flashes)
    async def take_flashes(self, session: Session) -> list[Flash]:
        await self.load(session)
        state = state_of(session)
        async with _turn_of(state):
            return await self._run(self._flows.take_flashes(state, self._now()))

    @_as(Sessions.is_live)
    async def is_live(self, session: Session) -> bool:
        await self.load(session)
        return await self._run(self._flows.is_live(state_of(session), self._now()))

    # Sessions from outside a request

    @_as(Sessions.of_user)
    async def of_user(
        self, user: str, *, current: Session | None = None, limit: int = 100, after: str | None = None
    ) -> list[SessionInfo]:
        records = await self._run(self._flows.of_user(checked_user(user), self._now()))
        return infos(records, handle_or_none(current), limit, after)

    @_as(Sessions.revoke)
    async def revoke(self, handle: str) -> bool:
        return await self._run(self._flows.revoke(handle, self._now()))

    @_as(Sessions.revoke_user)
    async def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        flow = self._flows.revoke_user(checked_user(user), self._now(), handle_or_none(keep))
        return await self._in_own_task(self._run(flow))

    @_as(Sessions.update_user)
    async def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        return await self._run(self._flows.update_user(checked_user(user), values, self._now()))

    @asynccontextmanager
    @_as(Sessions.edit)
    async def edit(self, handle: str) -> AsyncGenerator[Session]:
        session = self.open(b"")
        state = state_of(session)
        await self._run(self._flows.open_for_edit(state, self._now(), handle))
        yield session
        await self._run(self._flows.close_edit(state, self._now(), handle))

    @_as(Sessions.count)
    async def count(self) -> int:
        return await self._run(self._flows.count(self._now()))

    @_as(Sessions.ping)
    async def ping(self) -> None:
        await self._run(self._flows.ping())

    @_as(Sessions.sweep)
    async def sweep(self) -> int:
        return await self._run(self._flows.sweep(self._now(), _SWEPT_AT_A_TIME))

    async def _run(self, flow: Flow[_T]) -> _T:
        """Drive a flow: do what it asks, tell what it tells."""
        answer: Any = None
        failure: StoreError | None = None
        try:
            while True:
                wish = flow.send(answer) if failure is None else flow.throw(failure)
                answer, failure = None, None
                if isinstance(wish, Ask):
                    try:
                        answer = await getattr(self.store, wish.operation)(*wish.arguments)
                    except StoreError as error:
                        failure = error
                else:
                    self._tell(wish)
        except StopIteration as stop:
            result: _T = stop.value
            return result

    async def _in_own_task(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for `work` in a task that goes on if the waiting is cancelled, by whatever means; `shutdown` waits."""
        import asyncio

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_of_failure)
            raise


def _turn_of(state: State) -> asyncio.Lock:
    """One at a time: two tasks of a new visitor's request that store at once must not begin two sessions."""
    if state.turn is None:
        import asyncio

        state.turn = asyncio.Lock()
    turn: asyncio.Lock = state.turn
    return turn


def _tell_of_failure(task: asyncio.Task[Any]) -> None:
    """For work that nobody waits for any more: whoever would have raised its error is gone."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("what a request had begun when it was cancelled could not be stored", exc_info=error)
