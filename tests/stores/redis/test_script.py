"""The compare-and-swap script does to a server what a few lines do to a dict."""

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.errors import StoreUnavailable
from coatcheck.model.ports import Conflict, Found, Write
from coatcheck.stores.redis import from_url
from tests.servers.fixtures_redis import new_prefix
from tests.stores.redis.harness import LIVE, name_of
from tests.stores.redis.scene import data_of, item, opened, soon

pytestmark = pytest.mark.servers

NOW = 1_700_000_000_000
FOREIGN = object()  # a key that holds no string
KEYS = [bytes([number]) * 16 for number in range(4)]
LYING = st.one_of(
    st.none(),
    st.just(FOREIGN),
    st.just(b""),  # under any key, by another program: even shorter than our mark
    st.binary(min_size=1, max_size=7).map(lambda data: data + LIVE),
    st.binary(min_size=8, max_size=12).map(lambda data: data + LIVE),
)
WRITES = st.fixed_dictionaries(
    {
        "expects": st.sampled_from(["nothing", "what is there", "another"]),
        "size": st.integers(0, 20),
        "life": st.integers(-5, 10**6),
        "urgent": st.booleans(),
        "live": st.booleans(),
    }
)


def answer_of(value, write):
    """The answer to a write where `value` lies, and the value after it."""
    if value is FOREIGN:
        return Conflict(Found(b"", b"")), value
    if (value is None) if write.expected is None else (value and value[:8] == write.expected):
        return None, write.data + (LIVE if write.live else b"\0")
    return Conflict(None if value is None else Found(value[:-1], value[:8])), value


@given(
    lying=st.lists(LYING, min_size=len(KEYS), max_size=len(KEYS)),
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from(KEYS), WRITES), unique_by=lambda pair: pair[0]), max_size=4
    ),
)
@settings(max_examples=100, deadline=None)
def test_the_script_and_a_dict_agree(redis_server, lying, batches):
    prefix = new_prefix()
    with opened("sync", redis_server.url, prefix=prefix) as store, redis_server.client() as client:
        held = dict(zip(KEYS, lying, strict=True))
        for key, value in held.items():
            if value is FOREIGN:
                client.rpush(name_of(prefix, key), "x")
            elif value is not None:
                client.set(name_of(prefix, key), value)
        for batch in batches:
            writes, expected, lives = [], [], {}
            for key, parts in batch:
                there = held[key]
                expects = {
                    "nothing": None,
                    "what is there": there[:8] if isinstance(there, bytes) else b"12345678",
                    "another": b"another!",
                }[parts["expects"]]
                write = Write(
                    key=key,
                    data=os.urandom(8 + parts["size"]),
                    expires=NOW + 10**6 + parts["life"],
                    expected=expects,
                    urgent=parts["urgent"],
                    live=parts["live"],
                )
                answer, held[key] = answer_of(there, write)
                if answer is None:
                    lives[key] = write.expires - NOW
                writes.append(write)
                expected.append(answer)
            assert list(store.write(writes, NOW, soon())) == expected
            for key, life in lives.items():
                assert life - 60_000 < client.pttl(name_of(prefix, key)) <= life
        for key, value in held.items():
            name = name_of(prefix, key)
            if value is FOREIGN:
                assert client.lrange(name, 0, -1) == [b"x"]
            else:
                assert client.get(name) == value
            client.delete(name)


def test_a_life_that_is_over_is_a_moment_long(redis_server, prefix):
    with opened("sync", redis_server.url, prefix=prefix) as store:
        write = item(expires=NOW - 5)
        assert store.write([write], NOW, soon()) == [None]
        time.sleep(0.02)
        assert store.load([write.key], NOW, soon()) == [None]


def test_one_key_that_fails_hits_its_own_write_only(redis_server, prefix):
    """A script may not be permitted to write one of its keys."""
    redis_server.ask("ACL", "SETUSER", "half", "on", ">secret", f"~{prefix}*", "+@all", "-set")
    url = redis_server.url.replace("redis://", "redis://half:secret@")
    with opened("sync", redis_server.url, prefix=prefix) as whole, opened("sync", url, prefix=prefix) as half:
        there = item()
        assert whole.write([there], NOW, soon()) == [None]
        conflict, refused = half.write([item(key=there.key), item()], NOW, soon())
        assert conflict == Conflict(Found(there.data, there.data[:8]))
        assert isinstance(refused, StoreUnavailable)
        assert not refused.ambiguous
        assert "permit" in str(refused)
    redis_server.ask("ACL", "DELUSER", "half")


def test_the_whole_batch_is_one_call_and_a_script_that_is_not_known_is_sent_in_full(redis_server, prefix):
    store = from_url(redis_server.url, prefix=prefix)
    redis_server.ask("SCRIPT", "FLUSH")
    writes = [item(data_of(), urgent=number % 2 == 0) for number in range(10)]
    assert store.write(writes, NOW, soon()) == [None] * 10
    assert [found.data for found in store.load([write.key for write in writes], NOW, soon())] == [
        write.data for write in writes
    ]
    store.close()
