"""Many at once on one session in Memcached: threads, tasks, processes. Nothing is lost, nothing comes back."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.memcached_bench import (
    DAY,
    WAITING,
    a_record,
    apply,
    create,
    destroy,
    load,
    now,
    opened,
    signed_in,
    update,
)
from coatcheck.errors import StoreTimeout
from coatcheck.model.ports import Life
from coatcheck.model.record import APPLIED, Create, Record, Refused, Rotation, SignIn, Tombstone
from coatcheck.stores._memcached_flows import Pause
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memcached_async import AsyncMemcachedStore
from coatcheck.testing.contract.harness import contention
from tests import loops
from tests.servers.memcached import memcached, prefix  # noqa: F401 - a fixture
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers
CHILDREN = Path(__file__).with_name("memcached_children.py")
ROOT = Path(__file__).parents[2]
DEADLINE = timedelta(seconds=5)


@pytest.fixture(params=["sync", "async"])
def colour(request):
    return request.param


@pytest.fixture
def its():
    return prefix()


@pytest.fixture
def proxy(memcached):  # noqa: F811
    with Proxy(memcached.port) as proxy:
        yield proxy


@pytest.fixture
def plain(memcached, its):  # noqa: F811
    """A store to prepare and to look with."""
    with opened("sync", memcached.address, prefix=its) as store:
        yield store


def all_at_once(colour, address, prefix, changes, *, stores=1, **options):
    """What the store answers to changes that come at the same time, from threads or from tasks.

    With several `stores`, each has a part of the changes, as processes have.
    """
    options = {"prefix": prefix, **WAITING, **options}
    if colour == "sync":
        many = [MemcachedStore(address, **options) for _ in range(stores)]
        begin = threading.Barrier(len(changes))

        def send(number, change):
            begin.wait(30)
            return apply(many[number % stores], change)

        with contention(), ThreadPoolExecutor(len(changes)) as pool:
            answers = list(pool.map(send, range(len(changes)), changes))
        for store in many:
            store.close()
        return answers

    async def play():
        many = [AsyncMemcachedStore(address, **options) for _ in range(stores)]
        answers = await asyncio.gather(
            *(many[number % stores].apply([change]) for number, change in enumerate(changes))
        )
        for store in many:
            await store.close()
        return [answer for (answer,) in answers]

    return loops.run(play())


# Writers


@pytest.mark.promise("6")
@pytest.mark.parametrize("stores", [1, 4])
def test_a_hundred_requests_that_change_a_field_each_lose_nothing(colour, memcached, its, plain, stores):  # noqa: F811
    record = create(plain)
    changes = [update(record, set={f"field {number}": b"1"}) for number in range(100)]
    answers = all_at_once(colour, memcached.address, its, changes, stores=stores)
    assert answers == [APPLIED] * 100
    assert len(load(plain, record).fields) == 101


@pytest.mark.promise("6")
def test_a_hundred_writers_of_one_field_are_all_answered_within_the_deadline(
    colour,
    memcached,  # noqa: F811
    its,
    plain,
):
    record = create(plain)
    changes = [update(record, set={"cart": b"%d" % number}) for number in range(100)]
    answers = all_at_once(colour, memcached.address, its, changes, deadline=DEADLINE)
    assert answers == [APPLIED] * 100
    assert load(plain, record).fields["cart"] in {b"%d" % number for number in range(100)}


@pytest.mark.promise("6")
def test_those_of_one_process_take_turns_so_that_none_has_to_try_again(colour, proxy, its, plain):
    record = create(plain)
    changes = [update(record, set={f"field {number}": b"1"}) for number in range(20)]
    with proxy.recording() as transcript:
        answers = all_at_once(colour, f"127.0.0.1:{proxy.port}", its, changes)
    assert answers == [APPLIED] * 20
    sent = b"".join(data for way, data in transcript if way == "sent")
    assert sent.count(b"cas ") == 20


@pytest.mark.promise("6")
def test_two_processes_lose_nothing(memcached, its, plain):  # noqa: F811
    record = create(plain)
    names = [[f"{child} {number}" for number in range(50)] for child in range(2)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILDREN), memcached.address, its, record.key.hex(), *mine],
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
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
    assert len(load(plain, record).fields) == 101


@pytest.mark.promise("20")
def test_who_never_gets_to_it_is_told_in_time(memcached, its, plain):  # noqa: F811
    """Somebody else is first each time: as when many processes write."""
    record = create(plain)
    with opened("sync", memcached.address, prefix=its, deadline=timedelta(milliseconds=300)) as store:
        put = store._nodes[0].put

        def late(wish, until):
            other = update(record, set={"other": b"1"})
            assert apply(plain, other) == APPLIED
            return put(wish, until)

        store._nodes[0].put = late
        began = time.monotonic()
        with pytest.raises(StoreTimeout):
            apply(store, update(record, set={"mine": b"1"}))
        assert time.monotonic() - began < 10
    assert "mine" not in load(plain, record).fields


@pytest.mark.promise("20")
def test_who_would_have_to_wait_beyond_the_deadline_is_told_that_nothing_was_done(memcached):  # noqa: F811
    with opened("sync", memcached.address) as store:
        with pytest.raises(StoreTimeout, match="others were first 3 times") as caught:
            store._do(Pause(3), time.monotonic() - 1)
        assert not caught.value.ambiguous
        name = b"a record"
        with (
            store._nodes[0].turn(name, time.monotonic() + 10),
            pytest.raises(StoreTimeout) as caught,
            store._nodes[0].turn(name, time.monotonic() + 0.01),
        ):
            pass
        assert not caught.value.ambiguous


@pytest.mark.promise("20")
def test_of_tasks_who_wait_for_their_turn_those_who_are_too_late_are_told_so(proxy, its):
    async def play():
        store = AsyncMemcachedStore(
            f"127.0.0.1:{proxy.port}", prefix=its, deadline=timedelta(milliseconds=300)
        )
        record, desk = a_record(), store._desk()
        proxy.silent = True
        changes = [update(record, set={"a": b"%d" % number}) for number in range(5)]
        answers = await asyncio.gather(*(store.apply([change]) for change in changes), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreTimeout] * 5
        proxy.silent = False
        await store.close()
        assert desk._turns == {}

    loops.run(play())


@pytest.mark.promise("11")
def test_a_field_that_twenty_take_at_once_one_gets(colour, memcached, its, plain):  # noqa: F811
    for _ in range(5):
        record = create(plain)
        answers = all_at_once(
            colour, memcached.address, its, [update(record, take=("cart",)) for _ in range(20)], stores=4
        )
        assert sorted(dict(answer.taken) == {"cart": b"apples"} for answer in answers) == [False] * 19 + [
            True
        ]


# The end


@pytest.mark.promise("12")
def test_no_late_writer_brings_back_a_session_that_logged_out(colour, memcached, its, plain):  # noqa: F811
    for _ in range(5):
        record = create(plain)
        writes = [update(record, set={f"late {number}": b"1"}) for number in range(15)]
        answers = all_at_once(
            colour, memcached.address, its, [*writes[:7], destroy(record), *writes[7:]], stores=4
        )
        assert all(answer in (APPLIED, Refused.GONE) for answer in answers)
        assert isinstance(load(plain, record), Tombstone)
        assert apply(plain, update(record, set={"later": b"1"})) is Refused.GONE


@pytest.mark.promise("13")
def test_no_late_writer_with_the_old_secret_gets_into_a_sign_in(colour, memcached, its, plain):  # noqa: F811
    new = bytes([1]) * 32
    for _ in range(5):
        record = create(plain)
        writes = [update(record, secret=record.secret, set={f"late {number}": b"1"}) for number in range(15)]
        sign_in = update(
            record, secret=record.secret, sign_in=SignIn("ada"), rotate=Rotation(new), clear=True
        )
        answers = all_at_once(colour, memcached.address, its, [*writes[:7], sign_in, *writes[7:]], stores=4)
        assert answers[7] == APPLIED
        assert all(answer in (APPLIED, Refused.GONE, Refused.CHANGED) for answer in answers)
        plain.enroll("ada", Life(record.key, sign_in.at), now() + 90 * DAY)
        found = load(plain, record)
        assert isinstance(found, Record)
        assert (found.secret, dict(found.fields)) == (new, {})


@pytest.mark.promise("12")
def test_no_late_writer_brings_back_a_session_that_was_revoked(memcached, its, plain):  # noqa: F811
    for _ in range(5):
        record = create(plain, signed_in("ada"))
        stop = threading.Event()

        def write(record=record, stop=stop):
            with opened("sync", memcached.address, prefix=its) as store:
                while not stop.is_set():
                    answer = apply(store, update(record, set={"late": b"1"}))
                    if answer is Refused.GONE:
                        return True
            return False

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(write) for _ in range(4)]
            plain.revoke_all("ada", now(), now() + 90 * DAY, None)
            assert not isinstance(load(plain, record), Record)
            try:
                assert all(writer.result(30) for writer in writing)
            finally:
                stop.set()
        assert not isinstance(load(plain, record), Record)


@pytest.mark.promise("12")
def test_a_revoked_session_is_not_signed_in_again_by_a_request_under_way(colour, memcached, its, plain):  # noqa: F811
    record = create(plain, signed_in("ada"))
    plain.revoke_all("ada", now(), now() + 90 * DAY, None)
    changes = [update(record, sign_in=SignIn("ada"), rotate=Rotation(bytes(32))) for _ in range(5)]
    assert all_at_once(colour, memcached.address, its, changes) == [Refused.GONE] * 5
    assert not isinstance(load(plain, record), Record)


@pytest.mark.promise("17")
def test_sign_ins_of_one_user_at_once_all_stand(colour, memcached, its, plain):  # noqa: F811
    at = now()
    records = [signed_in("ada", signed_in=at + number % 3) for number in range(30)]
    assert all_at_once(colour, memcached.address, its, list(map(Create, records))) == [APPLIED] * 30
    lives = [Life(record.key, record.signed_in) for record in records]
    if colour == "sync":
        with contention(), ThreadPoolExecutor(15) as pool:
            list(pool.map(lambda life: plain.enroll("ada", life, at + 90 * DAY), lives))
    else:

        async def enroll_all():
            store = AsyncMemcachedStore(memcached.address, prefix=its, **WAITING)
            await asyncio.gather(*(store.enroll("ada", life, at + 90 * DAY) for life in lives))
            await store.close()

        loops.run(enroll_all())
    found = plain.load([record.key for record in records], now())
    assert all(isinstance(state, Record) for state in found)
