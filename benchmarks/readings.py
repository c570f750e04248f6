"""What the readings say: figures with their spread, costs, ratios, and where a peer is ahead."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from benchmarks.layouts import FlaskSession, Framed
from benchmarks.load import Series
from benchmarks.results import Part, series_of
from benchmarks.sites import BARE, GET, ON_DEMAND, OURS, SITES, Site

__all__ = ["CORES", "Ahead", "Figure", "Parts", "Readings", "ahead", "spread_of", "title_of", "told_of"]

CORES = {1: "one core", 2: "two cores"}
Parts = Mapping[str, Part]
_OUR_LAYOUT, _PEER_LAYOUT = Framed.name, FlaskSession.name


@dataclass(frozen=True)
class Figure:
    """The median over the rounds, and the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        some = sorted(values)
        return cls(statistics.median(some), some[0], some[-1])

    def text(self, form: str = ",.0f", before: str = "") -> str:
        median, low, high = (format(value, form) for value in (self.median, self.low, self.high))
        return before + (median if low == high else f"{median} ({low}–{high})")


class Readings:
    """The series of a part, found by what they are of."""

    def __init__(self, part: Part) -> None:
        self.all = series_of(part)
        self.by = {(one.group, one.site, one.work, one.cores, one.x): one for one in self.all}

    def get(self, group: str, site: str, work: str, cores: int, x: int) -> Series | None:
        found = self.by.get((group, site, work, cores, x))
        return found if found and found.rounds else None

    def ratio(self, one: Series, other: Series, name: str = "rate") -> Figure:
        """Round by round, so that what slowed a whole round down counts on neither side."""
        return Figure.of(a / b for a, b in zip(one.rounds[name], other.rounds[name], strict=True))

    def cost_of(
        self, part: str, framework: str, site: str, work: str, cores: int, x: int
    ) -> list[float] | None:
        """The cost of a site in a part that groups by framework, or not."""
        found = self.get(framework if part == "frameworks" else part, site, work, cores, x)
        return self.cost(found) if found else None

    def cost(self, series: Series) -> list[float] | None:
        """µs of CPU a request over the framework without a session, round by round."""
        framework = SITES[series.site].framework
        bare = self.get(series.group, f"{framework}/{BARE}", "untouched", series.cores, series.x)
        if bare is None:
            return None
        return [a - b for a, b in zip(series.rounds["cpu"], bare.rounds["cpu"], strict=True)]


def told_of(part: Part) -> str:
    """The machine and the versions."""
    machine = part["machine"]
    n = machine.get("threads_per_core", 1)
    threads = f", {n} to a core" if n > 1 else ""
    versions = ", ".join(f"{name} {number}" for name, number in part["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} CPUs{threads}, {machine['memory_gib']} GiB; "
        f"{machine['system']}, Linux {machine['kernel']}.\n\n{versions}."
    )


def title_of(site: Site, part: Part) -> str:
    version = part["versions"].get(site.package, "")
    named = (
        f"{site.session} {version}"
        if version and site.session not in {OURS, GET, ON_DEMAND}
        else site.session
    )
    return ", ".join(filter(None, (named, site.store)))


@dataclass(frozen=True)
class Ahead:
    """A peer did better than Coatcheck."""

    part: str
    framework: str
    peer: str
    beside: str
    """The store on which Coatcheck stands beside it."""
    what: str
    measure: str
    ratio: Figure
    """How many times better; infinite where Coatcheck refused requests under that load."""


_MEASURES = {"rate": "requests per second", "cpu": "CPU", "p99": "p99", "ms": "time", "bytes": "bytes"}
_AXES = {
    "connections": "{:,} at once, ",
    "size": "{:,} bytes, ",
    "stored": "{:,} stored, ",
    "users": "{:,} sessions, ",
}


def ahead(parts: Parts) -> Iterator[Ahead]:
    """Every place where the median says so, also where the readings overlap."""
    for name in ("frameworks", *_AXES):
        readings = Readings(parts[name]) if name in parts else None
        for one in readings.all if readings else ():
            peer = SITES[one.site]
            if peer.session in {BARE, GET, OURS, ON_DEMAND} or not one.rounds:
                continue
            ours = _beside(peer, "WSGI" if name == "users" else peer.framework)
            other = readings.by.get((one.group, ours.name, one.work, one.cores, one.x))
            if other is None:
                continue
            what = f"{_AXES.get(name, '').format(one.x)}{one.work}, {CORES[one.cores]}"
            for measure, ratio in _better(readings, one, other):
                title = title_of(peer, parts[name])
                yield Ahead(name, peer.framework, title, ours.store, what, _MEASURES[measure], ratio)
    if "layouts" in parts:
        readings = Readings(parts["layouts"])
        for one in readings.all:
            ours = readings.get(one.group, _OUR_LAYOUT, one.work, one.cores, one.x)
            if one.site != _PEER_LAYOUT or ours is None:
                continue
            for measure, ratio in _better(readings, one, ours):
                what = one.group if measure == "bytes" else f"{one.work}, {one.group}"
                peer = f"{one.site} {parts['layouts']['versions']['flask-session']}"
                yield Ahead("layouts", "Flask", peer, "Redis", what, _MEASURES[measure], ratio)


def _better(readings: Readings, peer: Series, ours: Series) -> Iterator[tuple[str, Figure]]:
    """The measures by which the peer is better."""
    if not ours.rounds:
        yield "rate", Figure(inf, inf, inf)
    for measure in (name for name in _MEASURES if name in peer.rounds and name in ours.rounds):
        more = measure == "rate"
        ratio = readings.ratio(peer, ours, measure) if more else readings.ratio(ours, peer, measure)
        if ratio.median > 1:
            yield measure, ratio


def _beside(peer: Site, framework: str) -> Site:
    """Coatcheck on the same store, or on Redis where a peer keeps its sessions in the browser or in memory."""
    same = SITES.get(f"{framework}/{OURS}/{peer.store}")
    postgres = SITES.get(f"{framework}/{OURS}/PostgreSQL") if "PostgreSQL" in peer.store else None
    return same or postgres or SITES[f"{framework}/{OURS}/Redis"]


def spread_of(part: Part) -> float | None:
    """What lies between the rounds of a measurement, in the median; None: there was one round."""
    rounds = [
        values
        for series in part["series"]
        for name, values in series["rounds"].items()
        if name in {"rate", "ms", "cpu"} and len(values) > 1
    ]
    if not rounds:
        return None
    return statistics.median((max(values) - min(values)) / statistics.median(values) for values in rounds)
