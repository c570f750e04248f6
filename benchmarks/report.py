"""The pages and their charts, from the results: whatever has a number in it is written here.

In `docs/explanation/benchmarks.md` and `capacity.md` stand pairs of comments, `begin NAME` and `end NAME`; what is between is replaced.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import astuple
from math import inf
from pathlib import Path

from benchmarks import capacity_page, charts
from benchmarks.frameworks import FRAMEWORKS
from benchmarks.load import ROOT, Series
from benchmarks.readings import CORES, Figure, Parts, Readings, ahead, spread_of, title_of, told_of
from benchmarks.results import Part, day_of, load, series_of
from benchmarks.sites import BARE, GET, OURS, SITES, Site
from benchmarks.tables import table
from benchmarks.targets import verdicts

__all__ = ["IMAGES", "PAGE", "PAGES", "images", "page", "write"]

PAGE = ROOT / "docs" / "explanation" / "benchmarks.md"
PAGES = (PAGE, PAGE.with_name("capacity.md"))
IMAGES = ROOT / "docs" / "images"
_NOISY = 0.15
_WORKS = ("untouched", "read", "write")


def write(results: Path) -> None:
    """Write the pages, and the charts, anew."""
    parts = load(results)
    for path in PAGES:
        path.write_text(page(path.read_text(), parts))
    for name, text in images(parts).items():
        (IMAGES / name).write_text(text)


def page(text: str, parts: Parts) -> str:
    """A page with what the results say."""

    def block(found: re.Match[str]) -> str:
        return f"<!-- begin {found[1]} -->\n\n{_BLOCKS[found[1]](parts).strip()}\n\n<!-- end {found[1]} -->"

    return re.sub(r"<!-- begin (\w+) -->.*?<!-- end \1 -->", block, text, flags=re.DOTALL)


# ---- Blocks of the page


def _better(parts: Parts) -> str:
    places: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for one in ahead(parts):
        within = ", within the noise" if one.ratio.low <= 1 and one.ratio.low < one.ratio.high else ""
        said = f"{one.measure} {one.ratio.text('.2f', '×')}{within}"
        if one.ratio.median == inf:
            said = "Coatcheck refused requests"
        place = places.setdefault((one.part, one.framework, one.peer, one.beside), {})
        place.setdefault(one.what, []).append(said)
    if not places:
        return "In this run, none was."
    lists = [
        f"- {framework}, {part}: **{peer}** beside Coatcheck on {store}\n"
        + "\n".join(f"  - {what}: {'; '.join(measures)}" for what, measures in said.items())
        for (part, framework, peer, store), said in places.items()
    ]
    return "\n".join(lists)


def _run(parts: Parts) -> str:
    if not parts:
        return "Nothing was measured yet."
    machines: dict[str, list[str]] = {}
    for name, one in parts.items():
        if not name.startswith("capacity"):  # whose page says it
            machines.setdefault(told_of(one), []).append(name)
    told = [
        f"{', '.join(names)}: {machine}" if len(machines) > 1 else machine
        for machine, names in machines.items()
    ]
    rows: list[tuple[str, ...]] = []
    warnings: list[str] = []
    for name, one in parts.items():
        took = f"{one['seconds'] / 60:.0f} min" if one["seconds"] > 90 else f"{one['seconds']} s"
        spread = spread_of(one)
        rows.append(
            (
                name,
                day_of(one),
                took,
                one["commit"],
                f"{one['load_before']:.1f}",
                "–" if spread is None else f"{spread:.0%}",
            )
        )
        warnings += [f"{site} was left out: {why}." for site, why in one["left_out"].items()]
        if one.get("failed"):
            warnings.insert(0, f"**Could not be measured: {name}, {one['failed']}.**")
    once = [name for name, one in parts.items() if "quick" in one["command"]]
    wild = [name for name, one in parts.items() if (spread_of(one) or 0) > _NOISY]
    if once:
        warnings.insert(
            0, f"**Measured once, to see that it works: {', '.join(once)}. These numbers say nothing.**"
        )
    if wild:
        warnings.insert(
            0,
            f"**The rounds differ by more than {_NOISY:.0%}: {', '.join(wild)}. The ratios are surer than the numbers; "
            "on a quieter machine both are.**",
        )
    # Between the rounds of one measurement: the least and the most, over the median; of this the median.
    heads = ("part", "measured on", "took", "commit", "load before", "spread of the rounds")
    return "\n\n".join([*told, table(heads, rows, 6), *warnings])


def _frameworks(parts: Parts) -> str:
    if (part := parts.get("frameworks")) is None:
        return "Not measured."
    readings = Readings(part)
    texts = []
    for framework in FRAMEWORKS:
        sites = [site for site in SITES.values() if site.framework == framework]
        rows = [row for site in sites if (row := _row(readings, site, part))]
        if rows:
            heads = ("session", "reads/s", "reads/s, two cores", "writes/s", "writes/s, two cores")
            heads += ("untouched, µs", "read, µs", "write, µs", "read, p99 ms")
            notes = [
                f"- {SITES[one.site].title}, {one.work}, {CORES[one.cores]}: {one.note}."
                for one in readings.all
                if one.group == framework and one.note
            ]
            texts.append("\n".join([f"### {framework}\n\n{table(heads, rows)}", *notes, ""]))
    return "\n".join(texts)


def _row(readings: Readings, site: Site, part: Part) -> list[str]:
    connections = next(iter(readings.all)).x

    def find(work: str, cores: int) -> Series | None:
        work = "untouched" if site.session == BARE else work
        return readings.get(site.framework, site.name, work, cores, connections)

    if not any(find(work, 1) for work in _WORKS):
        return []
    cells = [title_of(site, part)]
    for work in ("read", "write"):
        for cores in (1, 2):
            series = None if work == "write" and site.session == BARE else find(work, cores)
            cells.append(f"{statistics.median(series.rounds['rate']):,.0f}" if series else "")
    for work in _WORKS:
        series = find(work, 1)
        cost = readings.cost(series) if series and site.session != BARE else None
        cells.append(Figure.of(cost).text("+.0f") if cost else "")
    series = find("read", 1)
    return [*cells, f"{statistics.median(series.rounds['p99']):.1f}" if series else ""]


def _growth(name: str, work: str, unit: str, form: str, reading: str) -> Callable[[Parts], str]:
    """A block: for each number of cores, a table with a column for each place on the axis."""

    def block(parts: Parts) -> str:
        if (part := parts.get(name)) is None:
            return "Not measured."
        some = [one for one in series_of(part) if one.work == work or BARE in one.site]
        across = sorted({one.x for one in some})
        texts = []
        for cores in sorted({one.cores for one in some}):
            rows: dict[str, dict[int, str]] = {}
            notes: dict[str, list[str]] = {}
            for one in some:
                if one.cores != cores:
                    continue
                site = SITES[one.site]
                title = f"{site.framework}: {title_of(site, part)}"
                cell = format(statistics.median(one.rounds[reading]), form) if one.rounds else "–"
                rows.setdefault(title, {})[one.x] = cell
                if one.note:
                    notes.setdefault(f"{title}: {one.note}", []).append(f"{one.x:,}")
            shown = table(
                (f"{unit}, {CORES[cores]}", *(f"{x:,}" for x in across)),
                [(title, *(cells.get(x, "") for x in across)) for title, cells in rows.items()],
            )
            texts.append(
                "\n".join([shown, *(f"- {note} ({', '.join(xs)})." for note, xs in notes.items()), ""])
            )
        return "\n".join(texts)

    return block


def _targets(parts: Parts) -> str:
    heads = ("what", "target", "one core", "two cores")
    return table(heads, [astuple(verdict) for verdict in verdicts(parts)])


def _layouts(work: str) -> Callable[[Parts], str]:
    """A block: a table of what a session takes in Redis, with a column for each layout, the first one's as ×1."""

    def block(parts: Parts) -> str:
        if (part := parts.get("layouts")) is None:
            return "Not measured."
        rows: dict[str, list[float]] = {}
        names: dict[str, None] = {}
        for one in series_of(part):
            if one.work == work:
                names[one.site] = None
                rows.setdefault(one.group, []).append(
                    next(statistics.median(all_) for all_ in one.rounds.values())
                )
        form = ",.0f" if work == "bytes" else ".1f"
        return table(
            ("session", *names),
            [
                (title, *(f"{figure:{form}} ×{figure / figures[0]:.2f}" for figure in figures))
                for title, figures in rows.items()
            ],
        )

    return block


_BLOCKS: Mapping[str, Callable[[Parts], str]] = {
    "run": _run,
    "better": _better,
    "frameworks": _frameworks,
    "targets": _targets,
    "connections": _growth("connections", "read", "requests per second", ",.0f", "rate"),
    "size_read": _growth("size", "read", "requests per second", ",.0f", "rate"),
    "size_whole": _growth("size", "whole", "requests per second", ",.0f", "rate"),
    "size_write": _growth("size", "write", "requests per second", ",.0f", "rate"),
    "stored_read": _growth("stored", "read", "requests per second", ",.0f", "rate"),
    "stored_write": _growth("stored", "write", "requests per second", ",.0f", "rate"),
    "layouts_bytes": _layouts("bytes"),
    "layouts_read": _layouts("read"),
    "layouts_write": _layouts("write 1 field"),
    "layouts_writes": _layouts("write 10 fields"),
    "users_sign_in": _growth("users", "sign_in", "ms", ",.2f", "ms"),
    "users_of_user": _growth("users", "of_user", "ms", ",.2f", "ms"),
    "users_revoke_user": _growth("users", "revoke_user", "ms", ",.2f", "ms"),
    **capacity_page.BLOCKS,
}


# ---- Charts


def images(parts: Parts) -> dict[str, str]:
    """The charts, by the names of their files."""
    made: dict[str, str] = {}
    if "frameworks" in parts and (groups := _costs(parts["frameworks"])):
        unit = "µs of CPU a request, over the framework alone"
        made["cost.svg"] = charts.bars(
            "What reading a session costs, on Redis", unit, groups, OURS, _foot(parts["frameworks"], 1)
        )
    for name, work, title, axis, reading, unit in (
        ("connections", "read", "More visitors at once", "connections", "rate", "requests per second"),
        ("size", "read", "Larger sessions: a short field is read", "bytes", "rate", "requests per second"),
        ("stored", "read", "More sessions in the store", "sessions stored", "rate", "requests per second"),
        (
            "users",
            "revoke_user",
            "Ending all sessions of a user",
            "sessions of the user",
            "ms",
            "milliseconds",
        ),
    ):
        if name in parts and _lines(parts[name], work, reading):
            log = name in {"size", "users"}
            made[f"bench-{name}.svg"] = charts.lines(
                title,
                (axis, unit),
                _lines(parts[name], work, reading),
                _foot(parts[name], _most(parts[name])),
                log=log,
            )
    return made


def _foot(part: Part, cores: int) -> str:
    """What a chart says of its measurement."""
    return f"{part['machine']['cpu']}, {CORES[cores]}, {day_of(part, '%b')}"


def _most(part: Part) -> int:
    """The cores that a chart of growth shows; the tables have all."""
    return max(one.cores for one in series_of(part))


def _costs(part: Part) -> dict[str, list[tuple[str, float]]]:
    """For each framework whose usual session is on Redis: that one's cost, and ours."""
    readings, groups = Readings(part), {}
    for framework in FRAMEWORKS:
        entries = []
        for site in SITES.values():
            if site.framework != framework or site.store != "Redis" or site.session == GET:
                continue
            connections = readings.all[0].x
            if cost := readings.cost_of("frameworks", framework, site.name, "read", 1, connections):
                entries.append((title_of(site, part), statistics.median(cost)))
        if len(entries) > 1 and framework not in {"WSGI", "ASGI"}:
            groups[framework] = sorted(entries, key=lambda entry: -entry[1])
    return groups


def _lines(part: Part, work: str, reading: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for one in series_of(part):
        site = SITES[one.site]
        if one.rounds and one.cores == _most(part) and (one.work == work or site.session == BARE):
            title = f"{site.framework}: {site.title}"
            found.setdefault(title, []).append((one.x, statistics.median(one.rounds[reading])))
    return {title: sorted(points) for title, points in found.items()}
