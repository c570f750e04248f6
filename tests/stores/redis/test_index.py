"""The index of users lies apart from the records: paged, healed, ended by itself, and complete or known not to be."""

import itertools
import logging
import os
import time
from contextlib import suppress

import pytest
from redis.exceptions import BusyLoadingError

from coatcheck.errors import StoreUnavailable
from coatcheck.model.ports import Entry
from coatcheck.stores.redis.index import UserIndex
from tests.awake import awake
from tests.servers.fixtures_redis import IN_A_CLUSTER
from tests.servers.proxy import Proxy
from tests.servers.redis import single
from tests.stores.redis.scene import DAY, SYNC_AND_ASYNC, item, now_ms, opened, soon

pytestmark = [pytest.mark.servers, pytest.mark.promise("17")]

KEEPING = ["noeviction"]
VOLATILE = ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"]
ANY = ["allkeys-lru", "allkeys-lfu", "allkeys-random"]


@pytest.fixture(scope="module")
def own():
    """A server of its own, whose policy a test may set."""
    with single() as server:
        yield server


@pytest.fixture
def server(own):
    yield own
    set_policy(own, "noeviction")


def set_policy(server, policy):
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)


class Shelf:
    """A store and its index, with a look at what lies in the server."""

    def __init__(self, store, client, prefix):
        self.store, self.client = store, client
        self.now = now_ms()
        self._index = UserIndex(prefix.encode())
        self._prefix = prefix

    def entry(self, user="ada", *, after=0, until=DAY, key=None):
        return Entry(user, key or os.urandom(16), self.now + after, self.now + until)

    def note(self, *entries, now=None):
        self.store.note(entries, now or self.now, soon())

    def noted(self, user="ada", **parts):
        entry = self.entry(user, **parts)
        self.note(entry)
        return entry

    def entries(self, user="ada", *, now=None, limit=1_000, after=None):
        return list(self.store.sessions_of(user, now or self.now, limit, after, soon()))

    def incomplete(self):
        return self.store.index_may_be_incomplete(soon())

    def sweep(self, now=None, limit=1_000):
        return self.store.sweep(now or self.now, limit, soon())

    def name(self, user="ada"):
        return self._index.name(user)

    def life(self, user="ada"):
        return self.client.pttl(self.name(user))

    def names(self):
        return list(self.client.scan_iter(match=f"{self._prefix}*", count=10_000))


@pytest.fixture(params=["sync", "async"])
def shelf(request, server, prefix):
    with opened(request.param, server.url, prefix=prefix) as store, server.client() as client:
        yield Shelf(store, client, prefix)
        for name in client.scan_iter(match=f"{prefix}*"):
            client.delete(name)


# What it holds


@pytest.mark.promise("F-23")
def test_an_entry_is_forgotten_only_if_it_still_is_the_same(shelf):
    entry, other = shelf.noted(), shelf.noted(after=-5)
    later = shelf.entry(key=entry.key, after=10)
    shelf.note(later)
    longer = shelf.entry(key=other.key, after=-5, until=2 * DAY)
    shelf.note(longer)
    shelf.store.forget([entry, other], soon())
    assert shelf.entries() == [later, longer]
    shelf.store.forget([later, longer, shelf.entry("nobody")], soon())
    assert shelf.entries() == []
    assert shelf.client.exists(shelf.name()) == 0


@pytest.mark.promise("F-14", "F-23")
def test_a_sign_in_whose_process_died_before_the_index_is_no_trouble(shelf):
    write = item()
    assert list(shelf.store.write([write], shelf.now, soon())) == [None]  # and no note
    assert shelf.entries() == []
    entry = shelf.noted(key=write.key)
    assert shelf.entries() == [entry]


def test_entries_only_move_forward_and_end_by_themselves(shelf):
    key = os.urandom(16)
    second = shelf.noted(key=key, after=100, until=DAY)
    assert DAY - 60_000 < shelf.life() <= DAY
    shelf.noted(key=key, after=0, until=1_000)  # it comes late
    assert shelf.entries() == [second]
    assert DAY - 60_000 < shelf.life() <= DAY
    third = shelf.noted(key=key, after=200, until=2 * DAY)
    assert shelf.entries() == [third]
    assert 2 * DAY - 60_000 < shelf.life() <= 2 * DAY


def test_the_index_of_a_user_who_signs_in_all_the_time_does_not_grow_for_ever(shelf):
    for number in range(300):  # for thirty days, ten sign-ins a day, each for three days
        at = number * DAY // 10
        shelf.note(shelf.entry(after=at, until=at + 3 * DAY), now=shelf.now + at)
    assert shelf.client.zcard(shelf.name()) == 2 * 30


def test_a_page_costs_by_the_page_and_not_by_the_number_of_sessions(server, prefix):
    with (
        Proxy(server.port) as proxy,
        opened("sync", f"redis://127.0.0.1:{proxy.port}", prefix=prefix) as store,
        server.client() as client,
    ):
        shelf = Shelf(store, client, prefix)
        entries = [shelf.entry(after=number) for number in range(2_000)]
        for start in range(0, 2_000, 500):
            shelf.note(*entries[start : start + 500])
        newest = entries[::-1]
        sizes = []
        for after in (None, newest[99], newest[1_899]):
            with proxy.counting() as counted:
                page = shelf.entries(limit=50, after=after)
            start = newest.index(after) + 1 if after else 0
            assert page == newest[start : start + 50]
            sizes.append((counted.round_trips, counted.sent + counted.received))
        # The page before may end in the middle of a moment, whose first entries are read once more.
        assert all(trips <= 4 and size < 15_000 for trips, size in sizes), sizes


def test_many_sign_ins_of_one_moment_are_paged_by_key(shelf):
    entries = sorted((shelf.entry() for _ in range(50)), key=lambda entry: entry.key)
    shelf.note(*entries)
    paged, after = [], None
    while page := shelf.entries(limit=7, after=after):
        assert len(page) <= 7
        paged += page
        after = page[-1]
    assert paged == entries


def test_the_name_of_a_user_never_stands_in_a_key(shelf):
    for user in ("*", "{x}", "a b\r\n", "x" * 255, "\ud800", "1"):
        assert shelf.entries(user) == []
        assert [shelf.noted(user)] == shelf.entries(user)
    for name in shelf.names():
        tail = name.decode().removeprefix(shelf._prefix)
        assert tail.replace("{", "").replace("}", "").replace(":", "").isalnum()


@pytest.mark.promise("F-23")
def test_an_index_key_that_holds_something_else_is_said(shelf):
    shelf.client.set(shelf.name(), "not ours", px=60_000)
    with pytest.raises(StoreUnavailable, match="refused"):
        shelf.entries()
    with pytest.raises(StoreUnavailable, match="refused"):
        shelf.noted()


# What the server may remove


@pytest.mark.parametrize("policy", KEEPING + VOLATILE + ANY)
def test_under_each_policy_the_index_is_complete_or_known_not_to_be(shelf, server, policy, caplog):
    set_policy(server, policy)
    with caplog.at_level(logging.WARNING, "coatcheck"):
        entry = shelf.noted()
        shelf.noted("grace")
    assert shelf.entries() == [entry]
    reason = shelf.incomplete()
    if policy in ANY:
        assert "noeviction" in reason
        assert "volatile-*" in reason
        assert 'revocation="epoch"' in reason
        assert [record.getMessage() for record in caplog.records] == [reason]  # once
        with opened("sync", server.url, prefix=shelf._prefix) as another:
            assert another.index_may_be_incomplete(soon()) == reason
            another.note([shelf.entry("eve")], shelf.now, soon())
        assert len(caplog.records) == 1  # the caller was told
    else:
        assert reason is None
        assert caplog.records == []
    # Only under volatile-* a key without an expiry is safe, and then it has none.
    assert (shelf.life() == -1) == (policy in VOLATILE)


def fill(server, client, prefix):
    """Store more than the server has memory for."""
    used = server.told("memory")["used_memory"]
    server.ask("CONFIG", "SET", "maxmemory", used + 2_000_000)
    try:
        for number in range(4_000):
            client.set(f"{prefix}filler{number}", bytes(1_000), px=600_000)
        return server.told("stats")["evicted_keys"]
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize("policy", VOLATILE)
def test_a_full_server_that_evicts_keeps_every_entry_under_volatile_policies(shelf, server, policy):
    set_policy(server, policy)
    noted = {f"user{number}": shelf.noted(f"user{number}") for number in range(200)}
    before = server.told("stats")["evicted_keys"]
    assert fill(server, shelf.client, shelf._prefix) > before
    for user, entry in noted.items():
        assert shelf.entries(user) == [entry]
    assert shelf.incomplete() is None


def test_a_full_server_that_evicts_any_key_loses_entries_and_it_is_said(shelf, server):
    set_policy(server, "allkeys-random")
    users = [f"user{number}" for number in range(300)]
    for user in users:
        shelf.noted(user)
    fill(server, shelf.client, shelf._prefix)
    assert any(shelf.entries(user) == [] for user in users)
    assert shelf.incomplete() is not None
    # Another policy brings nothing back: until those sessions have ended, it is said.
    for policy in ("noeviction", "volatile-lru"):
        set_policy(server, policy)
        assert "UTC" in shelf.incomplete()
        shelf.sweep()
        assert "UTC" in shelf.incomplete()


def test_once_all_that_may_be_missing_has_ended_the_index_is_complete_again(shelf, server):
    set_policy(server, "allkeys-lru")
    shelf.note(shelf.entry(until=1_500))
    set_policy(server, "noeviction")
    assert shelf.incomplete() is not None
    time.sleep(1.6)
    assert shelf.incomplete() is None


@pytest.mark.parametrize("cure", ["swept", "noted again"])
def test_a_policy_that_was_changed_under_way_counts_as_incomplete_until_no_key_has_an_expiry(
    shelf, server, cure
):
    entry = shelf.noted()
    assert shelf.life() > 0
    set_policy(server, "volatile-lru")
    assert "coatcheck sweep" in shelf.incomplete()
    later = shelf.noted()  # by a process that knew the policy of before
    assert shelf.life() == -1
    assert set(shelf.entries()) == {entry, later}
    if cure == "swept":
        grace = shelf.noted("grace")
        shelf.client.pexpire(shelf.name("grace"), 60_000)
        assert shelf.sweep() == 0
        assert shelf.life("grace") == -1
        assert shelf.entries("grace") == [grace]
        assert shelf.incomplete() is None
    else:
        # A single key may be safe, but others may not be: only a sweep has seen all.
        assert "coatcheck sweep" in shelf.incomplete()


def test_a_sweep_under_another_policy_does_not_count(shelf, server):
    shelf.noted()
    assert shelf.sweep() == 0
    set_policy(server, "volatile-lru")
    assert "coatcheck sweep" in shelf.incomplete()
    assert shelf.sweep() == 0
    assert shelf.incomplete() is None


def test_a_policy_that_changes_all_the_time_is_asked_three_times_and_no_more(shelf):
    entry = shelf.entry()
    steps = shelf._index.note([entry], shelf.now)
    policies = itertools.cycle([b"maxmemory_policy:volatile-lru\r\n", b"maxmemory_policy:noeviction\r\n"])
    commands, rounds = next(steps), 0
    with suppress(StopIteration):
        while rounds < 10:
            rounds += 1
            commands = steps.send([*[0] * (len(commands) - 1), next(policies)])
    assert rounds == 4


def test_a_server_that_can_not_say_its_policy_just_now_is_unavailable(shelf):
    steps = shelf._index.note([shelf.entry()], shelf.now)
    next(steps)
    with pytest.raises(StoreUnavailable, match="loading"):
        steps.send([BusyLoadingError("Redis is loading the dataset in memory")])


def test_an_eviction_policy_that_is_gone_again_gives_the_keys_their_expiry_back(shelf, server):
    set_policy(server, "volatile-ttl")
    shelf.noted()
    shelf.noted("grace")
    assert (shelf.life(), shelf.life("grace")) == (-1, -1)
    set_policy(server, "noeviction")
    shelf.noted()
    assert shelf.life() > 0
    assert shelf.sweep() == 0
    assert DAY - 60_000 < shelf.life("grace") <= DAY
    assert shelf.incomplete() is None


def test_a_policy_that_can_not_be_read_counts_as_one_that_evicts(server, prefix, caplog):
    server.ask("ACL", "SETUSER", "quiet", "reset", "on", ">word", "~*", "+@all", "-info")
    with opened("sync", server.url.replace("//", "//quiet:word@"), prefix=prefix) as store:
        with caplog.at_level(logging.WARNING, "coatcheck"):
            store.note([Entry("ada", os.urandom(16), now_ms(), now_ms() + DAY)], now_ms(), soon())
        assert "INFO" in store.index_may_be_incomplete(soon())
        assert len(caplog.records) == 1
    server.ask("ACL", "DELUSER", "quiet")


# Sweeping


def test_a_sweep_removes_what_is_over_bounded_and_from_where_the_last_one_stopped(shelf, server):
    set_policy(server, "volatile-lru")
    for number in range(30):
        user = f"user{number}"
        shelf.note(*(shelf.entry(user, until=1_000 + each) for each in range(3)), shelf.entry(user))
    later = shelf.now + 2_000
    swept = [shelf.sweep(later, limit=7) for _ in range(40)]
    assert max(swept) <= 7
    assert sum(swept) == 90
    for number in range(30):
        assert len(shelf.entries(f"user{number}", now=later)) == 1
    assert sum(shelf.sweep(shelf.now + 2 * DAY) for _ in range(3)) == 30
    assert [name for name in shelf.names() if b"user:" in name] == []


def test_a_sweep_takes_half_of_its_time(server, prefix):
    with (
        Proxy(server.port) as proxy,
        opened("sync", f"redis://127.0.0.1:{proxy.port}", prefix=prefix) as store,
        server.client() as client,
    ):
        shelf = Shelf(store, client, prefix)
        pipeline = client.pipeline(transaction=False)
        for number in range(60_000):
            pipeline.set(f"{prefix}filler{number}", "x", px=60_000)
        pipeline.execute()
        set_policy(server, "volatile-lru")
        shelf.note(*(shelf.entry(f"user{number}", until=1) for number in range(50)), now=shelf.now - 10)
        proxy.latency = 0.05
        start, swept, calls = time.monotonic(), 0, 0
        while swept < 50:
            began = awake()
            swept += store.sweep(shelf.now + 10, 1_000, soon(1.0))
            assert awake() - began < 1.0
            calls += 1
            assert time.monotonic() - start < 30
        assert calls > 1
        client.unlink(*client.scan_iter(match=f"{prefix}*", count=10_000))


# In a cluster


@IN_A_CLUSTER
@SYNC_AND_ASYNC
def test_in_a_cluster_every_primary_is_asked(kind, redis_cluster, prefix):
    with opened(kind, redis_cluster.url, prefix=prefix) as store, redis_cluster.client() as client:
        shelf = Shelf(store, client, prefix)
        noted = {f"user{number}": shelf.noted(f"user{number}") for number in range(60)}
        assert shelf.incomplete() is None
        for primary in redis_cluster.primaries:
            set_policy(primary, "allkeys-lru")
            try:
                assert "any key" in shelf.incomplete()
            finally:
                set_policy(primary, "noeviction")
        assert shelf.incomplete() is None
        for primary in redis_cluster.primaries:
            set_policy(primary, "volatile-lru")
        try:
            assert "coatcheck sweep" in shelf.incomplete()
            assert shelf.sweep() == 0
            assert shelf.incomplete() is None
            assert {shelf.life(user) for user in noted} == {-1}
            assert all(shelf.entries(user) == [entry] for user, entry in noted.items())
            assert shelf.sweep(shelf.now + 2 * DAY) == 60
        finally:
            for primary in redis_cluster.primaries:
                set_policy(primary, "noeviction")
