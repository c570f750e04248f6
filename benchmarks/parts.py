"""What is measured: each part gives its readings.

frameworks   every site beside its peers, one core and two
connections  1 to 512 at once
size         sessions of 100 bytes to 1 MB
stored       a store that holds a thousand to a million sessions
users        a user with 1 to 10,000 sessions: sign in, list, end all
layouts      how a session lies in Redis: its bytes, and the server's CPU
imports      what `import coatcheck` takes
capacity     bytes a session in each store; the page on capacity has them
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import bulk
from benchmarks.capacity import capacity
from benchmarks.frameworks import FRAMEWORKS
from benchmarks.imports import imports
from benchmarks.layouts import layouts
from benchmarks.load import FAILURES, NO_COOKIE, Bench, Effort, Running, Series, left_out
from benchmarks.sites import BARE, GET, ON_DEMAND, OURS, SITES, Site
from benchmarks.users import users
from benchmarks.work import SIZES

__all__ = ["FULL", "PARTS", "QUICK", "Profile"]

CONNECTIONS = 64
ALL_STORES = ("Redis", "Memcached", "PostgreSQL")


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    effort: Effort
    growth: Effort
    frameworks: Sequence[str] = tuple(FRAMEWORKS)
    connections: Sequence[int] = (1, 8, 64, 512)
    sizes: Sequence[int] = SIZES
    stored: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    sessions: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    layouts: int = 10_000
    capacity: int = 1
    """By what the number of sessions is divided."""


FULL = Profile(effort=Effort(rounds=3), growth=Effort(rounds=3))
QUICK = Profile(
    effort=Effort(rounds=1),
    growth=Effort(rounds=1, cores=(1,)),
    frameworks=("Flask",),
    connections=(1, 64),
    sizes=(40_000,),
    stored=(1_000,),
    sessions=(1, 100),
    layouts=1_000,
    capacity=50,
)


def frameworks(profile: Profile) -> Iterator[Series]:
    """Each framework with each session library; all sites of a framework run at the same time.

    Raises:
        SystemExit: A framework could not be measured; the others were.
    """
    failed = []
    for framework in profile.frameworks:
        try:
            yield from _framework(profile, framework)
        except FAILURES as problem:
            failed.append(f"{framework}: {problem}")
    if failed:
        raise SystemExit("; ".join(failed))


def _framework(profile: Profile, framework: str) -> Sequence[Series]:
    sites = [site for site in SITES.values() if site.framework == framework and not left_out(site)]
    stores = [store for store in ALL_STORES if any(store in site.store for site in sites)]
    with Bench(profile.effort, *stores) as bench, bench.running(sites, 2 * CONNECTIONS) as running:
        work = [(one, path) for one in running for path in _works(one)]
        return bench.measure(framework, work, connections=CONNECTIONS)


def _works(one: Running) -> Sequence[str]:
    if one.site.session in {BARE, ON_DEMAND}:
        return ("untouched",)
    # The targets have two of their own.
    own = one.site.framework in {"WSGI", "ASGI"} and one.site.title == f"{OURS}, Redis"
    return (*([NO_COOKIE] * own), "untouched", "read", "write")


def connections(profile: Profile) -> Iterator[Series]:
    """Reads by more and more visitors at once."""
    sites = _named(
        *("ASGI/no session", f"ASGI/{GET}/Redis", f"ASGI/{OURS}/Redis", "ASGI/starsessions/Redis"),
        *("ASGI/Starlette's cookie", "Flask/no session", f"Flask/{OURS}/Redis", "Flask/Flask-Session/Redis"),
    )
    most = 2 * max(profile.connections)
    with Bench(profile.growth, "Redis") as bench, bench.running(sites, most) as running:
        work = [(one, "untouched" if one.site.session == BARE else "read") for one in running]
        for number in profile.connections:
            yield from bench.measure("connections", work, connections=number)


def size(profile: Profile) -> Iterator[Series]:
    """Larger and larger sessions, of which a request reads a short field, writes one, or reads the large field."""
    sites = _named(
        *(f"Flask/{OURS}/Redis", f"Flask/{OURS}/SQLite", "Flask/Flask-Session/Redis", "Flask/Flask's cookie"),
        *(f"ASGI/{OURS}/Redis", "ASGI/starsessions/Redis", "ASGI/Starlette's cookie"),
    )
    works = ("read", "whole", "write")
    with Bench(profile.growth, "Redis") as bench, bench.running(sites, 1) as running:
        for each in profile.sizes:
            work = []
            for one in running:
                if problem := one.admit(32, f"fill-{each}"):
                    for cores in profile.growth.cores:
                        for path in works:
                            yield Series("size", one.site.name, path, cores, each, note=problem)
                else:
                    work += [(one, path) for path in works]
            yield from bench.measure("size", work, connections=16, x=each)


def stored(profile: Profile) -> Iterator[Series]:
    """Stores that hold more and more sessions, of which any may come. One core shows how the work grows."""
    ours = (f"Flask/{OURS}/{store}" for store in ("Redis", "SQLite", "PostgreSQL", "Memcached"))
    sites = _named(*ours, "Flask/Flask-Session/Redis", "Flask/Flask-Session/PostgreSQL")
    with Bench(replace(profile.growth, cores=(1,)), *ALL_STORES) as bench, bench.running(sites, 1) as running:
        there = 0
        for number in profile.stored:
            for one in running:
                bulk.store(bench, one, there, number)
            there = number
            for one in running:
                one.cookies = bulk.cookies(one, number)
            work = [(one, path) for one in running for path in ("read", "write")]
            yield from bench.measure("stored", work, connections=16, x=number)


def _named(*names: str) -> list[Site]:
    return [SITES[name] for name in names]


PARTS: Mapping[str, Callable[[Profile], Iterator[Series]]] = {
    "frameworks": frameworks,
    "connections": connections,
    "size": size,
    "stored": stored,
    "users": lambda profile: users(profile.growth, profile.sessions),
    "layouts": lambda profile: layouts(profile.growth, profile.layouts),
    "imports": lambda profile: imports(5 * profile.growth.rounds),
    "capacity": lambda profile: capacity(profile.growth, profile.capacity),
}
