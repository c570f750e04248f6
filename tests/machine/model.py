"""The engine on a store, against a plain dict: any sequence of changes, over any stretch of time.

::

    class MyMachine(StoreMachine):
        def harness(self):
            return MyHarness()


    TestMyStore = MyMachine.TestCase
    TestMyStore.settings = settings(max_examples=50, stateful_step_count=40)

The dict knows nothing of `coatcheck.model.record.Record.apply`; it says once more, in plain words, what a session is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import TypeVar

from msgspec.structs import replace

try:
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError("tests.machine.model runs on hypothesis: pip install 'coatcheck[testing]'") from _error

from coatcheck.core.calls import Done, Held
from coatcheck.model.ports import Entry
from coatcheck.model.record import (
    TOMBSTONE_LIFE,
    Applied,
    Change,
    Create,
    Destroy,
    Holder,
    Record,
    Refused,
    Rotation,
    SignIn,
    Tombstone,
    Update,
)
from coatcheck.testing.contract.harness import Bench, Harness
from tests.machine.plain import LIFETIMES, PlainSession
from tests.stores.engine import AsyncEngine, stored

__all__ = ["StoreMachine"]

T = TypeVar("T")
GRACE = 20_000
USERS = ("ada", "grace", "*")
NAMES = ("a", "b", "c")

_names = st.sampled_from(NAMES)
_values = st.sampled_from((b"", b"1", b"2"))
_some_names = st.lists(_names, max_size=2)
_fields = st.dictionaries(_names, _values, max_size=3)
_users = st.sampled_from(USERS)
_seconds = st.sampled_from((0.001, 1.0, 10.0, 19.999, 20.0, 29.999, 30.0, 59.999, 60.0, 150.0))
_which = st.integers(0, 2)


class StoreMachine(RuleBasedStateMachine):
    """Subclass it, override `harness`, and let pytest collect the subclass's ``TestCase``."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[PlainSession] = []
        self.seen: dict[bytes, Held] = {}  # by requests that began earlier and write later
        self.made: int = 0
        self.loop: asyncio.Runner = asyncio.Runner()

    def harness(self) -> Harness:
        """A harness whose clock can be moved by minutes, with a store that is empty."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `harness` that gives a Harness")

    @initialize()
    def open(self) -> None:
        self.its: Harness = self.harness()
        self.bench: Bench = self.run(Bench(self.its).__aenter__())
        self.engine = AsyncEngine(self.bench.store, lifetimes=LIFETIMES)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.run(self.bench.__aexit__())
        self.loop.close()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run(work)

    def new_bytes(self, size: int) -> bytes:
        """Bytes that were never there before, and are the same when the example is run again."""
        self.made += 1
        return hashlib.shake_128(self.made.to_bytes(4, "big")).digest(size)

    @property
    def now(self) -> int:
        return self.its.now

    def apply(self, change: Change) -> Applied | Refused:
        (result,) = self.run(self.engine.apply([change], self.now, [self.seen.get(change.key)]))
        if isinstance(result, Done):
            self.note(stored(result), change)
            return result.answer
        assert isinstance(result, Refused), result
        return result

    def note(self, state: Record | Tombstone, change: Change) -> None:
        """Enter a sign-in, where the index is kept beside the records: once, as long as it can be alive."""
        if self.bench.store.index == "beside" and isinstance(change, Update) and change.sign_in:
            until = state.start + LIFETIMES.remember_absolute
            entry = Entry(state.user, state.key, state.signed_in, until)
            self.run(self.bench.store.note([entry], self.now, self.bench.deadline))

    def update(self, session: PlainSession, change: Update, secret: bytes | None) -> Applied | None:
        """Apply `change`; whether it was applied must be what the model says."""
        answer = self.apply(change)
        if not session.is_live(change.at):
            assert answer is Refused.GONE
        elif secret is not None and not session.opens(secret, change.at):
            assert answer is Refused.CHANGED
        else:
            assert isinstance(answer, Applied), f"refused: {answer}"
            if session.previous_until is not None and change.at >= session.previous_until:
                session.previous = session.previous_until = None
            session.use(change.at)
            return answer
        return None

    def blank(self, session: PlainSession, at: int, secret: bytes | None) -> Update:
        return Update(key=session.key, at=at, lifetimes=LIFETIMES, grace=GRACE, secret_hash=secret)

    def pick(self, which: int) -> PlainSession:
        """One of the last sessions, so that a few see much."""
        return self.sessions[-1 - which % min(len(self.sessions), 3)]

    @rule(fields=_fields)
    def create(self, fields: dict[str, bytes]) -> None:
        session = PlainSession(self.new_bytes(16), self.new_bytes(32), self.now, dict(fields))
        assert self.apply(Create(self.record_of(session))) == Applied()
        self.sessions.append(session)

    @precondition(lambda self: self.sessions)
    @rule(which=_which)
    def begin_a_request(self, which: int) -> None:
        key = self.pick(which).key
        self.seen[key] = self.run(self.engine.load(key, self.now))

    @precondition(lambda self: self.sessions)
    @rule(which=_which)
    def create_under_a_key_that_is_taken(self, which: int) -> None:
        session = self.pick(which)
        if session.is_live(self.now):
            intruder = PlainSession(session.key, self.new_bytes(32), self.now, {})
            assert self.apply(Create(self.record_of(intruder))) is Refused.EXISTS

    @precondition(lambda self: self.sessions)
    @rule(
        which=_which,
        clear=st.booleans(),
        remove=_some_names,
        take=_some_names,
        fields=_fields,
        permanent=st.none() | st.booleans(),
        lag=st.sampled_from((0, 500)),
    )
    def change_fields(
        self,
        which: int,
        clear: bool,
        remove: list[str],
        take: list[str],
        fields: dict[str, bytes],
        permanent: bool | None,
        lag: int,
    ) -> None:
        session = self.pick(which)
        # A clock that lags counts only while both see the session live; what is swept does not come back.
        at = self.now - lag if session.is_live(self.now) else self.now
        change = Update(
            key=session.key,
            at=at,
            lifetimes=LIFETIMES,
            grace=GRACE,
            secret_hash=session.secret,
            clear=clear,
            remove=frozenset(remove),
            take=tuple(take),
            set=fields,
            permanent=permanent,
        )
        answer = self.update(session, change, session.secret)
        if answer is not None:
            left = (
                {} if clear else {name: session.fields[name] for name in session.fields if name not in remove}
            )
            assert answer.taken == {name: left[name] for name in take if name in left}
            kept = {name: value for name, value in left.items() if name not in take}
            session.fields = kept | fields
            session.permanent = session.permanent if permanent is None else permanent

    @precondition(lambda self: any(session.old_secrets for session in self.sessions))
    @rule(which=_which, fields=_fields)
    def change_fields_with_a_secret_from_before(self, which: int, fields: dict[str, bytes]) -> None:
        session = self.pick(which)
        for secret in session.old_secrets[-2:]:
            change = Update(
                key=session.key, at=self.now, lifetimes=LIFETIMES, grace=GRACE, secret_hash=secret, set=fields
            )
            if self.update(session, change, secret) is not None:
                session.fields = session.fields | fields

    @precondition(lambda self: self.sessions)
    @rule(which=_which)
    def rotate_at_random(self, which: int) -> None:
        session = self.pick(which)
        new = self.new_bytes(32)
        change = self.blank(session, self.now, session.secret)
        change = replace(change, rotate=Rotation(new))
        if self.update(session, change, session.secret) is not None:
            session.replace_secret(new)

    @precondition(lambda self: self.sessions)
    @rule(which=_which, by_how_many=st.integers(1, 3))
    def rotate_periodically(self, which: int, by_how_many: int) -> None:
        session = self.pick(which)
        old, new = session.secret, hashlib.sha256(session.secret).digest()
        for _ in range(by_how_many):  # requests of the same moment, all with the old secret
            change = self.blank(session, self.now, old)
            change = replace(change, rotate=Rotation(new, derived=True))
            if self.update(session, change, old) is not None and session.secret == old:
                session.replace_secret(new)
                session.previous = old

    @precondition(lambda self: any(session.previous for session in self.sessions))
    @rule(seconds=st.sampled_from((0, 10.0)))
    def present_the_new_secret(self, seconds: float) -> None:
        session = next(session for session in reversed(self.sessions) if session.previous)
        self.advance(seconds)
        change = self.blank(session, self.now, session.secret)
        if self.update(session, replace(change, seen=True), session.secret) is None:
            return
        if session.previous is not None and session.previous_until is None:
            session.previous_until = self.now + GRACE

    @precondition(lambda self: self.sessions)
    @rule(which=_which, user=_users, clear=st.booleans())
    def sign_in(self, which: int, user: str, clear: bool) -> None:
        session = self.pick(which)
        new = self.new_bytes(32)
        change = replace(
            self.blank(session, self.now, session.secret),
            sign_in=SignIn(user),
            rotate=Rotation(new),
            clear=clear,
        )
        if self.update(session, change, session.secret) is not None:
            session.replace_secret(new)
            session.user, session.signed_in = user, max(self.now, session.signed_in + 1)
            session.fields = {} if clear else session.fields

    @precondition(lambda self: self.sessions)
    @rule(which=_which, held=st.booleans(), user=st.none() | _users, in_this_life=st.none() | st.booleans())
    def destroy(self, which: int, held: bool, user: str | None, in_this_life: bool | None) -> None:
        session = self.pick(which)
        signed_in = 0 if in_this_life is None else session.signed_in + (not in_this_life)
        holder = Holder(user, signed_in) if held else None
        answer = self.apply(Destroy(key=session.key, at=self.now, holder=holder))
        if not session.is_live(self.now):
            assert answer is Refused.GONE
        elif held and (user != session.user or in_this_life is False):
            assert answer is Refused.CHANGED
        else:
            assert answer == Applied()
            session.destroyed = self.now

    @rule(limit=st.integers(1, 4))
    def sweep(self, limit: int) -> None:
        assert 0 <= self.run(self.bench.store.sweep(self.now, limit, self.bench.deadline)) <= limit

    @rule(seconds=_seconds)
    def advance(self, seconds: float) -> None:
        self.run(self.its.advance(seconds))

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        now = self.now
        for session in self.sessions:
            state = self.run(self.engine.load(session.key, now)).state
            if session.is_live(now):
                assert isinstance(state, Record)
                self.check(session, state)
            elif session.destroyed is None:
                assert state is None or (isinstance(state, Record) and state.expires <= now)
            elif now < session.destroyed + TOMBSTONE_LIFE:
                assert state == Tombstone(session.key, session.destroyed + TOMBSTONE_LIFE)
            else:
                assert state is None or (isinstance(state, Tombstone) and state.expires <= now)

    def check(self, session: PlainSession, record: Record) -> None:
        assert dict(record.fields) == session.fields
        assert (record.user, record.signed_in) == (session.user, session.signed_in)
        assert (record.created, record.last_used) == (session.created, session.last_used)
        assert (record.permanent, record.expires) == (session.permanent, session.expires)
        for secret in (session.secret, *session.old_secrets[-3:]):
            assert record.accepts(secret, at=self.now, grace=GRACE) == session.opens(secret, self.now)

    @invariant()
    def the_index_and_the_count_are_those_of_the_model(self) -> None:
        now, store, deadline = self.now, self.bench.store, self.bench.deadline
        if store.index == "none":
            return
        live = [session for session in self.sessions if session.is_live(now)]
        assert self.run(store.count(now, deadline)) == len(live)
        for user in USERS:
            expected = {(session.key, session.signed_in) for session in live if session.user == user}
            entries = self.run(store.sessions_of(user, now, 1_000, None, deadline))
            listed = [(entry.key, entry.signed_in) for entry in entries]
            # Entries are hints: one may outlive its session, or its sign-in, but none is missing.
            assert len(listed) == len(set(listed))
            assert {entry for entry in listed if entry in expected} == expected
            assert entries == sorted(entries, key=lambda entry: (-entry.signed_in, entry.key))
            for session in live:
                mine = [entry for entry in entries if entry.key == session.key and user == session.user]
                assert all(entry.until >= session.expires for entry in mine)
            if store.index == "within":
                alive = [session for session in self.sessions if session.destroyed is None]
                known = {(session.key, session.signed_in) for session in alive if session.user == user}
                assert set(listed) <= known

    def record_of(self, session: PlainSession) -> Record:
        return Record(
            key=session.key,
            secret_hash=session.secret,
            secret_at=session.created,
            created=session.created,
            last_used=session.last_used,
            expires=session.expires,
            fields=dict(session.fields),
        )
