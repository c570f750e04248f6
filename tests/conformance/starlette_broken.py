"""A plugin for pytest: sessions of ours that lose what a request puts into them."""

from starlette_ours import pytest_configure  # noqa: F401 - all but this

from coatcheck.session import Session

Session.update = lambda session, *_args, **_fields: None
