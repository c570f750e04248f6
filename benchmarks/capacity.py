"""How many bytes a session takes in each store, and what Redis takes for a request. The page on capacity has the numbers.

An empty store is filled with one kind of session, copies of one that a request made; what its server, or its file, takes
more afterwards is divided by their number. Each signed-in session has a user of its own, which is the most
that an index, or an epoch, can cost.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import redis
from msgspec.structs import replace

from benchmarks.layouts import AGENT, records
from benchmarks.load import Bench, Effort, Series, create_tables
from benchmarks.work import SECRET
from coatcheck import Sessions
from coatcheck.core.epochs import Epoch, epoch_key
from coatcheck.model.format import encode
from coatcheck.model.ports import REVISION_BYTES, Entry, Store, Write
from coatcheck.model.record import Record
from tests.servers.mariadb import DATABASE, MariaDB
from tests.servers.memcached import Memcached
from tests.servers.postgres import PostgreSQL
from tests.servers.process import HOST
from tests.servers.redis import RedisServer

__all__ = ["KINDS", "capacity"]

SMALL: Mapping[str, Any] = {"theme": "dark", "locale": "en-GB", "basket": ["scarf", "gloves"]}
KINDS: Mapping[str, tuple[int, int]] = {
    "3 fields": (0, 100_000),
    "1 kB": (1_000, 100_000),
    "10 kB": (10_000, 12_500),
}
"""The bytes of the fields together (0: as they come), and how many sessions are stored."""
_AT_ONCE = 250
_REQUESTS = 4_000
_OPTIONS: dict[str, Any] = {"secret": SECRET, "insecure_http": True, "deadline": timedelta(seconds=120)}

Sizes = Callable[[], dict[str, int]]
"""The bytes that an otherwise empty store takes, by one or several measures."""


def capacity(effort: Effort, share: int) -> Iterator[Series]:
    """The readings: bytes a session; and µs of the CPU of Redis."""
    kinds = [(kind, user) for kind in KINDS for user in (False, True)]
    for kind, user in kinds:
        size = len(encode(a_record(kind, user=user), bytes(8)))
        yield _series("the record itself", kind, user=user, count=1, size=size)
    for store in STORES:
        for kind, user in kinds:
            count = max(_AT_ONCE, KINDS[kind][1] // share)
            for name, size in _measured(store, kind, user=user, count=count).items():
                yield _series(name, kind, user=user, count=count, size=size)
    yield from _requests(effort, _REQUESTS // share)


def _series(name: str, kind: str, *, user: bool, count: int, size: int) -> Series:
    series = Series(f"{kind}{', user' * user}", name, "bytes", 0, count)
    series.rounds["bytes"] = [float(size)]  # each byte counts
    return series


def fields(kind: str) -> dict[str, Any]:
    """The fields of one session. What fills it up can't be compressed."""
    fill, _ = KINDS[kind]
    taken = 60  # the three fields, and the name of the fourth
    return {**SMALL, "notes": secrets.token_urlsafe(fill)[: fill - taken]} if fill else dict(SMALL)


def a_record(kind: str, *, user: bool) -> Record:
    """A record that a request makes."""
    return _copy(next(records(fields(kind), signed_in=user)), 0)


def _measured(store: Callable[[], Any], kind: str, *, user: bool, count: int) -> dict[str, int]:
    record = a_record(kind, user=user)
    with store() as (url, sizes):
        before = sizes()
        with Sessions.from_url(url, **_OPTIONS) as sessions:
            for start in range(0, count, _AT_ONCE):
                _store(sessions.store, [_copy(record, start + number) for number in range(_AT_ONCE)])
        return {name: round((size - before[name]) / count) for name, size in sizes().items()}


def _copy(record: Record, number: int) -> Record:
    """The same for another visitor, and another user."""
    user = None if record.user is None else f"user-{number:06}"
    # Not all end in the same millisecond.
    return replace(
        record, key=os.urandom(16), secret_hash=os.urandom(32), user=user, expires=record.expires + number
    )


def _store(store: Store, records: list[Record]) -> None:
    """Store them as their first requests do, with what belongs to their users."""
    now, deadline = records[0].created, time.monotonic() + 120
    entries = [
        Entry(record.user, record.key, record.signed_in, record.signed_in + record.covered)
        for record in records
        if record.user is not None
    ]
    within = entries if store.index == "within" else []
    writes = [
        Write(
            key=record.key,
            data=encode(record, os.urandom(REVISION_BYTES)),
            expires=record.expires,
            entry=entry,
        )
        for record, entry in zip_longest(records, within)
    ]
    if store.index == "none":
        writes += [
            Write(
                key=epoch_key(entry.user),
                data=Epoch(ended=0, newest=entry.signed_in, expires=entry.until).encode(
                    os.urandom(REVISION_BYTES)
                ),
                expires=entry.until,
                live=False,
            )
            for entry in entries
        ]
    assert set(store.write(writes, now, deadline)) == {None}
    if entries and store.index == "beside":
        store.note(entries, now, deadline)


@contextmanager
def _sqlite() -> Iterator[tuple[str, Sizes]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sessions.db"

        def sizes() -> dict[str, int]:
            # Its last connection has moved the log into it.
            return {"SQLite, the file": file.stat().st_size if file.exists() else 0}

        yield f"sqlite:///{file}", sizes


@contextmanager
def _redis_server() -> Iterator[int]:
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder) as server:
        yield server.port


@contextmanager
def _redis() -> Iterator[tuple[str, Sizes]]:
    with _redis_server() as port, redis.Redis(HOST, port) as client:

        def sizes() -> dict[str, int]:
            total, keys = 0, list(client.scan_iter(count=1_000))
            for start in range(0, len(keys), 1_000):
                with client.pipeline(transaction=False) as pipeline:
                    for key in keys[start : start + 1_000]:
                        pipeline.memory_usage(key)
                    total += sum(pipeline.execute())
            return {
                "Redis, `used_memory`": client.info("memory")["used_memory"],
                "Redis, `MEMORY USAGE` of the keys": total,
            }

        yield f"redis://{HOST}:{port}/0", sizes


@contextmanager
def _postgresql() -> Iterator[tuple[str, Sizes]]:
    with PostgreSQL() as server:
        create_tables(server.url())

        def sizes() -> dict[str, int]:
            (total,) = server.execute("SELECT pg_total_relation_size('coatcheck_sessions')")[0]
            return {"PostgreSQL, table and indexes": total}

        yield server.url(), sizes


@contextmanager
def _mariadb() -> Iterator[tuple[str, Sizes]]:
    with MariaDB("--innodb-buffer-pool-size=256M") as server:
        create_tables(server.url())
        file = server.folder / "data" / DATABASE / "coatcheck_sessions.ibd"
        yield server.url(), lambda: {"MariaDB, table and indexes": file.stat().st_size}


@contextmanager
def _memcached() -> Iterator[tuple[str, Sizes]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Memcached(Path(folder), "-m", "4096") as server,
    ):

        def sizes() -> dict[str, int]:
            # An item takes the whole chunk that it lies in.
            slabs: dict[str, dict[str, int]] = {}
            for line in server.ask(b"stats slabs\r\n", b"END\r\n").decode().split("\r\n")[:-2]:
                slab, _, statistic = line.split(" ")[1].partition(":")
                slabs.setdefault(slab, {})[statistic] = int(line.split(" ")[2])
            chunks = [
                slab["used_chunks"] * slab["chunk_size"] for slab in slabs.values() if "chunk_size" in slab
            ]
            return {"Memcached, chunks": sum(chunks)}

        yield server.url, sizes


STORES = (_sqlite, _redis, _postgresql, _mariadb, _memcached)


def _requests(effort: Effort, count: int) -> Iterator[Series]:
    """The CPU time of the Redis process per request. It runs on a core of its own."""
    with (
        Bench(effort, "Redis") as bench,
        bench.pinned(max(effort.cores)),
        redis.Redis(HOST, bench.stores.redis) as client,
        Sessions.from_url(bench.stores.redis_url, **_OPTIONS) as sessions,
    ):
        session = sessions.open(b"", client=AGENT)
        session.update(fields("1 kB"))
        set_cookie = sessions.close(session).set_cookie
        assert set_cookie is not None
        cookie = set_cookie.partition(";")[0].encode()

        def read() -> None:
            session = sessions.open(cookie)
            assert session["theme"] == "dark"
            sessions.close(session)

        def write() -> None:
            session = sessions.open(cookie)
            session["seen"] = secrets.token_urlsafe(8)
            sessions.close(session)

        def sign_in() -> None:
            session = sessions.open(b"", client=AGENT)
            session.sign_in(secrets.token_urlsafe(8))
            sessions.close(session)

        for name, request in {"reads": read, "changes a field": write, "signs in": sign_in}.items():
            series = Series("requests", name, "request", max(effort.cores), 1)
            for _ in range(100):
                request()
            for _ in range(effort.rounds):
                before = _cpu_seconds(client)
                for _ in range(count):
                    request()
                series.add(cpu=(_cpu_seconds(client) - before) / count * 1e6)
            yield series


def _cpu_seconds(client: redis.Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
