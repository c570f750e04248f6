"""Settings of Django's own tests, as they are."""

from test_sqlite import *  # noqa: F403 - as Django's tests want it
