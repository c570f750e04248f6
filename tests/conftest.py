"""What all tests share. It imports nothing but pytest's own needs: a test of the core runs without any driver."""

from hypothesis import settings

from tests.promises import mark, promises_of

pytest_plugins = ["tests.servers.fixtures_redis"]

# How long an example takes says more about the machine's other work than about ours.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    for item in items:
        mark(item)
        promises_of(item)  # refuses what the table doesn't have
