"""The flows from outside a request: listing, revoking, editing, counting, sweeping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coatcheck.config import Settings
from coatcheck.core.calls import Apply, Count, Done, Flow, Held, Load, Ping, Result, Sweep
from coatcheck.core.requests import Requests
from coatcheck.core.start import look_around
from coatcheck.core.state import State, Status, check_name, check_size, encode_field
from coatcheck.core.swap import held_of
from coatcheck.core.users import Users, event_of, raise_failure
from coatcheck.errors import ConfigurationError, SessionGone, StoreError
from coatcheck.http.token import key_of
from coatcheck.model.ports import Entry, Loaded
from coatcheck.model.record import Destroy, Holder, Record, Refused, Update

__all__ = ["Admin"]

_AT_A_TIME = 100


class Admin:
    """The flows from outside a request, with the settings of one manager."""

    __slots__ = ("_random", "_requests", "_settings", "_users")

    def __init__(
        self, settings: Settings, users: Users, requests: Requests, random: Callable[[int], bytes]
    ) -> None:
        self._settings = settings
        self._users = users
        self._requests = requests
        self._random = random

    def find(self, state: State, now: int, handle: str) -> Flow[bool]:
        """Hold the session `handle` without being its visitor; whether there is one."""
        key = key_of(handle)
        held = None if key is None else (yield from self._live_under(key, now))
        if held is None:
            return False
        state.hold(None, held)
        state.detached = True
        return True

    def open_for_edit(self, state: State, now: int, handle: str) -> Flow[None]:
        """The same; an error where there is none."""
        if not (yield from self.find(state, now, handle)):
            # Text that is not a handle is not repeated in the error: it may be a token.
            shown = handle if key_of(handle) is not None else ""
            raise SessionGone(
                f"There is no session {shown!r}, or no longer."
                if shown
                else "That is not the handle of a session.",
                handle=shown,
            )

    def _live_under(self, key: bytes, now: int) -> Flow[Held | None]:
        answers: Sequence[Loaded] = yield Load([key])
        if isinstance(answers[0], StoreError):
            raise answers[0]
        (held,) = yield from self._users.judged([held_of(key, answers[0])])
        record = held.state
        if not isinstance(record, Record) or not record.is_alive(now, self._settings.lifetimes):
            return None
        return held

    def close_edit(self, state: State, now: int, handle: str) -> Flow[None]:
        """Store what was changed; an error where the session ended meanwhile."""
        yield from self._requests.save(state, now, head_sent=True)
        if state.status is Status.LATE:
            raise SessionGone(f"The session {handle!r} ended before its changes were stored.", handle=handle)

    def revoke(self, handle: str, now: int, user: str | None = None) -> Flow[bool]:
        """End a session from outside, with a `user` only if it is signed in as that one; whether it did."""
        key = key_of(handle)
        if key is None:
            return False
        holder = None if user is None else Holder(user)
        results: Sequence[Result] = yield Apply([Destroy(key=key, at=now, holder=holder)], [None])
        raise_failure(results)
        if isinstance(results[0], Refused):
            return False
        yield event_of("revoked", now, handle=handle)
        return True

    def revoke_user(self, user: str, now: int, keep: str | None) -> Flow[int]:
        """End every session of `user` that was answered before; how many were found."""
        # Where `keep` is no handle, it names no session that could be kept.
        return (yield from self._users.revoke_all(user, now, None if keep is None else key_of(keep)))

    def update_user(self, user: str, values: Mapping[str, Any], now: int) -> Flow[int]:
        """Set fields in every live session of `user`; in how many it was. An error of one is raised behind the others."""
        self._users.need_index("find the sessions of a user")
        fields: dict[str, bytes] = {}
        for name, value in values.items():
            check_name(name)
            if name == self._settings.identity_field:
                raise ConfigurationError(
                    f"session[{name!r}] names the user, and update_user can't sign anybody in: use revoke_user."
                )
            fields[name] = encode_field(name, value)
        check_size("…", b"".join(fields.values()), self._settings.max_bytes)
        updated = 0
        outcomes: list[Result] = []
        after: Entry | None = None
        while helds := (yield from self._users.live_of(user, now, _AT_A_TIME, after)):
            records = _records_in(helds)
            changes = [self._user_update(record.key, user, fields, now) for record in records]
            results: Sequence[Result] = yield Apply(changes, helds)
            outcomes += results
            updated += sum(isinstance(result, Done) for result in results)
            if len(helds) < _AT_A_TIME:
                break
            after = self.position_of(records[-1])
        raise_failure(outcomes)
        return updated

    def _user_update(self, key: bytes, user: str, fields: Mapping[str, bytes], now: int) -> Update:
        return Update(
            key=key,
            at=now,
            lifetimes=self._settings.lifetimes,
            grace=self._settings.rotation_grace_ms,
            user=user,
            set=fields,
            used=False,
        )

    def of_user(
        self, user: str, now: int, limit: int, after: str | None, current: State | None = None
    ) -> Flow[list[Record]]:
        """The live records of `user`, the newest sign-in first: at most `limit`, behind the one called `after`.

        A sign-in that the `current` request has not stored yet is the newest.
        """
        self._users.need_index("find the sessions of a user")
        mine = None if current is None else self._requests.signing_in(current, user, now)
        own = None if mine is None else mine.key
        position: Entry | None = None
        key = None if after is None else key_of(after)
        if after is not None and (key is None or key != own):
            held = None if key is None else (yield from self._live_under(key, now))
            if held is None or not isinstance(held.state, Record) or held.state.user != user:
                return []
            position = self.position_of(held.state)
        wanted = (
            limit if mine is None else limit + 1
        )  # its own record may be in the list, by an earlier sign-in
        records = _records_in((yield from self._users.live_of(user, now, wanted, position)))
        if mine is not None:
            records = [record for record in records if record.key != own]
            if after is None:
                records = [mine, *records]
        return records[:limit]

    @staticmethod
    def position_of(record: Record) -> Entry:
        """The place of a record in its user's list."""
        return Entry(record.user or "", record.key, record.signed_in, 0)

    def count(self) -> Flow[int]:
        """How many live sessions there are."""
        self._users.need_index("count sessions")
        counted: int = yield Count()
        return counted

    def ping(self) -> Flow[int | None]:
        """Return if the store can be reached, with the clock of its server (ms)."""
        clock: int | None = yield Ping()
        return clock

    def look_around(self, now: int) -> Flow[list[str]]:
        """See `coatcheck.core.start`."""
        return (yield from look_around(self._users, self._settings.ring, self._random, now))

    def sweep(self, limit: int) -> Flow[int]:
        """Remove expired records, `limit` at a time. Returns how many were removed."""
        swept = 0
        while True:
            removed: int = yield Sweep(limit)
            swept += removed
            if removed < limit:
                return swept


def _records_in(helds: Sequence[Held]) -> list[Record]:
    """The records among what is held."""
    return [held.state for held in helds if isinstance(held.state, Record)]
