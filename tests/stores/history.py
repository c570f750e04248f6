"""What visitors did to their sessions while servers failed, and whether that can have happened.

Each visitor writes only what tells whose it is and that nobody wrote before, and notes when he asked and what he was
told: "ok", "failed" (nothing was done), or "unknown" (it may have been done). `violations` holds such a history to the
invariants:

- I1: a session only ever shows what its own visitor wrote;
- I2: what was ended (a session, a secret), and said to be, opens nothing that is asked for later;
- I3: what was said to be written is there at the end; what is there at the end was written, or may have been;
- I4: a visitor never sees less than he was told before, nor that he is logged out;
- I6: whatever lies in the store has an expiry;
- I7: every answer is right, or says that the store fails: no other error, and no cookie with it.

A failover may lose what was acknowledged in the moments before it: the replica that takes over had not got it yet.
Whoever checks says between which moments; what was acknowledged then and is lost is told apart, in `Verdict.lost`.
"""

import itertools
import threading
import time
from dataclasses import dataclass, field

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@dataclass
class Did:
    """One thing that a visitor did."""

    kind: str  # "write", "read", "end"
    visitor: str
    session: str
    asked: float
    told: float = float("inf")
    outcome: str = UNKNOWN
    wrote: str | None = None
    saw: frozenset = frozenset()  # what a read showed
    opened: bool = True  # whether a read found the session
    complaint: str | None = None  # an answer that is neither right nor a typed error


@dataclass
class Verdict:
    violations: list = field(default_factory=list)
    lost: list = field(default_factory=list)


class History:
    """Safe for threads."""

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.done = []
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def mark(self, visitor, session):
        """What nobody wrote before, and tells who did."""
        return f"{visitor}/{session}/{next(self._numbers)}"

    def ask(self, kind, visitor, session, *, wrote=None):
        """Note that something is asked for; the caller notes in it what came of it, by `tell`."""
        did = Did(kind, visitor, session, self.clock(), wrote=wrote)
        with self._lock:
            self.done.append(did)
        return did

    def tell(self, did, outcome, **came):
        did.told, did.outcome = self.clock(), outcome
        for name, value in came.items():
            setattr(did, name, value)

    def counts(self):
        """How often each kind had each outcome."""
        table = {}
        for did in self.done:
            table[did.kind, did.outcome] = table.get((did.kind, did.outcome), 0) + 1
        return table


def judge(done, final, *, forgiven=(), immortal=()):
    """Hold a history to the invariants.

    Args:
        done: What was done.
        final: By session, the marks that it shows at the end; None, if it opens no more.
        forgiven: Pairs of moments (of the history's clock) between which an acknowledged write may be lost.
        immortal: The names of keys that were found without an expiry.
    """
    verdict = Verdict()
    complain = verdict.violations.append
    _foreign(done, final, complain)
    _undead(done, final, verdict, forgiven)
    _lost(done, final, verdict, forgiven)
    _backwards(done, verdict, forgiven)
    for name in immortal:
        complain(f"I6: {name} has no expiry")
    for did in done:
        if did.complaint:
            complain(f"I7: {did.kind} of {did.session}: {did.complaint}")
    return verdict


def _foreign(done, final, complain):
    seen = [(did.session, did.saw) for did in done if did.kind == "read" and did.opened]
    for session, marks in [
        *seen,
        *((session, marks) for session, marks in final.items() if marks is not None),
    ]:
        for mark in marks:
            if mark.split("/")[1] != session:
                complain(f"I1: {session} showed {mark}")


def _undead(done, final, verdict, forgiven):
    ended = {}
    for did in done:
        if did.kind == "end" and did.outcome == OK:
            ended[did.session] = min(did.told, ended.get(did.session, did.told))
    for session, at in ended.items():
        later = any(
            did.kind == "read"
            and did.session == session
            and did.opened
            and did.outcome == OK
            and did.asked > at
            for did in done
        )
        if later or final.get(session) is not None:
            kind = verdict.lost if _within(at, forgiven) else verdict.violations
            kind.append(f"I2: {session} was ended, and opens")


def _lost(done, final, verdict, forgiven):
    touched = {did.session for did in done if did.kind == "end" and did.outcome != FAILED}
    for session, marks in final.items():
        writes = {did.wrote: did for did in done if did.kind == "write" and did.session == session}
        if marks is None:
            if session not in touched and any(did.outcome == OK for did in writes.values()):
                first = min(did.told for did in writes.values() if did.outcome == OK)
                kind = verdict.lost if _within(first, forgiven) else verdict.violations
                kind.append(f"I3: {session} was written, and is gone")
            continue
        for mark, did in writes.items():
            if did.outcome == OK and mark not in marks:
                kind = verdict.lost if _within(did.told, forgiven) else verdict.violations
                kind.append(f"I3: {mark} was acknowledged, and is lost")
        for mark in marks:
            did = writes.get(mark)
            if mark.split("/")[1] == session and (did is None or did.outcome == FAILED):
                verdict.violations.append(f"I3: {mark} was never written")


def _backwards(done, verdict, forgiven):
    ends = {}
    for did in done:
        if did.kind == "end":
            ends[did.session] = min(did.asked, ends.get(did.session, did.asked))
    writes = {}
    for did in done:
        if did.kind == "write" and did.outcome == OK:
            writes.setdefault(did.session, []).append(did)
    for read in done:
        if read.kind != "read" or read.outcome != OK or read.told >= ends.get(read.session, float("inf")):
            continue
        known = [did for did in writes.get(read.session, ()) if did.told < read.asked]
        if not read.opened and known:
            told = min(did.told for did in known)
            kind = verdict.lost if _within(told, forgiven) else verdict.violations
            kind.append(f"I4: {read.session} was there, and is not")
        elif read.opened:
            for did in known:
                if did.wrote not in read.saw:
                    kind = verdict.lost if _within(did.told, forgiven) else verdict.violations
                    kind.append(f"I4: {did.wrote} was acknowledged, and is not seen")


def _within(moment, forgiven):
    return any(start <= moment <= end for start, end in forgiven)
