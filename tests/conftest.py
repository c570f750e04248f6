"""What all tests share. It imports nothing but pytest's own needs: a test of the core runs without any driver."""

from hypothesis import settings

from tests.promises import mark, promises_of

pytest_plugins = ["tests.outcomes", "tests.servers.fixtures_redis"]

# How long an example takes says more about the machine's other work than about ours.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_ignore_collect(collection_path, config):
    """Leave out what needs an environment of its own, unless it is named: `make test-frameworks`, `test-world`, `test-wheel`."""
    name = collection_path.name
    return (
        True
        if name in ("thirdparty", "conformance", "wheel", "world")
        and not any(name in argument for argument in config.args)
        else None
    )


def pytest_configure(config):
    if config.pluginmanager.hasplugin("xdist"):
        from xdist.workermanage import NodeManager

        # A worker that is killed at its end loses what coverage has counted in it. On a busy machine 10 s are too few.
        NodeManager.EXIT_TIMEOUT = 120


def pytest_collection_modifyitems(items):
    for item in items:
        mark(item)
        promises_of(item)  # refuses what the table doesn't have
