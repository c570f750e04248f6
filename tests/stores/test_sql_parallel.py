"""Many at once on the SQL store: threads, tasks and processes. Nobody's change is lost, and everybody is answered."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.sql_bench import NOW, a_record, create, destroy, fields, load, update
from coatcheck.model.record import APPLIED, Applied, Create, Refused, Rotation, SignIn, Tombstone
from coatcheck.stores._sql_wire import Wire
from coatcheck.stores.coalesce import Coalesced
from tests.stores.sql_servers import (
    SERVERS,
    a_place,
    databases_that_end,  # noqa: F401 - a fixture
)

pytestmark = pytest.mark.servers
DEADLINE = 2  # seconds, the store's own
SLACK = 10  # more than that, where the machine is busy


@pytest.fixture(params=SERVERS)
def place(request):
    made = a_place(request.param)
    yield made
    made.leave()


@pytest.fixture
def store(place):
    with closing(place.store()) as store:
        yield store


def in_threads(store, changes):
    """The answers, and how long the slowest took."""
    with ThreadPoolExecutor(len(changes)) as threads:
        barrier = threading.Barrier(len(changes))

        def apply(change):
            barrier.wait()
            began = time.monotonic()
            return store.apply([change])[0], time.monotonic() - began

        done = list(threads.map(apply, changes))
    return [answer for answer, _ in done], max(took for _, took in done)


def in_a_loop(place, changes):
    async def scenario():
        store = Coalesced(place.async_store())

        async def apply(change):
            began = time.monotonic()
            return (await store.apply([change]))[0], time.monotonic() - began

        done = await asyncio.gather(*(apply(change) for change in changes))
        await store.close()
        return [answer for answer, _ in done], max(took for _, took in done)

    return asyncio.run(scenario())


@pytest.mark.promise("6")
@pytest.mark.parametrize("colour", ["threads", "async"])
@pytest.mark.parametrize("same", [False, True], ids=["own_fields", "one_field"])
def test_a_hundred_at_once_are_all_answered_and_all_there(place, store, colour, same):
    record = create(store, fields={})
    names = ["field" if same else f"field {number}" for number in range(100)]
    changes = [update(record, set={name: b"%d" % number}) for number, name in enumerate(names)]
    answers, slowest = in_threads(store, changes) if colour == "threads" else in_a_loop(place, changes)
    assert answers == [APPLIED] * 100
    assert slowest < DEADLINE + SLACK
    found = fields(store, record)
    assert set(found) == set(names)
    if not same:
        assert found == {name: b"%d" % number for number, name in enumerate(names)}


CHILD = """
import sys
from coatcheck.stores.sql import SQLStore
from coatcheck.model.record import APPLIED
from benchmarks.sql_bench import a_record, update

url, prefix, key, start = sys.argv[1:]
store = SQLStore(url, prefix=prefix)
store.ping()
print("ready", flush=True)
sys.stdin.readline()
record = a_record(key=bytes.fromhex(key))
for number in range(int(start), int(start) + 50):
    assert store.apply([update(record, set={f"field {number}": b"1"})]) == [APPLIED]
store.close()
"""


@pytest.mark.promise("6")
def test_two_processes_that_change_their_own_fields_lose_nothing(place, store):
    record = create(store, fields={})
    root = Path(__file__).parents[2]
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                CHILD,
                place.url,
                place.prefix,
                record.key.hex(),
                str(start),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for start in (0, 50)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        with child:
            child.communicate(timeout=60)
        assert child.returncode == 0
    assert fields(store, record) == {f"field {number}": b"1" for number in range(100)}


@pytest.mark.promise("11")
def test_what_many_take_at_once_one_gets(place, store):
    for _ in range(5):
        record = create(store, fields={"flash": b"hello"})
        answers, _ = in_threads(store, [update(record, take=("flash",))] * 12)
        assert sorted(len(answer.taken) for answer in answers) == [0] * 11 + [1]
        record = create(store, fields={"flash": b"hello"})
        answers, _ = in_a_loop(place, [update(record, take=("flash",))] * 12)
        assert sorted(len(answer.taken) for answer in answers) == [0] * 11 + [1]


@pytest.mark.promise("7", "12")
@pytest.mark.parametrize("ending", ["logout", "revoke", "sign_in"])
def test_who_writes_late_neither_revives_nor_undoes(place, store, ending):
    """Each store remembers the record as it was, and writes after another has ended it."""
    with closing(place.store()) as late:
        record = create(store, user="ada", signed_in=NOW)
        load(late, record)
        end = {
            "logout": destroy(record),
            "revoke": destroy(record, user="ada", signed_in=NOW),
            "sign_in": update(record, sign_in=SignIn("grace"), rotate=Rotation(bytes([1]) * 32), clear=True),
        }[ending]
        assert store.apply([end]) == [APPLIED]
        before = place.execute(f"SELECT data, version FROM {place.sessions}")
        (answer,) = late.apply([update(record, secret=bytes(32), set={"late": b"yes"})])
        assert answer is (Refused.CHANGED if ending == "sign_in" else Refused.GONE)
        assert place.execute(f"SELECT data, version FROM {place.sessions}") == before
        assert isinstance(load(store, record), Tombstone) is (ending != "sign_in")


@pytest.mark.promise("12")
def test_writers_and_one_who_logs_out_end_with_it_ended(place, store):
    for _ in range(5):
        record = create(store)
        changes = [update(record, set={f"f{number}": b"1"}) for number in range(15)]
        answers, _ = in_threads(store, [*changes, destroy(record), *changes])
        assert answers[15] == APPLIED
        assert set(map(type, answers)) <= {Applied, Refused}
        assert isinstance(load(store, record), Tombstone)
        assert store.apply(changes[:1]) == [Refused.GONE]


@pytest.mark.promise("12")
def test_a_record_that_is_made_again_is_not_taken_for_the_old_one(place, store):
    with closing(place.store()) as other:
        record = create(store, fields={"old": b"1"})
        load(store, record)
        place.execute(f"DELETE FROM {place.sessions}")
        create(other, a_record(key=record.key, fields={"new": b"1"}))
        assert store.apply([update(record, set={"a": b"1"})]) == [APPLIED]
        assert fields(store, record) == {"new": b"1", "a": b"1"}


# Tasks that are cancelled, loops and forks


@pytest.mark.promise("F-05")
def test_a_call_that_is_cancelled_leaves_no_connection_half_read(place, monkeypatch):
    asked, send = [], Wire._send
    monkeypatch.setattr(Wire, "_send", lambda wire, *said: (asked.append(said), send(wire, *said)))
    thrown, throw_away = [], Wire.throw_away
    monkeypatch.setattr(Wire, "throw_away", lambda wire: (thrown.append(wire), throw_away(wire)))

    async def scenario():
        store = place.async_store()
        records = [a_record() for _ in range(20)]
        await store.apply([Create(record) for record in records])
        tables_lock = place.server.connect()
        cursor = tables_lock.cursor()
        lock = "LOCK TABLES {} WRITE" if place.kind == "mysql" else "BEGIN; LOCK TABLE {}"
        for _ in range(3):
            asked.clear()
            cursor.execute(lock.format(place.sessions))
            tasks = [asyncio.create_task(store.load([record.key], NOW)) for record in records[:5]]
            while len(asked) < 5:  # noqa: ASYNC110 - what tells of it is no event
                await asyncio.sleep(0.001)
            asked.clear()
            for task in tasks:
                task.cancel()
            assert all(
                isinstance(error, asyncio.CancelledError)
                for error in await asyncio.gather(*tasks, return_exceptions=True)
            )
            cursor.execute("UNLOCK TABLES" if place.kind == "mysql" else "COMMIT")
            found = await asyncio.gather(*(store.load([record.key], NOW) for record in records))
            assert [one for (one,) in found] == records
        assert len(thrown) == 3 * 5
        tables_lock.close()
        await store.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-18", "24")
def test_each_loop_has_connections_of_its_own(place, store):
    record = create(store)
    several = place.async_store()
    barrier = threading.Barrier(2)

    def in_a_loop_of_its_own():
        async def scenario():
            for _ in range(20):
                assert await several.load([record.key], NOW) == [record]
            barrier.wait(20)
            await several.close()

        asyncio.run(scenario())

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(in_a_loop_of_its_own) for _ in range(2)]:
            done.result(60)


FORKS = """
import os, sys
from coatcheck.stores.sql import SQLStore
from coatcheck.model.record import APPLIED, Create
from benchmarks.sql_bench import NOW, a_record

url, prefix = sys.argv[1:]
store = SQLStore(url, prefix=prefix)
records = [a_record(fields={"own": b"%d" % number}) for number in range(5)]
for record in records:
    assert store.apply([Create(record)]) == [APPLIED]
children = []
for number in range(4):
    child = os.fork()
    if not child:
        try:
            for _ in range(200):
                assert store.load([records[number].key], NOW) == [records[number]]
            store.close()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children.append(child)
for _ in range(200):
    assert store.load([records[4].key], NOW) == [records[4]]
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert store.load([records[4].key], NOW) == [records[4]]
store.close()
"""


@pytest.mark.promise("F-18", "24")
def test_a_store_that_was_used_before_a_fork_works_on_both_sides(place):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, place.url, place.prefix],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
