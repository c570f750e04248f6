"""What is measured: each part gives its readings.

frameworks   every site beside its peers, one core and two
connections  1 to 512 at once
size         sessions of 100 bytes to 1 MB
stored       a store that holds a thousand to a million sessions
users        a user with 1 to 10,000 sessions: sign in, list, end all
layouts      how a session lies in Redis: its bytes, and the server's CPU
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import bulk
from benchmarks.frameworks import FRAMEWORKS
from benchmarks.layouts import layouts
from benchmarks.load import Bench, Effort, Series, left_out
from benchmarks.sites import BARE, GET, OURS, SITES, Site
from benchmarks.work import SECRET, SIZES
from coatcheck import Sessions

__all__ = ["FULL", "PARTS", "QUICK", "Profile"]

CONNECTIONS = 64
ALL_STORES = ("Redis", "Memcached", "PostgreSQL")


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    effort: Effort
    growth: Effort
    frameworks: Sequence[str] = tuple(FRAMEWORKS)
    connections: Sequence[int] = (1, 8, 64, 256, 512)
    sizes: Sequence[int] = SIZES
    stored: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    sessions: Sequence[int] = (1, 10, 100, 1_000, 10_000)
    layouts: int = 10_000


FULL = Profile(effort=Effort(rounds=4), growth=Effort(rounds=3, cores=(1,)))
QUICK = Profile(
    effort=Effort(rounds=1),
    growth=Effort(rounds=1, cores=(1,)),
    frameworks=("Flask",),
    connections=(64,),
    sizes=(40_000,),
    stored=(1_000,),
    sessions=(1, 100),
    layouts=1_000,
)


def frameworks(profile: Profile) -> Iterator[Series]:
    """Each framework with each session library; all sites of a framework run at the same time."""
    for framework in profile.frameworks:
        sites = [site for site in SITES.values() if site.framework == framework and not left_out(site)]
        if framework in {"WSGI", "ASGI"}:
            sites = [site for site in sites if site.store in {"", "Redis", "SQLite"}]
        stores = [store for store in ALL_STORES if any(store in site.store for site in sites)]
        with Bench(profile.effort, *stores) as bench, bench.running(sites, 2 * CONNECTIONS) as running:
            work = [
                (one, path)
                for one in running
                for path in (["untouched"] if one.site.session == BARE else ["untouched", "read", "write"])
            ]
            yield from bench.measure(framework, work, connections=CONNECTIONS)


def connections(profile: Profile) -> Iterator[Series]:
    """Reads by more and more visitors at once, on two cores."""
    sites = _named(
        *("ASGI/no session", f"ASGI/{GET}/Redis", f"ASGI/{OURS}/Redis", "ASGI/starsessions/Redis"),
        *("ASGI/Starlette's cookie", "Flask/no session", f"Flask/{OURS}/Redis", "Flask/Flask-Session/Redis"),
    )
    most = 2 * max(profile.connections)
    with Bench(replace(profile.growth, cores=(2,)), "Redis") as bench, bench.running(sites, most) as running:
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
                    yield from (Series("size", one.site.name, path, 1, each, note=problem) for path in works)
                else:
                    work += [(one, path) for path in works]
            yield from bench.measure("size", work, connections=16, x=each)


def stored(profile: Profile) -> Iterator[Series]:
    """Stores that hold more and more sessions, of which any may come."""
    sites = _named(*(f"Flask/{OURS}/{store}" for store in ("Redis", "SQLite", "PostgreSQL", "Memcached")))
    with Bench(profile.growth, *ALL_STORES) as bench, bench.running(sites, 1) as running:
        there = 0
        for number in profile.stored:
            for one in running:
                bulk.store(bench, one.site.store, there, number)
            there = number
            for one in running:
                one.cookies = bulk.cookies(one.cookies[0].partition("=")[0], number)
            work = [(one, path) for one in running for path in ("read", "write")]
            yield from bench.measure("stored", work, connections=16, x=number)


def users(profile: Profile) -> Iterator[Series]:
    """A user with more and more sessions: one more signs in, they are listed, all are ended. In this process."""
    with Bench(profile.growth, "Redis", "PostgreSQL") as bench:
        for store in ("Redis", "SQLite", "PostgreSQL"):
            with Sessions.from_url(bench.stores.url(store), secret=SECRET, insecure_http=True) as sessions:
                for number in profile.sessions:
                    yield from _of_a_user(sessions, store, number, profile.growth.rounds)


def _of_a_user(sessions: Sessions, store: str, number: int, rounds: int) -> Iterator[Series]:
    series = {
        work: Series("users", f"WSGI/{OURS}/{store}", work, 1, number)
        for work in ("sign_in", "of_user", "revoke_user")
    }
    user = f"user-{number}"

    def sign_in() -> None:
        session = sessions.open(b"")
        session.sign_in(user)
        sessions.close(session)

    _milliseconds(sign_in)  # it connects
    sessions.revoke_user(user)
    for _ in range(rounds):
        calls: dict[str, list[float]] = {}
        for _ in range(9 if number < 1_000 else 1):  # a short call varies more
            for _ in range(number - 1):
                sign_in()
            calls.setdefault("sign_in", []).append(_milliseconds(sign_in))
            calls.setdefault("of_user", []).append(_milliseconds(lambda: sessions.of_user(user)))
            calls.setdefault("revoke_user", []).append(_milliseconds(lambda: sessions.revoke_user(user)))
        for work, some in calls.items():
            series[work].add(ms=statistics.median(some))
    yield from series.values()


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def _named(*names: str) -> list[Site]:
    return [SITES[name] for name in names]


PARTS: Mapping[str, Callable[[Profile], Iterator[Series]]] = {
    "frameworks": frameworks,
    "connections": connections,
    "size": size,
    "stored": stored,
    "users": users,
    "layouts": lambda profile: layouts(3 * profile.effort.rounds, profile.layouts),
}
