"""`coatcheck demo --store redis://…` is the same shop as on SQLite, on one server and on a cluster."""

import pytest

from tests.demo.test_server import HALVES, fetch, scenes_end_well, signed_in, user
from tests.servers.fixtures_redis import IN_A_CLUSTER

pytestmark = pytest.mark.servers


def visit(demos, url, prefix):
    demo = demos("--store", url)
    cookie = signed_in(demo)
    for path in HALVES:
        status, headers, _ = fetch(demo, path, cookie=cookie)
        assert status == 200
        assert "Set-Cookie" not in headers
    scenes_end_well(demo)
    assert demo.stop() == (0, "")
    again = demos("--store", url)
    assert [user(again, cookie, path) for path in HALVES] == [user(again, cookie)] * 2
    assert user(again, cookie) is not None
    assert "Ada" in fetch(again, "/devices", cookie=cookie)[2]
    assert again.stop() == (0, "")


def test_a_visitor_outlives_the_shop_on_one_server(demos, redis_server, prefix):
    visit(demos, redis_server.url, prefix)


@IN_A_CLUSTER
def test_a_visitor_outlives_the_shop_on_a_cluster(demos, redis_cluster, prefix):
    visit(demos, redis_cluster.url, prefix)
