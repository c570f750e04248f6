"""The store: section 5 of what is kept, and the store contract of hug (section 6)."""

import json
import subprocess
import sys
import time
from base64 import b64decode
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from coatcheck.compat.hug_store_redis import RedisStore
from coatcheck.compat.hug_store_redis import redis_store as module
from coatcheck.errors import DecodeError, NotStorable
from tests.compat.hug_store_redis.quietly import hug
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

OLD = json.loads((Path(__file__).parents[1] / "data" / "hug36.json").read_text())


def test_the_names_are_where_they_were(raw):
    """[KEEP] 5: modules, arguments, defaults, attributes."""
    assert module.RedisStore is RedisStore
    store = RedisStore(raw)
    assert (store.connection, store.namespace, store.expiration) == (raw, "store", 86400)
    store = RedisStore(raw, "sessions", 3600)
    assert (store.namespace, store.expiration) == ("sessions", 3600)


def test_what_is_set_is_there_until_it_is_deleted(store):
    """[TEST] 5: test_store."""
    assert not store.exists("key")
    store.set("key", {"important": True})
    assert store.exists("key")
    assert store.get("key") == {"important": True}
    store.set("key", {"important": False})
    assert store.get("key") == {"important": False}
    store.delete("key")
    assert not store.exists("key")


def test_what_is_missing_is_not_found(store):
    """[TEST] 5: `StoreKeyNotFound(key)`."""
    with pytest.raises(hug.exceptions.StoreKeyNotFound) as caught:
        store.get("missing")
    assert caught.value.args == ("missing",)


def test_it_expires(raw):
    """[TEST] 5: test_expiration, which waited a second for it, and failed once in 20."""
    store = RedisStore(raw, "test", 1)
    store.set("key", True)
    assert 0 < raw.pttl("test:key") <= 1000
    deadline = time.monotonic() + 30
    while store.exists("key"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_exists_is_a_bool(store):
    """[FIX] 5: 0 or 1 with redis-py >= 3."""
    store.set("key", {})
    assert (store.exists("key"), store.exists("missing")) == (True, False)
    assert isinstance(store.exists("key"), bool)


def test_delete_says_whether_there_was_one(store):
    """[KEEP] 5; a missing key is no error."""
    store.set("key", {})
    assert store.delete("key") is True
    assert store.delete("key") is False


def test_values_are_json_texts_under_the_namespace(store, raw):
    """[KEEP] 5: ASCII escapes, NaN as NaN, int keys become str."""
    store.set("key", {"uni": "é", "nan": float("nan"), 1: None})
    assert raw.get("test:key") == b'{"uni": "\\u00e9", "nan": NaN, "1": null}'
    assert raw.keys() == [b"test:key"]
    for data in ({}, None, "text", [1, 2.5, True]):
        store.set("key", data)
        assert store.get("key") == data


def test_the_life_begins_anew_with_every_set_and_with_nothing_else(raw):
    """[KEEP] 5."""
    store = RedisStore(raw, "test", 1000)
    store.set("key", 1)
    raw.expire("test:key", 100)
    store.get("key")
    store.exists("key")
    assert raw.ttl("test:key") <= 100
    store.set("key", 1)
    assert raw.ttl("test:key") > 900


@pytest.mark.parametrize(
    ("expiration", "ttl"), [(None, -1), (timedelta(minutes=5), 300), (100, 100)], ids=["none", "delta", "int"]
)
def test_how_long_it_lives(raw, expiration, ttl):
    """[KEEP] 5: None = no expiry; a timedelta works."""
    RedisStore(raw, "test", expiration).set("key", 1)
    assert ttl - 60 < raw.ttl("test:key") <= ttl


@pytest.mark.parametrize("expiration", [0, -1])
def test_nonsense_is_refused_by_redis(raw, expiration):
    """[KEEP] 5: ResponseError."""
    with pytest.raises(redis.exceptions.ResponseError):
        RedisStore(raw, "test", expiration).set("key", 1)


def test_what_json_can_not_say_is_a_type_error(store, raw):
    """[KEEP] 5."""
    with pytest.raises(TypeError):
        store.set("key", {"at": object()})
    assert raw.keys() == []


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [101, 500, 100_000])
def test_what_is_nested_too_deep_is_neither_written_nor_read(levels, store, raw):
    """It was a RecursionError, or not, depending on how deep the stack was."""
    with pytest.raises(NotStorable):
        store.set("key", nested(levels))
    assert raw.keys() == []
    raw.set("test:key", "[" * levels + "]" * levels)
    with pytest.raises(DecodeError):
        store.get("key")


def test_depth_is_not_breadth_nor_text(store):
    for data in (nested(100), [[]] * 1000, {"a": '["' * 1000, "b\\": "\\[" * 1000, "c": [[1]] * 500}):
        store.set("key", data)
        assert store.get("key") == data


def test_a_client_that_decodes_is_welcome(one_redis, database):
    """[FIX] 5: `payload.decode` failed on a connection made with decode_responses=True."""
    with redis.Redis(HOST, one_redis.port, database, decode_responses=True) as client:
        store = RedisStore(client)
        store.set("key", {"uni": "é"})
        assert store.get("key") == {"uni": "é"}
        assert store.exists("key") is True
        assert store.delete("key") is True


class Plain:
    """A client with nothing but the four methods, called as the old library called them."""

    def __init__(self):
        self.calls = []
        self.payload = b'{"a": 1}'

    def set(self, name, value, seconds):
        self.calls.append(("set", name, value, seconds))

    def get(self, name):
        self.calls.append(("get", name))
        return self.payload

    def exists(self, name):
        self.calls.append(("exists", name))
        return 1

    def delete(self, name):
        self.calls.append(("delete", name))
        return 1


def test_any_client_with_four_methods_will_do():
    """[KEEP] 5: duck-typed; the expiry is the third positional argument of `set`."""
    plain = Plain()
    store = RedisStore(plain, "ns", 60)
    store.set("k", {"a": 1})
    assert store.get("k") == {"a": 1}
    assert store.exists("k") is True
    assert store.delete("k") is True
    assert plain.calls == [
        ("set", "ns:k", '{"a": 1}', 60),
        ("get", "ns:k"),
        ("exists", "ns:k"),
        ("delete", "ns:k"),
    ]


@pytest.mark.parametrize("sid", OLD["data"])
def test_what_the_old_library_wrote_is_read_and_goes_on(raw, sid):
    """The issue: records of the old library (Python 3.6) are read; what we write is the same text."""
    key = f"{OLD['namespace']}:{sid}"
    raw.set(key, b64decode(OLD["redis"][key]), OLD["ttl"][key])
    store = RedisStore(raw, OLD["namespace"], OLD["expiration"])
    assert store.exists(sid)
    assert store.get(sid) == OLD["data"][sid]
    before = raw.get(key)
    store.set(sid, store.get(sid))
    assert raw.get(key) == before
    assert raw.ttl(key) == OLD["expiration"]


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("hug", "pip install 'coatcheck[hug,redis]'"),
        ("cgi", "pip install legacy-cgi"),
        ("distutils", "pip install setuptools"),
    ],
)
def test_what_hug_misses_is_told(missing, told):
    """On Python 3.13 hug needs legacy-cgi, from 3.12 on setuptools."""
    program = f"import sys; sys.modules[{missing!r}] = None; import coatcheck.compat.hug_store_redis"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: coatcheck.compat.hug_store_redis needs hug, ")
    assert told in last
