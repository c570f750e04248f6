"""What the server refuses: out of memory, a replica, no permission, another type. Each hits its own change only."""

import asyncio
import re
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from coatcheck.model.ports import Life, Unreadable
from coatcheck.model.record import APPLIED, Applied, Create, Refused, Rotation, SignIn, Tombstone
from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract.harness import Bench, hashed
from coatcheck.testing.shim import awaitable
from tests.servers.process import HOST, until
from tests.stores.redis_single import PATIENT, RedisHarness, ask, redis_server

pytestmark = pytest.mark.servers


@pytest.fixture(params=[from_url, async_from_url], ids=["sync", "async"])
def at(request):
    """Runs a scenario at a bench of a server, with a store of each colour."""

    def run(port, scenario, **login):
        async def with_store():
            harness = RedisHarness(port, **login)
            bench = Bench(harness)
            bench.store = awaitable(request.param(harness.url, prefix=harness.prefix, **PATIENT))
            try:
                await scenario(bench)
            finally:
                await bench.store.close()
                harness.inspector.close()

        asyncio.run(with_store())

    return run


@pytest.fixture(scope="module")
def small():
    with redis_server("--maxmemory-policy", "noeviction") as server:
        yield server.port


@contextmanager
def out_of_memory(port):
    """The server has less memory than it uses."""
    ask(port, "CONFIG", "SET", "maxmemory", 1)
    try:
        assert ask(port, "SET", "a", "b").startswith(b"-OOM")
        yield
    finally:
        ask(port, "CONFIG", "SET", "maxmemory", 0)


@pytest.mark.promise("F-10", "12")
def test_out_of_memory_reading_sliding_and_logging_out_work_and_writing_is_full(small, at):
    async def scenario(bench):
        records = [await bench.create(bench.signed_in("ada")) for _ in range(8)]
        anonymous = await bench.create()
        with out_of_memory(small):
            later = bench.start + 3_600_000
            assert await bench.store.load([records[0].key], bench.start) == [records[0]]
            assert len(await bench.store.load([record.key for record in records], bench.start)) == 8
            assert await bench.apply(bench.update(records[0], at=later)) == APPLIED
            taken = await bench.apply(bench.update(records[1], take=("theme",), at=later))
            assert taken == Applied({"theme": b"dark"})
            assert await bench.apply(bench.update(records[2], clear=True)) == APPLIED
            assert await bench.apply(bench.update(records[3], rotate=Rotation(hashed("new")))) == APPLIED
            assert len(await bench.lives_of("ada")) == 8
            for refused in (
                Create(bench.record()),
                bench.update(records[4], set={"a": b"1"}),
                bench.update(anonymous, sign_in=SignIn("ada")),
            ):
                with pytest.raises(StoreFull):
                    await bench.apply(refused)
            with pytest.raises(StoreFull):
                await bench.store.enroll("ada", Life(anonymous.key, bench.start), later)
            for record in records[:6]:
                assert await bench.apply(bench.destroy(record)) == APPLIED
                assert isinstance(await bench.load(record), Tombstone)
            his = bench.destroy(records[6], user="ada", signed_in=records[6].signed_in)
            assert await bench.apply(his) == APPLIED
            assert await bench.keys_of("ada") == [records[7].key]
        assert await bench.apply(Create(bench.record())) == APPLIED

    at(small, scenario)


@pytest.mark.promise("L", "B")
def test_in_a_batch_each_is_told_what_became_of_it_and_nothing_is_done_twice(small, at):
    async def scenario(bench):
        one, other = await bench.create(), await bench.create()
        with out_of_memory(small):
            changes = [
                bench.update(one, take=("theme",)),
                bench.update(other, set={"a": b"1"}),
                bench.destroy(other),
            ]
            if hasattr(bench.store, "_desk"):
                # As of three callers, whose changes leave together.
                answers = await asyncio.gather(
                    *(bench.store.apply([change]) for change in changes), return_exceptions=True
                )
                assert answers[0] == [Applied({"theme": b"dark"})]
                assert isinstance(answers[1], StoreFull)
                assert answers[2] == [APPLIED]
            else:
                with pytest.raises(StoreFull) as raised:
                    await bench.store.apply(changes)
                assert raised.value.answers[0] == Applied({"theme": b"dark"})
                assert isinstance(raised.value.answers[1], StoreFull)
                assert raised.value.answers[2] == APPLIED

    at(small, scenario)


@pytest.mark.promise("F-11")
def test_a_replica_takes_no_writes_and_is_read(redis_port, at):
    with redis_server("--replicaof", HOST, str(redis_port)) as replica:
        until(lambda: b"master_link_status:up" in ask(replica.port, "INFO", "replication"), "it follows")

        async def scenario(bench):
            record = bench.record()
            for change in (Create(record), bench.update(record, set={"a": b"1"}), bench.destroy(record)):
                with pytest.raises(StoreReadOnly):
                    await bench.apply(change)
            with pytest.raises(StoreReadOnly):
                await bench.store.enroll("ada", Life(record.key, bench.start), bench.start + 1)
            assert await bench.store.load([record.key], bench.start) == [None]

        at(replica.port, scenario)


@pytest.mark.promise("F-11")
def test_too_few_replicas_are_read_only(at):
    with redis_server("--min-replicas-to-write", "1") as server:

        async def scenario(bench):
            with pytest.raises(StoreReadOnly):
                await bench.apply(Create(bench.record()))
            with pytest.raises(StoreReadOnly):
                await bench.apply(bench.destroy(bench.record()))

        at(server.port, scenario)


@pytest.mark.promise("F-22", "10")
def test_what_is_no_string_is_unreadable_for_that_key_alone(redis_port, at):
    async def scenario(bench):
        good, list_, absent = await bench.create(), bench.record(), bench.record()
        bench.harness.command("RPUSH", bench.harness.name(list_.key), "not", "ours")
        bench.harness.command("PEXPIRE", bench.harness.name(list_.key), 60_000)
        assert isinstance(await bench.load(list_), Unreadable)
        keys = [absent.key, list_.key, good.key, list_.key]
        nothing, unreadable, found, again = await bench.store.load(keys, bench.start)
        assert (nothing, found) == (None, good)
        assert isinstance(unreadable, Unreadable)
        assert isinstance(again, Unreadable)
        assert await bench.apply(bench.update(list_, set={"a": b"1"})) is Refused.UNREADABLE
        assert await bench.apply(bench.destroy(list_, user="ada")) is Refused.UNREADABLE
        assert await bench.apply(Create(list_)) is Refused.EXISTS
        assert bench.harness.command("LLEN", bench.harness.name(list_.key)) == 2
        assert await bench.store.count(bench.start) == 1
        assert await bench.apply(bench.destroy(list_)) == APPLIED
        assert isinstance(await bench.load(list_), Tombstone)

    at(redis_port, scenario)


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "redis.md"


def rules_of_the_page():
    """What the documentation lets the user of the server do."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("ACL SETUSER")]
    _, _, _, on, password, keys, *commands = line.split()
    assert (on, password, keys) == ("on", ">password", "~coatcheck:*")
    return commands


def test_a_user_who_may_do_what_the_page_names_can_do_everything(redis_port, at):
    async def scenario(bench):
        rules = [f"~{bench.harness.prefix}*", *rules_of_the_page()]
        bench.harness.command("ACL", "SETUSER", "shop", "reset", "on", ">p@:/#?%w", *rules)
        record = await bench.create(bench.signed_in("ada"))
        assert await bench.apply(bench.update(record, set={"a": b"1"})) == APPLIED
        assert await bench.keys_of("ada") == [record.key]
        assert await bench.store.count(bench.start) == 1
        await bench.store.ping()
        assert len(await bench.store.load([record.key, bench.record().key], bench.start)) == 2
        assert await bench.apply(bench.destroy(record)) == APPLIED
        assert await bench.keys_of("ada") == []

    at(redis_port, scenario, login="shop:p%40%3A%2F%23%3F%25w@")


@pytest.mark.promise("20")
@pytest.mark.parametrize("rules", [["-@all"], ["+get", "+set"]])
def test_a_user_who_may_not_is_told_what_he_needs(redis_port, at, rules):
    async def scenario(bench):
        bench.harness.command("ACL", "SETUSER", "poor", "reset", "on", ">secret-word", "~*", *rules)
        with pytest.raises(StoreUnavailable, match=re.escape(" ".join(rules_of_the_page()))) as raised:
            await bench.apply(bench.update(bench.record()))
        assert "secret-word" not in str(raised.value)

    at(redis_port, scenario, login="poor:secret-word@")


@pytest.mark.promise("F-11")
def test_logging_out_falls_back_to_a_plain_delete_where_scripts_are_refused(redis_port, at):
    async def scenario(bench):
        bench.harness.command("ACL", "SETUSER", "plain", "reset", "on", ">word", "~*", "+get", "+set", "+del")
        record = bench.record()
        assert await bench.apply(Create(record)) == APPLIED
        assert await bench.apply(bench.destroy(record)) == APPLIED
        assert await bench.load(record) is None
        assert await bench.apply(bench.destroy(record)) is Refused.GONE
        with pytest.raises(StoreUnavailable):
            await bench.apply(bench.destroy(record, user="ada"))

    at(redis_port, scenario, login="plain:word@")


@pytest.mark.promise("18")
@pytest.mark.parametrize("login", ["nobody:secret-word@", ":secret-word@"])
def test_a_wrong_password_is_said_and_not_shown(redis_port, at, login):
    async def scenario(bench):
        for number in range(8):  # so often that an outage would have opened the breaker
            with pytest.raises(StoreError) as raised:
                await (bench.store.ping() if number % 2 else bench.load(bench.record()))
            assert isinstance(raised.value, StoreUnavailable)
            assert "password" in str(raised.value)
            assert "secret-word" not in repr(raised.value)

    at(redis_port, scenario, login=login)


@pytest.mark.promise("20")
def test_a_busy_server_is_unavailable_and_is_asked_again_later(at):
    with (
        redis_server("--busy-reply-threshold", "50") as server,
        socket.create_connection((HOST, server.port)) as connection,
    ):
        connection.sendall(b"EVAL 'while true do end' 0\r\n")
        until(lambda: ask(server.port, "PING").startswith(b"-BUSY"), "it is busy")

        async def scenario(bench):
            with pytest.raises(StoreUnavailable, match="busy"):
                await bench.load(bench.record())

        at(server.port, scenario)
        ask(server.port, "SCRIPT", "KILL")
