"""The end of a request: what is stored when, what its response says of the session, and what is answered instead.

A framework module asks for the `head` before it leaves, tells the `end` of the body, and says where its handler has
`failed`. What is decided on the way stands here once, for every framework; the rest of such a module is its idiom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar, cast

from msgspec import Struct

from coatcheck.core.lifecycle import LOOKED_AT, UNTOUCHED, Outcome
from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.http.headers import unavailable
from coatcheck.http.token import Token
from coatcheck.session import Session, failure_met
from coatcheck.sessions import AsyncSessions, Sessions

__all__ = [
    "ENVIRON_KEY",
    "SCOPE_KEY",
    "AsyncResponder",
    "Manager",
    "Refusal",
    "Responder",
    "SharedResponder",
    "of_kind",
    "session_in",
]

ENVIRON_KEY = "coatcheck.session"
"""Where a WSGI environment has the session, and an ASGI scope has it whatever an application puts under `SCOPE_KEY`."""
SCOPE_KEY = "session"
"""Where an ASGI scope has it."""

Manager = TypeVar("Manager", Sessions, AsyncSessions)
_Headers: TypeAlias = Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
_SERVER_ERROR = 500


class Refusal(Struct, frozen=True):
    """The answer while the store fails: 503 with Retry-After (RFC 9110 §15.6.4)."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Responder(Generic[Manager]):
    """The common part: everything that is decided.

    Attributes:
        head_sent: No header can be sent any more.
        over: The handler has failed: nothing more is stored at the end but endings.
    """

    head_sent: bool = False
    over: bool = False
    _failure: StoreError | None = None
    _kept: Outcome | None = None

    def __init__(self, sessions: Manager, session: Session) -> None:
        self.sessions: Manager = sessions
        self.session = session

    def _check(self) -> None:
        """Raise the store's failure that a framework in between has made a 500 of."""
        failure = self._failure
        if failure is None and not self.over:
            failure = failure_met(self.session)
        if failure is not None:
            raise failure

    def _rival(self, headers: _Headers) -> Token | None:
        """The token that an inner layer of ours, which could not share this session, sets in the same response."""
        settings = self.sessions.settings
        ours = f"{settings.template.name}="
        for pair in headers:
            name, value = [part.decode("latin-1") if isinstance(part, bytes) else part for part in pair]
            if name.lower() == "set-cookie" and value.startswith(ours):
                text = value[len(ours) :].partition(";")[0]
                return settings.ring.verify(text.encode("latin-1", "replace"))
        return None

    def failure_behind(self, error: BaseException) -> StoreError | None:
        """The store's failure that `error` stands for, which the handler or the head raised."""
        if (failure := _only_failures(error)) is not None:
            return failure
        # Starlette calls its handlers of exceptions also for what the sending of the head raises, when it is too late
        # for them: it raises a RuntimeError from it.
        causes = [error]
        while (cause := causes[-1].__cause__) is not None and cause not in causes:
            causes.append(cause)
        return self._failure if self._failure in causes[1:] else None

    def _refusal(self, error: BaseException) -> Refusal | None:
        failure = self.failure_behind(error)
        if failure is None or self.head_sent:
            return None
        self._failure = failure
        line, headers, body = unavailable(failure.retry_after)
        return Refusal(int(line[:3]), line[4:], headers, body)


class Responder(_Responder[Sessions]):
    """The end of one synchronous request."""

    def head(self, status: int, headers: _Headers, *, secure: bool, last: bool = False) -> Outcome:
        """Store what was changed. Returns what the head of the response must say of the session.

        Args:
            status: The status of the response.
            headers: Its headers so far.
            secure: Whether the request came by https.
            last: Whether the request ends with it: no code of the application runs while the body is sent.

        Raises:
            StoreError: It is not stored, or it failed before and the status is 500. `failed` has the answer.
        """
        if status == _SERVER_ERROR:
            self._check()
        try:
            outcome = self.sessions.close(self.session, secure=secure, last=last)
            if outcome.set_cookie is not None:
                rival = self._rival(headers)
                if rival is not None and not self.sessions.wins_over(self.session, rival):
                    return LOOKED_AT
                self._kept = outcome
        except StoreError as error:
            self._failure = error
            raise
        # Else a head may have been made before, and another response come in its place: its cookie goes out with this.
        return self._kept or outcome

    def end(self, *, last: bool = False) -> None:
        """Store what was changed since the head: the body has ended, or the client has gone.

        Args:
            last: Whether the request has ended, too. From now on a change of the session raises `RequestOver`.
        """
        try:
            self.sessions.close(self.session, last=last)
        except BaseException:
            self.fail()
            raise

    def fail(self) -> None:
        """The handler raised: store its endings, and from now on nothing but endings and explicit saves."""
        self.over = True
        self.sessions.fail(self.session)

    def failed(self, error: BaseException) -> Refusal | None:
        """The handler, or `head`, raised `error`. Returns the answer; None: raise the error again."""
        self.fail()
        return self._refusal(error)


class AsyncResponder(_Responder[AsyncSessions]):
    """The end of one asynchronous request; see `Responder`."""

    async def head(self, status: int, headers: _Headers, *, secure: bool) -> Outcome:
        """See `Responder.head`."""
        if status == _SERVER_ERROR:
            self._check()
        try:
            outcome = await self.sessions.close(self.session, secure=secure)
            if outcome.set_cookie is not None:
                rival = self._rival(headers)
                if rival is not None and not await self.sessions.wins_over(self.session, rival):
                    return LOOKED_AT
                self._kept = outcome
        except StoreError as error:
            self._failure = error
            raise
        return self._kept or outcome

    async def end(self, *, last: bool = False) -> None:
        """See `Responder.end`."""
        await self.sessions.close(self.session, last=last)

    async def fail(self) -> None:
        """See `Responder.fail`."""
        self.over = True
        await self.sessions.fail(self.session)

    async def failed(self, error: BaseException) -> Refusal | None:
        """See `Responder.failed`."""
        await self.fail()
        return self._refusal(error)


class SharedResponder(Responder):
    """The end of a request whose session an outer layer of ours stores."""

    def __init__(self, sessions: Sessions, session: Session, outer: Session) -> None:
        super().__init__(sessions, session)
        self._outer = outer

    def head(self, status: int, headers: _Headers, *, secure: bool, last: bool = False) -> Outcome:
        """See `Responder.head`."""
        if status == _SERVER_ERROR:
            self._check()
        return UNTOUCHED

    def end(self, *, last: bool = False) -> None:
        """Nothing: the outer layer sees the same end."""

    def fail(self) -> None:
        """See `Responder.fail`."""
        self.over = True
        self._outer.sessions.note_failure(self._outer)


def of_kind(sessions: object, kind: type[Manager]) -> Manager:
    """`sessions`, which a framework module was given as its manager.

    Raises:
        ConfigurationError: It is something else, or a manager of the other kind.
    """
    if not isinstance(sessions, kind):
        raise ConfigurationError(
            f"The sessions of this framework must be a coatcheck.{kind.__name__}, not {type(sessions).__name__}."
        )
    return sessions


def session_in(environ: Mapping[str, Any]) -> Session | None:
    """The session that an outer layer of ours has put into a WSGI environment, or into the ASGI scope behind it."""
    for session in (environ.get(ENVIRON_KEY), environ.get("asgi.scope", {}).get(SCOPE_KEY)):
        if isinstance(session, Session):
            return session
    return None


def _only_failures(error: BaseException) -> StoreError | None:
    """The first failure of a group (of groups) in which there is nothing else."""
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, StoreError) else None
    group = cast("BaseExceptionGroup[BaseException]", error)
    firsts = [_only_failures(each) for each in group.exceptions]
    return None if None in firsts else firsts[0]
