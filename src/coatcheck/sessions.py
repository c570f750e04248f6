"""The two managers: each opens a session from a request and closes it into a response.

Both run the same flows (`coatcheck.core.requests`, `coatcheck.core.admin`). They differ in how they call the store.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import threading
import warnings
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from coatcheck.config import Options, Settings
from coatcheck.core.admin import Admin
from coatcheck.core.calls import Flow
from coatcheck.core.lifecycle import LOOKED_AT, UNTOUCHED, Outcome
from coatcheck.core.requests import Requests
from coatcheck.core.state import State, Status
from coatcheck.core.swap import Swap
from coatcheck.core.users import Users
from coatcheck.errors import (
    ConfigurationError,
    ForeignSessionWarning,
    InsecureTransportWarning,
    NotLoaded,
    StoreError,
    StoreTimeout,
)
from coatcheck.events import Event
from coatcheck.http.token import handle_of
from coatcheck.model.fields import Flash
from coatcheck.model.lifetimes import moment
from coatcheck.model.ports import AsyncStore, Index, Store
from coatcheck.model.record import Record
from coatcheck.runner import Runner
from coatcheck.session import Session, has_ended, state_of
from coatcheck.urls import StoreOptions, async_store_from_url, split_options, store_from_url

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncSessions", "SessionInfo", "Sessions"]

T = TypeVar("T")
SessionT = TypeVar("SessionT", bound=Session)
Method = TypeVar("Method", bound=Callable[..., object])
_SWEPT_AT_A_TIME = 1000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One session of a user, for a list of devices."""

    handle: str
    """The session's public name, for `Sessions.revoke`."""
    user: str
    created_at: datetime
    signed_in_at: datetime
    last_used_at: datetime
    """Exact to a tenth of the idle timeout, at most an hour."""
    expires_at: datetime
    """When the session expires if it is not used again."""
    permanent: bool
    client: str
    """The User-Agent of the sign-in, shortened. The client chose this text, so escape it."""
    current: bool
    """Whether this is the session that the caller named as current."""


class _Manager:
    """The common part of both managers: settings, flows, clock, events."""

    settings: Settings

    def __init__(self, settings: Settings, index: Index) -> None:
        self._counted: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._warned = False
        self._rival_named = False
        self._use(settings, index)

    def _use(self, settings: Settings, index: Index) -> None:
        if settings.max_sessions_per_user is not None and index == "none":
            raise ConfigurationError(
                "max_sessions_per_user needs a store that finds the sessions of a user, and this one does not: leave the "
                "setting out, or use another store."
            )
        self.settings = settings
        random = secrets.token_bytes
        users = Users(settings, index, random)
        self._requests = Requests(settings, users, random)
        self._admin = Admin(settings, users, self._requests)
        self._swap = Swap(
            random, settings.max_bytes, lifetimes=settings.lifetimes if index == "within" else None
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of events of each kind in this process."""
        with self._counting:
            return dict(self._counted)

    def _now(self) -> int:
        return int(self.settings.clock() * 1000)

    def _tell(self, event: Event) -> None:
        with self._counting:
            self._counted[event.kind] += 1
        if self.settings.on_event is not None:
            try:
                self.settings.on_event(event)
            except Exception:
                log.exception("on_event failed for a %r event", event.kind)

    def cookie_of(self, session: Session) -> dict[str, str]:
        """The cookie that the session's visitor has, as name and value, for test clients: what opens the session.

        Empty while nothing is stored, and for a session that was found by its public name.
        """
        token = state_of(session).token
        if token is None:
            return {}
        return {self.settings.template.name: self.settings.ring.sign(token)}

    def agrees_with(self, outer: Session) -> bool:
        """Whether a session that another layer of ours opened for this request can be used here: one cookie, one life."""
        mine, theirs = self.settings, outer.sessions.settings
        if mine.template.name != theirs.template.name or has_ended(outer):
            return False
        agree = (
            mine.template.clear() == theirs.template.clear()
            and mine.ring.has_secrets_of(theirs.ring)
            and mine.lifetimes == theirs.lifetimes
        )
        if not agree and not self._rival_named:
            self._rival_named = True
            warnings.warn(
                f"Two session layers serve one request, both with the cookie {mine.template.name}, and their settings differ: "
                "they overwrite each other's cookie. Give both the same secret, cookie and limits, and they share one "
                "session; or give one of them another cookie name.",
                ForeignSessionWarning,
                stacklevel=3,
            )
        return agree

    def share(self, outer: Session, session_type: type[SessionT]) -> SessionT:
        """The session of an outer layer as `session_type`. Its outer layer stores it."""
        return session_type(partial(_state_of_outer, outer), self)

    def note_failure(self, session: Session) -> bool:
        """Note that the handler raised. Whether it had ended a session before.

        From now on nothing is stored but endings and what `save` and `take` are called for.
        """
        state = session._state
        if state is None:
            session._failed = True
            return False
        state.failed = True
        if state.failure is not None:
            # What still runs (a middleware, an error page) must not fail by the same outage again.
            state.status = Status.OUTAGE
        return bool(state.to_destroy)

    def _warn_of_http(self) -> None:
        if self._warned or self.settings.insecure_http:
            return
        self._warned = True
        warnings.warn(
            "A session cookie was set on plain http. It is Secure, so browsers don't send it back on plain http: "
            "sign-ins will seem not to last. For local development set insecure_http=True; behind a proxy that "
            "terminates TLS, make it send X-Forwarded-Proto and let your server or framework trust it.",
            InsecureTransportWarning,
            stacklevel=3,
        )


class Sessions(_Manager):
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
        _refuse_other_kind(store, wanted_async=False)
        self.store = store
        self._beginning = threading.Lock()
        super().__init__(_settings_from(options), store.index)

    def _use(self, settings: Settings, index: Index) -> None:
        super()._use(settings, index)
        self._runner = Runner(self.store, self._swap, settings.deadline.total_seconds(), self._tell)
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
        _settings_from(rest)  # before a store makes its file: wrong settings must leave none
        return cls(store_from_url(url, wanted), **rest)

    def with_settings(self, **options: Unpack[Options]) -> Self:
        """Another manager on the same store, with some settings changed. Both share the event counts."""
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.index)
        return other

    def __enter__(self) -> Self:
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
                state.head_sent, state.failed = session._head_sent, session._failed
                # Reentrant, since an event listener runs while its thread holds the lock, and may use the session.
                state.turn = threading.RLock()
            return state

    def _load(self, state: State) -> None:
        with state.turn:
            if not state.ready:
                now = int(self.settings.clock() * 1000)
                self._run(self._requests.load(state, now), now)

    def close(self, session: Session, *, secure: bool = True) -> Outcome:
        """Store the request's changes. Returns the cookie and headers for its response.

        Called before the response's headers are sent, and again when the response ends: changes made in between are
        stored then, but can't change the cookie.

        Args:
            session: The session from `open`.
            secure: Whether the request came by https.

        Raises:
            StoreError: The changes are not stored, so the response must not claim success.
            NotStorable: A nested value can't be stored; nothing was stored.
            TooLarge: The record would be too large; nothing was stored.
            CannotSendCookie: A change needs a new cookie after the headers were sent; nothing was stored.
        """
        state = session._state
        if state is None:
            session._head_sent = True
            return UNTOUCHED
        if not state.looked_at:
            state.head_sent = True
            return UNTOUCHED
        # Within the turn: another thread of the request may be storing something, and its time comes first.
        with state.turn:
            now = int(self.settings.clock() * 1000)
            if not (state.changes or state.mutable_reads or state.acted) and (
                state.head_sent or self._requests.nothing_is_due(state, now)
            ):
                state.head_sent = True
                return LOOKED_AT
            flow = self._requests.close(state, now, failed=state.failed, head_sent=state.head_sent)
            outcome = self._run(flow, now)
            state.head_sent = True
        if outcome.set_cookie is not None and not secure:
            self._warn_of_http()
        return outcome

    def fail(self, session: Session) -> None:
        """The request's handler raised: store its endings now, and drop every other change.

        From now on nothing is stored but endings and what `save` and `take` are called for, whatever the framework
        answers. A `StoreError` is logged, not raised, so that the handler's own error is the one that propagates.
        """
        if self.note_failure(session):
            try:
                self._in_turn(session, self._requests.fail)
            except StoreError:
                log.exception(_NOT_ENDED)

    # For a session that a handler holds

    def load(self, session: Session) -> None:
        """Load the session now, instead of at the first access.

        Raises:
            StoreError: The session can't be loaded.
        """
        session.is_new  # noqa: B018 - the access loads it  # pyright: ignore[reportUnusedExpression]

    def save(self, session: Session, *, create: bool = False) -> bool:
        """Store the changes so far, before the request ends. A new cookie is sent with the response's headers.

        Args:
            session: The session.
            create: Make a record also without a field, so that the session has a handle.

        Returns:
            Whether there were changes, and they are stored: not those of a session that ended meanwhile.

        Raises:
            StoreError: The changes are not stored.
            CannotSendCookie: The changes need a new cookie, but the headers were already sent.
        """
        return self._in_turn(
            session,
            lambda state, now: self._requests.save(state, now, head_sent=state.head_sent, create=create),
        )

    def reload(self, session: Session) -> bool:
        """Read what other requests have stored since this one loaded the session. Its own changes stay.

        A value that was read before is another object afterwards. Returns whether the session still exists.

        Raises:
            StoreError: The session can't be read.
        """
        return self._in_turn(session, self._requests.reload)

    def take(self, session: Session, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically: no other request gets the same values.

        The removal is stored when this returns, even if the request fails later. Missing fields are left out.
        """
        return self._in_turn(session, lambda state, now: self._requests.take(state, now, names))

    def take_flashes(self, session: Session, category: str | None = None) -> list[Flash]:
        """Remove the waiting messages and return them, the oldest first. Each message is returned to one request only.

        With a `category`, only its messages are taken.
        """
        return self._in_turn(session, partial(self._requests.take_flashes, category=category))

    def is_live(self, session: Session) -> bool:
        """Whether the session still exists. Asks the store each time, for long connections."""
        self.load(session)
        now = self._now()
        return self._run(self._requests.is_live(state_of(session), now), now)

    def _in_turn(self, session: Session, flow: Callable[[State, int], Flow[T]]) -> T:
        self.load(session)
        state = state_of(session)
        if state.loop is not None:
            owner: AsyncSessions = state.owner
            return owner._from_a_thread(state, flow, RuntimeError(_AWAIT_IT))
        with state.turn:
            now = self._now()
            return self._run(flow(state, now), now)

    # Sessions by user or handle

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
        return _infos(
            self._run(self._admin.of_user(_checked_user(user), now, limit, after, state), now), state
        )

    def revoke(self, handle: str, user: str | None = None) -> bool:
        """End a session by its public name. Returns whether it did.

        Args:
            handle: The public name.
            user: End it only if this user is signed in to it. For a user's own list of devices give it: a handle that
                comes from a form may be anybody's. None: whoever has it.
        """
        now = self._now()
        return self._run(self._admin.revoke(handle, now, None if user is None else _checked_user(user)), now)

    def find(self, handle: str) -> Session | None:
        """The session of a public name, to read and change it; None: there is none. For administration only.

        A handle that came from a client must never be given to it: it proves nothing. This does not count as use of the
        session. `save` stores changes, and answers False where the session has ended meanwhile.
        """
        session = self.open(b"")
        now = self._now()
        return session if self._run(self._admin.find(state_of(session), now, handle), now) else None

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
        return self._run(self._admin.revoke_user(_checked_user(user), now, _handle_or_none(keep)), now)

    def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        """Set fields in every live session of a user. Returns the number of sessions.

        Raises:
            ConfigurationError: The store has no index of users (Memcached).
        """
        now = self._now()
        return self._run(self._admin.update_user(_checked_user(user), values, now), now)

    @contextmanager
    def edit(self, handle: str) -> Generator[Session]:
        """Change a session from a worker or a script. The changes are stored if the block ends without an exception.

        This does not count as use of the session, and can't change its cookie: `sign_in`, `rotate` and a change of
        `permanent` are refused.

        Raises:
            SessionGone: The session does not exist, or it ended before the changes were stored.
        """
        session = self.open(b"")
        state = state_of(session)
        now = self._now()
        self._run(self._admin.open_for_edit(state, now, handle), now)
        yield session
        now = self._now()
        self._run(self._admin.close_edit(state, now, handle), now)

    def count(self) -> int:
        """The number of live sessions.

        Raises:
            ConfigurationError: The store can't count them (Memcached).
        """
        return self._run(self._admin.count(), self._now())

    def ping(self) -> None:
        """Return if the store can be reached, else raise a `StoreError`."""
        self._run(self._admin.ping(), self._now())

    def sweep(self) -> int:
        """Remove expired records in bounded batches. Returns their number."""
        return self._run(self._admin.sweep(_SWEPT_AT_A_TIME), self._now())


def _as(sync_method: Callable[..., object]) -> Callable[[Method], Method]:
    """Gives an async method the docstring of the sync method, whose behaviour it shares."""

    def documented(method: Method) -> Method:
        method.__doc__ = sync_method.__doc__
        return method

    return documented


class AsyncSessions(_Manager):
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
        _refuse_other_kind(store, wanted_async=True)
        from coatcheck.stores.coalesce import PerLoop, Tasks

        self.store = store
        self._tasks = PerLoop(Tasks)
        super().__init__(_settings_from(options), store.index)

    def _use(self, settings: Settings, index: Index) -> None:
        super()._use(settings, index)
        import asyncio  # which sync applications don't need

        from coatcheck.runner_async import AsyncRunner

        self._running_loop = asyncio.get_running_loop

        patience = settings.deadline.total_seconds()
        self._runner = AsyncRunner(self.store, self._swap, patience, self._tell, self._tasks)
        self._run = self._runner.run

    @classmethod
    @_as(Sessions.from_url)
    def from_url(cls, url: str, **options: Unpack[StoreOptions]) -> Self:
        wanted, rest = split_options(options)
        _settings_from(rest)
        return cls(async_store_from_url(url, wanted), **rest)

    @_as(Sessions.with_settings)
    def with_settings(self, **options: Unpack[Options]) -> Self:
        other = copy(self)
        other._use(replace(self.settings, **options), self.store.index)
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @_as(Sessions.shutdown)
    async def shutdown(self) -> None:
        await self._runner.close()

    # Requests: called by the framework modules

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
        try:
            loop = self._running_loop()
        except RuntimeError:
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
        raw = cookies if isinstance(cookies, bytes) else cookies.encode("latin-1", "replace")
        state = session._state = State(raw, client, self._load_for_thread, self.settings)
        state.path, state.owner, state.loop = path, self, loop
        state.head_sent, state.failed = session._head_sent, session._failed
        return state

    @_as(Sessions.close)
    async def close(self, session: Session, *, secure: bool = True) -> Outcome:
        state = session._state
        if state is None:
            session._head_sent = True
            return UNTOUCHED
        if not state.looked_at:
            state.head_sent = True
            return UNTOUCHED
        if not (state.changes or state.mutable_reads or state.acted) and (
            state.head_sent or self._requests.nothing_is_due(state, int(self.settings.clock() * 1000))
        ):
            state.head_sent = True
            return LOOKED_AT
        closing = self._close(state)
        # An ending is carried out even if its request is cancelled.
        outcome = await (self._alone(closing) if state.to_destroy else closing)
        if outcome.set_cookie is not None and not secure:
            self._warn_of_http()
        return outcome

    async def _close(self, state: State) -> Outcome:
        async with _turn_of(state):
            now = int(self.settings.clock() * 1000)  # other tasks of the request may have been first
            flow = self._requests.close(state, now, failed=state.failed, head_sent=state.head_sent)
            outcome = await self._run(flow, now)
            state.head_sent = True
            return outcome

    @_as(Sessions.fail)
    async def fail(self, session: Session) -> None:
        if self.note_failure(session):
            try:
                # In its own task: an ending is carried out even if its request is cancelled.
                await self._alone(self._in_turn(session, self._requests.fail))
            except StoreError:
                log.exception(_NOT_ENDED)

    async def preload(self, session: Session) -> None:
        """Load the session before its handler runs. This does not count as use of the session.

        A store's failure is raised when the handler uses the session, not here: a handler that does not use it is
        not disturbed by an outage.
        """
        state = session._state
        if state is None:
            state = session._begin(session)
        if not state.ready:
            if isinstance(state.owner, Sessions):
                await self._in_a_thread(partial(state.owner._load, state))
                return
            now = int(self.settings.clock() * 1000)
            await self._run(self._requests.load(state, now), now)

    # For handlers that run in threads

    def _load_for_thread(self, state: State) -> None:
        """Load a session that is looked at before it was loaded."""
        self._from_a_thread(state, self._requests.load, NotLoaded(_LOAD_IT))

    def _from_a_thread(self, state: State, flow: Callable[[State, int], Flow[T]], refusal: Exception) -> T:
        """Run a flow in the session's event loop, for a caller in another thread. `refusal` is raised in the loop's own."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if state.loop is None:
                raise refusal from None
        else:
            raise refusal
        work = asyncio.run_coroutine_threadsafe(self._taking_turns(state, flow), state.loop)
        try:
            return work.result(self.settings.deadline.total_seconds() + _LOOP_PATIENCE)
        except TimeoutError:
            raise StoreTimeout(
                "the event loop did not answer the thread of a handler: it is blocked, or has ended",
                ambiguous=True,
            ) from None

    # For a session that a handler holds

    @_as(Sessions.load)
    async def load(self, session: Session) -> None:
        await self.preload(session)
        session.is_new  # noqa: B018 - the access raises a failure of the load  # pyright: ignore[reportUnusedExpression]

    @_as(Sessions.save)
    async def save(self, session: Session, *, create: bool = False) -> bool:
        # In its own task: if the caller is cancelled but still responds, its response has the new cookie.
        return await self._alone(
            self._in_turn(
                session,
                lambda state, now: self._requests.save(state, now, head_sent=state.head_sent, create=create),
            )
        )

    @_as(Sessions.reload)
    async def reload(self, session: Session) -> bool:
        return await self._in_turn(session, self._requests.reload)

    @_as(Sessions.take)
    async def take(self, session: Session, *names: str) -> dict[str, Any]:
        return await self._in_turn(session, lambda state, now: self._requests.take(state, now, names))

    @_as(Sessions.take_flashes)
    async def take_flashes(self, session: Session, category: str | None = None) -> list[Flash]:
        return await self._in_turn(session, partial(self._requests.take_flashes, category=category))

    @_as(Sessions.is_live)
    async def is_live(self, session: Session) -> bool:
        await self.load(session)
        now = self._now()
        return await self._run(self._requests.is_live(state_of(session), now), now)

    async def _in_turn(self, session: Session, flow: Callable[[State, int], Flow[T]]) -> T:
        await self.load(session)
        state = state_of(session)
        if isinstance(state.owner, Sessions):
            return await self._in_a_thread(partial(state.owner._in_turn, session, flow))
        return await self._taking_turns(state, flow)

    async def _in_a_thread(self, work: Callable[[], T]) -> T:
        """What a session that a synchronous manager opened waits for must not block the loop."""
        import asyncio

        return await asyncio.to_thread(work)

    async def _taking_turns(self, state: State, flow: Callable[[State, int], Flow[T]]) -> T:
        async with _turn_of(state):
            now = self._now()
            return await self._run(flow(state, now), now)

    # Sessions by user or handle

    @_as(Sessions.of_user)
    async def of_user(
        self, user: str, *, current: Session | None = None, limit: int = 100, after: str | None = None
    ) -> list[SessionInfo]:
        if current is not None:
            await self.load(current)
        now = self._now()
        state = None if current is None else state_of(current)
        flow = self._admin.of_user(_checked_user(user), now, limit, after, state)
        return _infos(await self._run(flow, now), state)

    @_as(Sessions.revoke)
    async def revoke(self, handle: str, user: str | None = None) -> bool:
        now = self._now()
        flow = self._admin.revoke(handle, now, None if user is None else _checked_user(user))
        return await self._run(flow, now)

    @_as(Sessions.find)
    async def find(self, handle: str) -> Session | None:
        session = self.open(b"")
        now = self._now()
        return session if await self._run(self._admin.find(state_of(session), now, handle), now) else None

    @_as(Sessions.exists)
    async def exists(self, handle: str) -> bool:
        return await self.find(handle) is not None

    @_as(Sessions.revoke_user)
    async def revoke_user(self, user: str, keep: Session | str | None = None) -> int:
        now = self._now()
        flow = self._admin.revoke_user(_checked_user(user), now, _handle_or_none(keep))
        return await self._alone(self._run(flow, now))

    @_as(Sessions.update_user)
    async def update_user(self, user: str, values: Mapping[str, Any]) -> int:
        now = self._now()
        return await self._run(self._admin.update_user(_checked_user(user), values, now), now)

    @asynccontextmanager
    @_as(Sessions.edit)
    async def edit(self, handle: str) -> AsyncGenerator[Session]:
        session = self.open(b"")
        state = state_of(session)
        now = self._now()
        await self._run(self._admin.open_for_edit(state, now, handle), now)
        yield session
        now = self._now()
        await self._run(self._admin.close_edit(state, now, handle), now)

    @_as(Sessions.count)
    async def count(self) -> int:
        return await self._run(self._admin.count(), self._now())

    @_as(Sessions.ping)
    async def ping(self) -> None:
        await self._run(self._admin.ping(), self._now())

    @_as(Sessions.sweep)
    async def sweep(self) -> int:
        return await self._run(self._admin.sweep(_SWEPT_AT_A_TIME), self._now())

    async def _alone(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in a task that completes even if the caller is cancelled. `shutdown` waits for it."""
        import asyncio

        task = self._runner.start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise


def _state_of_outer(outer: Session, session: Session) -> State:
    state = session._state = state_of(outer)
    return state


def _turn_of(state: State) -> asyncio.Lock:
    """The lock that serialises commits of a session: two tasks of a request must not create two records."""
    if state.turn is None:
        import asyncio

        state.turn = asyncio.Lock()
    turn: asyncio.Lock = state.turn
    return turn


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Log the error of a task whose caller was cancelled."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the changes of a cancelled request are not stored", exc_info=error)


def _settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings from the keyword arguments of a manager."""
    unknown = set(options) - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown settings: {', '.join(sorted(unknown))}; the settings are {', '.join(Options.__annotations__)}"
        )
    if "secret" not in options:
        raise ConfigurationError(
            "secret= is missing: make one with `coatcheck secret`, and keep it out of the source."
        )
    return Settings(**options)


def _checked_user(user: str) -> str:
    if not isinstance(user, str) or not user:
        raise TypeError("the user's id must be a non-empty str, as it was given to sign_in")
    return user


def _handle_or_none(session: Session | str | None) -> str | None:
    """The handle of a session, a handle, or None."""
    return session.handle if isinstance(session, Session) else session


def _infos(records: Sequence[Record], current: State | None) -> list[SessionInfo]:
    """The records as entries of a list of devices."""
    own = None
    if current is not None:
        own = current.selector if current.record is None else current.record.key
    return [
        SessionInfo(
            handle=handle_of(record.key),
            user=record.user or "",
            created_at=moment(record.created),
            signed_in_at=moment(record.signed_in),
            last_used_at=moment(record.last_used),
            expires_at=moment(record.expires),
            permanent=record.permanent,
            client=record.client,
            current=record.key == own,
        )
        for record in records
    ]


def _refuse_other_kind(store: object, *, wanted_async: bool) -> None:
    """Refuse an async store for a sync manager, and a sync store for an async one.

    Raises:
        ConfigurationError: The kinds differ; the message names the manager to use.
    """
    if inspect.iscoroutinefunction(getattr(store, "load", None)) is not wanted_async:
        kind = type(store).__name__
        raise ConfigurationError(
            f"{kind} is a synchronous store: use Sessions, or an async store."
            if wanted_async
            else f"{kind} is an async store: use AsyncSessions, or a synchronous store."
        )
