"""Names, sizes, lifetimes and places of what lies in Memcached, and the URLs that name its servers."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.errors import ConfigurationError
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore, async_from_url, from_url
from coatcheck.stores.memcached.items import Items
from coatcheck.stores.memcached.servers import placement, servers_of, servers_of_url
from tests import loops
from tests.stores.memcached.scene import soon

SPAN = 30 * 86_400
NOW = 1_700_000_000


def items(prefix="coatcheck:", size=1 << 20):
    return Items(prefix, size)


# Names


@pytest.mark.promise("18", "22")
@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_whatever_the_key_its_name_is_within_the_rules(key):
    name = items("x" * 218).name(key)
    assert len(name) <= 250
    assert all(0x21 <= byte <= 0x7E for byte in name)


def test_data_lies_under_the_handle_of_its_session():
    assert items().name(bytes(range(16))) == b"coatcheck:000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize("prefix", ["a b", "a\n", "a\r\nset x 0 0 1\r\n", "a\0", "a\x7f", "é:", 7, None])
def test_a_prefix_that_would_break_the_protocol_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix="):
        items(prefix)


def test_a_prefix_that_leaves_no_room_is_refused():
    with pytest.raises(ConfigurationError, match="leave room for 218"):
        items("x" * 219)
    assert items("x" * 218)


# Sizes


@pytest.mark.promise("21")
def test_what_the_server_would_not_take_is_refused_before_it_is_sent():
    small = items(size=2048)
    name = small.name(bytes(16))
    room = 2048 - len(name) - 256
    assert small.too_large(name, bytes(room)) is None
    refused = small.too_large(name, bytes(room + 1))
    assert (refused.size, refused.limit) == (2049, 2048)


@pytest.mark.parametrize("size", [1023, "1m", None, 1.5])
def test_a_size_of_nothing_is_refused(size):
    with pytest.raises(ConfigurationError, match="max_item_bytes"):
        items(size=size)


# Lifetimes


@pytest.mark.promise("16")
@pytest.mark.parametrize(
    ("left", "told"),
    [
        (-86_400, -1),
        (0, -1),
        (0.001, 2),
        (1, 2),
        (59, 60),
        (59.5, 61),
        (SPAN - 2, SPAN - 1),
        (SPAN - 1, SPAN),
        (SPAN, NOW + SPAN + 1),
        (SPAN + 1, NOW + SPAN + 2),
        (90 * 86_400, NOW + 90 * 86_400 + 1),
    ],
)
def test_a_lifetime_is_a_span_up_to_thirty_days_then_a_date_and_never_for_ever(left, told):
    assert Items.lifetime(round((NOW + left) * 1000), NOW * 1000) == told


@pytest.mark.promise("16")
@settings(deadline=None)
@given(st.integers(0, 253_402_300_799_999), st.integers(0, 253_402_300_799_999))
def test_nothing_is_ever_stored_without_an_end(expires, now):
    assert Items.lifetime(expires, now) != 0


# Places


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("memcached://one", [("one:11211", "one", 11211, "")]),
        ("memcached://one:1/", [("one:1", "one", 1, "")]),
        ("memcached://one:1,two:2", [("one:1", "one", 1, ""), ("two:2", "two", 2, "")]),
        ("memcached://[::1]:7", [("[::1]:7", "::1", 7, "")]),
        ("memcached://[::1]", [("[::1]:11211", "::1", 11211, "")]),
        ("memcached:///run/mc.sock", [("/run/mc.sock", "", 0, "/run/mc.sock")]),
    ],
)
def test_a_url_names_hosts_or_a_socket(url, servers):
    assert [tuple(server) for server in servers_of_url(url)] == servers


def test_a_server_with_a_user_is_refused_and_not_shown():
    with pytest.raises(ConfigurationError, match="no user and password") as raised:
        servers_of(["user:hush@one"])
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("make", [from_url, async_from_url])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memcached://", "missing"),
        ("memcached://one,", "is not valid"),
        ("memcached://one:x", "is not valid"),
        ("memcached://one:0", "no such port"),
        ("memcached://one:70000", "no such port"),
        ("memcached://[::1]x", "is not valid"),
        ("memcached://[::1", "no"),
        ("memcached://user:word@one:1", "user and password"),
        ("memcached://one:1/2", "not both"),
        ("memcached://one:1,one:1", "twice"),
        ("memcached://one,one:11211", "twice"),
        ("memcached://one:1?timeout=3", "no query"),
    ],
)
def test_a_url_that_names_no_servers_is_refused(url, told, make):
    with pytest.raises(ConfigurationError, match=told) as caught:
        make(url)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "kind"), [(from_url, MemcachedStore), (async_from_url, AsyncMemcachedStore)]
)
def test_a_url_gives_a_store_and_its_options_count(make, kind):
    store = make("memcached://one,two", prefix="mine:", max_item_bytes=2048)
    assert type(store) is kind
    assert store.index == "none"
    with pytest.raises(ConfigurationError, match="prefix="):
        make("memcached://one", prefix="no spaces")
    with pytest.raises(ConfigurationError, match="max_item_bytes"):
        make("memcached://one", max_item_bytes=1)


NAMES = [b"coatcheck:%032x" % number for number in range(2_000)]


def homes(addresses):
    place = placement(servers_of(addresses))
    return {name: addresses[place(name)] for name in NAMES}


def test_sync_and_async_and_every_process_look_for_a_key_at_the_same_place():
    addresses = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3"]
    keys = [number.to_bytes(16) for number in range(len(NAMES))]
    shares = MemcachedStore(addresses).shares(keys)
    assert AsyncMemcachedStore(addresses)._shares(keys) == shares
    # And so will the next release.
    places = {position: server for server, some in shares.items() for position in some}
    told = "".join(str(places[position]) for position in range(len(keys)))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == PLACES


PLACES = "28023147d5b2208b"


def test_the_order_in_which_the_servers_are_named_moves_nothing():
    addresses = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"]
    assert homes(addresses) == homes(addresses[::-1])


def test_the_items_are_shared_out_evenly():
    addresses = [f"10.0.0.{number}:11211" for number in range(4)]
    counts = [list(homes(addresses).values()).count(address) for address in addresses]
    assert min(counts) > 400


@pytest.mark.promise("F-12")
def test_another_server_gets_its_share_and_no_item_moves_between_the_others():
    before = homes(["10.0.0.1:11211", "10.0.0.2:11211"])
    after = homes(["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"])
    moved = {name for name in NAMES if before[name] != after[name]}
    assert {after[name] for name in moved} == {"10.0.0.3:11211"}
    assert 500 < len(moved) < 850


# No index


def test_what_needs_a_list_is_refused_by_name():
    store = MemcachedStore("one")
    for call in (
        lambda: store.count(0, 0),
        lambda: store.sessions_of("ada", 0, 1, None, 0),
        lambda: store.note([], 0, 0),
        lambda: store.forget([], 0),
        lambda: store.index_may_be_incomplete(0),
    ):
        with pytest.raises(ConfigurationError, match=r"Memcached.*SQLite, Redis, PostgreSQL"):
            call()


def test_what_needs_a_list_is_refused_by_name_in_async_as_well():
    async def ask(store):
        for call in (
            store.count(0, soon()),
            store.sessions_of("ada", 0, 1, None, soon()),
            store.note([], 0, soon()),
            store.forget([], soon()),
            store.index_may_be_incomplete(soon()),
        ):
            with pytest.raises(ConfigurationError, match=r"Memcached.*SQLite, Redis, PostgreSQL"):
                await call
        await store.close()

    loops.run(ask(AsyncMemcachedStore("one")))
