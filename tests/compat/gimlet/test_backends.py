"""Every backend on its real server ([KEEP] and [FIX] 1.9), and what backends of one's own build on."""

import os
import pickle
import subprocess
import sys
import threading
import time
from fractions import Fraction

import pytest

from coatcheck.compat.gimlet.backends.base import BaseBackend, Renewal, Write
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import Session
from coatcheck.errors import DecodeError, NotStorable
from tests.compat.gimlet.browser import SECRET, Actions, Browser
from tests.compat.gimlet.conftest import Visitor, factory, put
from tests.compat.test_pickles import ATTACKS
from tests.servers.process import until

pytestmark = pytest.mark.xdist_group("gimlet")


KEY = OTHER = MISSING = b""

VALUE = {"cart": [1, {"b": (2.5, None)}], "raw": b"\0\xff", "uni": "héllo €"}


@pytest.fixture(autouse=True)
def ids_of_its_own():
    """In Memcached nothing else tells the tests' records apart."""
    global KEY, OTHER, MISSING
    KEY, OTHER, MISSING = (os.urandom(16).hex().encode() for _ in range(3))


class TestAll:
    def test_records_and_their_changes(self, stored):
        with pytest.raises(KeyError):
            stored[KEY]
        stored[KEY] = VALUE
        assert stored[KEY] == VALUE
        stored[KEY] = {}
        assert stored[KEY] == {}
        stored[OTHER] = {"o": 1}
        assert stored.read_many([KEY, OTHER, MISSING]) == {KEY: {}, OTHER: {"o": 1}}

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
