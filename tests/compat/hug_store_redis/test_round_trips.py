"""How often a site on hug asks Redis: counted between the two, and compared with the table in the guide."""

import pytest
import redis

from coatcheck.compat.hug_store_redis import RedisStore
from coatcheck.compat.hug_store_redis.middleware import SessionMiddleware
from tests.compat.guides import round_trips_in
from tests.compat.hug_store_redis.quietly import hug
from tests.compat.hug_store_redis.site import api_with
from tests.servers.process import HOST
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers

# Section 10: hug_store_redis 1.0.0 under hug's own middleware.
OLD = {
    "new visitor, session untouched": 1,
    "new visitor, 1 read": 1,
    "new visitor, 1 change": 1,
    "new visitor, 2 changes": 1,
    "returning, session untouched": 4,
    "returning, 1 read": 4,
    "returning, 2 reads": 4,
    "returning, 1 change": 4,
    "returning, 2 changes": 4,
    "returning, read and change": 4,
}
PATHS = {
    "session untouched": "/untouched",
    "1 read": "/read",
    "2 reads": "/read_twice",
    "1 change": "/change",
    "2 changes": "/change_twice",
    "read and change": "/read_and_change",
}


@pytest.mark.parametrize(
    "middleware", [hug.middleware.SessionMiddleware, SessionMiddleware], ids=["hug", "ours"]
)
def test_the_table_of_the_guide_is_what_is_counted(one_redis, database, serve, middleware):
    """Section 10, and the issue: untouched 0; read 1; changes 1 more; a new visitor's write 1; no connection."""
    with Proxy(one_redis.port) as proxy, redis.Redis(HOST, proxy.port, database) as client:
        site = serve(api_with(middleware(RedisStore(client))))
        site.visitor().get("/count")
        measured = {}
        for row in OLD:
            visitor, _, what = row.partition(", ")
            who = site.visitor()
            if visitor == "returning":
                who.get("/count")
            with proxy.counting() as counted:
                who.get(PATHS[what])
            assert who.status == 200
            assert counted.connections == 0
            measured[row] = counted.round_trips
    told = round_trips_in("from-hug-store-redis")
    column = 2 if middleware is SessionMiddleware else 1
    assert {row: cells[column] for row, cells in told.items()} == measured
    assert {row: cells[0] for row, cells in told.items()} == OLD


def test_each_call_of_the_store_is_one(one_redis, database):
    """Section 10: 1 per call."""
    with Proxy(one_redis.port) as proxy, redis.Redis(HOST, proxy.port, database) as client:
        store = RedisStore(client)
        store.exists("key")
        calls = [
            lambda: store.set("key", {}),
            lambda: store.get("key"),
            lambda: store.exists("key"),
            lambda: store.delete("key"),
        ]
        for call in calls:
            with proxy.counting() as counted:
                call()
            assert (counted.round_trips, counted.connections) == (1, 0)
