"""`coatcheck demo --store postgresql://…` and `mysql://…`: on a database with nothing in it, as on SQLite."""

from __future__ import annotations

import pytest

from tests.demo.test_server import HALVES, fetch, scenes_end_well, signed_in, user
from tests.stores.sql.servers import SERVERS, databases_that_end  # noqa: F401 - a fixture

pytestmark = pytest.mark.servers


@pytest.fixture(params=SERVERS)
def server(request):
    """One on which the demo's tables are not there, neither before nor after."""
    made = SERVERS[request.param]()
    yield made
    for table in ("coatcheck_sessions", "coatcheck_meta"):
        made.execute(f"DROP TABLE {table}")


def test_it_makes_its_tables_and_a_visitor_outlives_it(demos, server):
    demo = demos("--store", server.url())
    assert "coatcheck:coatcheck@" not in demo.welcome
    cookie = signed_in(demo)
    for path in HALVES:
        status, headers, _ = fetch(demo, path, cookie=cookie)
        assert status == 200
        assert "Set-Cookie" not in headers
    scenes_end_well(demo)
    assert demo.stop() == (0, "")
    assert server.execute("SELECT count(*) FROM coatcheck_sessions WHERE live = 1")[0][0] == 1
    again = demos("--store", server.url())
    assert [user(again, cookie, path) for path in HALVES] == [user(again, cookie)] * 2
    assert user(again, cookie) is not None
    assert "Ada" in fetch(again, "/devices", cookie=cookie)[2]
    assert again.stop() == (0, "")
