"""The whole shop, with the rail (Flask) and the express counter (FastAPI), and its visitors."""

from __future__ import annotations

import secrets

import pytest
from starlette.testclient import TestClient

from coatcheck.demo.site import Site
from coatcheck.testing import awaitable
from tests.demo.halves import SiteVisitor


@pytest.fixture
def site(store, clock, compiled):
    """The whole shop, served by one event loop."""
    options = {"secret": secrets.token_urlsafe(32), "insecure_http": True, "clock": clock}
    site = Site(store, awaitable(store, threads=True), compiled=compiled, **options)
    with TestClient(site) as portal:
        store.calls.clear()  # those of the start
        yield portal


@pytest.fixture
def visitor(site):
    return SiteVisitor(site)


@pytest.fixture
def other(site):
    return SiteVisitor(site)
