"""Where the tests of the SQL store work: tables on each kind of server, a proxy in front of it, and a store.

A module that breaks its servers says ``BREAKS = True``; it gets servers that no other module uses.
"""

from contextlib import closing

import pytest

from coatcheck.stores.sql import connection as connections
from tests.servers.process import until
from tests.servers.proxy import Proxy
from tests.stores.sql.faults import idle_in_transaction
from tests.stores.sql.servers import (
    SERVERS,
    TO_BREAK,
    a_place,
    databases_that_end,  # noqa: F401 - a fixture
)


@pytest.fixture(params=SERVERS)
def place(request):
    breaks = getattr(request.module, "BREAKS", False)
    made = a_place(request.param, (TO_BREAK if breaks else SERVERS)[request.param]())
    try:
        yield made
        if breaks:
            until(lambda: idle_in_transaction(made) == 0, "no connection is left in a transaction")
    finally:
        made.leave()


@pytest.fixture
def proxy(place):
    with Proxy(place.server.port) as proxy:
        yield proxy


@pytest.fixture
def store(place):
    with closing(place.store()) as store:
        yield store


@pytest.fixture
def failures(monkeypatch):
    """The kind of each failure."""
    kinds, failed = [], connections.failed

    def noting(error, driver):
        met = failed(error, driver)
        kinds.append(met and met.kind)
        return met

    monkeypatch.setattr(connections, "failed", noting)
    return kinds
