"""The cost of an ASGI request on a real Redis, with 1, 16 and 64 of them under way.

Beside it, in the same run: starsessions on the same Redis, Starlette's signed-cookie middleware (no store), and a
bare asyncio redis-py GET.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

import redis.asyncio
import starsessions
import uvloop
from starlette.middleware.sessions import SessionMiddleware as CookieMiddleware
from starsessions.stores.redis import RedisStore

from benchmarks.asgi import App, bare, compare
from benchmarks.requests import SECRET
from benchmarks.servers import PINS, Clock, pinned, redis_server
from coatcheck import AsyncSessions
from coatcheck.frameworks.asgi import SessionMiddleware
from tests.servers.process import HOST

_PATHS = ("/untouched", "/read", "/write")
_GETS = 640
_ROUNDS = 15


def run() -> None:
    """Measure on one core and on two, on uvloop, and print the tables."""
    with redis_server() as (server, port):
        for pin, cores in PINS.items():
            with pinned(server.pid, cores) as clock:
                uvloop.run(_tables(pin, port, clock))


async def _tables(pin: str, port: int, clock: Clock) -> None:
    client = redis.asyncio.Redis(host=HOST, port=port)
    await client.set("bare", b"x" * 300)
    options: dict[str, Any] = {"secret": SECRET, "insecure_http": True}
    async with client, AsyncSessions.from_url(f"redis://{HOST}:{port}/0", **options) as sessions:
        apps: dict[str, App] = {
            "Starlette's signed cookie": CookieMiddleware(bare, secret_key=SECRET),
            "starsessions, Redis": starsessions.SessionMiddleware(
                starsessions.SessionAutoloadMiddleware(bare),
                store=RedisStore(connection=client),
                cookie_https_only=False,
                lifetime=86400,
            ),
            "Coatcheck, Redis": SessionMiddleware(bare, sessions),
        }
        for concurrent in (1, 16, 64):
            costs = await compare(apps, concurrent, clock)
            get = statistics.median([await _gets(client, concurrent, clock) for _ in range(_ROUNDS)])
            print(
                f"\n### ASGI, Redis, {pin}, {concurrent} under way: microseconds over the bare application\n"
            )
            print(
                f"The bare application takes {costs['bare']['/untouched']:.1f} µs, a bare GET {get:.1f} µs.\n"
            )
            print("| session | untouched | read | write |\n|---|---:|---:|---:|")
            for name in apps:
                cells = [f"{costs[name][path]:+.1f}" for path in _PATHS]
                print(f"| {name} | " + " | ".join(cells) + " |")
            ours = costs["Coatcheck, Redis"]
            theirs, cookie = costs["starsessions, Redis"], costs["Starlette's signed cookie"]
            print(
                f"\nRead: ×{ours['/read'] / theirs['/read']:.3f} of starsessions, ×{ours['/read'] / get:.2f} of a "
                f"bare GET, ×{ours['/read'] / cookie['/read']:.2f} of Starlette's signed cookie. "
                f"Write: ×{ours['/write'] / theirs['/write']:.3f} of starsessions."
            )


async def _gets(client: Any, concurrent: int, clock: Clock) -> float:
    """Microseconds a GET, with as many under way."""
    each = max(1, _GETS // concurrent)

    async def one() -> None:
        for _ in range(each):
            await client.get("bare")

    start = clock()
    await asyncio.gather(*(one() for _ in range(concurrent)))
    return (clock() - start) / (each * concurrent) * 1e6
