"""What all tests share. It imports nothing but pytest's own needs: a test of the core runs without any driver."""

from tests.promises import mark, promises_of

pytest_plugins = ["tests.servers.fixtures_redis"]


def pytest_collection_modifyitems(items):
    for item in items:
        mark(item)
        promises_of(item)  # refuses what the table doesn't have
