"""The cost of a session in each framework, compared with no session and with the session that its users have now.

Each site is a process of its own behind its usual server; the client keeps one connection to each. All run on one core;
what counts is the CPU time of client, server and Redis together.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.framework_sites import SITES, USUAL
from benchmarks.servers import medians, pinned_all, redis_server
from tests.servers.process import HOST, Server, free_port

_KINDS = ("bare", "usual", "ours")
_PATHS = ("untouched", "read", "write")


def main() -> None:
    """Measure each framework, and print the table."""
    print("### Frameworks: microseconds a request, over the bare framework\n")
    print(
        "| framework | bare | its usual session | untouched | read | write | ours: untouched | read | write |"
    )
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for framework in SITES:
        _row(framework)


def _row(framework: str) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coatcheck-bench-")))
        redis, redis_port = stack.enter_context(redis_server())
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        pids, calls = [redis.pid], {}
        for kind in _KINDS:
            port = free_port()
            command = [sys.executable, "-m", "benchmarks.framework_sites", framework, kind, port, redis_port]
            server = stack.enter_context(
                Server(command, directory=folder, ready=_answers(port), env=environment)
            )
            pids.append(server.pid)
            visit = _visitor(port, filled=kind != "bare")
            for path in ("untouched",) if kind == "bare" else _PATHS:
                calls[f"{kind} {path}"] = visit(path)
        clock = stack.enter_context(pinned_all(pids))
        costs = medians(calls, clock, calls=60, rounds=15)
    floor = costs["bare untouched"]
    over = {name: cost - floor for name, cost in costs.items()}
    theirs = [f"{over[f'usual {path}']:+.0f}" for path in _PATHS]
    ours = [f"{over[f'ours {path}']:+.0f}" for path in _PATHS]
    for place, path in enumerate(_PATHS):
        if path != "untouched":
            ours[place] += f" (×{over[f'ours {path}'] / over[f'usual {path}']:.2f})"
    print("| " + " | ".join([framework, f"{floor:.0f}", USUAL[framework], *theirs, *ours]) + " |", flush=True)


def _answers(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        connection = HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/untouched")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    return ready


def _visitor(port: int, *, filled: bool) -> Callable[[str], Callable[[], None]]:
    """Makes callables that ask for one path, with the cookie of a session that has been filled."""
    connection = HTTPConnection(HOST, port)
    headers: dict[str, str] = {}

    def send(path: str) -> None:
        connection.request("GET", f"/{path}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        assert (response.status, body) == (200, b"ok"), (path, response.status, body)
        for cookie in response.headers.get_all("Set-Cookie", ()):
            headers["Cookie"] = cookie.partition(";")[0]

    if filled:
        send("fill")
    return lambda path: lambda: send(path)
