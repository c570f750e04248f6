"""The backend for Redis, on a real server."""

import threading
from contextlib import closing

import pytest
import redis

from coatcheck.compat.gimlet.backends.pyredis import RedisBackend
from coatcheck.errors import ConfigurationError
from tests.compat.gimlet.conftest import Visitor, put
from tests.servers.process import HOST

pytestmark = pytest.mark.xdist_group("gimlet")


KEY = b"ab" * 16


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
