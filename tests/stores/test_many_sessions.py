"""A user with ten thousand sessions: a list costs by its length, and ending all of them goes in bounded batches."""

import os
import time
from contextlib import closing
from datetime import timedelta

import pytest

from coatcheck import Sessions
from coatcheck.model.format import encode
from coatcheck.model.ports import Entry, Write
from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.redis import from_url
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing.wrappers import StoreWrapper
from tests.core.scene import a_record
from tests.stores.sql.servers import SERVERS, a_place, databases_that_end  # noqa: F401 - a fixture
from tests.visitor import SECRET

pytestmark = [pytest.mark.servers, pytest.mark.promise("17")]

MANY, DAY = 10_000, 86_400_000


class Watched(StoreWrapper):
    """Notes each call with the number of items in it, or in its answer."""

    def __init__(self, store):
        super().__init__(store)
        self.calls = []

    def around(self, call, send):
        answer = send()
        items = call.args[0] if call.method in ("load", "write", "forget") else answer
        self.calls.append((call.method, len(items) if isinstance(items, list | tuple) else 0))
        return answer


def sign_in_often(store, now):
    """The sessions of one user, each signed in a second after the one before."""
    for start in range(0, MANY, 500):
        writes = []
        for number in range(start, start + 500):
            at = now - (MANY - number) * 1_000
            record = a_record(created=at, user="ada", signed_in=at, key=os.urandom(16), expires=now + DAY)
            entry = Entry("ada", record.key, at, now + DAY)
            data = encode(record, os.urandom(8))
            writes.append(Write(key=record.key, data=data, expires=now + DAY, entry=entry))
        assert set(store.write(writes, now, time.monotonic() + 60)) == {None}
        if store.index == "beside":
            store.note([write.entry for write in writes], now, time.monotonic() + 60)


@pytest.fixture(params=["memory", "sqlite", "redis", *SERVERS])
def store(request, tmp_path, prefix):
    if request.param in SERVERS:
        place = a_place(request.param)
        with closing(place.store()) as store:
            yield store
        place.leave()
        return
    if request.param == "redis":
        made = from_url(request.getfixturevalue("redis_server").url, prefix=prefix)
    else:
        made = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.db")
    with closing(made) as store:
        yield store


def test_a_list_costs_by_its_length_and_ending_all_goes_in_bounded_batches(store):
    now = int(time.time() * 1000)
    sign_in_often(store, now)
    watched = Watched(store)
    sessions = Sessions(watched, secret=SECRET, deadline=timedelta(minutes=1))
    first = sessions.of_user("ada", limit=10)
    assert watched.calls == [("sessions_of", 10), ("load", 10)]
    assert [info.signed_in_at.timestamp() * 1000 for info in first] == [now - n * 1_000 for n in range(1, 11)]
    watched.calls.clear()
    second = sessions.of_user("ada", limit=10, after=first[-1].handle)
    assert watched.calls == [("load", 1), ("sessions_of", 10), ("load", 10)]
    assert second[0].signed_in_at < first[-1].signed_in_at
    watched.calls.clear()
    assert sessions.revoke_user("ada") == MANY
    assert max(items for _, items in watched.calls) == 100
    assert len(watched.calls) <= 4 * MANY // 100 + 4
    assert sessions.of_user("ada") == []
