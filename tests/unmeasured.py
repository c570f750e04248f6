"""Processes of tests whose lines coverage need not count."""

import os


def unmeasured() -> dict[str, str]:
    """The environment without coverage's names. A process that inherits these takes twice as long."""
    return {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
