"""The targets that Coatcheck set itself before it was written, and whether the readings meet them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.layouts import FlaskSession, Framed, Plain
from benchmarks.load import NO_COOKIE
from benchmarks.readings import Figure, Parts, Readings
from benchmarks.sites import GET, ON_DEMAND, OURS

__all__ = ["Verdict", "verdicts"]

_BUSY = 64
_FIELDS = ("1 field", "10 fields", "100 fields", "1,000 fields")


@dataclass(frozen=True)
class Verdict:
    """One target, and what was measured: a word about each number of cores."""

    text: str
    target: str
    one_core: str
    two_cores: str


def verdicts(parts: Parts) -> Iterator[Verdict]:
    """All targets that are ratios or times. Those that count calls and encodings are tests."""
    for text, name, framework, ours, work, peer, x, most in _COSTS:
        readings = Readings(parts[name]) if name in parts else None
        cells = []
        for cores in (1, 2):
            costs = [
                readings and readings.cost_of(name, framework, f"{framework}/{site}", work, cores, x)
                for site in (f"{OURS}/{ours}", peer)
            ]
            cells.append(_ratio(*costs, most))
        yield Verdict(text, f"×{most:.3g}", *cells)
    yield from _untouched(parts)
    yield from _of_redis(parts)
    yield _import(parts)


# What, part, framework, our store, work, the peer's site, connections, and the most.
_COSTS = (
    (
        "ASGI, Redis, read: at most 1/8 of starsessions",
        "frameworks",
        "ASGI",
        "Redis",
        "read",
        "starsessions/Redis",
        _BUSY,
        1 / 8,
    ),
    (
        "ASGI, Redis, read: no more than Starlette's signed cookie",
        "frameworks",
        "ASGI",
        "Redis",
        "read",
        "Starlette's cookie",
        _BUSY,
        1.0,
    ),
    (
        "ASGI, Redis, write: at most 1/4 of starsessions",
        "frameworks",
        "ASGI",
        "Redis",
        "write",
        "starsessions/Redis",
        _BUSY,
        1 / 4,
    ),
    (
        "ASGI, Redis, read, alone: at most 1.6 × one GET",
        "connections",
        "ASGI",
        "Redis",
        "read",
        f"{GET}/Redis",
        1,
        1.6,
    ),
    (
        "WSGI, Redis, read: at most 1.5 × one GET",
        "frameworks",
        "WSGI",
        "Redis",
        "read",
        f"{GET}/Redis",
        _BUSY,
        1.5,
    ),
    (
        "Flask, Redis, read: at most 1/3 of Flask-Session",
        "frameworks",
        "Flask",
        "Redis",
        "read",
        "Flask-Session/Redis",
        _BUSY,
        1 / 3,
    ),
    (
        "WSGI, SQLite, read: at most 1/2 of the Redis store",
        "frameworks",
        "WSGI",
        "SQLite",
        "read",
        f"{OURS}/Redis",
        _BUSY,
        1 / 2,
    ),
)


def _verdict(figure: Figure, most: float, form: str, before: str = "", after: str = "") -> str:
    met = "met" if figure.median <= most else "**missed**"
    return f"{figure.text(form, before)}{after}, {met}"


def _ratio(ours: Sequence[float] | None, theirs: Sequence[float] | None, most: float) -> str:
    if not ours or not theirs:
        return "–"
    if min(*ours, *theirs) <= 0:
        return "lost in the noise"
    return _verdict(Figure.of(a / b for a, b in zip(ours, theirs, strict=True)), most, ".2f", "×")


def _untouched(parts: Parts) -> Iterator[Verdict]:
    readings = Readings(parts["frameworks"]) if "frameworks" in parts else None
    for text, framework, session, work in (
        ("no cookie", "WSGI", OURS, NO_COOKIE),
        ("no cookie", "ASGI", OURS, NO_COOKIE),
        ("on demand", "ASGI", ON_DEMAND, "untouched"),
    ):
        site = f"{framework}/{session}/Redis"
        cost = readings and readings.cost_of("frameworks", framework, site, work, 1, _BUSY)
        said = _verdict(Figure.of(cost), 5, "+.1f", after=" µs") if cost else "–"
        yield Verdict(f"{framework}, Redis, untouched, {text}: at most 5 µs", "5 µs", said, "")


def _of_redis(parts: Parts) -> Iterator[Verdict]:
    readings = Readings(parts["layouts"]) if "layouts" in parts else None

    def rounds(group: str, site: str, work: str, name: str) -> list[float] | None:
        found = (one for one in readings.all if (one.group, one.site, one.work) == (group, site, work))
        return next((one.rounds[name] for one in found), None)

    for fields in _FIELDS if readings else ():
        both = [rounds(fields, site, "write 1 field", "command") for site in (Framed.name, Plain.name)]
        yield Verdict(f"CPU of Redis, write, {fields}: at most 5 × a plain SET", "×5", _ratio(*both, 5), "")
    for session in ("5 short fields", "50 short fields", "signed in") if readings else ():
        both = [rounds(session, site, "bytes", "bytes") for site in (Framed.name, FlaskSession.name)]
        text = f"bytes in Redis, {session}: at most 1.2 × Flask-Session"
        yield Verdict(text, "×1.2", _ratio(*both, 1.2), "")


def _import(parts: Parts) -> Verdict:
    text = "`import coatcheck`: at most 1/2 of `import flask`"
    if "imports" not in parts:
        return Verdict(text, "×0.5", "–", "")
    ms = {one.site: one.rounds["ms"] for one in Readings(parts["imports"]).all}
    ours, theirs = (_less(ms[name], ms["Python itself"]) for name in ("coatcheck", "flask"))
    return Verdict(text, "×0.5", _ratio(ours, theirs, 0.5), "")


def _less(values: Iterable[float], base: Sequence[float]) -> list[float]:
    return [value - statistics.median(base) for value in values]
