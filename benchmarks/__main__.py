"""`python -m benchmarks [requests] [asgi] …`: those that are named, or all."""

import subprocess
import sys
from importlib import import_module

SUITES = {
    "requests": "benchmarks.requests:main",
    "asgi": "benchmarks.asgi:run",
    "redis": "benchmarks.redis_requests:main",
    "redis-asgi": "benchmarks.redis_asgi:run",
    "layouts": "benchmarks.layouts:main",
    "sql": "benchmarks.sql_requests:main",
    "frameworks": "benchmarks.frameworks:main",
}

if len(sys.argv) == 2:
    module, _, function = SUITES[sys.argv[1]].partition(":")
    getattr(import_module(module), function)()
else:
    # Each in a process of its own: Django can be set up only once in one.
    for name in sys.argv[1:] or SUITES:
        subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)
