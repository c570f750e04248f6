"""One runner: starts stores and sites, loads a site with `wrk`, and reads what that cost.

On one core, wrk, the site and the stores share it. On two, the site has the one, and wrk and the stores the other.
Requests per second are those of wrk. The cost of a request is the CPU time of the site and of the stores, which
other programs on the machine disturb less.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, LineTooLong
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from benchmarks.sites import BARE, Site
from benchmarks.work import Stores
from tests.servers.memcached import Memcached
from tests.servers.postgres import PostgreSQL
from tests.servers.process import HOST, Server, free_port
from tests.servers.redis import RedisServer

__all__ = ["FAILURES", "NO_COOKIE", "Bench", "Effort", "Running", "Series", "create_tables", "left_out"]

ROOT = Path(__file__).parents[1]
NO_COOKIE = "no cookie"
"""The work of a request without a cookie, whose handler does not use the session."""
_ENOUGH = 5
"""Requests a connection for one reading. What wrk leaves behind at its end is then a small part."""
_LONGEST = 16  # seconds of one reading
_PATHS = {NO_COOKIE: "untouched"}
_PROGRAMS = {"Redis": "redis-server", "Memcached": "memcached"}
FAILURES = (SystemExit, AssertionError, OSError, subprocess.SubprocessError)
"""A site or a server that does not start or answer. What else can be measured is measured all the same."""
_LARGEST_COOKIE = 4096  # bytes that browsers keep (RFC 6265bis, section 5.6)


@dataclass(frozen=True)
class Effort:
    """How thoroughly a run measures."""

    rounds: int
    cores: Sequence[int] = (1, 2)


@dataclass
class Series:
    """The readings of one site doing one thing, one value a round."""

    group: str
    """The readings of one table or chart. Every series has one reading in every round."""
    site: str
    work: str
    cores: int
    x: int
    """Where this series stands on the axis of its chart; the number of connections in a table."""
    rounds: dict[str, list[float]] = field(default_factory=dict)
    """`rate` (requests per second), `cpu` (µs a request, the site and its stores), `p50` and `p99` (ms)."""
    note: str = ""
    """Why there are no readings."""

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.rounds.setdefault(name, []).append(float(f"{value:.4g}"))


@dataclass
class Running:
    """A site that runs, and the cookies of its visitors."""

    site: Site
    server: Server
    port: int
    cookies: list[str] = field(default_factory=list)
    warm: bool = False

    def visit(self, path: str, cookie: str = "") -> tuple[int, str]:
        """The status of one request, and the cookies that are left after it."""
        return _visit(self.port, path, cookie)

    def admit(self, visitors: int, path: str = "fill") -> str:
        """Give each visitor a session; the reason if there can't be such sessions."""
        self.cookies = []
        for _ in range(visitors if self.site.session != BARE else 0):
            try:
                status, cookie = self.visit(path)
            except LineTooLong:
                return "the cookie is larger than browsers keep"
            if status != 200:
                return f"answers {status}"
            if any(len(one) - 1 > _LARGEST_COOKIE for one in cookie.split("; ")):
                return "the cookie is larger than browsers keep"
            self.cookies.append(cookie)
        return ""


def _visit(port: int, path: str, cookie: str = "") -> tuple[int, str]:
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", f"/{path}", headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    jar = dict(part.split("=", 1) for part in cookie.split("; ") if part)
    for line in response.headers.get_all("Set-Cookie", ()):
        jar.update([line.partition(";")[0].split("=", 1)])
    return response.status, "; ".join(f"{name}={value}" for name, value in jar.items())


def left_out(site: Site) -> str:
    """Why a site can't run here; "" if it can.

    Raises:
        SystemExit: A peer is not installed. It would be missing from the comparison in silence.
    """
    if site.package:
        try:
            version(site.package)
        except PackageNotFoundError:
            raise SystemExit(f"{site.package} is not installed; the group `bench` has it") from None
    if site.package == "fastapi-redis-sdk" and (has := _redis_version()) < (7, 4):
        return f"needs Redis 7.4 for HEXPIRE; this is {'.'.join(map(str, has))}"
    return ""


def _redis_version() -> tuple[int, ...]:
    said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r"v=([\d.]+)", said)[1].split(".")))  # type: ignore[index]


class Bench:
    """The stores that a part needs, and the sites on them. A context manager; what it started ends with it."""

    def __init__(self, effort: Effort, *stores: str) -> None:
        for program in ("wrk", "setpriv", *(_PROGRAMS[store] for store in stores if store in _PROGRAMS)):
            if shutil.which(program) is None:
                raise SystemExit(f"{program} is missing: scripts/install-system servers")
        self._chance = random.Random(0)
        self._cpus = sorted(os.sched_getaffinity(0))
        if max(effort.cores) > len(self._cpus):
            raise SystemExit("the benchmarks need two cores")
        self.effort = effort
        self._wanted = stores
        self._stack = ExitStack()
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Self:
        try:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="coatcheck-bench-"))
            self.folder = Path(folder)
            redis = memcached = 0
            postgres = ""
            if "Redis" in self._wanted:
                redis = self._start("Redis", RedisServer(folder)).port
            if "Memcached" in self._wanted:
                memcached = self._start("Memcached", Memcached(self.folder, "-m", "2048")).port
            if "PostgreSQL" in self._wanted:
                # With the memory that a server of its own would have; what is written reaches the disk's cache.
                # Autovacuum would count for the site that comes after the one that made it necessary.
                settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
                self.postgres = self._start("PostgreSQL", PostgreSQL(**settings))
                postgres = self.postgres.url()
                create_tables(postgres)
            self.stores = Stores(folder, redis, memcached, postgres)
            if redis:
                with self._servers["Redis"].client() as client:
                    client.set("bare", b"x" * 300)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, store: str, server: Any) -> Any:
        self._servers[store] = self._stack.enter_context(server)
        return server

    @contextmanager
    def pinned(self, cores: int, *others: Server) -> Iterator[None]:
        """This process is a client on the first core; the stores are there too, or on the second."""
        before = os.sched_getaffinity(0)
        self._pin(os.getpid(), self._cpus[0], children=False)
        for server in (*self._servers.values(), *others):
            self._pin(server.pid, self._cpus[cores - 1])
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    @contextmanager
    def running(self, sites: Iterable[Site], visitors: int) -> Iterator[list[Running]]:
        """The sites, each in a process of its own, with as many visitors as are given."""
        with ExitStack() as stack:
            running: list[Running] = []
            for site in sites:
                one = stack.enter_context(self._serve(site))
                if problem := one.admit(visitors):
                    raise SystemExit(f"{site.name} {problem}: {one.server.output()[-2000:]}")
                running.append(one)
            yield running

    @contextmanager
    def _serve(self, site: Site) -> Iterator[Running]:
        port = free_port()
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        with Server(
            [sys.executable, "-m", "benchmarks.sites", site.name, port],
            directory=self.folder,
            ready=lambda: _visit(port, "untouched")[0] == 200,
            env={**os.environ, "PYTHONPATH": path, **self.stores.environment()},
            name=f"site-{port}",
        ) as server:
            yield Running(site, server, port)

    def measure(
        self, group: str, work: Sequence[tuple[Running, str]], *, connections: int, x: int | None = None
    ) -> list[Series]:
        """Read each site doing each work, all in every round, in a new order each time."""
        found: list[Series] = []
        shuffle = random.Random(0).shuffle
        for cores in self.effort.cores:
            for one in {id(running): running for running, _ in work}.values():
                self._pin(one.server.pid, self._cpus[0])
            for server in self._servers.values():
                self._pin(server.pid, self._cpus[cores - 1])
            jobs = [
                (Series(group, one.site.name, path, cores, connections if x is None else x), one)
                for one, path in work
                # An untouched session waits for nothing, or for the same as a read, so one core is enough.
                if cores == self.effort.cores[0]
                or path not in {"untouched", NO_COOKIE}
                or one.site.session == BARE
            ]
            found += [series for series, _ in jobs]
            for series, one in jobs:
                self._check(one, series.work)
            if cores == self.effort.cores[0]:
                # Each site warms up, once: it connects to its store, and so on.
                for one, work_ in {id(one): (one, series.work) for series, one in jobs}.values():
                    if not one.warm:
                        self._load(one, work_, cores, connections)
                        one.warm = True
            for _ in range(self.effort.rounds):
                shuffle(jobs)
                for series, one in jobs:
                    self._read(series, one, connections)
        return found

    def _read(self, series: Series, one: Running, connections: int) -> None:
        """Add a reading. A site that refuses requests under this load has none, and a note that says so."""
        if not series.note:
            told = self._load(one, series.work, series.cores, connections)
            answered, refused, lost = (told.pop(name) for name in ("answered", "refused", "lost"))
            if refused or lost:
                series.note = f"{refused + lost:,.0f} of {answered + lost:,.0f} requests were refused or lost"
                series.rounds.clear()
            elif answered < connections:
                series.note = f"only {answered:,.0f} requests were answered in {_LONGEST} s"
                series.rounds.clear()
            else:
                series.add(**told)

    def _check(self, one: Running, path: str) -> None:
        status, _ = one.visit(_PATHS.get(path, path), one.cookies[0] if one.cookies else "")
        if status != 200:
            raise SystemExit(f"{one.site.name} answers {status} to {path}: {one.server.output()[-2000:]}")

    def _load(self, one: Running, work: str, cores: int, connections: int) -> dict[str, float]:
        path, jar = _PATHS.get(work, work), self.folder / "cookies"
        cookies = (one.cookies if work != NO_COOKIE else []) or [""]
        jar.write_text("\n".join(cookies) + "\n")
        pinned = (
            f"setpriv --pdeathsig KILL taskset --cpu-list {self._cpus[cores - 1]} wrk --threads 1".split()
        )
        script = ["--script", str(ROOT / "benchmarks" / "wrk.lua"), f"http://{HOST}:{one.port}/"]
        stores = [server for store, server in self._servers.items() if store in one.site.store]
        pids = [one.server.pid, *(server.pid for server in stores)]
        for times in (1, 4, _LONGEST):  # a site may need seconds for what all connections ask at once
            load = f"--connections {connections} --timeout 60 --duration {times}s".split()
            begin = str(self._chance.randrange(len(cookies)))
            command = [*pinned, *load, *script, "--", f"/{path}", str(jar), begin]
            before = _cpu(pids)
            ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            spent = sum(now - before.get(pid, 0) for pid, now in _rested(pids).items())
            told = json.loads(ran.stdout.strip().splitlines()[-1])
            if told["requests"] >= _ENOUGH * connections:
                break
        if told["requests"] == 0:
            raise SystemExit(f"{one.site.name} {work}: {told}; {one.server.output()[-2000:]}")
        return {
            "answered": told["requests"],
            "refused": told["refused"],
            "rate": told["requests"] / told["seconds"],
            # wrk leaves a request of each connection behind, which the site carries out all the same.
            "cpu": spent / (told["requests"] + connections) * 1e6,
            "p50": told["p50"] / 1000,
            "p99": told["p99"] / 1000,
            "lost": told["lost"],
        }

    @staticmethod
    def _pin(pid: int, cpu: int, *, children: bool = True) -> None:
        for process in (pid, *(_children(pid) if children else ())):
            with suppress(FileNotFoundError):
                for thread in Path(f"/proc/{process}/task").iterdir():
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread.name), {cpu})


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu(pids: Iterable[int]) -> dict[int, float]:
    """Seconds of CPU that each process has taken, and each process that it has made.

    PostgreSQL has a process for each connection, and gunicorn one for its worker.
    """
    every = [process for pid in pids for process in (pid, *_children(pid))]
    taken: dict[int, float] = {}
    for process in every:
        with suppress(OSError):  # it has just ended
            # The CPU clock of a process, as clock_getcpuclockid(3) makes it.
            taken[process] = time.clock_gettime((~process << 3) | 2)
    return taken


def _rested(pids: Sequence[int]) -> dict[int, float]:
    """The same, once all have come to rest, so that nothing of one measurement falls into the next."""
    taken = _cpu(pids)
    for _ in range(200):
        time.sleep(0.02)
        before, taken = taken, _cpu(pids)
        if sum(taken.values()) - sum(before.values()) < 0.001:
            break
    return taken


def create_tables(url: str) -> None:
    from coatcheck.cli import main as command

    try:
        with redirect_stdout(io.StringIO()):
            command(["db", "create", "--store", url])
    except SystemExit as done:
        if done.code:
            raise
