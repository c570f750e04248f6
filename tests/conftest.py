"""What all tests share."""

import asyncio
import warnings

from tests.promises import mark, promises_of

pytest_plugins = ["tests.servers.fixtures_redis"]

# Whoever imports hug gets uvloop for every event loop of the process. Here each test says which loop it runs on.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hug  # noqa: F401
asyncio.set_event_loop_policy(None)


def pytest_collection_modifyitems(items):
    for item in items:
        mark(item)
        promises_of(item)  # refuses what the table doesn't have
