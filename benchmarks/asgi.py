"""The cost of an ASGI request, in this process, with 1, 16 and 64 of them under way.

Beside it, in the same run: Starlette's signed-cookie middleware (no store: the data are in the browser), and
starsessions with its store in memory. All wrap the same application.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import starsessions
import uvloop
from starlette.middleware.sessions import SessionMiddleware as CookieMiddleware

from benchmarks.requests import FIELDS, SECRET
from coatcheck import AsyncSessions
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.model.ports import AsyncStore, Write, Written
from coatcheck.testing import AsyncStoreWrapper

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Message = dict[str, Any]

_PATHS = ("/untouched", "/read", "/write")
_REQUESTS = 640
_ROUNDS = 15
_number = itertools.count()


async def bare(scope: Scope, receive: Any, send: Any) -> None:
    """The application: it does to ``scope["session"]`` what the path says."""
    path = scope["path"]
    if path == "/read":
        _ = scope["session"]["theme"]
    elif path == "/write":
        scope["session"]["n"] = next(_number)
    elif path == "/fill":
        scope["session"].update(FIELDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def receive() -> Message:
    """No body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def request(app: App, path: str, cookie: bytes) -> list[tuple[bytes, bytes]]:
    """One request; the headers of its response."""
    headers: list[tuple[bytes, bytes]] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers.extend(message["headers"])

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "headers": [(b"host", b"localhost"), (b"cookie", cookie)] if cookie else [(b"host", b"localhost")],
        "state": {},
    }
    await app(scope, receive, send)
    return headers


async def visitors(app: App, concurrent: int) -> list[bytes]:
    """The cookies of as many visitors, each with a session that has been filled."""
    cookies: list[bytes] = []
    for _ in range(concurrent):
        headers = dict(await request(app, "/fill", b""))
        cookies.append(headers[b"set-cookie"].partition(b";")[0])
    return cookies


async def timed(
    app: App, path: str, cookies: list[bytes], clock: Callable[[], float] = time.process_time
) -> float:
    """Microseconds a request, with one of each visitor under way: of CPU, or by another clock."""
    each = max(1, _REQUESTS // len(cookies))

    async def visitor(cookie: bytes) -> None:
        for _ in range(each):
            await request(app, path, cookie)

    start = clock()
    await asyncio.gather(*(visitor(cookie) for cookie in cookies))
    return (clock() - start) / (each * len(cookies)) * 1e6


async def compare(
    apps: dict[str, App], concurrent: int, clock: Callable[[], float] = time.process_time
) -> dict[str, dict[str, float]]:
    """The median microseconds a request over the bare application, for each application and path."""
    cookies = {name: await visitors(app, concurrent) for name, app in apps.items()}
    samples: dict[tuple[str, str], list[float]] = {}
    work: list[tuple[str, App, str, list[bytes]]] = [("bare", bare, "/untouched", [b""] * concurrent)]
    work += [(name, app, path, cookies[name]) for name, app in apps.items() for path in _PATHS]
    shuffle = random.Random(0).shuffle
    for _ in range(_ROUNDS):
        shuffle(work)
        for name, app, path, jar in work:
            samples.setdefault((name, path), []).append(await timed(app, path, jar, clock))
    medians = {key: statistics.median(times) for key, times in samples.items()}
    floor = medians["bare", "/untouched"]
    return {name: {path: medians[name, path] - floor for path in _PATHS} for name in apps} | {
        "bare": {"/untouched": floor}
    }


class _BatchSizes(AsyncStoreWrapper):
    """Notes how many writes each call had."""

    def __init__(self, store: AsyncStore) -> None:
        super().__init__(store)
        self.sizes: Counter[int] = Counter()

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        self.sizes[len(writes)] += 1
        return await super().write(writes, now, deadline)


async def main() -> None:
    """Measure, and print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        await _tables(Path(folder))


async def _tables(folder: Path) -> None:
    options: dict[str, Any] = {"secret": SECRET, "insecure_http": True}
    memory = AsyncSessions.from_url("memory://", **options)
    sqlite = AsyncSessions.from_url(f"sqlite:///{folder / 'bench.db'}", **options)
    async with memory, sqlite:
        apps: dict[str, App] = {
            "Starlette's signed cookie": CookieMiddleware(bare, secret_key=SECRET),
            "starsessions, memory": starsessions.SessionMiddleware(
                starsessions.SessionAutoloadMiddleware(bare),
                store=starsessions.InMemoryStore(),
                cookie_https_only=False,
                lifetime=86400,
            ),
            "Coatcheck, memory": SessionMiddleware(bare, memory),
            "Coatcheck, SQLite": SessionMiddleware(bare, sqlite),
            "Coatcheck, SQLite, on demand": SessionMiddleware(_loading(sqlite), sqlite, load="on_demand"),
        }
        for concurrent in (1, 16, 64):
            costs = await compare(apps, concurrent)
            print(f"\n### ASGI, {concurrent} under way: microseconds a request, over the bare application\n")
            print(f"The bare application takes {costs['bare']['/untouched']:.1f} µs.\n")
            beside = costs["Starlette's signed cookie"]
            print("| session | untouched | read | write |\n|---|---:|---:|---:|")
            for name in apps:
                cells = [
                    f"{costs[name][path]:+.1f} (×{costs[name][path] / beside[path]:.2f})" for path in _PATHS
                ]
                print(f"| {name} | " + " | ".join(cells) + " |")
            print("\n× is against Starlette's signed cookie.")
        await _batches(folder)


def _loading(sessions: AsyncSessions) -> App:
    """The same application, which loads its session when it needs it."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"] != "/untouched":
            await sessions.load(scope["session"])
        await bare(scope, receive, send)

    return app


async def _batches(folder: Path) -> None:
    from coatcheck.stores.sqlite import AsyncSQLiteStore

    print("\n### Writes a transaction, SQLite, every visitor writing all the time\n")
    print("| under way | requests | transactions | mean batch | µs a request |\n|---:|---:|---:|---:|---:|")
    for concurrent in (1, 16, 64):
        spy = _BatchSizes(AsyncSQLiteStore(folder / f"batches-{concurrent}.db"))
        async with AsyncSessions(spy, secret=SECRET, insecure_http=True) as sessions:
            app = SessionMiddleware(bare, sessions)
            cookies = await visitors(app, concurrent)
            spy.sizes.clear()
            cost = statistics.median([await timed(app, "/write", cookies) for _ in range(_ROUNDS)])
        requests, calls = sum(size * count for size, count in spy.sizes.items()), spy.sizes.total()
        print(f"| {concurrent} | {requests} | {calls} | {requests / calls:.1f} | {cost:.0f} |")


def run() -> None:
    """On uvloop, as servers run it."""
    uvloop.run(main())
