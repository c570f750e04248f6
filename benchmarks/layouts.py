"""How a session lies in Redis, which is a part of its own: one string that is swapped as a whole, or a hash; beside Flask-Session's string.

What counts is the server: its memory for a session, and its CPU for reading one and for writing some of its fields.
The hash comes in two forms: as a pipeline, which can check no precondition, and by a script that does.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import flask
import redis
from flask_session.redis import RedisSessionInterface
from msgspec.structs import replace

from benchmarks.load import Bench, Effort, Series
from benchmarks.work import SECRET
from coatcheck import Sessions
from coatcheck.model.format import decode, encode
from coatcheck.model.ports import REVISION_BYTES, Store, Write
from coatcheck.model.record import Record
from coatcheck.stores.memory import MemoryStore
from tests.servers.redis import single
from tests.visitor import stored_in

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
CART = [{"sku": "A-1042", "count": 2, "price": "19.90"}, {"sku": "C-7", "count": 1, "price": "240.00"}]
SESSIONS: Mapping[str, Mapping[str, Any]] = {
    "5 short fields": {f"field_{n}": f"value {n}" for n in range(5)},
    "50 short fields": {f"field_{n}": f"value {n}" for n in range(50)},
    "signed in": {"cart": CART, "csrf_token": "d41d8cd98f00b204e9800998ecf8427e" * 2},
    **{
        f"{count:,} field{'s' * (count > 1)}": {f"field_{n}": f"value {n}" for n in range(count)}
        for count in (1, 10, 100, 1_000)
    },
}
_AT_ONCE = 200
_count = itertools.count()


def records(values: Mapping[str, Any], *, signed_in: bool) -> Iterator[Record]:
    """Records of sessions that hold `values`, made as an application makes them."""
    store = MemoryStore()
    with Sessions(store, secret=SECRET) as sessions:
        session = sessions.open(b"", client=AGENT)
        session.update(values)
        if signed_in:
            session.sign_in("4711")
        sessions.close(session)
        assert session.handle
        key = bytes.fromhex(session.handle)  # beside it may lie its user's epoch
    record = decode(key, stored_in(store)[key])
    assert isinstance(record, Record)
    while True:
        yield replace(record, key=os.urandom(16))


class Framed:
    """What the store does: one string in the record's own format, compared and swapped by its script."""

    name = "string, swapped"

    def __init__(self, url: str) -> None:
        from coatcheck.stores.redis import from_url

        self.store: Store = from_url(url)
        self.versions: dict[bytes, bytes] = {}

    def create(self, record: Record, values: Mapping[str, Any]) -> None:
        self._write(record, None)

    def read(self, record: Record, values: Mapping[str, Any]) -> None:
        self.store.load([record.key], record.created, time.monotonic() + 5)

    def write(self, record: Record, values: Mapping[str, Any], changed: Mapping[str, bytes]) -> None:
        self._write(replace(record, fields={**record.fields, **changed}), self.versions[record.key])

    def _write(self, record: Record, expected: bytes | None) -> None:
        revision = self.versions[record.key] = os.urandom(REVISION_BYTES)
        expires = record.expires + next(_count) % 1_000
        write = Write(key=record.key, data=encode(record, revision), expires=expires, expected=expected)
        answers = self.store.write([write], record.created, time.monotonic() + 5)
        assert answers == [None], answers


_CHECKED = """
local head = redis.call('HGET', KEYS[1], '')
if not head or string.sub(head, 3, 34) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
return 1
"""


class Plain(Framed):
    """The least that a write can cost: the same string, put there without a look at what there was."""

    name = "plain SET"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redis.Redis.from_url(url)

    def key(self, record: Record) -> str:
        return f"plaincheck{record.key.hex()}"

    def read(self, record: Record, values: Mapping[str, Any]) -> None:
        self.client.get(self.key(record))

    def _write(self, record: Record, expected: bytes | None) -> None:
        data = encode(record, os.urandom(REVISION_BYTES))
        self.client.set(self.key(record), data, pxat=record.expires + next(_count) % 1_000)
        self.versions[record.key] = b""


class Hash:
    """A field of the hash for each field, and one for the bookkeeping."""

    name = "hash, pipelined"

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)

    def key(self, record: Record) -> bytes:
        return f"hashcheck:{record.key.hex()}".encode()  # as long as the store's

    def head(self, record: Record) -> dict[str, bytes]:
        """The bookkeeping, in parts of at most 64 bytes where that is possible: a longer one makes a hash large."""
        data = encode(replace(record, fields={}), bytes(REVISION_BYTES))[:-1]
        flags, secret_and_times, sign_in = data[8:10], data[26:86], data[86:]
        return {"": flags + secret_and_times} | ({" ": sign_in} if sign_in else {})

    def create(self, record: Record, values: Mapping[str, Any]) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.hset(self.key(record), mapping={**self.head(record), **record.fields})
            pipeline.pexpireat(self.key(record), record.expires)
            pipeline.execute()

    def read(self, record: Record, values: Mapping[str, Any]) -> None:
        self.client.hgetall(self.key(record))

    def write(self, record: Record, values: Mapping[str, Any], changed: Mapping[str, bytes]) -> None:
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.hset(self.key(record), mapping={"": self.head(record)[""], **changed})
            pipeline.pexpireat(self.key(record), record.expires + next(_count) % 1_000)
            pipeline.execute()


class CheckedHash(Hash):
    """The same, with the precondition that the secret is still the one that the request saw."""

    name = "hash, script"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.script = self.client.register_script(_CHECKED)

    def write(self, record: Record, values: Mapping[str, Any], changed: Mapping[str, bytes]) -> None:
        flat = [part for pair in ({"": self.head(record)[""]} | changed).items() for part in pair]
        self.script(
            keys=[self.key(record)], args=[record.secret_hash, record.expires + next(_count) % 1_000, *flat]
        )


class FlaskSession:
    """The whole session as one string, written back as a whole by whoever comes last."""

    name = "Flask-Session"
    user: Mapping[str, Any] = {"_user_id": "4711", "_fresh": True, "_id": "9f86d081884c7d65" * 8}

    def __init__(self, url: str) -> None:
        self.interface = RedisSessionInterface(flask.Flask("benchmark"), redis.Redis.from_url(url))

    def key(self, record: Record) -> str:
        return f"session:{record.key.hex()}{'x' * 11}"  # as long as theirs: 32 bytes in base64

    def create(self, record: Record, values: Mapping[str, Any]) -> None:
        theirs = {"_permanent": True, **values, **(self.user if record.user else {})}
        self.interface._upsert_session(timedelta(days=31), theirs, self.key(record))  # type: ignore[arg-type]

    def read(self, record: Record, values: Mapping[str, Any]) -> None:
        self.interface._retrieve_session_data(self.key(record))

    def write(self, record: Record, values: Mapping[str, Any], changed: Mapping[str, bytes]) -> None:
        self.create(record, {**values, **{name: value.decode("latin-1") for name, value in changed.items()}})


Layout = Framed | Plain | Hash | FlaskSession


def layouts(effort: Effort, most: int = 10_000) -> Iterator[Series]:
    """The readings: bytes of the server's memory, and its CPU (µs), of which `command` is what commands alone take."""
    rounds = 3 * effort.rounds
    with Bench(effort) as bench, single(hz=10) as server, bench.pinned(1, server):
        each: list[Layout] = [make(server.url) for make in (FlaskSession, Framed, Plain, Hash, CheckedHash)]
        for title, values in SESSIONS.items():
            made = records(values, signed_in=title == "signed in")
            count = min(most, 10_000 if len(values) <= 50 else 1_000)
            for layout in each:
                series = Series(title, layout.name, "bytes", 1, len(values))
                series.add(bytes=_bytes(server, layout, made, values, count))
                yield series
        for work in ("read", "write 1 field", "write 10 fields"):
            for title, values in SESSIONS.items():
                made = records(values, signed_in=title == "signed in")
                samples = _cpu(server, each, made, values, work, rounds)
                for name, costs in samples.items():
                    series = Series(title, name, work, 1, len(values))
                    for whole, command in costs:
                        series.add(cpu=whole, command=command)
                    yield series


def _bytes(
    server: Any, layout: Layout, made: Iterator[Record], values: Mapping[str, Any], count: int
) -> float:
    server.ask("FLUSHALL")
    before = server.told("memory")["used_memory"]
    for record in itertools.islice(made, count):
        layout.create(record, values)
    return (server.told("memory")["used_memory"] - before) / count


def _cpu(
    server: Any,
    layouts: list[Layout],
    made: Iterator[Record],
    values: Mapping[str, Any],
    work: str,
    rounds: int,
) -> dict[str, list[tuple[float, float]]]:
    """Round by round, by layout: all CPU, and the commands' alone."""
    server.ask("FLUSHALL")
    some = list(itertools.islice(made, _AT_ONCE))
    for layout in layouts:
        for record in some:
            layout.create(record, values)
    number = 10 if "10" in work else 1
    names = list(some[0].fields)[:number] or ["field_0"]
    changes = [
        {name: record.fields[name][:-1] + bytes([65 + turn]) for name in names if name in record.fields}
        for turn, record in enumerate(some[:20])
    ]

    def play(layout: Layout, turn: int) -> Callable[[], None]:
        def run() -> None:
            for record in some:
                if work == "read":
                    layout.read(record, values)
                else:
                    layout.write(record, values, changes[turn % len(changes)])

        return run

    samples: dict[str, list[tuple[float, float]]] = {layout.name: [] for layout in layouts}
    shuffle = random.Random(0).shuffle
    order = list(layouts)
    for turn in range(rounds):
        shuffle(order)
        for layout in order:
            with _costing(server) as spent:
                play(layout, turn)()
            samples[layout.name].append((spent[0] / len(some), spent[1] / len(some)))
    return samples


@contextmanager
def _costing(server: Any) -> Iterator[list[float]]:
    """The microseconds that the server spends while the block runs: all of them, and those in commands."""
    spent: list[float] = []
    with server.client() as client:
        client.config_resetstat()
        before = client.info("cpu")
        yield spent
        after = client.info("cpu")
        stats = client.info("commandstats")
    all_ = sum(after[part] - before[part] for part in ("used_cpu_user", "used_cpu_sys"))
    calls = {name.removeprefix("cmdstat_"): entry["usec"] for name, entry in stats.items()}
    # What a script calls is counted once more by itself.
    ours = {"evalsha"} & calls.keys() or calls.keys() - {"info", "config|resetstat"}
    spent += [all_ * 1e6, sum(calls[name] for name in ours)]
