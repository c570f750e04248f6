"""The property test for another implementation of a change's meaning.

`coatcheck.model.record.settle` says what a change makes of the bytes under a key. A store that can't call it (a script that
runs in a server) brings an implementation of its own; `check_apply` holds the two equal, byte for byte::

    def test_the_script_is_equal_to_settle():
        def in_the_server(key, data, change):
            plant(key, data)  # None: nothing may be there
            (answer,) = store.apply([change])
            return answer, read(key)

        check_apply(in_the_server)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import asdict

from coatcheck.model.record import (
    Applied,
    Change,
    Create,
    Destroy,
    Record,
    RecordError,
    Refused,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)

try:
    from hypothesis import HealthCheck, event, given, note, settings
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError("tests.equivalence runs on hypothesis: pip install 'coatcheck[testing]'") from _error

from tests.strategies import cases

__all__ = ["BRANCHES", "Implementation", "assert_equal", "branches_of", "check_apply"]

Implementation = Callable[[bytes, bytes | None, Change], tuple[Applied | Refused, bytes | None]]
"""Given a key, the bytes under it (None: nothing) and a change of it: the answer, and the bytes that are there then."""


def check_apply(implementation: Implementation, *, examples: int = 300, damage: bool = True) -> None:
    """Hold `implementation` equal to `settle` and `encode`, on so many examples.

    Every record's times lie around `coatcheck.testing.clock.START`, so that no server lets go of it meanwhile.
    Without `damage`, what can't be read is left out.

    Raises:
        AssertionError: They differ; the smallest example found is shown.
    """

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases(damage=damage))
    def equal(case: tuple[bytes | None, Change]) -> None:
        for branch in branches_of(*case):
            event(branch)
        data, change = case
        note(f"found: {_told(change.key, data)}\nchange: {_in_full(change)}")
        assert_equal(implementation, data, change)

    equal()


def assert_equal(implementation: Implementation, data: bytes | None, change: Change) -> None:
    """Hold `implementation` equal to `settle` and `encode` in one case."""
    settled = settle(data, change)
    answer, after = implementation(change.key, data, change)
    assert answer == settled.answer
    expected = data if settled.state is None else encode(settled.state)
    assert after == expected, f"it left {_told(change.key, after)}, not {_told(change.key, expected)}"


def _told(key: bytes, data: bytes | None) -> str:
    if data is None:
        return "nothing"
    try:
        return _in_full(decode(key, data))
    except RecordError:
        return f"what can't be read ({data!r})"


def _in_full(value: object) -> str:
    # Their own `repr` keeps back what a log must not show; here nothing is secret.
    if not isinstance(value, Struct):
        return repr(value)
    parts = {name: part for name, part in asdict(value).items() if part not in (None, False, 0)}
    return f"{type(value).__name__}({', '.join(f'{name}={_in_full(part)}' for name, part in parts.items())})"


BRANCHES = frozenset(
    {
        *("create: inserted", "create: a record is there", "create: a tombstone is there"),
        *("nothing is there", "a tombstone", "expired", "the last millisecond"),
        *("unreadable: refused", "unreadable: destroyed"),
        *("destroy: not his", "destroy: another life", "destroy: unasked", "destroy: his, in that life"),
        *("secret: unasked", "secret: current", "secret: unknown"),
        *("secret: previous, unseen", "secret: previous, in grace", "secret: previous, over"),
        *("user: unasked", "user: his", "user: another's"),
        *("clear", "remove: there", "remove: absent", "remove, then set"),
        *("take: there", "take: absent", "take: cleared", "take, then set", "take twice", "take and remove"),
        *("set: new", "set: over"),
        *("previous: forgotten", "seen: first", "seen: again", "seen: nothing to see"),
        *(
            "rotate: random",
            "rotate: derived",
            "rotate: derived, again",
            "rotate: derived, not by the current",
        ),
        *("sign in: first", "sign in: later", "sign in: not later"),
        *("permanent: on", "permanent: off", "permanent: as it was"),
        *("use: later", "use: not later", "use: not the visitor's"),
        *("limit: idle", "limit: absolute", "limit: both at once", "limit: nearer than before"),
    }
)
"""What can be decided about a change, by name. The strategies reach every one."""


def branches_of(data: bytes | None, change: Change) -> set[str]:
    """Which of `BRANCHES` a change goes through that meets `data`."""
    if data is None:
        return {"create: inserted" if isinstance(change, Create) else "nothing is there"}
    try:
        current = decode(change.key, data)
    except RecordError:
        state = settle(data, change).state
        return {"unreadable: refused" if state is None else "unreadable: destroyed"}
    if isinstance(current, Tombstone):
        return {"create: a tombstone is there" if isinstance(change, Create) else "a tombstone"}
    if isinstance(change, Create):
        return {"create: a record is there"}
    if change.at >= current.expires:
        return {"expired"}
    found = {"the last millisecond"} if change.at == current.expires - 1 else set[str]()
    if isinstance(change, Destroy):
        return found | {_of_destroy(current, change)}
    found |= {_of_secret(current, change), _of_user(current, change)}
    after = current.apply(change)
    if isinstance(after, Refused):
        return found
    return found.union(
        _of_fields(current, change), _of_rotation(current, change), _of_life(current, change, after)
    )


def _of_destroy(current: Record, change: Destroy) -> str:
    if change.user is None and change.signed_in is None:
        return "destroy: unasked"
    if change.user is not None and change.user != current.user:
        return "destroy: not his"
    if change.signed_in is not None and change.signed_in != current.signed_in:
        return "destroy: another life"
    return "destroy: his, in that life"


def _of_secret(current: Record, change: Update) -> str:
    if change.secret is None:
        return "secret: unasked"
    if change.secret == current.secret:
        return "secret: current"
    if change.secret != current.previous:
        return "secret: unknown"
    if not current.seen:
        return "secret: previous, unseen"
    in_grace = change.at < current.seen + change.grace
    return "secret: previous, in grace" if in_grace else "secret: previous, over"


def _of_user(current: Record, change: Update) -> str:
    if change.user is None:
        return "user: unasked"
    return "user: his" if change.user == current.user else "user: another's"


def _of_fields(current: Record, change: Update) -> Iterator[str]:
    if change.clear:
        yield "clear"
    for name in change.remove:
        yield "remove: there" if name in current.fields else "remove: absent"
        if name in change.set:
            yield "remove, then set"
    for name in change.take:
        if name not in current.fields:
            yield "take: absent"
        else:
            yield "take: cleared" if change.clear else "take: there"
        if name in change.set:
            yield "take, then set"
        if name in change.remove:
            yield "take and remove"
    if len(set(change.take)) < len(change.take):
        yield "take twice"
    for name in change.set:
        yield "set: over" if name in current.fields else "set: new"


def _of_rotation(current: Record, change: Update) -> Iterator[str]:
    if current.previous is not None and current.seen and change.at >= current.seen + change.grace:
        yield "previous: forgotten"
    if change.seen:
        if current.previous is None:
            yield "seen: nothing to see"
        else:
            yield "seen: again" if current.seen else "seen: first"
    if (rotate := change.rotate) is not None:
        if not rotate.derived:
            yield "rotate: random"
        elif change.secret != current.secret:
            yield "rotate: derived, not by the current"
        else:
            yield "rotate: derived, again" if rotate.secret == current.secret else "rotate: derived"


def _of_life(current: Record, change: Update, after: Record) -> Iterator[str]:
    if change.sign_in is not None:
        if not current.signed_in:
            yield "sign in: first"
        else:
            yield "sign in: later" if change.at > current.signed_in else "sign in: not later"
    yield {None: "permanent: as it was", True: "permanent: on", False: "permanent: off"}[change.permanent]
    if not change.touch:
        yield "use: not the visitor's"
    else:
        yield "use: later" if change.at > current.last_used else "use: not later"
    limits = change.lifetimes
    idle, absolute = limits.idle, limits.absolute
    if after.permanent:
        idle, absolute = limits.remember_idle, limits.remember_absolute
    by_idle, by_absolute = after.last_used + idle, after.start + absolute
    if by_idle == by_absolute:
        yield "limit: both at once"
    else:
        yield "limit: idle" if by_idle < by_absolute else "limit: absolute"
    if after.expires < current.expires:
        yield "limit: nearer than before"
