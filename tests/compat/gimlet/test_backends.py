"""The backends on real servers ([KEEP] and [FIX] 1.9): Redis, Memcached, SQLite, PostgreSQL, MariaDB."""

import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import closing
from fractions import Fraction

import pytest
import redis
import sqlalchemy
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError, MemcacheServerError

from coatcheck.compat.gimlet.backends.base import BaseBackend, Renewal, Write
from coatcheck.compat.gimlet.backends.memcache import MemcacheBackend
from coatcheck.compat.gimlet.backends.pyredis import RedisBackend
from coatcheck.compat.gimlet.backends.sql import SQLBackend
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import Session
from coatcheck.errors import ConfigurationError, DecodeError, NotStorable, TooLarge
from tests.compat.gimlet.browser import SECRET, Actions, Browser
from tests.compat.gimlet.conftest import Visitor, factory, new_backend, url_of
from tests.compat.test_pickles import ATTACKS
from tests.servers.process import HOST, until

pytestmark = pytest.mark.xdist_group("gimlet")

KEY = OTHER = b""
SQL = ["sqlite", "postgresql", "mariadb"]
VALUE = {"cart": [1, {"b": (2.5, None)}], "raw": b"\0\xff", "uni": "héllo €"}


@pytest.fixture(autouse=True)
def ids_of_its_own():
    """In Memcached nothing else tells the tests' records apart."""
    global KEY, OTHER
    KEY, OTHER = (os.urandom(16).hex().encode() for _ in range(2))


def put(**values):
    return lambda session: session.update(values)


class TestAll:
    def test_records_and_their_changes(self, stored):
        with pytest.raises(KeyError):
            stored[KEY]
        stored[KEY] = VALUE
        assert stored[KEY] == VALUE
        stored[KEY] = {}
        assert stored[KEY] == {}
        stored[OTHER] = {"o": 1}
        assert stored.read_many([KEY, OTHER, b"ef" * 16]) == {KEY: {}, OTHER: {"o": 1}}

    def test_what_was_there_is_written_only_if_it_still_is(self, stored):
        """[FIX] 1.5: what a logout removed stays removed."""
        assert stored.write_many([Write(KEY, {"a": 1}, 60, there=False)], [], []) == set()
        assert stored.write_many([Write(KEY, {"a": 2}, 60, there=True)], [], []) == set()
        assert stored.write_many([], [KEY], []) == set()
        assert stored.write_many([Write(KEY, {"a": 3}, 60, there=True)], [], []) == {KEY}
        with pytest.raises(KeyError):
            stored[KEY]
        both = [Write(OTHER, {"b": 1}, 60, there=False), Write(KEY, {"a": 4}, 60, there=True)]
        assert stored.write_many(both, [], []) == {KEY}
        assert stored.read_many([KEY, OTHER]) == {OTHER: {"b": 1}}

    def test_several_of_each_in_one_call(self, stored):
        ids = [bytes([48 + n]) * 32 for n in range(6)]
        stored.write_many([Write(key, {"n": n}, 60, there=False) for n, key in enumerate(ids[:4])], [], [])
        ended = stored.write_many(
            [Write(key, {"n": -n}, 60, there=n < 3) for n, key in enumerate(ids[:5]) if n],
            [ids[0], ids[5]],
            [Renewal(ids[1], 90), Renewal(ids[5], 90)],
        )
        assert ended == set()
        assert stored.read_many(ids) == {key: {"n": -n} for n, key in enumerate(ids[:5]) if n}

    def test_a_record_can_be_large(self, stored):
        """[FIX] 1.9: more than 64 KiB failed in MySQL."""
        large = {"a": "x" * 700_000}
        stored[KEY] = large
        assert stored[KEY] == large
        stored.write_many([Write(OTHER, large, 60, there=False)], [], [])
        stored.write_many([Write(OTHER, large, 60, there=True)], [], [])
        assert stored[OTHER] == large

    def test_a_record_expires(self, stored):
        """[FIX] 1.9: records lived for ever. By the server's own clock, so a second is waited for."""
        third = b"ef" * 16
        stored.write_many(
            [Write(KEY, {"a": 1}, 1, there=False), Write(OTHER, {"b": 1}, 600, there=False)], [], []
        )
        stored.write_many([Write(third, {"c": 1}, 600, there=False)], [], [Renewal(OTHER, 1)])
        until(lambda: stored.read_many([KEY, OTHER, third]) == {third: {"c": 1}}, "two records have expired")
        assert stored.write_many([Write(KEY, {"a": 2}, 600, there=False)], [], []) == set()
        assert stored[KEY] == {"a": 2}

    @pytest.mark.parametrize("name", sorted(ATTACKS))
    def test_fix_no_code_runs_from_the_store_and_the_visitor_is_not_locked_out(
        self, stored, name, tmp_path, monkeypatch, caplog
    ):
        """1.9: pickle.loads of whatever stood there."""
        (tmp_path / "empty").mkdir()
        visitor = Visitor(backend=stored)
        visitor.visit(put(a=1))
        nonperm = visitor.arrive().channels["nonperm"].id
        monkeypatch.setattr(type(stored), "serialize", lambda self, value: pickle.dumps(value))
        stored[nonperm] = {"a": ATTACKS[name]}
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path / "empty")
        assert visitor.visit(dict) == {}
        assert "can't be read" in caplog.text
        with pytest.raises(DecodeError):
            stored[nonperm]
        visitor.visit(put(b=2))
        assert visitor.visit(dict) == {"b": 2}
        assert visitor.arrive().channels["nonperm"].id != nonperm, "the record is left alone"
        with pytest.raises(DecodeError):
            stored[nonperm]
        assert list((tmp_path / "empty").iterdir()) == []

    def test_logging_out_ends_a_session_also_where_its_record_can_not_be_read(self, stored, monkeypatch):
        """It could be read later, when its class is named."""
        visitor = Visitor(backend=stored)
        visitor.visit(put(a=1))
        nonperm = visitor.arrive().channels["nonperm"].id
        monkeypatch.setattr(type(stored), "serialize", lambda self, value: pickle.dumps(value))
        stored[nonperm] = {"half": Fraction(1, 2)}
        monkeypatch.undo()
        old = visitor.copy()
        visitor.visit(lambda session: (len(session), session.invalidate()))
        assert old.again(allow=["fractions.Fraction"]).visit(dict) == {}

    def test_what_is_no_session_is_none(self, stored, caplog):
        visitor = Visitor(backend=stored)
        visitor.visit(put(a=1))
        stored[visitor.arrive().channels["nonperm"].id] = [1, 2]
        assert visitor.visit(dict) == {}
        assert "it is not a session" in caplog.text

    def test_pickles_of_gimlet_are_read_and_named_classes_with_them(self, stored, monkeypatch):
        old = {"half": Fraction(1, 2)}
        monkeypatch.setattr(type(stored), "serialize", lambda self, value: pickle.dumps(value, 3))
        stored[KEY], stored[OTHER] = {"a": {1, 2}, "b": b"x"}, old
        monkeypatch.undo()
        assert stored[KEY] == {"a": {1, 2}, "b": b"x"}
        with pytest.raises(DecodeError, match=r"fractions\.Fraction"):
            stored[OTHER]
        factory(backend=stored, allow=["fractions.Fraction"])
        assert stored[OTHER] == old

    def test_what_can_not_be_stored_is_refused_before_anything_is_written(self, stored):
        bad = [Write(KEY, {"a": 1}, 60, there=False), Write(OTHER, {"b": object()}, 60, there=False)]
        with pytest.raises(NotStorable, match=r"session\['b'\]"):
            stored.write_many(bad, [], [])
        assert stored.read_many([KEY, OTHER]) == {}

    def test_a_visitor(self, stored):
        browser = Browser(SessionMiddleware(Actions(), SECRET, stored))
        browser.get("/set/a/1")
        browser.get("/set/b/2?permanent=1")
        browser.get("/set/c/3?clientside=1")
        assert [browser.text(f"/get/{key}") for key in "abc"] == ["1", "2", "3"]
        thief = Browser(browser.app)
        thief.cookies = dict(browser.cookies)
        browser.get("/invalidate")
        assert browser.text("/len") == "0"
        assert thief.text("/has/a") == thief.text("/has/b") == "false"

    def test_fix_first_writes_at_once_do_not_fail(self, stored):
        """1.9: IntegrityError on SQLite and MySQL."""
        failed, start = [], threading.Barrier(8)

        def write(number):
            try:
                start.wait()
                for turn in range(5):
                    key = b"%032d" % turn
                    stored.write_many(
                        [
                            Write(key, {"n": number}, 60, there=False),
                            Write(KEY, {"n": number}, 60, there=False),
                        ],
                        [],
                        [],
                    )
                    stored[key] = {"n": number}
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(stored.read_many([b"%032d" % turn for turn in range(5)])) == 5


class TestRedis:
    def test_the_key_is_gimlets_with_an_expiry_in_the_same_command(self, redis_backend, raw):
        """[KEEP] 1.9: b'gimlet.' + 32 hex; [FIX] SET without TTL."""
        visitor = Visitor(backend=redis_backend)
        visitor.visit(put(a=1))
        (key,) = raw.keys()
        assert key == b"gimlet." + visitor.arrive().channels["nonperm"].id
        assert 30 * 86400 - 60 < raw.ttl(key) <= 30 * 86400
        redis_backend[key.removeprefix(b"gimlet.")] = {"a": 2}
        assert raw.ttl(key) > 0

    def test_an_empty_value_is_a_key_error(self, redis_backend, raw):
        """[KEEP] 1.9."""
        raw.set(b"gimlet." + KEY, b"")
        with pytest.raises(KeyError, match="not found"):
            redis_backend[KEY]

    def test_fix_a_prefix_may_be_text(self, one_redis, database, raw):
        """1.4: bytes + str."""
        for prefix in ("mine.", b"mine."):
            with closing(RedisBackend(HOST, str(one_redis.port), str(database), prefix)) as backend:
                assert backend.prefix == b"mine."
                assert backend.prefixed_key(b"x") == b"mine.x"
                backend[KEY] = {"a": 1}
            assert raw.keys() == [b"mine." + KEY]

    def test_fix_threads_do_not_wait_for_each_other(self, one_redis, database, monkeypatch):
        """1.9: one lock around every command. Here one thread hangs in a command, and the other gets its answer."""
        with closing(RedisBackend(HOST, one_redis.port, database)) as backend:
            backend[KEY] = {"a": 1}
            hangs, released = threading.Event(), threading.Event()
            original = redis.Redis.mget

            def slow(client, keys):
                if threading.current_thread() is thread:
                    hangs.set()
                    assert released.wait(30)
                return original(client, keys)

            monkeypatch.setattr(redis.Redis, "mget", slow)
            thread = threading.Thread(target=backend.read_many, args=([KEY],))
            thread.start()
            assert hangs.wait(30)
            assert backend.read_many([KEY]) == {KEY: {"a": 1}}
            released.set()
            thread.join()

    def test_a_ready_client_is_used(self, one_redis, database, raw):
        with redis.Redis(HOST, one_redis.port, database) as client:
            backend = RedisBackend(client=client)
            assert backend.client is client
            backend[KEY] = {"a": 1}
        assert raw.exists(b"gimlet." + KEY)

    def test_a_client_that_decodes_is_refused(self):
        with pytest.raises(ConfigurationError, match="decode_responses"):
            RedisBackend(client=redis.Redis(decode_responses=True))

    def test_a_server_that_is_away_is_an_error_and_no_empty_session(self, one_redis, database):
        from tests.servers.proxy import Proxy

        with Proxy(one_redis.port) as proxy, closing(RedisBackend(HOST, proxy.port, database)) as backend:
            visitor = Visitor(backend=backend)
            visitor.visit(put(a=1))
            proxy.down()
            with pytest.raises(redis.ConnectionError):
                visitor.visit(dict)
            visitor.visit()
            proxy.up()
            assert visitor.visit(dict) == {"a": 1}

    def test_a_renewal_that_fails_fails_no_request(self, one_redis, database, clock, caplog):
        from tests.servers.proxy import Proxy

        with Proxy(one_redis.port) as proxy, closing(RedisBackend(HOST, proxy.port, database)) as backend:
            visitor = Visitor(backend=backend, clock=clock)
            visitor.visit(put(a=1))
            clock.advance(4 * 86400)
            session = visitor.arrive()
            assert session["a"] == 1
            proxy.down()
            visitor.leave(session)
            assert "is not renewed" in caplog.text


class TestMemcached:
    def test_the_key_is_the_bare_id(self, one_memcached):
        """[KEEP] 1.9: the prefix is not used."""
        with (
            closing(MemcacheBackend([one_memcached.address])) as backend,
            closing(Client(("127.0.0.1", one_memcached.port))) as client,
        ):
            backend[b"0123" * 8] = {"a": 1}
            assert client.get(b"0123" * 8) == backend.serialize({"a": 1})
            client.set(b"4567" * 8, pickle.dumps({"old": "é"}, 2), noreply=False)
            assert backend[b"4567" * 8] == {"old": "é"}

    def test_fix_hosts_may_be_text(self):
        """1.4: it was iterated by character."""
        for hosts in ("one two:11212", "one, two:11212", ["one", "two:11212"], ("one", "two:11212")):
            backend = MemcacheBackend(hosts)
            assert [pool.server for pool in backend.pools] == [("one", 11211), ("two", 11212)]
        assert MemcacheBackend("/run/memcached.sock").pools[0].server == "/run/memcached.sock"
        assert len(MemcacheBackend().pools) == 1
        with pytest.raises(ValueError, match="no host"):
            MemcacheBackend(" ")

    def test_several_hosts_share_the_records_and_none_takes_over_anothers(self, one_memcached, tmp_path):
        from tests.servers.memcached import Memcached

        with (
            Memcached(tmp_path) as second,
            closing(MemcacheBackend([one_memcached.address, second.address])) as both,
        ):
            ids = [b"%032x" % number for number in range(40)]
            for key in ids:
                both[key] = {"k": key}
            assert both.read_many(ids) == {key: {"k": key} for key in ids}
            with closing(MemcacheBackend([second.address])) as alone:
                here = list(alone.read_many(ids))
            assert 5 < len(here) < 35
            second.kill()
            with pytest.raises((OSError, MemcacheError)):
                both[here[0]]
            assert len(both.read_many([key for key in ids if key not in here])) == 40 - len(here)

    def test_fix_too_large_a_record_is_told(self, one_memcached):
        with (
            closing(MemcacheBackend([one_memcached.address])) as backend,
            pytest.raises(TooLarge, match="-I"),
        ):
            backend[KEY] = {"a": "x" * (2 << 20)}

    def test_another_error_of_the_server_is_raised_as_it_is(self, one_memcached, monkeypatch):
        def refuse(*_, **__):
            raise MemcacheServerError("out of memory storing object")

        with closing(MemcacheBackend([one_memcached.address])) as backend:
            monkeypatch.setattr(backend.pools[0], "set", refuse)
            with pytest.raises(MemcacheServerError, match="out of memory"):
                backend[KEY] = {"a": 1}

    def test_a_lifetime_of_more_than_30_days_is_kept(self, one_memcached):
        """Memcached takes a larger number for a date in 1970: the record would be gone at once."""
        with closing(MemcacheBackend([one_memcached.address])) as backend:
            backend.write_many([Write(KEY, {"a": 1}, 400 * 86400, there=False)], [], [])
            assert backend[KEY] == {"a": 1}
            backend.write_many([], [], [Renewal(KEY, 400 * 86400)])
            assert backend[KEY] == {"a": 1}


@pytest.fixture(params=SQL)
def url(request):
    return url_of(request, request.param)


class TestSQL:
    def test_the_table_is_gimlets_with_a_column_for_the_expiry(self, url, table):
        """[KEEP] 1.9: id, key, data; created if it is missing; .table."""
        with closing(SQLBackend(url, table)) as backend:
            assert backend.table.name == table
            columns = {
                column["name"]: column for column in sqlalchemy.inspect(backend.engine).get_columns(table)
            }
            assert columns.keys() == {"id", "key", "data", "expires"}
            assert not columns["key"]["nullable"]
            assert columns["expires"]["nullable"], "an old server's INSERT does not name it"
            backend[KEY] = {"a": 1}
            with closing(SQLBackend(url, table)) as second:
                assert second[KEY] == {"a": 1}

    def test_the_name_of_the_table_is_gimlets_by_default(self, tmp_path):
        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db")) as backend:
            assert backend.table.name == "gimlet_channels"

    def test_fix_no_table_is_made_unasked(self, url, table):
        with pytest.raises(sqlalchemy.exc.NoSuchTableError):
            SQLBackend(url, table, create=False)

    def test_a_table_that_can_not_be_made_is_the_error_of_the_database(self, tmp_path):
        (tmp_path / "empty.db").touch()
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            SQLBackend(f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")

    def test_a_deadlock_is_retried_once(self, tmp_path):
        """Simulated: which of two transactions a server ends is its own choice."""
        failures, tried = [], []

        def fail(*_):
            tried.append(True)
            if failures:
                raise sqlalchemy.exc.OperationalError("SELECT", {}, failures.pop())

        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db")) as backend:
            backend[KEY] = {"a": 1}
            sqlalchemy.event.listen(backend.engine, "before_cursor_execute", fail)
            failures += [Exception(1213, "Deadlock found")]
            assert backend[KEY] == {"a": 1}
            assert len(tried) == 2
            failures += [Exception(1213, "Deadlock found")] * 2
            with pytest.raises(sqlalchemy.exc.OperationalError, match="Deadlock"):
                backend[KEY]
            assert len(tried) == 4

    def test_any_other_error_of_the_database_is_raised_at_once(self, url, table):
        with closing(SQLBackend(url, table)) as backend:
            tried = []
            backend.table.drop(backend.engine)
            sqlalchemy.event.listen(backend.engine, "before_cursor_execute", lambda *_: tried.append(True))
            with pytest.raises(sqlalchemy.exc.DBAPIError, match=table):
                backend[KEY]
            assert len(tried) == 1

    def test_engine_arguments_are_passed_on(self, tmp_path):
        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db", "t", echo=False, pool_size=3)) as backend:
            assert backend.engine.pool.size() == 3

    def test_sqlite_in_memory_works_from_several_threads(self):
        """[TEST] 1.9: `sqlite://` must work with the pool."""
        for url in ("sqlite://", "sqlite:///:memory:"):
            with closing(SQLBackend(url)) as backend:
                backend[KEY] = {"a": 1}
                found = []
                thread = threading.Thread(
                    target=lambda backend=backend, found=found: found.append(backend[KEY])
                )
                thread.start()
                thread.join()
                assert found == [{"a": 1}]

    def test_sweep_removes_what_has_expired(self, url, table):
        with closing(SQLBackend(url, table)) as backend:
            backend.write_many([Write(KEY, {}, -1, there=False), Write(OTHER, {}, 600, there=False)], [], [])
            backend[b"ef" * 16] = {}
            assert backend.sweep() == 1
            assert backend.sweep() == 0
            assert backend.read_many([OTHER, b"ef" * 16]) == {OTHER: {}, b"ef" * 16: {}}

    def test_fix_a_connection_that_the_server_closed_is_replaced(self, request, table):
        for kind, kill in (
            (
                "postgresql",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%{}%'",
            ),
            ("mariadb", None),
        ):
            server = request.getfixturevalue(f"one_{kind}")
            with closing(new_backend(request, kind, table)) as backend:
                backend[KEY] = {"a": 1}
                if kill is not None:
                    server.execute(kill.format(table))
                else:
                    for row in server.execute("SHOW PROCESSLIST"):
                        if row[4] == "Sleep":
                            server.execute(f"KILL {row[0]}")
                assert backend[KEY] == {"a": 1}

    def test_a_table_that_gimlet_made_in_mariadb_takes_64_kib_and_the_error_says_what_to_do(
        self, request, table, caplog
    ):
        server = request.getfixturevalue("one_mariadb")
        server.execute(
            f"CREATE TABLE {table} (id INTEGER NOT NULL AUTO_INCREMENT, `key` CHAR(32) NOT NULL, data BLOB NOT NULL, "
            "PRIMARY KEY (id), UNIQUE (`key`))"
        )
        server.execute(
            f"INSERT INTO {table} (`key`, data) VALUES (%s, %s)", (KEY, pickle.dumps({"old": 1}, 3))
        )
        with closing(new_backend(request, "mariadb", table)) as backend:
            assert "expires" in caplog.text
            assert backend[KEY] == {"old": 1}
            assert (
                backend.write_many([Write(KEY, {"new": 1}, 60, there=True)], [], [Renewal(KEY, 60)]) == set()
            )
            assert backend[KEY] == {"new": 1}
            for there in (True, False):
                with pytest.raises(TooLarge, match="MODIFY data LONGBLOB"):
                    backend.write_many([Write(KEY, {"a": "x" * 70_000}, 60, there=there)], [], [])
            assert backend[KEY] == {"new": 1}
        server.execute(f"ALTER TABLE {table} MODIFY data LONGBLOB NOT NULL")
        server.execute(f"ALTER TABLE {table} ADD COLUMN expires BIGINT NULL")
        with closing(new_backend(request, "mariadb", table)) as backend:
            backend.write_many([Write(KEY, {"a": "x" * 70_000}, 60, there=True)], [], [])
            assert backend.sweep() == 0

    def test_two_processes_may_make_the_table_at_once(self, url, table):
        failed, start = [], threading.Barrier(4)

        def make():
            start.wait()
            try:
                SQLBackend(url, table).close()
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []


class TestBase:
    def test_a_subclass_must_say_how(self):
        """[KEEP] 1.9: BaseBackend(prefix=b'gimlet.')."""
        backend = BaseBackend()
        assert backend.prefix == b"gimlet."
        assert backend.prefixed_key(b"x") == b"gimlet.x"
        with pytest.raises(NotImplementedError):
            backend[b"x"]
        with pytest.raises(NotImplementedError):
            backend[b"x"] = {}
        backend.close()

    @pytest.mark.parametrize("side_by_side", [False, True])
    def test_serialize_and_deserialize(self, side_by_side):
        """[KEEP] 1.9."""
        backend = BaseBackend(side_by_side=side_by_side)
        assert backend.deserialize(backend.serialize(VALUE)) == VALUE
        assert (backend.serialize(VALUE)[:1] == b"\x80") is side_by_side

    @pytest.mark.parametrize("value", [[object()], {object(): 1}])
    def test_a_refused_value_under_no_key_is_told_without_one(self, value):
        with pytest.raises(NotStorable) as caught:
            BaseBackend().serialize(value)
        assert "session[" not in str(caught.value)

    def test_side_by_side_of_the_factory_is_that_of_the_backend(self):
        backend = BaseBackend()
        factory(backend=backend)
        assert backend.side_by_side is False
        factory(backend=backend, side_by_side=True)
        assert backend.side_by_side is True

    def test_a_backend_of_ones_own_that_reads_with_ours_gives_no_500_either(self, caplog):
        class Own(BaseBackend):
            def __init__(self):
                self.raws = {}

            def __getitem__(self, key):
                return self.deserialize(self.raws[key])

            def __setitem__(self, key, value):
                self.raws[key] = self.serialize(value)

        backend = Own()
        visitor = Visitor(backend=backend)
        visitor.visit(put(a=1))
        assert visitor.visit(dict) == {"a": 1}
        for key in backend.raws:
            backend.raws[key] = b"junk"
        assert visitor.visit(dict) == {}
        assert "can't be read" in caplog.text

    def test_a_subclass_with_a_removal_of_its_own_is_asked_for_it(self):
        class Removing(BaseBackend):
            def __init__(self):
                self.records = {}

            def __getitem__(self, key):
                return self.records[key]

            def __setitem__(self, key, value):
                self.records[key] = value

            def __delitem__(self, key):
                del self.records[key]

        backend = Removing()
        visitor = Visitor(backend=backend)
        visitor.visit(put(a=1))
        visitor.visit(Session.invalidate)
        assert backend.records == {}


@pytest.mark.parametrize("module", ["factories", "session", "util", "middleware"])
def test_no_driver_is_imported_before_its_backend(module):
    program = (
        f"import sys, coatcheck.compat.gimlet.{module}\n"
        "assert not {'redis', 'sqlalchemy', 'pymemcache', 'cryptography'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_time_is_the_real_one():
    assert abs(factory()(Visitor().arrive().request).clock() - time.time()) < 60
