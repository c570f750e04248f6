"""Names, sizes, lifetimes and places of what lies in Memcached, and how its answers are read."""

import hashlib
import os
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.memcached_bench import a_record, destroy, signed_in, update
from coatcheck import Sessions
from coatcheck.errors import ConfigurationError, StoreError, StoreFull, TooLarge
from coatcheck.model.record import APPLIED, Refused, decode, encode
from coatcheck.stores import _memcached_wire as wire
from coatcheck.stores._memcached_flows import Delete, Get, Item, Pause, Put, apply, revoke_all
from coatcheck.stores._memcached_items import (
    Epoch,
    ItemRefused,
    Items,
    placement,
    refusal,
    servers_of,
    servers_of_url,
)
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memcached_async import AsyncMemcachedStore

SPAN = 30 * 86_400


def items(prefix="coatcheck:", size=1 << 20, at=1_700_000_000.0):
    return Items(prefix, size, clock=lambda: at)


# Names


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.text(min_size=1, max_size=255))
def test_whatever_the_key_and_the_user_the_names_are_within_the_rules(key, user):
    user = user.encode("utf-8", "replace").decode()
    longest = "x" * 180
    for name in (items(longest).of_record(key), items(longest).of_user(user)):
        assert len(name) <= 250
        assert all(0x21 <= byte <= 0x7E for byte in name)


def test_a_record_lies_under_the_handle_of_its_session():
    assert items().of_record(bytes(range(16))) == b"coatcheck:000102030405060708090a0b0c0d0e0f"


@pytest.mark.promise("17")
def test_two_users_never_share_an_epoch():
    names = [
        "ada",
        "Ada",
        "ada ",
        "ad\N{LATIN SMALL LETTER A WITH ACUTE}",
        "a:b",
        "epoch:ada",
        "x" * 255,
        "x" * 254,
    ]
    assert len({items().of_user(name) for name in names}) == len(names)


@pytest.mark.parametrize("prefix", ["a b", "a\n", "a\r\nset x 0 0 1\r\n", "a\0", "a\x7f", "é:", 7, None])
def test_a_prefix_that_would_break_the_protocol_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix="):
        items(prefix)


def test_a_prefix_that_leaves_no_room_is_refused():
    with pytest.raises(ConfigurationError, match="leave it 180"):
        items("x" * 181)
    assert items("x" * 180)


# Sizes


@pytest.mark.promise("21")
def test_what_the_server_would_not_take_is_refused_before_it_is_sent():
    small = items(size=2048)
    name = small.of_record(bytes(16))
    room = 2048 - len(name) - 256
    small.check_size(name, bytes(room))
    with pytest.raises(TooLarge) as caught:
        small.check_size(name, bytes(room + 1))
    assert (caught.value.size, caught.value.limit) == (2049, 2048)


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
        (SPAN, 1_700_000_000 + SPAN + 1),
        (SPAN + 1, 1_700_000_000 + SPAN + 2),
        (90 * 86_400, 1_700_000_000 + 90 * 86_400 + 1),
    ],
)
def test_a_lifetime_is_a_span_up_to_thirty_days_then_a_date_and_never_for_ever(left, told):
    assert items().lifetime(round((1_700_000_000 + left) * 1000)) == told


@pytest.mark.promise("16")
@settings(deadline=None)
@given(st.integers(0, 253_402_300_799_999))
def test_no_record_is_ever_stored_without_an_end(expires):
    assert items().lifetime(expires) != 0


# Epochs


def test_an_epoch_comes_back_as_what_it_was():
    for kept in (b"", os.urandom(16)):
        epoch = Epoch(ended=1, newest=2**48, expires=3, revoked=4, kept=kept)
        assert Epoch.decode(epoch.encode()) == epoch


@pytest.mark.promise("17")
@pytest.mark.parametrize("data", [None, b"", b"\1", b"\2" + bytes(32), b"\1" + bytes(33), b"\1" + bytes(47)])
def test_an_epoch_that_can_not_be_read_is_none(data):
    assert Epoch.decode(data) is None


@pytest.mark.promise("17")
def test_an_epoch_admits_what_was_noted_and_not_ended_and_whom_it_kept():
    epoch = Epoch(ended=100, newest=200, expires=0)
    sign_ins = {at: epoch.admits(signed_in("ada", signed_in=at)) for at in (99, 100, 101, 200, 201)}
    assert sign_ins == {99: False, 100: False, 101: True, 200: True, 201: False}
    old = signed_in("ada", signed_in=5)
    assert Epoch(ended=100, newest=200, expires=0, kept=old.key).admits(old)


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


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("memcached://", "missing"),
        ("memcached://one,", "'' is no server"),
        ("memcached://one:x", "no server"),
        ("memcached://one:0", "no port 0"),
        ("memcached://one:70000", "no port 70000"),
        ("memcached://[::1]x", "no server"),
        ("memcached://[::1", "no"),
        ("memcached://user:word@one:1", "user and password"),
        ("memcached://one:1/2", "not both"),
        ("memcached://one:1,one:1", "twice"),
        ("memcached://one,one:11211", "twice"),
        ("memcached://one:1?timeout=3", "keyword arguments"),
    ],
)
def test_a_url_that_names_no_servers_is_refused(url, told):
    with pytest.raises(ConfigurationError, match=told):
        Sessions.from_url(url, secret="UO7FIbsY7qm0bSo0bmE_pwa_v-MIgKEKFQtQT5DIGU8")


@pytest.mark.parametrize("option", ["deadline", "connect_deadline"])
@pytest.mark.parametrize("span", [timedelta(), timedelta(seconds=-1), 1, None])
@pytest.mark.parametrize("kind", [MemcachedStore, AsyncMemcachedStore])
def test_a_deadline_is_a_span_above_zero(kind, option, span):
    with pytest.raises(ConfigurationError, match=f"{option} must be"):
        kind("one", **{option: span})


NAMES = [b"coatcheck:%032x" % number for number in range(2_000)]


def homes(addresses):
    place = placement(servers_of(addresses))
    return {name: addresses[place(name)] for name in NAMES}


def test_both_colours_and_every_process_look_for_an_item_at_the_same_place():
    addresses = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3"]
    sync, asynchronous = MemcachedStore(addresses), AsyncMemcachedStore(addresses)
    assert [sync._place(name) for name in NAMES] == [asynchronous._place(name) for name in NAMES]
    # And so will the next release.
    told = "".join(str(sync._place(name)) for name in NAMES)
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


# Logging out


def told(flow, *answers):
    """What a flow wants, when it is given these answers; an error is thrown in. What it returns comes last."""
    wishes = [next(flow)]
    for answer in answers:
        try:
            wish = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
        except StopIteration as stop:
            wish = stop.value
        wishes.append(wish)
    return wishes


@pytest.mark.promise("F-10")
@pytest.mark.parametrize("refused", [StoreFull("no room"), TooLarge("no", size=1, limit=0)])
def test_logging_out_of_a_full_server_removes_what_it_can_not_mark(refused):
    record = signed_in("ada")
    item = Item(encode(record), b"1")
    for deleted, answer in ((True, APPLIED), (False, Refused.GONE)):
        wishes = told(apply(items(), destroy(record)), [item], refused, deleted)
        assert wishes[2:] == [Delete(items().of_record(record.key)), answer]


def test_but_not_where_it_has_conditions_since_something_else_may_lie_there_by_now():
    record = signed_in("ada")
    for condition in ({"user": "ada"}, {"signed_in": record.signed_in}):
        with pytest.raises(StoreFull):
            told(apply(items(), destroy(record, **condition)), [Item(encode(record), b"1")], StoreFull("no"))


@pytest.mark.promise("F-10")
def test_a_change_that_finds_no_room_is_an_error():
    record = a_record()
    with pytest.raises(StoreFull):
        told(apply(items(), update(record, set={"a": b"1"})), [Item(encode(record), b"1")], StoreFull("no"))


@pytest.mark.promise("F-10")
def test_ending_all_on_a_full_server_leaves_no_epoch_and_so_no_session_that_counts():
    epoch = Epoch(ended=1, newest=5, expires=10)
    for lying in (None, Item(epoch.encode(), b"1")):
        wishes = told(revoke_all(items(), "ada", 7, 10, None), [lying], StoreFull("no room"), False)
        assert wishes[2:] == [Delete(items().of_user("ada")), None]


def test_who_came_second_waits_a_moment_and_begins_anew_with_what_is_there_now():
    first = a_record()
    other = replace(first, fields={"theirs": b"1"})
    change = update(first, set={"mine": b"1"})
    wishes = told(
        apply(items(), change), [Item(encode(first), b"1")], False, None, [Item(encode(other), b"2")], True
    )
    assert [type(wish) for wish in wishes[:-1]] == [Get, Put, Pause, Get, Put]
    assert (wishes[4].token, wishes[-1]) == (b"2", APPLIED)
    assert set(decode(first.key, wishes[4].data).fields) == {"mine", "theirs"}


# What servers say


def test_the_words_of_a_server_become_typed_errors():
    assert isinstance(refusal("out of memory storing object", "it"), StoreFull)
    assert type(refusal("something else", "it")) is StoreError
    assert isinstance(refusal("object too large for cache", "it"), ItemRefused)


VALUES = b"VALUE a 0 3 17\r\n\r\nb\r\nVALUE b 0 0 18\r\n\r\nEND\r\n"


@pytest.mark.promise("F-04")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_values_are_read_however_they_are_cut(size):
    reading = wire.Values([b"a", b"b", b"c"])
    complete = in_slices(reading, VALUES, size)
    assert complete == [False] * (len(complete) - 1) + [True]
    assert reading.answer == {b"a": Item(b"\r\nb", b"17"), b"b": Item(b"", b"18")}


@pytest.mark.promise("F-04")
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_answers_are_read_however_they_are_cut(size):
    reading = wire.Answers(6)
    text = b"STORED\r\nNOT_STORED\r\nSERVER_ERROR out of memory storing object\r\nEXISTS\r\nNOT_FOUND\r\nDELETED\r\n"
    complete = in_slices(reading, text, size)
    assert complete == [False] * (len(complete) - 1) + [True]
    assert reading.answer == [True, False, "out of memory storing object", False, False, True]


@pytest.mark.promise("F-04")
@pytest.mark.parametrize(
    "text",
    [
        VALUES + b"END\r\n",
        b"VALUE other 0 1 1\r\nx\r\nEND\r\n",
        b"VALUE a 0 1 1\r\nxyz",
        b"VALUE a 0 x 1\r\n",
        b"VALUE a 0 1\r\nx\r\nEND\r\n",
        b"STORED\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad command line format\r\n",
        b"x" * 3_000,
    ],
)
def test_what_is_no_answer_to_a_read_is_out_of_step(text):
    with pytest.raises(wire.OutOfStep) as caught:
        in_slices(wire.Values([b"a", b"b"]), text, 1_000)
    assert b"xyz" not in str(caught.value).encode()


@pytest.mark.promise("F-04")
@pytest.mark.parametrize("text", [b"STORED\r\nSTORED\r\n", b"END\r\n", b"VALUE a 0 1 1\r\n", b"ERROR\r\n"])
def test_what_is_no_answer_to_a_write_is_out_of_step(text):
    with pytest.raises(wire.OutOfStep):
        in_slices(wire.Answers(1), text, 1_000)


def test_a_version_is_read_and_nothing_else_taken_for_one():
    reading = wire.Version()
    assert in_slices(reading, b"VERSION 1.6.18\r\n", 4)[-1]
    assert reading.answer == b"1.6.18"
    with pytest.raises(wire.OutOfStep):
        in_slices(wire.Version(), b"ERROR\r\n", 100)


@pytest.mark.promise("18")
def test_the_words_of_a_session_are_in_no_message():
    for text in (b"a secret of somebody\r\n", b"VALUE secret 0 1 1\r\n"):
        with pytest.raises(wire.OutOfStep) as caught:
            in_slices(wire.Values([b"a"]), text, 100)
        assert "secret" not in str(caught.value)


def test_commands_are_those_of_the_protocol():
    assert wire.get([b"a", b"b"]) == b"gets a b\r\n"
    wishes = [Put(b"a", b"x\r\ny", 60, None), Put(b"b", b"", -1, b"17"), Delete(b"c")]
    assert wire.put(wishes) == b"add a 0 60 4\r\nx\r\ny\r\ncas b 0 -1 0 17\r\n\r\ndelete c\r\n"


@pytest.mark.promise("F-04")
@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_bytes_break_the_reading_of_answers(data, size):
    for reading in (wire.Values([b"a"]), wire.Answers(2), wire.Version()):
        with suppress(wire.OutOfStep):
            in_slices(reading, data, size)


def in_slices(reading, text, size):
    """What `reading` says to each slice, until it is complete."""
    buffer, said = bytearray(), []
    for start in range(0, len(text), size):
        buffer += text[start : start + size]
        said.append(reading.feed(buffer))
        if said[-1]:
            break
    return said
