"""The checks when a manager starts: of the index of users, and whether another site uses the same store.

Two sites on one store with one prefix share their index of users, so that `revoke_user("1")` of one ends the sessions of
the other's user "1". To notice this, a note in the store holds a fingerprint of each secret of the site that started
last. Secrets may be replaced one after the other, or, after a leak, all at once; so a note of other secrets is a
warning, never an error, and the last site to start replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from coatcheck.core.calls import CheckIndex, Flow, Load, Writes
from coatcheck.core.users import Users
from coatcheck.errors import StoreError
from coatcheck.http.token import Ring
from coatcheck.model.format import BESIDE
from coatcheck.model.ports import REVISION_BYTES, Found, Loaded, Write

__all__ = ["clock_warning", "look_around"]

NOTE = b"coatcheck\0sites\0"
"""The key of the note. Those of records are random."""
_KEPT = 366 * 86_400_000
_AHEAD = 5_000
_SHARED = (
    "Another site uses this store with the same prefix, or all secrets were replaced since the last start. Sites that share"
    ' a prefix share their users: revoke_user("1") of one signs out user "1" of the other. Give each site a prefix of its'
    ' own, such as prefix="shop:". If the secrets were replaced, this is no fault, and is not said again.'
)


def look_around(users: Users, ring: Ring, random: Callable[[int], bytes], now: int) -> Flow[list[str]]:
    """Returns warnings. A store that fails meanwhile is no error: its next call says so."""
    warnings: list[str] = []
    with suppress(StoreError):
        if users.index == "beside" and not users.by_epoch:
            doubt: str | None = yield CheckIndex()
            if doubt is not None:
                warnings.append(doubt)
        answers: Sequence[Loaded] = yield Load([NOTE])
        found = answers[0]
        if isinstance(found, StoreError):
            return warnings
        theirs, ours = _fingerprints(found), ring.fingerprints
        if theirs.isdisjoint(ours) and theirs:
            warnings.append(_SHARED)
        if theirs != ours:
            data = random(REVISION_BYTES) + BESIDE + b"".join(sorted(ours))
            expected = None if found is None else found.version
            yield Writes([Write(key=NOTE, data=data, expires=now + _KEPT, expected=expected, live=False)])
    return warnings


def _fingerprints(found: Found | None) -> frozenset[bytes]:
    data = b"" if found is None else found.data[REVISION_BYTES + len(BESIDE) :]
    return frozenset(
        data[start : start + Ring.FINGERPRINT_BYTES] for start in range(0, len(data), Ring.FINGERPRINT_BYTES)
    )


def clock_warning(theirs: int | None, before: int, after: int) -> str | None:
    """A warning if the store's clock, read between two readings of ours (ms), is more than 5 seconds off."""
    off = 0 if theirs is None else min(0, theirs - before) + max(0, theirs - after)
    if abs(off) <= _AHEAD:
        return None
    way = "behind" if off > 0 else "ahead of"
    return (
        f"The clock of this machine is {abs(off) / 1000:.0f} s {way} that of the session store's server. Machines whose clocks"
        " differ misjudge late requests and the ends of sessions: let NTP set the clocks of all of them."
    )
