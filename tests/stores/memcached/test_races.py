"""Many writers of one session in Memcached: threads, tasks, processes. No change is lost, and no ended session returns."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coatcheck.core.calls import Done
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model.ports import Conflict
from coatcheck.model.record import Create, Record, Refused, Rotation, SignIn, Tombstone
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from coatcheck.testing.contract.harness import contention
from tests import loops
from tests.servers.memcached import prefix
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.engine import AsyncEngine, Engine
from tests.stores.memcached.scene import (
    a_record,
    after,
    answer_to,
    applied,
    create,
    destroy,
    found,
    get,
    new,
    now,
    opened,
    put,
    soon,
    state,
    update,
)

pytestmark = pytest.mark.servers
CHILDREN = Path(__file__).with_name("children.py")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def its():
    return prefix()


@pytest.fixture
def plain(memcached, its):
    """A store to prepare and to look with."""
    with opened("sync", memcached.address, prefix=its) as store:
        yield store


def all_at_once(mode, address, prefix, changes, *, stores=1):
    """The results of changes that come at the same time, from threads or from tasks.

    With several `stores`, each has a part of the changes, as processes have.
    """
    if mode == "sync":
        many = [MemcachedStore(address, prefix=prefix) for _ in range(stores)]
        begin = threading.Barrier(len(changes))

        def send(number, change):
            begin.wait(30)
            return applied(many[number % stores], change, 60)

        with contention(), ThreadPoolExecutor(len(changes)) as pool:
            results = list(pool.map(send, range(len(changes)), changes))
        for store in many:
            store.close()
        return results

    async def play():
        many = [AsyncMemcachedStore(address, prefix=prefix) for _ in range(stores)]
        engines = [AsyncEngine(store, patience=60) for store in many]
        results = await asyncio.gather(
            *(engines[number % stores].apply([change], now()) for number, change in enumerate(changes))
        )
        for store in many:
            await store.close()
        return [result for (result,) in results]

    return loops.run(play())


# Writers


@pytest.mark.promise("6")
@pytest.mark.parametrize("stores", [1, 4])
def test_thirty_requests_that_change_a_field_each_lose_nothing(mode, memcached, its, plain, stores):
    record = create(plain)
    changes = [update(record, set={f"field {number}": b"1"}) for number in range(30)]
    results = all_at_once(mode, memcached.address, its, changes, stores=stores)
    assert [type(result) for result in results] == [Done] * 30
    assert len(state(plain, record).fields) == 31


@pytest.mark.promise("6")
def test_two_processes_lose_nothing(memcached, its, plain):
    record = create(plain)
    names = [[f"{child} {number}" for number in range(50)] for child in range(2)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILDREN), memcached.address, its, record.key.hex(), *mine],
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            **pipes,
        )
        for mine in names
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n", child.communicate()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        with child:
            _, complaints = child.communicate()
        assert (child.returncode, complaints) == (0, "")
    assert len(state(plain, record).fields) == 101


@pytest.mark.promise("20")
def test_a_change_that_always_finds_another_writer_first_is_told_in_time(memcached, its, plain):
    record = create(plain)
    number = 0

    class Late(MemcachedStore):
        def write(self, writes, now, deadline):
            nonlocal number
            number += 1
            assert isinstance(applied(plain, update(record, set={"other": b"%d" % number})), Done)
            if number == 3:
                # The time ends here, since it could also end while a write is on its way: that one is ambiguous.
                time.sleep(max(0, deadline - time.monotonic()))
            return super().write(writes, now, deadline)

    store, began = Late(memcached.address, prefix=its), time.monotonic()
    result = applied(store, update(record, set={"mine": b"1"}), 1)
    assert isinstance(result, StoreTimeout)
    assert not result.ambiguous
    assert time.monotonic() - began < 10
    assert number == 3
    assert "mine" not in state(plain, record).fields
    store.close()


@pytest.mark.promise("11")
def test_a_field_that_twelve_take_at_once_one_gets(mode, memcached, its, plain):
    for _ in range(5):
        record = create(plain)
        changes = [update(record, take=("cart",)) for _ in range(12)]
        results = all_at_once(mode, memcached.address, its, changes, stores=4)
        got = [dict(result.answer.taken) for result in results if isinstance(result, Done)]
        assert got.count({"cart": b"apples"}) == 1
        assert len(got) == 12


# Lost answers


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("beside", [False, True])
def test_a_write_whose_answer_is_lost_is_done_once_or_told(mode, memcached, its, plain, beside):
    """With another writer in between, and without."""
    with Proxy(memcached.port) as proxy:
        for _ in range(4):
            write = put(plain)
            change = after(write, b"changed", expected=found(plain, write.key).version)
            with opened(mode, f"{HOST}:{proxy.port}", prefix=its) as store:
                proxy.drop_replies()
                lost = answer_to(store, change)
                proxy.heal()
                assert isinstance(lost, StoreUnavailable)
                assert lost.ambiguous
                assert get(store, change) == change.data
                if beside:
                    put(plain, after(change, b"another's"))
                # Sent again, it meets what lies there, be it its own.
                again = answer_to(store, change)
                assert isinstance(again, Conflict)
                assert (again.found.data == change.data) is not beside


# The end


@pytest.mark.promise("12")
def test_no_late_writer_brings_back_a_session_that_logged_out(mode, memcached, its, plain):
    for _ in range(5):
        record = create(plain)
        writes = [update(record, set={f"late {number}": b"1"}) for number in range(11)]
        changes = [*writes[:5], destroy(record), *writes[5:]]
        results = all_at_once(mode, memcached.address, its, changes, stores=4)
        assert all(isinstance(result, Done) or result is Refused.GONE for result in results)
        assert isinstance(state(plain, record), Tombstone)
        assert applied(plain, update(record, set={"later": b"1"})) is Refused.GONE


@pytest.mark.promise("13")
def test_no_late_writer_with_the_old_secret_gets_into_a_sign_in(mode, memcached, its, plain):
    fresh = bytes([1]) * 32
    for _ in range(5):
        record = create(plain)
        old = record.secret_hash
        writes = [update(record, secret_hash=old, set={f"late {number}": b"1"}) for number in range(11)]
        sign_in = update(record, secret_hash=old, sign_in=SignIn("ada"), rotate=Rotation(fresh), clear=True)
        results = all_at_once(mode, memcached.address, its, [*writes[:5], sign_in, *writes[5:]], stores=4)
        assert isinstance(results[5], Done)
        assert all(isinstance(result, Done) or result is Refused.CHANGED for result in results)
        lies = state(plain, record)
        assert isinstance(lies, Record)
        assert (lies.secret_hash, dict(lies.fields)) == (fresh, {})


@pytest.mark.promise("15")
def test_of_many_that_create_under_one_key_one_does(mode, memcached, its, plain):
    record = a_record()
    others = [a_record(key=record.key, fields={"own": b"%d" % number}) for number in range(12)]
    results = all_at_once(mode, memcached.address, its, list(map(Create, others)), stores=4)
    (first,) = [number for number, result in enumerate(results) if isinstance(result, Done)]
    assert state(plain, record) == others[first]
    assert results.count(Refused.EXISTS) == 11


def test_a_batch_of_many_is_applied_each_by_itself(mode, memcached, its, plain):
    records = [create(plain) for _ in range(40)]
    with opened(mode, memcached.address, prefix=its) as store:
        changes = [update(record, set={"a": b"1"}) for record in records]
        changes[7:9] = [destroy(records[7]), update(a_record(), set={"a": b"1"})]
        results = Engine(store).apply(changes, now())
        assert results[8] is Refused.GONE
        assert all(isinstance(result, Done) for number, result in enumerate(results) if number != 8)
        lies = store.load([record.key for record in records], now(), soon())
        assert all(lies)
    assert answer_to(plain, new()) is None
