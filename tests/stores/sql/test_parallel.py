"""Many at once on the SQL store: threads, tasks and processes. Every change stands, and every caller is answered."""

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

from coatcheck import AsyncSessions, Sessions
from coatcheck.core.calls import Done
from coatcheck.model.record import Refused, Rotation, SignIn, Tombstone
from coatcheck.stores.sql.connection import Connection
from tests.awake import awake
from tests.stores.engine import AsyncEngine, Engine
from tests.stores.sql.scene import (
    NOW,
    SLACK,
    a_record,
    append,
    create,
    destroy,
    done,
    fields,
    found,
    new,
    put,
    soon,
    update,
    words,
)
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers
PATIENCE = 60  # seconds
ROOT = Path(__file__).parents[3]


def in_threads(engine, changes):
    """The results, and how long the slowest took."""
    with ThreadPoolExecutor(len(changes)) as threads:
        barrier = threading.Barrier(len(changes))

        def apply(change):
            barrier.wait()
            began = time.monotonic()
            return engine.apply([change], NOW)[0], time.monotonic() - began

        results = list(threads.map(apply, changes))
    return [result for result, _ in results], max(took for _, took in results)


def in_a_loop(place, changes):
    async def scenario():
        store = place.async_store()
        engine = AsyncEngine(store, patience=PATIENCE)

        async def apply(change):
            began = time.monotonic()
            return (await engine.apply([change], NOW))[0], time.monotonic() - began

        results = await asyncio.gather(*(apply(change) for change in changes))
        await store.close()
        return [result for result, _ in results], max(took for _, took in results)

    return asyncio.run(scenario())


@pytest.mark.promise("6")
@pytest.mark.parametrize("kind", ["threads", "async"])
@pytest.mark.parametrize("same", [False, True], ids=["own_fields", "one_field"])
def test_twenty_at_once_are_all_answered_and_all_there(place, store, kind, same):
    """Without the turns that the managers take: each conflict is another's success."""
    engine = Engine(store, patience=PATIENCE)
    record = create(engine, fields={})
    names = ["field" if same else f"field {number}" for number in range(20)]
    changes = [update(record, set={name: b"%d" % number}) for number, name in enumerate(names)]
    results, slowest = in_threads(engine, changes) if kind == "threads" else in_a_loop(place, changes)
    done(results)
    assert slowest < PATIENCE + SLACK
    there = fields(engine, record)
    assert set(there) == set(names)
    if not same:
        assert there == {name: b"%d" % number for number, name in enumerate(names)}


@pytest.mark.promise("6", "M")
@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_hundred_requests_that_append_to_one_list_leave_all_hundred(place, kind):
    options = {"secret": SECRET, "prefix": place.prefix}
    with Sessions.from_url(place.url, **options) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["basket"] = []

        def request(number):
            with Visitor(sessions, visitor.cookie).request() as session:
                session["basket"].append(number)

        if kind == "threads":
            with ThreadPoolExecutor(16) as threads:
                list(threads.map(request, range(100)))
        else:
            asyncio.run(append_in_tasks(place.url, options, visitor.cookie))
        with visitor.request() as session:
            assert sorted(session["basket"]) == list(range(100))


async def append_in_tasks(url, options, cookie):
    async with AsyncSessions.from_url(url, **options) as sessions:

        async def request(number):
            session = sessions.open(cookie.encode())
            await sessions.load(session)
            session["basket"].append(number)
            await sessions.close(session)

        await asyncio.gather(*(request(number) for number in range(100)))


CHILD = """
import sys
from coatcheck import Sessions
from tests.visitor import SECRET, Visitor

url, prefix, cookie, start = sys.argv[1:]
with Sessions.from_url(url, secret=SECRET, prefix=prefix) as sessions:
    sessions.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(start), int(start) + 50):
        with Visitor(sessions, cookie).request() as session:
            session["basket"].append(number)
            session[f"field {number}"] = number
"""


@pytest.mark.promise("6", "M")
def test_two_processes_that_append_to_one_list_and_set_their_own_fields_lose_nothing(place):
    with Sessions.from_url(place.url, secret=SECRET, prefix=place.prefix) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["basket"] = []
        children = [
            subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", "-c", CHILD),
                    *(place.url, place.prefix, visitor.cookie, str(start)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
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
        there = visitor.read()
    assert sorted(there.pop("basket")) == list(range(100))
    assert there == {f"field {number}": number for number in range(100)}


@pytest.mark.promise("11")
def test_what_many_take_at_once_one_gets(place, store):
    engine = Engine(store, patience=PATIENCE)
    for run in (lambda changes: in_threads(engine, changes), lambda changes: in_a_loop(place, changes)):
        record = create(engine, fields={"flash": b"hello"})
        results, _ = run([update(record, take=("flash",))] * 12)
        assert sorted(len(answer.taken) for answer in done(results)) == [0] * 11 + [1]


@pytest.mark.promise("7", "12")
@pytest.mark.parametrize("ending", ["logout", "revoke", "sign_in"])
def test_a_late_write_neither_revives_nor_undoes(place, store, ending):
    """It knows the record as it was, and comes after another has ended it."""
    with closing(place.store()) as another:
        engine, late = Engine(store), Engine(another)
        record = create(engine, user="ada", signed_in=NOW)
        known = late.load(record.key, NOW)
        end = {
            "logout": destroy(record),
            "revoke": destroy(record),
            "sign_in": update(record, sign_in=SignIn("grace"), rotate=Rotation(bytes([1]) * 32), clear=True),
        }[ending]
        done(engine.apply([end], NOW))
        before = place.execute(f"SELECT data, revision FROM {place.sessions}")
        (result,) = late.apply([update(record, secret_hash=bytes(32), set={"late": b"yes"})], NOW, [known])
        assert result is (Refused.CHANGED if ending == "sign_in" else Refused.GONE)
        assert place.execute(f"SELECT data, revision FROM {place.sessions}") == before
        assert isinstance(engine.load(record.key, NOW).state, Tombstone) is (ending != "sign_in")


@pytest.mark.promise("12")
def test_writers_and_one_that_logs_out_leave_it_ended(place, store):
    engine = Engine(store, patience=PATIENCE)
    for _ in range(3):
        record = create(engine)
        changes = [update(record, set={f"f{number}": b"1"}) for number in range(8)]
        results, _ = in_threads(engine, [*changes, destroy(record), *changes])
        assert isinstance(results[8], Done)
        assert {type(result) for result in results} <= {Done, Refused}
        assert isinstance(engine.load(record.key, NOW).state, Tombstone)
        assert engine.apply(changes[:1], NOW) == [Refused.GONE]


@pytest.mark.promise("12")
def test_a_record_that_is_made_again_is_not_taken_for_the_old_one(place, store):
    engine = Engine(store)
    record = create(engine, fields={"old": b"1"})
    known = engine.load(record.key, NOW)
    place.execute(f"DELETE FROM {place.sessions}")
    with closing(place.store()) as another:
        create(Engine(another), a_record(key=record.key, fields={"new": b"1"}))
    done(engine.apply([update(record, set={"a": b"1"})], NOW, [known]))
    assert fields(engine, record) == {"new": b"1", "a": b"1"}


def test_many_threads_on_one_key_conflict_and_lose_nothing(store):
    write = put(store, new(b""))
    barrier = threading.Barrier(8)

    def add(number):
        barrier.wait()
        return sum(append(store, write.key, b"%d.%d" % (number, time_)) for time_ in range(5))

    with ThreadPoolExecutor(8) as threads:
        conflicts = sum(threads.map(add, range(8)))
    assert conflicts > 0
    assert len(set(words(store, write.key))) == 40


# Tasks that are cancelled, loops and forks


@pytest.mark.promise("F-05")
def test_a_call_that_is_cancelled_leaves_no_connection_half_read(place, monkeypatch):
    asked, send = [], Connection._send
    monkeypatch.setattr(
        Connection, "_send", lambda one, *said, **how: (asked.append(said), send(one, *said, **how))[1]
    )
    thrown, throw_away = [], Connection.throw_away
    monkeypatch.setattr(Connection, "throw_away", lambda one: (thrown.append(one), throw_away(one)))

    async def scenario():
        store = place.async_store()
        writes = [new() for _ in range(20)]
        assert await store.write(writes, NOW, soon()) == [None] * 20
        tables_lock = place.server.connect()
        cursor = tables_lock.cursor()
        lock = "LOCK TABLES {} WRITE" if place.kind == "mysql" else "BEGIN; LOCK TABLE {}"
        for _ in range(3):
            asked.clear()
            cursor.execute(lock.format(place.sessions))
            tasks = [asyncio.create_task(store.load([write.key], NOW, soon())) for write in writes[:5]]
            while len(asked) < 5:  # noqa: ASYNC110 - what tells of it is no event
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            began = awake()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(error, asyncio.CancelledError) for error in errors)
            assert awake() - began < 5  # nothing waits for the server
            cursor.execute("UNLOCK TABLES" if place.kind == "mysql" else "COMMIT")
            answers = await asyncio.gather(*(store.load([write.key], NOW, soon()) for write in writes))
            assert answers == [[found(write)] for write in writes]
        assert len(thrown) == 3 * 5
        tables_lock.close()
        await store.close()

    asyncio.run(scenario())


def test_each_loop_has_connections_of_its_own(place, store):
    write = put(store, new())
    several = place.async_store()
    barrier = threading.Barrier(2)

    def in_a_loop_of_its_own():
        async def scenario():
            for _ in range(20):
                assert await several.load([write.key], NOW, soon()) == [found(write)]
            barrier.wait(60)
            await several.close()

        asyncio.run(scenario())

    with ThreadPoolExecutor(2) as threads:
        for done_ in [threads.submit(in_a_loop_of_its_own) for _ in range(2)]:
            done_.result(60)


FORKS = """
import os, sys
from coatcheck.stores.sql import SQLStore
from tests.stores.sql.scene import NOW, found, new, put, soon

url, prefix = sys.argv[1:]
store = SQLStore(url, prefix=prefix)
writes = [put(store, new(b"%d" % number)) for number in range(5)]

def read(number, times):
    for _ in range(times):
        assert store.load([writes[number].key], NOW, soon()) == [found(writes[number])]

children = []
for number in range(4):
    child = os.fork()
    if not child:
        try:
            read(number, 200)
            store.close()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children.append(child)
read(4, 200)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
read(4, 1)
store.close()
"""


@pytest.mark.promise("F-18")
def test_a_store_that_was_used_before_a_fork_works_on_both_sides(place):
    done_ = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, place.url, place.prefix],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        check=False,
        timeout=120,
    )
    assert (done_.returncode, done_.stderr) == (0, "")


def test_no_thread_of_a_fork_takes_a_connection_before_those_of_its_parent_are_left(place, monkeypatch):
    write = new()
    with closing(place.store()) as store:
        put(store, write)
        database = store._database
        monkeypatch.setattr(database, "_pid", 0)  # as after a fork
        leave, answered = database.engine.dispose, threading.Event()

        def meanwhile(**how):
            another.start()
            assert not answered.wait(0.2)
            leave(**how)

        def ask():
            store.load([write.key], NOW, soon())
            answered.set()

        another = threading.Thread(target=ask)
        monkeypatch.setattr(database.engine, "dispose", meanwhile)
        assert store.load([write.key], NOW, soon()) == [found(write)]
        monkeypatch.undo()
        another.join(60)
        assert answered.is_set()
        (left,) = database._inherited
        left.dispose()
