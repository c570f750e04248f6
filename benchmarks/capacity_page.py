"""The blocks of the page on capacity: bytes a session, and the nodes that follow from them in an example."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from math import ceil

from benchmarks.readings import Parts, told_of
from benchmarks.results import Part, day_of, series_of
from benchmarks.tables import table

__all__ = ["BLOCKS"]

_NODE = 64 * 0.6  # GB of a node that are used
_KIND = "1 kB, user"
_SITES = (1_000_000, 10_000_000, 100_000_000)
_REQUESTS, _PEAK, _CHANGES = (
    20,
    3,
    0.1,
)  # a day and session; the busiest hour; the share that changes something
_REDIS = "Redis, `used_memory`"
_STORES = {
    "SQLite": ("SQLite, the file", 1),
    "PostgreSQL, × 2": ("PostgreSQL, table and indexes", 2),
    "MariaDB, × 2": ("MariaDB, table and indexes", 2),
    "Memcached": ("Memcached, chunks", 1),
}


def _bytes(part: Part) -> dict[str, dict[str, float]]:
    """By store, by kind."""
    found: dict[str, dict[str, float]] = {}
    for one in series_of(part):
        if one.work == "bytes":
            found.setdefault(one.site, {})[one.group] = one.rounds["bytes"][0]
    return found


def _costs(part: Part) -> dict[str, int]:
    """µs of the CPU of Redis, as the page shows them."""
    return {
        one.site: round(statistics.median(one.rounds["cpu"]))
        for one in series_of(part)
        if one.work == "request"
    }


def _run(part: Part) -> str:
    return f"Measured on {day_of(part)}: {told_of(part)}"


def _table_of_bytes(part: Part) -> str:
    rows = _bytes(part)
    kinds = next(iter(rows.values()))
    return table(
        ("bytes a session", *kinds),
        [(name, *(f"{cells[kind]:,.0f}" for kind in kinds)) for name, cells in rows.items()],
    )


def _table_of_requests(part: Part) -> str:
    return table(
        ("a request on Redis, alone", "µs of the server's CPU"),
        [(name, f"{cost}") for name, cost in _costs(part).items()],
    )


def _nodes(part: Part) -> str:
    size, costs = _bytes(part)[_REDIS][_KIND], _costs(part)
    read, change = costs["reads"], costs["changes a field"]
    cost = (1 - _CHANGES) * read + _CHANGES * change
    said = (
        f"- Memory: sessions × {size:,.0f} bytes. Of a node with 64 GB, plan to use 60 %, which is {_NODE:.1f} GB: the\n"
        "  rest is for fragmentation, for the copy that Redis makes while it saves, and for growth.\n"
        f"- Requests per second: sessions × {_REQUESTS} ÷ 86,400 × {_PEAK}.\n"
        f"- CPU: per request {1 - _CHANGES} × {read} + {_CHANGES} × {change} = {cost:.1f} µs. Redis carries out\n"
        "  commands on one core; plan to use half of it.\n"
    )
    rows = []
    for sessions in _SITES:
        memory, rate = sessions * size / 1e9, sessions * _REQUESTS / 86_400 * _PEAK
        cores = rate * cost / 1e6
        nodes = ceil(memory / _NODE), ceil(cores / 0.5)
        cells = (
            f"{sessions:,}",
            f"{memory:.1f} GB",
            f"{nodes[0]}",
            f"{rate:,.0f}",
            f"{cores:.2f}",
            f"{nodes[1]}",
        )
        rows.append((*cells, f"**{max(nodes)}**"))
    heads = ("sessions", "memory", "nodes for it", "requests a second", "cores", "nodes for them", "nodes")
    return f"{said}\n{table(heads, rows, 0)}"


def _other_stores(part: Part) -> str:
    sizes = _bytes(part)
    return table(
        ("sessions", *_STORES),
        [
            (
                f"{n:,}",
                *(f"{n * sizes[name][_KIND] * times / 1e9:.1f} GB" for name, times in _STORES.values()),
            )
            for n in _SITES
        ],
        0,
    )


def _block(write: Callable[[Part], str]) -> Callable[[Parts], str]:
    return lambda parts: write(parts["capacity"]) if "capacity" in parts else "Not measured."


BLOCKS: Mapping[str, Callable[[Parts], str]] = {
    "capacity_run": _block(_run),
    "capacity_bytes": _block(_table_of_bytes),
    "capacity_requests": _block(_table_of_requests),
    "capacity_nodes": _block(_nodes),
    "capacity_stores": _block(_other_stores),
}
