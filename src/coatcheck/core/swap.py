"""The compare-and-swap loop: how changes get into a store, once for all stores.

`Swap.apply` groups changes by key, applies each to what lies there, and writes the result on the condition that it
still lies there. Where another writer came first, the store answers with what lies there now, and the changes are
applied to that. Nothing ever writes back a copy from the beginning of a request.

A lost answer is not a failure, and no change is applied twice. Every write has a random revision, so that a look at the
key tells: with our revision, the write is done; with the one that it was to replace, it is sent again (a delayed first
write then turns up as a conflict with our own revision); with another one it can't be known, and the caller is told so
(``ambiguous=True``). An ending is applied again instead, since nothing is ever written over a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from coatcheck.core.calls import Done, Held, Load, Result, Writes
from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable, TooLarge, copy_of
from coatcheck.model.format import RecordError, decode, encode, is_beside
from coatcheck.model.lifetimes import Lifetimes
from coatcheck.model.ports import REVISION_BYTES, Conflict, Entry, Found, Loaded, Write, Written, revision_of
from coatcheck.model.record import Applied, Change, Create, Destroy, Record, Tombstone, Unreadable, settle

__all__ = ["NOTHING", "Swap", "held_of", "write_of"]

NOTHING = Held(None, None)
"""A key under which nothing lies."""
_MOST_LOOKS = 3
_Steps: TypeAlias = Generator[Load | Writes, Any, None]
_Numbered: TypeAlias = tuple[int, Change]


def held_of(key: bytes, found: Found | None) -> Held:
    """The meaning of what was found under `key`."""
    if found is None:
        return NOTHING
    try:
        return Held(found, decode(key, found.data))
    except RecordError as error:
        return Held(found, Unreadable(str(error), not is_beside(found.data)))


class Swap:
    """Applies changes to a store's keys.

    Args:
        random: Random bytes of a length.
        max_bytes: How large a record may be. One that is larger already may still shrink.
        lifetimes: The limits of the settings, for the index entries that are written within records; None where the
            store keeps no index there.
    """

    __slots__ = ("_lifetimes", "_max_bytes", "_random")

    def __init__(
        self, random: Callable[[int], bytes], max_bytes: int, *, lifetimes: Lifetimes | None = None
    ) -> None:
        self._random = random
        self._max_bytes = max_bytes
        self._lifetimes = lifetimes

    def apply(
        self, changes: Sequence[Change], known: Sequence[Held | None]
    ) -> Generator[Load | Writes, Any, list[Result]]:
        """Apply `changes`, each refused or carried out by itself. A result for each, in order.

        Args:
            changes: The changes; of those of one key, each is applied to what the one before it left.
            known: What their callers know to lie under each one's key; None: it is read first.
        """
        results: list[Any] = [None] * len(changes)
        groups: dict[bytes, _Group] = {}
        for number, change in enumerate(changes):
            held = NOTHING if isinstance(change, Create) else known[number]
            group = groups.get(change.key)
            if group is None:
                groups[change.key] = _Group(change.key, number, change, held)
            else:
                group.changes.append((number, change))
                group.held = held or group.held
        pending = list(groups.values())
        while pending:
            # Loops, not comprehensions, which are calls in Python 3.11: the budget of calls per write.
            unknown: list[_Group] = []
            for group in pending:
                if group.held is None or group.unsure:
                    unknown.append(group)  # noqa: PERF401
            if unknown:
                yield from self._look(unknown, results)
            plans: list[_Plan] = []
            writes: list[Write] = []
            for group in pending:
                if (plan := self._plan(group, results)) is not None:
                    plans.append(plan)
                    writes.append(plan.write)
            if writes:
                answers: Sequence[Written] = yield Writes(writes)
                for plan, answer in zip(plans, answers, strict=True):
                    self._settle(plan, answer, results)
            left: list[_Group] = []
            for group in pending:
                if group.changes:
                    left.append(group)  # noqa: PERF401
            pending = left
        return results

    def _look(self, groups: Sequence[_Group], results: list[Any]) -> _Steps:
        """Read what lies under the groups' keys: for the first time, or because the answer to a write was lost."""
        found: Sequence[Loaded] = yield Load([group.key for group in groups])
        for group, answer in zip(groups, found, strict=True):
            if isinstance(answer, StoreError):
                if group.unsure is not None:
                    # Not `answer`: where no time was left for the look, it does not say what is wrong with the store.
                    group.fail(_ambiguous(group.unsure), results)
                    continue
                if isinstance(answer, StoreUnavailable):
                    answer.ambiguous = False
                group.fail(answer, results)
            elif group.unsure is not None:
                self._resolve(group, answer, results)
            else:
                group.found(answer)

    def _resolve(self, group: _Group, found: Found | None, results: list[Any]) -> None:
        """Find out what became of a write whose answer was lost, by what lies under its key now."""
        plan, group.unsure = group.sent, None
        assert plan is not None
        revision = None if found is None else revision_of(found.data)
        if revision == plan.revision:
            plan.done(results)
        elif found is not None and revision == plan.replaces:
            # The same write is sent again, so that the delayed first one is found out by its revision.
            plan.write = replace(plan.write, expected=found.version)
        elif revision != plan.replaces:
            # Another writer's: whether ours came before it can't be known.
            error = StoreTimeout(
                "the answer to a write was lost, and another writer has been there since: it may or may not be stored",
                ambiguous=True,
            )
            group.fail(error, results, but_endings=True)
            group.looks = 0
            group.found(found)

    def _plan(self, group: _Group, results: list[Any]) -> _Plan | None:
        """The next write of a group. None: nothing is left to write, and every change has its result."""
        if group.sent is not None:
            return group.sent
        held = group.held
        while group.changes:
            assert held is not None
            some = group.changes[:1] if group.one_by_one else group.changes
            state, answers = _applied(some, held)
            data = b""
            if state is not None:
                data = encode(state, self._random(REVISION_BYTES))
                if len(data) > self._max_bytes:
                    state, answers = _applied(some, held, self._max_bytes)
                    data = b"" if state is None else encode(state, self._random(REVISION_BYTES))
            if state is not None:
                group.sent = _Plan(group, answers, state, held, _write(state, data, held, self._lifetimes))
                return group.sent
            if not group.confirmed:
                # Refused by what the callers knew, which may be out of date: look.
                group.held = None
                return None
            group.answer(answers, results)
        return None

    def _settle(self, plan: _Plan, answer: Written, results: list[Any]) -> None:
        """Take in the store's answer to a write."""
        group = plan.group
        if answer is None:
            plan.done(results)
        elif isinstance(answer, Conflict):
            if group.looks or (answer.found is not None and revision_of(answer.found.data) == plan.revision):
                # An earlier try of this write may have been stored, and replaced since; or the network repeated it.
                self._resolve(group, answer.found, results)
            else:
                group.found(answer.found)
        elif isinstance(answer, StoreUnavailable) and answer.ambiguous:
            group.looks += 1
            if group.looks <= _MOST_LOOKS:
                group.unsure = answer
            else:
                group.fail(answer, results)
        elif group.looks:
            # This try is surely not stored, but an earlier one may be.
            group.fail(_ambiguous(answer), results)
        elif isinstance(answer, StoreFull | TooLarge) and len(group.changes) > 1:
            # One change that grows must not refuse another that takes: each goes by itself.
            if group.one_by_one:
                group.answer([(number, copy_of(answer)) for number, _ in plan.answers], results)
            group.sent, group.one_by_one = None, True
        else:
            group.fail(answer, results)


_Answer: TypeAlias = tuple[int, Any]
"""The number of a change, and its result or what will be its result once the write is stored."""


class _Plan:
    """A write, and what it answers to the changes that it carries out."""

    __slots__ = ("after", "answers", "group", "replaces", "revision", "write")

    def __init__(
        self,
        group: _Group,
        answers: Sequence[_Answer],
        state: Record | Tombstone,
        before: Held,
        write: Write,
    ) -> None:
        self.group = group
        self.answers = answers
        self.write = write
        self.revision = write.data[:REVISION_BYTES]
        self.replaces = None if before.found is None else before.found.data[:REVISION_BYTES]
        self.after = Held(Found(write.data, self.revision), state)

    def done(self, results: list[Any]) -> None:
        """The write is stored."""
        group = self.group
        after = self.after
        for number, answer in self.answers:
            results[number] = Done(answer, after) if isinstance(answer, Applied) else answer
        group.changes = group.changes[len(self.answers) :]
        group.held, group.confirmed = after, True
        group.sent, group.looks = None, 0


class _Group:
    """The changes of one key that have no result yet.

    Attributes:
        held: What is known to lie under the key; None: nothing is known.
        confirmed: `held` is the store's word, not that of a caller, who may have read it long ago.
        sent: The write that is on its way, or whose answer was lost.
        unsure: The answer to `sent` was lost by this error, and a look at the key comes next.
        looks: How often that happened.
        one_by_one: A write of several changes was surely refused: each goes by itself.
    """

    __slots__ = ("changes", "confirmed", "held", "key", "looks", "one_by_one", "sent", "unsure")

    def __init__(self, key: bytes, number: int, change: Change, held: Held | None) -> None:
        self.key = key
        self.changes: list[_Numbered] = [(number, change)]
        self.held = held
        self.confirmed = isinstance(change, Create)
        self.sent: _Plan | None = None
        self.unsure: StoreError | None = None
        self.looks = 0
        self.one_by_one = False

    def found(self, found: Found | None) -> None:
        """Take in what lies under the key. Nothing of this group is on its way to it."""
        self.held, self.confirmed, self.sent = held_of(self.key, found), True, None

    def answer(self, answers: Sequence[_Answer], results: list[Any]) -> None:
        """Give the first changes their results."""
        for number, answer in answers:
            results[number] = answer
        self.changes = self.changes[len(answers) :]

    def fail(self, error: StoreError | TooLarge, results: list[Any], *, but_endings: bool = False) -> None:
        """Give all changes an error as their result; with `but_endings`, those that end the record stay to be tried."""
        kept: list[_Numbered] = []
        for number, change in self.changes:
            if but_endings and isinstance(change, Destroy):
                kept.append((number, change))
            else:
                results[number] = copy_of(error)
        self.changes, self.sent = kept, None


def _applied(
    changes: Sequence[_Numbered], held: Held, limit: int = 0
) -> tuple[Record | Tombstone | None, list[_Answer]]:
    """The state that `changes` lead to (None: all were refused), and the answer to each.

    With a `limit`, a change that makes the record larger than that many bytes is refused by itself.
    """
    state, changed = held.state, None
    size = 0 if held.found is None else len(held.found.data)
    answers: list[_Answer] = []
    for number, change in changes:
        settled = settle(state, change)
        after, answer = settled.state, settled.answer
        if after is not None and limit:
            grown = len(encode(after, bytes(REVISION_BYTES)))
            if grown > limit and grown > size:
                answers.append((number, _too_large(grown, limit)))
                continue
            size = grown
        if after is not None:
            state = changed = after
        answers.append((number, answer))
    return changed, answers


def write_of(record: Record, revision: bytes, held: Held, lifetimes: Lifetimes | None) -> Write:
    """The write that puts `record` in place of what is held; for `lifetimes`, see `Swap`."""
    return _write(record, encode(record, revision), held, lifetimes)


def _write(state: Record | Tombstone, data: bytes, held: Held, lifetimes: Lifetimes | None) -> Write:
    live = isinstance(state, Record)
    entry = None
    if isinstance(state, Record) and state.user is not None and lifetimes is not None:
        entry = Entry(state.user, state.key, state.signed_in, state.until(lifetimes))
    return Write(
        key=state.key,
        data=data,
        expires=state.expires,
        expected=None if held.found is None else held.found.version,
        live=live,
        entry=entry,
        urgent=not live or (held.found is not None and len(data) <= len(held.found.data)),
    )


def _ambiguous(error: StoreError | TooLarge) -> StoreTimeout:
    told = StoreTimeout(
        f"the answer to a write was lost, and it could not be repeated ({error}): it may be stored",
        ambiguous=True,
    )
    told.__cause__ = error
    return told


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"The session has {size} bytes; {limit} are allowed (max_bytes). Keep large things elsewhere, "
        "and their ids in the session.",
        size=size,
        limit=limit,
    )
