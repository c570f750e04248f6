"""`python -m benchmarks [requests] [asgi] …`: those that are named, or all."""

import sys
from importlib import import_module

SUITES = {
    "requests": "benchmarks.requests:main",
    "asgi": "benchmarks.asgi:run",
    "redis": "benchmarks.redis_requests:main",
    "redis-asgi": "benchmarks.redis_asgi:run",
}

for name in sys.argv[1:] or SUITES:
    module, _, function = SUITES[name].partition(":")
    getattr(import_module(module), function)()
