"""A user's sessions: how they are found, limited and ended, on an index, on epochs, or on both.

With an index, a sign-in writes the record, then its entry, and only then answers; so an entry stands for every sign-in
that was answered. Entries are hints: each is verified against its record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from coatcheck.config import Settings
from coatcheck.core.calls import Apply, CheckIndex, Done, Flow, Forget, Held, Load, Note, Result, SessionsOf
from coatcheck.core.epochs import Epochs
from coatcheck.core.swap import held_of
from coatcheck.errors import ConfigurationError, RevocationIncomplete, StoreError, TooLarge
from coatcheck.events import Event, EventKind
from coatcheck.http.token import handle_of
from coatcheck.model.lifetimes import moment
from coatcheck.model.ports import Entry, Index, Loaded
from coatcheck.model.record import Destroy, Holder, Record

__all__ = ["Users", "event_of", "raise_failure", "record_of"]

_PAGE = 100
_LACKS_ONE = (
    "The index of users does not have the session to keep, so something other than Coatcheck has removed entries, and more"
    ' may be missing. Set revocation="epoch": it ends every sign-in that it has not noted itself.'
)


class Users:
    """The flows over the sessions of a user."""

    __slots__ = ("_epochs", "_settings", "by_epoch", "index")

    def __init__(self, settings: Settings, index: Index, random: Callable[[int], bytes]) -> None:
        self._settings = settings
        self.index = index
        self.by_epoch: bool = index == "none" or settings.revocation == "epoch"
        within = settings.lifetimes if index == "within" else None
        self._epochs = Epochs(random, lifetimes=within) if self.by_epoch else None

    def judged(self, helds: Sequence[Held]) -> Flow[Sequence[Held]]:
        """`helds`, without the records that were ended by their user's epoch."""
        if self._epochs is None:
            return helds
        return (yield from self._epochs.judged(helds))

    # Signing in

    def entered(self, held: Held, now: int) -> Flow[Held]:
        """Enter a sign-in that is stored into the index or epoch, and end the sessions beyond the user's limit.

        If that fails, so has the sign-in: no user gets more sessions than the limit. Returns what lies there now.
        """
        held = yield from self.noted(held)
        record = record_of(held)
        try:
            yield from self.limited(record, now)
        except StoreError as error:
            yield event_of("unavailable", now, record, reason=f"limit: {type(error).__name__}: {error}")
            # No browser will have its cookie: it must not count, nor stand in the list of devices.
            yield from self._end([(_entry(record, record.covered), None)], now)
            raise
        return held

    def noted(self, held: Held) -> Flow[Held]:
        """Enter a sign-in that is stored and not answered yet. Returns what lies there now: an epoch may have moved it."""
        record = record_of(held)
        if record.user is None:
            return held
        if self._epochs is not None:
            held = (yield from self._epochs.note(record)) or held
            record = record_of(held)
        if self.index == "beside":
            yield Note([_entry(record, record.covered)])
        return held

    def entering(self, record: Record, user: str) -> Flow[int]:
        """Enter a user into the index or epoch whose session is stored without a sign-in; before its record says so.

        Returns from when the sign-in counts.
        """
        span = self._settings.lifetimes.longest(record.absolute)
        since = record.created
        if self._epochs is not None:
            since = yield from self._epochs.enter(user, since, span)
        if self.index == "beside":
            yield Note([Entry(user, record.key, since, since + span)])
        return since

    def covered(self, record: Record, span: int) -> Flow[None]:
        """Let a record's entry stand, and its epoch be kept, for `span` (ms) from the sign-in: before that is stored."""
        if self._epochs is not None:
            yield from self._epochs.keep(record, span)
        if self.index == "beside":
            yield Note([_entry(record, span)])

    def limited(self, record: Record, now: int) -> Flow[None]:
        """End the sessions of a record's user beyond the limit: those with the oldest sign-ins."""
        user, limit = record.user, self._settings.max_sessions_per_user
        if limit is None or user is None:
            return
        live = 0
        after: Entry | None = None
        while page := (yield SessionsOf(user, _PAGE, after)):
            after = page[-1]
            found = yield from self._live_in(page, now)
            surplus = found[max(0, limit - live) :]
            live += len(found)
            results = yield from self._end(surplus, now)
            for (entry, _), result in zip(surplus, results, strict=True):
                if isinstance(result, Done):
                    reason = f"the user has {limit} newer ones"
                    yield event_of("revoked", now, handle=handle_of(entry.key), user=user, reason=reason)
            raise_failure(results)
            if len(page) < _PAGE:
                return

    # From outside

    def live_of(self, user: str, now: int, limit: int, after: Entry | None) -> Flow[list[Held]]:
        """The live records of `user`, the newest sign-in first: at most `limit`, from behind `after`."""
        live: list[Held] = []
        while len(live) < limit:
            wanted = min(_PAGE, limit - len(live))
            page: Sequence[Entry] = yield SessionsOf(user, wanted, after)
            live += [held for _, held in (yield from self._live_in(page, now))]
            if len(page) < wanted:
                break
            after = page[-1]
        return live

    def _live_in(self, page: Sequence[Entry], now: int) -> Flow[list[tuple[Entry, Held]]]:
        """The entries that lead to a live record of that sign-in. The others are removed from the index."""
        answers: Sequence[Loaded] = yield Load([entry.key for entry in page])
        helds: list[Held] = []
        for entry, answer in zip(page, answers, strict=True):
            if isinstance(answer, StoreError):
                raise answer
            helds.append(held_of(entry.key, answer))
        live: list[tuple[Entry, Held]] = []
        dead: list[Entry] = []
        for entry, held in zip(page, (yield from self.judged(helds)), strict=True):
            record = held.state
            if (
                isinstance(record, Record)
                and record.user == entry.user
                and record.is_alive(now, self._settings.lifetimes)
            ):
                live.append((entry, held))
            elif not isinstance(record, Record) or record.user != entry.user:
                dead.append(entry)
        if dead and self.index == "beside":
            with suppress(StoreError):
                yield Forget(dead)
        return live

    def revoke_all(self, user: str, now: int, keep: bytes | None) -> Flow[int]:
        """End every session of `user` that was answered before; how many were found and ended.

        Each is ended only while it has the sign-in that was found: rotating does not change that, signing in again does.
        """
        if self._epochs is not None:
            lifetimes = self._settings.lifetimes
            yield from self._epochs.end_all(user, now, now + lifetimes.longest(), keep)
            if self.index == "none":
                yield event_of("revoked", now, user=user, reason="the user's all")
                return 0
        ended = 0
        keeps = False
        failure: StoreError | TooLarge | None = None
        after: Entry | None = None
        while page := (yield SessionsOf(user, _PAGE, after)):
            after = page[-1]
            ending = [(entry, None) for entry in page if entry.key != keep]
            keeps = keeps or len(ending) < len(page)
            results = yield from self._end(ending, now)
            for (entry, _), result in zip(ending, results, strict=True):
                if isinstance(result, Done):
                    ended += 1
                    handle = handle_of(entry.key)
                    yield event_of("revoked", now, handle=handle, user=user, reason="the user's all")
                elif isinstance(result, StoreError | TooLarge):
                    failure = result
            if len(page) < _PAGE:
                break
        if failure is not None:
            raise failure
        if self.index == "beside" and self._epochs is None:
            doubt: str | None = yield CheckIndex()
            if doubt is None and keep is not None and not keeps and (yield from self._is_of(user, keep, now)):
                doubt = _LACKS_ONE
            if doubt is not None:
                raise RevocationIncomplete(doubt, ended=ended)
        return ended

    def _is_of(self, user: str, key: bytes, now: int) -> Flow[bool]:
        """Whether `user` signed in to the session `key` before this call."""
        answers: Sequence[Loaded] = yield Load([key])
        if isinstance(answers[0], StoreError):
            raise answers[0]
        record = held_of(key, answers[0]).state
        return (
            isinstance(record, Record)
            and record.user == user
            and record.signed_in < now
            and record.is_alive(now, self._settings.lifetimes)
        )

    def _end(self, ending: Sequence[tuple[Entry, Held | None]], now: int) -> Flow[Sequence[Result]]:
        """End sessions, each as long as it has the sign-in of its entry; with what is known to lie there."""
        if not ending:
            return []
        changes = [_end_of(entry.user, entry.key, entry.signed_in, now) for entry, _ in ending]
        results: Sequence[Result] = yield Apply(changes, [held for _, held in ending])
        if self.index == "beside":
            ended = [
                entry for (entry, _), result in zip(ending, results, strict=True) if isinstance(result, Done)
            ]
            with suppress(StoreError):
                yield Forget(ended)
        return results

    def need_index(self, purpose: str) -> None:
        """Refuse a task that the store can't do.

        Raises:
            ConfigurationError: The store keeps no lists.
        """
        if self.index == "none":
            raise ConfigurationError(
                f"This store can't {purpose}: Memcached, for one, keeps no lists. The stores in "
                "SQLite, Redis, PostgreSQL, MySQL, MariaDB and memory can."
            )


def record_of(held: Held) -> Record:
    """The record that is held. The caller knows that it is one."""
    assert isinstance(held.state, Record)
    return held.state


def _end_of(user: str, key: bytes, signed_in: int, now: int) -> Destroy:
    return Destroy(key=key, at=now, holder=Holder(user, signed_in))


def raise_failure(results: Sequence[Result]) -> None:
    """Raise the first error among `results`."""
    for result in results:
        if isinstance(result, StoreError | TooLarge):
            raise result


def _entry(record: Record, span: int) -> Entry:
    """The index entry of a record's sign-in, standing for `span` (ms) from then."""
    return Entry(record.user or "", record.key, record.signed_in, record.signed_in + span)


def event_of(
    kind: EventKind,
    now: int,
    record: Record | None = None,
    *,
    handle: str | None = None,
    user: str | None = None,
    reason: str = "",
) -> Event:
    """An event about a record, or about a handle or user."""
    return Event(
        kind=kind,
        handle=handle if record is None else handle_of(record.key),
        user=user if record is None else record.user,
        reason=reason,
        at=moment(now),
    )
