"""A million sessions, past the libraries and in seconds, and the cookies of some of their visitors."""

from __future__ import annotations

import itertools
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from hashlib import blake2b, sha256

import redis
from msgspec.structs import replace

from benchmarks.layouts import records
from benchmarks.load import Bench, Running
from benchmarks.sites import OURS
from benchmarks.work import FIELDS, SECRET
from coatcheck.http.token import Ring, Token
from coatcheck.model.format import encode
from coatcheck.model.ports import REVISION_BYTES, Store, Write
from coatcheck.stores.redis import RedisStore
from coatcheck.stores.sql.table import tables
from coatcheck.stores.sqlite import SQLiteStore
from tests.servers.process import HOST

__all__ = ["cookies", "store"]

_SECRET_OF_ALL = b"the same secret of all visitors."
_COMING = 20_000
_AT_ONCE = 5_000
Session = tuple[bytes, bytes, int]
"""Its key, its data, and when it expires (ms)."""


def store(bench: Bench, one: Running, first: int, last: int) -> None:
    """Store the sessions with these numbers in the store of a site, which has one visitor already."""
    if one.site.session != OURS:
        _INTO_PEER[one.site.store](bench, one, range(first, last))
        return
    made = replace(next(records(FIELDS, signed_in=False)), secret_hash=sha256(_SECRET_OF_ALL).digest())

    def sessions() -> Iterator[Session]:
        for number in range(first, last):
            key = _key(number)
            yield key, encode(replace(made, key=key), key[:REVISION_BYTES]), made.expires

    _INTO[one.site.store](bench, sessions())


def cookies(one: Running, number: int) -> list[str]:
    """The cookies of 20,000 of the first `number` visitors, from all over the store, in an order of chance."""
    name = one.cookies[0].partition("=")[0]
    some = random.Random(number).sample(range(number), min(number, _COMING))
    if one.site.session != OURS:
        return [f"{name}={_key(each).hex()}" for each in some]
    ring = Ring(SECRET, purpose=name)
    return [f"{name}={ring.sign(Token(_key(each), _SECRET_OF_ALL))}" for each in some]


def _key(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=16).digest()


def _by_its_own_writes(sessions: Iterator[Session], there: Store) -> None:
    for some in _batches(sessions):
        writes = [Write(key=key, data=data, expires=expires) for key, data, expires in some]
        answers = there.write(writes, int(time.time() * 1000), time.monotonic() + 60)
        assert not any(answers), answers


def _into_redis(bench: Bench, sessions: Iterator[Session]) -> None:
    with closing(RedisStore.from_url(bench.stores.redis_url)) as there:
        _by_its_own_writes(sessions, there)


def _into_sqlite(bench: Bench, sessions: Iterator[Session]) -> None:
    with closing(SQLiteStore(bench.folder / "sites.db")) as there:
        _by_its_own_writes(sessions, there)


def _into_memcached(bench: Bench, sessions: Iterator[Session]) -> None:
    with closing(socket.create_connection((HOST, bench.stores.memcached))) as connection:
        for some in _batches(sessions):
            line = b"set coatcheck:%b 0 86400 %d noreply\r\n%b\r\n"
            connection.sendall(
                b"".join(line % (key.hex().encode(), len(data), data) for key, data, _ in some)
            )
        connection.sendall(b"version\r\n")
        connection.recv(100)


def _into_postgres(bench: Bench, sessions: Iterator[Session]) -> None:
    table = tables("coatcheck:").sessions.name
    with bench.postgres.connect() as connection, connection.cursor() as cursor:
        with cursor.copy(f'COPY "{table}" (key, data, revision, expires, live) FROM STDIN') as copy:
            for key, data, expires in sessions:
                copy.write_row((key, data, data[:REVISION_BYTES], expires, 1))
        cursor.execute(f'VACUUM ANALYZE "{table}"')


def _batches(sessions: Iterator[Session]) -> Iterator[list[Session]]:
    while some := list(itertools.islice(sessions, _AT_ONCE)):
        yield some


def _peer_into_redis(bench: Bench, one: Running, numbers: range) -> None:
    """Copies of the visitor's, as Flask-Session stores them."""
    with closing(redis.Redis.from_url(bench.stores.redis_url)) as client:
        name = f"session:{one.cookies[0].partition('=')[2]}"
        data, expires = client.get(name), client.pexpiretime(name)
        assert isinstance(data, bytes), "Flask-Session keeps them elsewhere"
        for start in range(numbers.start, numbers.stop, _AT_ONCE):
            with client.pipeline(transaction=False) as pipeline:
                for number in range(start, min(start + _AT_ONCE, numbers.stop)):
                    pipeline.set(f"session:{_key(number).hex()}", data, pxat=expires)
                pipeline.execute()


def _peer_into_postgres(bench: Bench, one: Running, numbers: range) -> None:
    with bench.postgres.connect() as connection, connection.cursor() as cursor:
        name = f"session:{one.cookies[0].partition('=')[2]}"
        row = cursor.execute("SELECT data, expiry FROM sessions WHERE session_id = %s", (name,)).fetchone()
        assert row, "Flask-Session keeps them elsewhere"
        with cursor.copy("COPY sessions (session_id, data, expiry) FROM STDIN") as copy:
            for number in numbers:
                copy.write_row((f"session:{_key(number).hex()}", *row))
        cursor.execute("VACUUM ANALYZE sessions")


_INTO_PEER = {"Redis": _peer_into_redis, "PostgreSQL": _peer_into_postgres}
_INTO: Mapping[str, Callable[[Bench, Iterator[Session]], None]] = {
    "Redis": _into_redis,
    "Memcached": _into_memcached,
    "SQLite": _into_sqlite,
    "PostgreSQL": _into_postgres,
}
