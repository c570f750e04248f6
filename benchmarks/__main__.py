"""`python -m benchmarks [requests] [asgi]`: those that are named, or all."""

import sys

from benchmarks import asgi, requests

SUITES = {"requests": requests.main, "asgi": asgi.run}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
