"""The clock of a store's server, and what is said where the application's is another."""

import re
import time
from datetime import timedelta

import pytest

from coatcheck import Sessions
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.redis import from_url
from coatcheck.stores.sqlite import SQLiteStore
from tests.servers.fixtures_redis import IN_A_CLUSTER
from tests.servers.memcached import memcached  # noqa: F401 - a fixture
from tests.stores.sql.servers import SERVERS, a_place, databases_that_end  # noqa: F401 - a fixture
from tests.visitor import SECRET

pytestmark = [pytest.mark.servers, pytest.mark.promise("13")]


def soon():
    return time.monotonic() + 20


@pytest.fixture(params=["redis", pytest.param("cluster", marks=IN_A_CLUSTER), *SERVERS])
def store(request, prefix):
    if request.param in SERVERS:
        place = a_place(request.param)
        store = place.store()
        yield store
        store.close()
        place.leave()
        return
    fixture = "redis_server" if request.param == "redis" else "redis_cluster"
    store = from_url(request.getfixturevalue(fixture).url, prefix=prefix)
    yield store
    store.close()


def test_a_server_tells_its_clock(store):
    before = time.time() * 1000
    assert before - 100 <= store.ping(soon()) <= time.time() * 1000 + 100


def test_stores_without_a_server_s_clock_tell_none(memcached, tmp_path):  # noqa: F811
    for store in (MemoryStore(), SQLiteStore(tmp_path / "sessions.db"), MemcachedStore(memcached.address)):
        assert store.ping(soon()) is None
        store.close()


@pytest.mark.parametrize(("off", "said"), [(600, "ahead of"), (-600, "behind"), (3, None), (-3, None)])
def test_a_clock_that_is_off_is_said_once_when_the_application_starts(store, caplog, off, said):
    for _ in range(2):
        # A slow answer is no part of this.
        with Sessions(store, secret=SECRET, clock=lambda: time.time() + off, deadline=timedelta(seconds=20)):
            pass
    lines = [record.getMessage() for record in caplog.records if record.name == "coatcheck"]
    assert len(lines) == (2 if said else 0)  # by each of the two managers
    # Less by as much as the server took to answer.
    pattern = rf"The clock of this machine is (59\d|600) s {said} that of the session store's server"
    assert all(re.match(pattern, line) for line in lines)
