"""What all tests share."""

import asyncio
import warnings

pytest_plugins = ["tests.servers.fixtures_redis"]

# Whoever imports hug gets uvloop for every event loop of the process. Here each test says which loop it runs on.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hug  # noqa: F401
asyncio.set_event_loop_policy(None)
