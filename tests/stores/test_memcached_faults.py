"""What the Memcached stores do when servers are down, silent, full, restarted or cut off."""

import asyncio
import itertools
import os
import random
import select
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from msgspec.structs import replace
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from benchmarks.memcached_bench import (
    DAY,
    WAITING,
    a_record,
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
from coatcheck.errors import (
    ConfigurationError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    TooLarge,
)
from coatcheck.model.ports import Life, Unreadable
from coatcheck.model.record import APPLIED, Create, Record, Refused, Tombstone, encode
from coatcheck.stores._memcached_flows import Put
from coatcheck.stores._memcached_items import Items
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memcached_async import AsyncMemcachedStore
from tests import loops
from tests.servers.memcached import a_memcached, memcached, prefix  # noqa: F401 - fixtures
from tests.servers.process import HOST, Server, free_port, until
from tests.servers.proxy import Proxy
from tests.visitor import Visitor

pytestmark = pytest.mark.servers
SHORT = timedelta(milliseconds=300)


@pytest.fixture(params=["sync", "async"])
def colour(request):
    return request.param


@pytest.fixture
def proxy(memcached):  # noqa: F811
    with Proxy(memcached.port) as proxy:
        yield proxy


def at(proxy):
    return f"{HOST}:{proxy.port}"


# Not there


@pytest.mark.promise("F-01", "20")
def test_a_server_that_is_not_there_is_unavailable_at_once_and_the_breaker_opens(colour):
    with opened(colour, f"{HOST}:{free_port()}") as store:
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="can't be reached"):
                load(store, signed_in("ada"))
        with pytest.raises(StoreUnavailable, match="left alone"):
            load(store, signed_in("ada"))


@pytest.mark.promise("F-01", "20")
def test_it_is_used_again_when_it_is_back(colour, proxy):
    with opened(colour, at(proxy), prefix=prefix()) as store:
        record = create(store)
        proxy.down()
        for _ in range(6):
            with pytest.raises(StoreUnavailable):
                load(store, record)
        proxy.up()
        until(lambda: load(store, record) == record, "the store is used again")


@pytest.mark.promise("F-01", "20")
def test_a_name_that_nobody_knows_is_a_store_that_can_not_be_reached(colour):
    with opened(colour, "no-such-host.invalid") as store, pytest.raises(StoreUnavailable):
        store.ping()


@pytest.mark.promise("F-01", "20")
def test_a_dead_server_is_unavailable_for_its_keys_and_the_other_goes_on(colour, a_memcached):  # noqa: F811
    servers = [a_memcached(), a_memcached()]
    with opened(colour, [server.address for server in servers]) as store:
        records = [create(store) for _ in range(40)]
        users = {name: create(store, signed_in(name)) for name in map(str, range(60))}
        names = Items("coatcheck:", 1 << 20)
        on_first = [record for record in records if servers[0].read(names.of_record(record.key)) is not None]
        assert 5 < len(on_first) < 35
        servers[0].kill()
        for record in records:
            if record in on_first:
                for work in (
                    lambda record=record: load(store, record),
                    lambda record=record: apply(store, destroy(record)),
                    lambda record=record: apply(store, update(record, set={"late": b"1"})),
                ):
                    with pytest.raises(StoreUnavailable):
                        work()
            else:
                assert load(store, record) == record
        # Nothing has moved: what was on it is nowhere else.
        for record in on_first:
            assert servers[1].read(names.of_record(record.key)) is None
        # A session whose epoch is out of reach is not known to be good, and can be logged out of all the same.
        split = [
            record
            for user, record in users.items()
            if servers[1].read(names.of_record(record.key)) is not None
            and servers[1].read(names.of_user(user)) is None
        ]
        assert split
        for record in split:
            with pytest.raises(StoreUnavailable):
                load(store, record)
            assert apply(store, destroy(record)) == APPLIED
        # It comes back empty: those sessions ended early.
        servers[0].start()
        until(lambda: [load(store, record) for record in on_first] == [None] * len(on_first), "it is back")


@pytest.mark.promise("F-02", "20")
def test_a_server_that_is_down_holds_up_nobody_whose_session_lies_on_another(memcached, proxy):  # noqa: F811
    """In one loop: the batches of each server are its own."""
    its = prefix()
    with opened("sync", [memcached.address, at(proxy)], prefix=its) as store:
        records = [create(store) for _ in range(30)]
        place = {record.key: store._place(Items(its, 1 << 20).of_record(record.key)) for record in records}

    async def read_all():
        store = AsyncMemcachedStore([memcached.address, at(proxy)], prefix=its, **WAITING)
        proxy.silent = True
        healthy = [record for record in records if place[record.key] == 0]
        stuck = [record for record in records if place[record.key] == 1]
        assert healthy
        assert stuck
        waiting = [asyncio.ensure_future(store.load([record.key], now())) for record in stuck]
        for _ in range(3):
            found = await asyncio.gather(*(store.load([record.key], now()) for record in healthy))
            assert found == [[record] for record in healthy]
        assert not any(task.done() for task in waiting)
        proxy.silent = False
        assert await asyncio.gather(*waiting) == [[record] for record in stuck]
        await store.close()

    loops.run(read_all())


# Slow and silent


@pytest.mark.promise("F-02", "20")
def test_a_silent_server_is_a_timeout_and_a_write_may_have_been_done(colour, proxy):
    its = prefix()
    with (
        opened("sync", at(proxy), prefix=its) as patient,
        opened(colour, at(proxy), prefix=its, deadline=SHORT) as store,
    ):
        record = create(patient)
        proxy.silent = True
        began = time.monotonic()
        with pytest.raises(StoreTimeout) as caught:
            load(store, record)
        assert not caught.value.ambiguous
        with pytest.raises(StoreTimeout) as caught:
            apply(store, Create(signed_in("ada")))
        assert caught.value.ambiguous
        assert time.monotonic() - began < 10
        proxy.silent = False
        until(lambda: load(store, record) == record, "it answers again")


@pytest.mark.promise("F-02", "20")
def test_a_server_that_takes_no_connection_is_given_up_after_the_deadline_for_that(colour):
    with socket.create_server((HOST, 0), backlog=0) as full:
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        with opened(
            colour, f"{HOST}:{full.getsockname()[1]}", connect_deadline=timedelta(milliseconds=100)
        ) as store:
            began = time.monotonic()
            with pytest.raises(StoreTimeout) as caught:
                apply(store, Create(signed_in("ada")))
            assert not caught.value.ambiguous  # it was never sent
            assert time.monotonic() - began < 5
        for filler in fillers:
            filler.close()


@pytest.mark.promise("F-02", "20")
def test_an_answer_that_trickles_in_is_over_at_the_deadline(colour):
    """Each piece comes in good time, and the whole never does."""
    stop = threading.Event()

    def trickle(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"VALUE ")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            with opened(colour, f"{HOST}:{listener.getsockname()[1]}", deadline=SHORT) as store:
                began = time.monotonic()
                with pytest.raises(StoreTimeout):
                    load(store, signed_in("ada"))
                assert time.monotonic() - began < 10
        finally:
            stop.set()
            thread.join()


@pytest.mark.promise("F-04")
@pytest.mark.parametrize("size", [0, 1, 40, 200, 1_000])
def test_an_answer_that_is_cut_is_no_session_and_the_next_one_is_right(colour, proxy, size):
    with opened(colour, at(proxy), prefix=prefix()) as store:
        first, second = create(store, fields={"a": bytes(1_500)}), create(store)
        proxy.cut_reply_after(size)
        with pytest.raises(StoreUnavailable):
            load(store, first)
        proxy.heal()
        assert load(store, second) == second
        assert load(store, first) == first


@pytest.mark.promise("F-03", "L")
def test_a_write_whose_reply_is_lost_says_so_and_what_follows_is_right(colour, proxy):
    with opened(colour, at(proxy), prefix=prefix()) as store:
        record = create(store)
        load(store, record)
        proxy.drop_replies()
        with pytest.raises(StoreUnavailable):
            apply(store, Create(signed_in("ada")))
        proxy.heal()
        assert load(store, record) == record
        assert apply(store, update(record, set={"a": b"1"})) == APPLIED


@pytest.mark.promise("F-04")
def test_connections_that_went_stale_are_not_noticed_by_anybody(colour, proxy):
    with opened(colour, at(proxy), prefix=prefix()) as store:
        record = create(store)
        for _ in range(5):
            proxy.reset()
            wait_for_ends(store, colour)
            assert load(store, record) == record


def wait_for_ends(store, colour):
    """Until the connections that are not in use have heard that they were ended."""
    if colour == "async":
        node = store._desks[store.runner.get_loop()].nodes[0]
        until(lambda: store.runner.run(asyncio.sleep(0)) or not any(c.is_idle for c in node._free), "ended")
    else:
        free = store._nodes[0]._own.free
        until(lambda: all(select.select([client.sock], [], [], 0)[0] for client in free), "ended")


# One visitor never gets what belongs to another


@pytest.mark.promise("F-05")
def test_callers_that_are_cancelled_leave_no_answer_behind_for_others(proxy):
    """As with CVE-2023-28858: every caller gives up at another moment, and nobody is given a foreign record."""
    turns = random.Random(7)

    async def play():
        store = AsyncMemcachedStore(at(proxy), prefix=prefix(), **WAITING)
        records = [signed_in("ada", fields={"own": bytes([number])}) for number in range(8)]
        for record in records:
            assert await store.apply([Create(record)]) == [APPLIED]
            await store.enroll("ada", Life(record.key, record.signed_in), record.signed_in + DAY)
        proxy.latency = 0.002
        right = 0
        for _ in range(120):
            victims = [
                asyncio.ensure_future(
                    store.load([record.key], now())
                    if turns.random() < 0.6
                    else store.apply([update(record, set={"b": b"1"})])
                )
                for record in turns.choices(records, k=3)
            ]
            await asyncio.sleep(turns.uniform(0, 0.012))
            for victim in victims:
                victim.cancel()
            wanted = turns.choice(records)
            (found,) = await store.load([wanted.key], now())
            assert isinstance(found, Record)
            assert (found.key, found.fields["own"]) == (wanted.key, wanted.fields["own"])
            right += 1
            await asyncio.gather(*victims, return_exceptions=True)
        await store.close()
        return right

    assert loops.run(play()) == 120


@pytest.mark.promise("F-05")
def test_a_write_whose_caller_is_cancelled_is_done_all_the_same(proxy):
    its = prefix()

    async def play():
        store = AsyncMemcachedStore(at(proxy), prefix=its, **WAITING)
        record = a_record()
        await store.apply([Create(record)])
        proxy.latency = 0.02
        writing = asyncio.ensure_future(store.apply([update(record, set={"kept": b"1"})]))
        await asyncio.sleep(0.01)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert writing.cancelled()
        await store.close()  # waits for it
        return record

    record = loops.run(play())
    with opened("sync", at(proxy), prefix=its) as store:
        assert load(store, record).fields["kept"] == b"1"


@pytest.mark.promise("F-04")
def test_a_timeout_in_the_middle_of_an_answer_leaves_nothing_for_the_next(colour, proxy):
    its = prefix()
    with (
        opened("sync", at(proxy), prefix=its) as patient,
        opened(colour, at(proxy), prefix=its, deadline=timedelta(milliseconds=150)) as store,
    ):
        records = [create(patient, fields={"own": bytes([number])}) for number in range(4)]
        for number, record in enumerate(records):
            proxy.latency = 0.4
            with pytest.raises(StoreUnavailable):
                load(store, record)
            proxy.latency = 0
            found = []

            def comes(wanted=records[(number + 1) % 4], found=found):
                found.append(load(store, wanted))
                return True

            until(comes, "it answers again")
            assert found == [records[(number + 1) % 4]]


@pytest.mark.promise("F-04")
def test_a_connection_whose_answer_did_not_come_in_time_is_not_used_again(memcached, proxy):  # noqa: F811
    """Its answer comes when the next one asks, and would be taken for that one's."""
    its = prefix()
    with opened("sync", memcached.address, prefix=its) as patient:
        records = [create(patient) for _ in range(4)]

    async def play():
        store = AsyncMemcachedStore(at(proxy), prefix=its, **WAITING)
        node = store._desk().nodes[0]
        for record, following in itertools.pairwise(records):
            node._deadline, proxy.latency = 0.05, 0.3
            with pytest.raises(StoreTimeout):
                await store.load([record.key], now())
            node._deadline, proxy.latency = 30, 0
            assert await store.load([following.key], now()) == [following]
        await store.close()

    loops.run(play())


@pytest.mark.promise("F-04")
def test_an_answer_to_something_else_is_never_a_session(colour):
    """A server that says what it likes."""

    def serve(listener, answer):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    if connection.recv(65536):
                        connection.sendall(answer)
                        connection.recv(65536)
                except OSError:
                    pass

    for answer in (
        b"VALUE somebody-else 0 1 1\r\nx\r\nEND\r\n",
        b"STORED\r\n",
        b"ERROR\r\n",
        b"\r\n",
        b"VALUE ",
        b"SERVER_ERROR something\r\n",
        b"CLIENT_ERROR line format\r\n",
    ):
        with socket.create_server((HOST, 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener, answer))
            thread.start()
            with (
                opened(colour, f"{HOST}:{listener.getsockname()[1]}", deadline=SHORT) as store,
                pytest.raises(Exception) as caught,
            ):
                load(store, signed_in("ada"))
            assert type(caught.value).__module__.startswith("coatcheck."), caught.value
            assert "somebody" not in "".join(traceback.format_exception(caught.value))
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


# Restarted, full, evicted


@pytest.mark.promise("F-12")
def test_a_restart_under_load_gives_typed_errors_and_never_half_a_session(colour, a_memcached):  # noqa: F811
    server = a_memcached()
    seen, done = [], threading.Event()

    def work(number):
        with opened(colour, server.address, deadline=timedelta(seconds=2)) as store:
            while not done.is_set():
                record = signed_in("ada" if number % 2 else "grace", fields={"a": b"1", "b": b"2"})
                try:
                    create(store, record)
                    apply(store, update(record, set={"a": b"3", "b": b"3"}))
                    found = load(store, record)
                except StoreUnavailable as error:
                    seen.append(error)
                    done.wait(0.01)
                else:
                    if isinstance(found, Record):
                        assert dict(found.fields) in ({"a": b"1", "b": b"2"}, {"a": b"3", "b": b"3"})
                        seen.append(found)

    def has_seen(kind, since):
        return any(isinstance(one, kind) for one in seen[since:])

    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work, number) for number in range(3)]
        try:
            until(lambda: has_seen(Record, 0), "work is done")
            server.kill()
            until(lambda: has_seen(StoreUnavailable, 0), "the error is seen")
            server.start()
            mark = len(seen)
            until(lambda: has_seen(Record, mark), "work is done again")
        finally:
            done.set()
        for worker in working:
            worker.result()


@pytest.mark.promise("F-12")
def test_what_is_evicted_ends_early_and_is_never_half_there(colour, a_memcached):  # noqa: F811
    server = a_memcached("-m", "1", "-I", "512k")
    with opened(colour, server.address) as store:
        created = []
        for number in range(10_000):
            record = a_record(fields={"a": b"x" * 300, "b": b"y"})
            if number % 10:
                assert apply(store, Create(record)) == APPLIED
            else:
                record = create(store, replace(record, user=f"user {number % 500}", signed_in=now() + number))
            created.append(record)
        assert int(server.stats()["evictions"]) > 0
        there = gone = 0
        for start in range(0, len(created), 100):
            batch = created[start : start + 100]
            for record, found in zip(batch, store.load([one.key for one in batch], now()), strict=True):
                if isinstance(found, Record):
                    assert found == record
                    there += 1
                else:
                    assert found is None or isinstance(found, Tombstone)
                    gone += 1
        assert there > 0
        assert gone > 0


@pytest.mark.promise("F-10", "12")
def test_a_full_server_that_does_not_evict_takes_no_new_sessions_and_lets_everybody_out(colour, a_memcached):  # noqa: F811
    server = a_memcached("-m", "1", "-I", "512k", "-M")
    with opened(colour, server.address) as store:
        created = fill(store)
        for record in created[:: max(1, len(created) // 50)]:
            assert apply(store, destroy(record)) == APPLIED
            assert not isinstance(load(store, record), Record)
            assert apply(store, destroy(record)) is Refused.GONE


def fill(store):
    """Create records until there is no room for another."""
    created = []
    try:
        while len(created) < 20_000:
            created.append(create(store, fields={"a": b"x" * 900}))
    except StoreFull as full:
        assert "no room left" in str(full)  # noqa: PT017 - the records before it are wanted
        return created
    raise AssertionError("there is always room")


@pytest.mark.promise("F-10", "12")
def test_where_a_tombstone_finds_no_room_the_record_is_removed(colour, memcached):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        records = [create(store), create(store, signed_in("ada"))]
        if colour == "sync":
            node = store._nodes[0]
        else:
            (desk,) = store._desks.values()
            node = desk.nodes[0]
        put = node.put

        def full(wish, *until):
            if isinstance(wish, Put):
                raise StoreFull("no room left")
            return put(wish, *until)

        node.put = full
        for record in records:
            assert apply(store, destroy(record)) == APPLIED
            assert memcached.read(Items(its, 1 << 20).of_record(record.key)) is None
            assert apply(store, destroy(record)) is Refused.GONE
        store.revoke_all("ada", now(), now() + DAY, None)
        assert memcached.read(Items(its, 1 << 20).of_user("ada")) is None


# Sizes


@pytest.mark.promise("21")
def test_a_record_that_is_too_large_is_refused_before_it_is_sent_and_the_old_one_stays(colour, proxy):
    with opened(colour, at(proxy), prefix=prefix()) as store:
        record = create(store)
        with proxy.counting() as counted, pytest.raises(TooLarge) as caught:
            apply(store, update(record, set={"a": bytes(1 << 20)}))
        assert counted.sent < 1_000
        assert caught.value.limit == 1 << 20
        assert load(store, record) == record


@pytest.mark.promise("21")
def test_a_request_that_makes_its_record_too_large_fails_and_changes_nothing(colour, memcached):  # noqa: F811
    options = {"prefix": prefix()}
    with managed(
        colour, memcached.address, store_options=options, max_bytes=4 << 20, insecure_http=True
    ) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["cart"] = "apples"
        with pytest.raises(TooLarge), visitor.request() as session:
            session["cart"] = "x" * (1 << 20)
        assert visitor.read() == {"cart": "apples"}


@pytest.mark.promise("21")
@pytest.mark.parametrize("missing", [0, 1, 2, 100, 5_000])
def test_every_size_that_is_let_through_the_server_takes(colour, memcached, missing):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        record = create(store, fields={})
        room = (1 << 20) - 256 - len(its) - 32 - len_of(record) - 10
        assert apply(store, update(record, set={"a": bytes(room - missing)})) == APPLIED
        assert len(load(store, record).fields["a"]) == room - missing
        assert apply(store, update(record, set={"a": bytes(10)})) == APPLIED


def len_of(record):
    return len(encode(record))


def test_a_server_with_smaller_items_than_it_was_said_to_have_is_told_of(colour, a_memcached):  # noqa: F811
    server = a_memcached("-I", "16k", "-o", "slab_chunk_max=8192")
    with opened(colour, server.address) as store:
        record = create(store)
        with pytest.raises(TooLarge, match="-I"):
            apply(store, update(record, set={"a": bytes(20_000)}))
        assert load(store, record) == record
        assert apply(store, update(record, set={"a": b"1"})) == APPLIED
        assert apply(store, destroy(record)) == APPLIED
    with (
        opened(colour, server.address, max_item_bytes=16 * 1024) as store,
        pytest.raises(TooLarge, match="largest item is 16384"),
    ):
        create(store, fields={"a": bytes(20_000)})


# Lifetimes, as the server has them


@pytest.mark.promise("16")
@pytest.mark.parametrize("seconds", [30 * 86_400 - 1, 30 * 86_400, 30 * 86_400 + 1, 90 * 86_400, 20])
def test_a_record_of_any_lifetime_is_there_and_has_an_end(colour, memcached, seconds):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        record = create(store, expires=now() + seconds * 1_000)
        assert load(store, record) == record
        name = Items(its, 1 << 20).of_record(record.key)
        answer = memcached.ask(b"mg " + name + b" t\r\n")
        left = int(answer.split(b" t")[1])
        assert seconds - 60 < left <= seconds + 3
        assert left > 0


@pytest.mark.promise("16")
def test_a_record_that_has_expired_when_it_comes_is_not_kept(colour, memcached):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        record = create(store, created=now() - DAY, last_used=now() - DAY, expires=now() - 1)
        assert memcached.read(Items(its, 1 << 20).of_record(record.key)) is None


# What clients send


INJECTIONS = [
    "",
    " ",
    "\r\n",
    "a\r\nset owned 0 0 1\r\nx\r\n",
    "a b",
    "\0",
    "x" * 251,
    "\N{SNOWMAN}",
    "%0d%0aset%20owned",
    "a\nflush_all\n",
    "../../x",
]


@pytest.mark.promise("18")
@pytest.mark.parametrize("name", INJECTIONS, ids=range(len(INJECTIONS)))
def test_no_user_and_no_field_is_a_command(colour, memcached, name):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        record = create(
            store, signed_in(name or "x", fields={name: name.encode(), "b": b"\r\nEND\r\nSTORED\r\n"})
        )
        assert load(store, record) == record
        store.revoke_all(name or "x", now(), now() + DAY, None)
        assert not isinstance(load(store, record), Record)
    assert memcached.read(b"owned") is None


@pytest.mark.promise("F-22", "10")
def test_bytes_that_are_no_record_are_left_alone(colour, memcached):  # noqa: F811
    its = prefix()
    with opened(colour, memcached.address, prefix=its) as store:
        record = create(store)
        name = Items(its, 1 << 20).of_record(record.key)
        memcached.write(name, b"\r\nEND\r\n")
        assert isinstance(load(store, record), Unreadable)
        assert apply(store, update(record, set={"a": b"1"})) is Refused.UNREADABLE
        assert memcached.read(name) == b"\r\nEND\r\n"
        assert apply(store, destroy(record)) == APPLIED


# Threads, forks, sockets


@pytest.mark.promise("F-18", "24")
def test_a_child_of_a_fork_talks_on_connections_of_its_own(memcached):  # noqa: F811
    its = prefix()
    with opened("sync", memcached.address, prefix=its) as store:
        records = [create(store, fields={"own": bytes([number])}) for number in range(4)]
        with store._nodes[0].turn(b"x", time.monotonic() + 5):  # a lock that is held when the child is made
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for _ in range(50):
                        for record in records:
                            assert load(store, record).fields["own"] == record.fields["own"]
                    assert apply(store, update(records[0], set={"child": b"1"})) == APPLIED
                    store.close()
                    status = 0
                finally:
                    os._exit(status)
        for _ in range(200):
            for record in records:
                assert load(store, record).fields["own"] == record.fields["own"]
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert load(store, records[0]).fields["child"] == b"1"


@pytest.mark.promise("24")
def test_a_store_is_used_from_one_loop_after_another(memcached):  # noqa: F811
    its = prefix()
    store = AsyncMemcachedStore(memcached.address, prefix=its, **WAITING)
    record = a_record()

    async def once(change):
        await store.apply([change])
        (found,) = await store.load([record.key], now())
        await store.close()
        return found

    assert loops.run(once(Create(record))) == record
    for loop in loops.LOOPS:
        assert loops.run(once(update(record, set={"a": b"1"})), loop).fields["a"] == b"1"


def test_a_unix_socket_serves_as_well(colour, tmp_path):
    path = tmp_path / "mc.sock"
    command = ["memcached", "-s", path, "-a", "777", "-u", "root"]
    with (
        Server(command, directory=tmp_path, ready=path.exists),
        opened(colour, str(path)) as store,
    ):
        record = create(store, signed_in("ada"))
        assert load(store, record) == record
        store.ping()


# A client that is ready


def test_a_ready_client_is_used_as_it_is(memcached):  # noqa: F811
    client = PooledClient((HOST, memcached.port), timeout=5, connect_timeout=5, max_pool_size=8)
    store = MemcachedStore(client=client, prefix=prefix(), **WAITING)
    record = create(store, signed_in("ada"))
    assert load(store, record) == record
    assert apply(store, update(record, set={"a": b"1"})) == APPLIED
    store.ping()
    store.close()
    assert client.version()  # it is its owner's to close
    client.close()


class Changing:
    def serialize(self, key, value):
        return repr(value), 1

    def deserialize(self, key, value, flags):
        return value


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("client", "told"),
    [
        (lambda: HashClient([(HOST, 1)], timeout=1), "moves what lies on a dead server"),
        (lambda: Client((HOST, 1), timeout=1, connect_timeout=1), "for one thread"),
        (lambda: PooledClient((HOST, 1), timeout=1, connect_timeout=1, ignore_exc=True), "ignore_exc"),
        (lambda: PooledClient((HOST, 1), timeout=1), "wait for ever"),
        (lambda: PooledClient((HOST, 1), timeout=1, connect_timeout=1, serde=Changing()), "changes bytes"),
        (object, "can't do gets_many"),
    ],
    ids=["hash", "client", "ignores", "waits", "serde", "object"],
)
def test_a_client_that_would_break_a_promise_is_refused(client, told):
    with pytest.raises(ConfigurationError, match=told):
        MemcachedStore(client=client())


def test_servers_and_a_client_are_one_too_many():
    with pytest.raises(ConfigurationError, match="not both"):
        MemcachedStore("one", client=PooledClient((HOST, 1), timeout=1, connect_timeout=1))
