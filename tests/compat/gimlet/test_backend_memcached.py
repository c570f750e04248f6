"""The backend for Memcached, on a real server."""

import pickle
from contextlib import closing

import pytest
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError, MemcacheServerError

from coatcheck.compat.gimlet.backends.base import Renewal, Write
from coatcheck.compat.gimlet.backends.memcache import MemcacheBackend
from coatcheck.errors import TooLarge

pytestmark = pytest.mark.xdist_group("gimlet")


KEY = b"ab" * 16


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
