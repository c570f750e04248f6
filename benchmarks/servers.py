"""What the benchmarks on real servers share: servers of their own, pinned to cores, and samples side by side.

On one core counts what client and server take together, as on a small machine that is full: their CPU time, so that
whatever else the machine does hardly shows. On two cores they run at the same time, and the time that passes counts.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import redis

from tests.servers.process import HOST, Server, free_port

__all__ = ["PINS", "Clock", "medians", "pinned", "pinned_all", "redis_server"]

Clock = Callable[[], float]
PINS = {"one core": ({0}, {0}), "two cores": ({0}, {1})}
"""Where the client runs, and where the server."""


@contextmanager
def redis_server() -> Generator[tuple[Server, int]]:
    """An empty Redis that keeps nothing on disk: the process, and its port."""
    port = free_port()

    def ready() -> bool:
        with redis.Redis(HOST, port) as client:
            return bool(client.ping())

    with tempfile.TemporaryDirectory(prefix="coatcheck-bench-") as folder:
        command = ["redis-server", "--port", port, "--bind", HOST, "--save", "", "--dir", folder]
        with Server(command, directory=Path(folder), ready=ready) as server:
            yield server, port


@contextmanager
def pinned(pid: int, pin: tuple[set[int], set[int]]) -> Generator[Clock]:
    """While the block runs, this process and the server of that id have the cores of `pin`; the clock that counts."""
    everywhere = os.sched_getaffinity(0)
    client, server = pin
    if not client | server <= everywhere:
        raise SystemExit("this benchmark needs two cores")
    try:
        _pin(pid, server)
        os.sched_setaffinity(0, client)
        yield _of_all([pid]) if client == server else time.perf_counter
    finally:
        _pin(pid, everywhere)
        os.sched_setaffinity(0, everywhere)


@contextmanager
def pinned_all(pids: Sequence[int]) -> Generator[Clock]:
    """While the block runs, this process and those servers have one core; the clock counts what they take together."""
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(pinned(pid, PINS["one core"]))
        yield _of_all(pids)


def _pin(pid: int, cores: set[int]) -> None:
    for process in (pid, *_children(pid)):
        with suppress(FileNotFoundError):
            for thread in Path(f"/proc/{process}/task").iterdir():
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cores)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _of_all(pids: Sequence[int]) -> Clock:
    """Seconds of CPU that this process and those have taken, and the processes that they have made."""
    # The CPU clock of a process, as clock_getcpuclockid(3) makes it. PostgreSQL has a process for each connection.
    theirs = [(~process << 3) | 2 for pid in pids for process in (pid, *_children(pid))]
    return lambda: time.process_time() + sum([time.clock_gettime(clock) for clock in theirs])


def sample(call: Callable[[], object], calls: int, clock: Clock) -> float:
    """Microseconds a call."""
    start = clock()
    for _ in range(calls):
        call()
    return (clock() - start) / calls * 1e6


def medians(
    candidates: Mapping[str, Callable[[], object]], clock: Clock, *, calls: int = 300, rounds: int = 21
) -> dict[str, float]:
    """The median microseconds a call of each candidate, every one in every round, in a new order each time."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    shuffle = random.Random(0).shuffle
    for call in candidates.values():
        sample(call, 50, clock)
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            samples[name].append(sample(candidates[name], calls, clock))
    return {name: statistics.median(times) for name, times in samples.items()}
