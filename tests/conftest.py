"""What all tests share. It imports nothing but pytest's own needs: a test of the core runs without any driver."""

from hypothesis import settings

from tests.promises import mark, promises_of

pytest_plugins = ["tests.servers.fixtures_redis"]

# How long an example takes says more about the machine's other work than about ours.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_ignore_collect(collection_path, config):
    """Leave tests/thirdparty out unless it is named: only `make test-frameworks` has what it imports."""
    named = any("thirdparty" in argument for argument in config.args)
    return True if collection_path.name == "thirdparty" and not named else None


def pytest_collection_modifyitems(items):
    for item in items:
        mark(item)
        promises_of(item)  # refuses what the table doesn't have
