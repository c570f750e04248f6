"""`python -m benchmarks [requests] [asgi] [layouts]`: those that are named, or all."""

import sys

from benchmarks import asgi, layouts, requests

SUITES = {"requests": requests.main, "asgi": asgi.run, "layouts": layouts.main}

for name in sys.argv[1:] or SUITES:
    SUITES[name]()
