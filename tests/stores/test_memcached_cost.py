"""What a request costs on Memcached, in round trips as a proxy counts them."""

import asyncio
import itertools

import pytest

from benchmarks.memcached_bench import (
    WAITING,
    apply,
    create,
    destroy,
    load,
    managed,
    now,
    opened,
    signed_in,
    update,
)
from coatcheck.model.record import APPLIED
from coatcheck.stores.memcached_async import AsyncMemcachedStore
from tests.servers.memcached import memcached, prefix  # noqa: F401 - a fixture
from tests.servers.proxy import Proxy
from tests.visitor import Visitor

pytestmark = [pytest.mark.servers, pytest.mark.promise("2", "3")]


@pytest.fixture(params=["sync", "async"])
def colour(request):
    return request.param


@pytest.fixture
def proxy(memcached):  # noqa: F811
    with Proxy(memcached.port) as proxy:
        yield proxy


def trips(proxy, work):
    with proxy.counting() as counted:
        work()
    return counted.round_trips


def test_each_call_takes_the_round_trips_that_the_page_names(proxy, colour):
    with opened(colour, f"127.0.0.1:{proxy.port}", prefix=prefix()) as store:
        anonymous, ada = create(store), create(store, signed_in("ada"))
        assert trips(proxy, lambda: load(store, anonymous)) == 1
        assert trips(proxy, lambda: store.load([anonymous.key, bytes(16)], now())) == 1
        assert trips(proxy, lambda: load(store, ada)) == 2
        assert trips(proxy, lambda: apply(store, update(anonymous, set={"a": b"1"}))) == 2
        assert trips(proxy, lambda: apply(store, update(ada, set={"a": b"1"}))) == 3
        assert trips(proxy, lambda: create(store)) == 1
        assert trips(proxy, lambda: create(store, signed_in("ada", signed_in=now() + 1_000))) == 3
        assert trips(proxy, lambda: store.revoke_all("ada", now(), now() + 1_000_000, None)) == 2
        assert trips(proxy, lambda: apply(store, destroy(ada))) == 2
        assert trips(proxy, store.ping) == 1
        assert trips(proxy, lambda: store.sweep(now(), 10)) == 0


def test_a_request_costs_what_it_does(proxy, colour):
    with managed(
        colour, f"127.0.0.1:{proxy.port}", store_options={"prefix": prefix()}, insecure_http=True
    ) as sessions:
        visitor, carts = Visitor(sessions), itertools.count()
        assert trips(proxy, visitor.read) == 0

        def change():
            with visitor.request() as session:
                session["cart"] = [next(carts)]
                session["theme"] = f"theme {next(carts)}"

        assert trips(proxy, change) == 1
        assert trips(proxy, visitor.read) == 1
        assert trips(proxy, change) == 1 + 2
        assert trips(proxy, visitor.signed_in) == 1 + 2 + 2
        assert trips(proxy, visitor.read) == 2
        assert trips(proxy, change) == 2 + 3


def test_what_many_tasks_ask_at_once_goes_together(proxy, memcached):  # noqa: F811
    its = prefix()
    with opened("sync", memcached.address, prefix=its) as store:
        records = [create(store) for _ in range(64)]

    async def all_at_once():
        store = AsyncMemcachedStore(f"127.0.0.1:{proxy.port}", prefix=its, **WAITING)
        with proxy.counting() as reading:
            found = await asyncio.gather(*(store.load([record.key], now()) for record in records))
        assert [list(states) for states in found] == [[record] for record in records]
        with proxy.counting() as writing:
            answers = await asyncio.gather(
                *(store.apply([update(record, set={"a": b"1"})]) for record in records)
            )
        assert answers == [[APPLIED]] * len(records)
        await store.close()
        return reading, writing

    reading, writing = asyncio.run(all_at_once())
    assert reading.round_trips <= 2
    assert writing.round_trips <= 4
    assert reading.connections + writing.connections <= 4
