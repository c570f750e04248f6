"""What all tests share. It imports nothing but pytest's own needs: a test of the core runs without any driver."""

pytest_plugins = ["tests.servers.fixtures_redis"]
