"""The SQLite store on a disk that is full, and on one that takes no writes. The disks are real."""

import functools
import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from coatcheck.errors import StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.stores.sqlite.ballast import Ballast
from tests.stores.sqlite.scene import DAY, NOW, a_writer, after, ending, get, new, put, query, signed_in, soon

pytestmark = pytest.mark.promise("F-15")

KIB = 1 << 10
SIZE = 16 << 20
BALLAST = 4 << 20


class SmallDisk:
    def __init__(self, root, *, sudo):
        self.root = root
        self.path = root / "sessions.db"
        self.ballast = root / "sessions.db-ballast"
        self._filler = root / "filler"
        self._sudo = ["sudo", "-n"] if sudo else []
        self._do("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0777", "tmpfs", str(root))

    def _do(self, *command):
        subprocess.run([*self._sudo, *command], check=True, capture_output=True)

    def fill(self):
        """As the log of another program does."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(4 * KIB))

    def empty(self):
        self._filler.unlink()

    def write_protect(self, protect):
        self._do("mount", "-o", f"remount,{'ro' if protect else 'rw'}", str(self.root))

    def unmount(self):
        self._do("umount", "--lazy", str(self.root))


def with_a_small_disk(test):
    """Give the test a disk. Mounting needs root, or sudo, or else a namespace in which one is root."""

    @functools.wraps(test)
    def mounted(tmp_path, request):
        root = os.geteuid() == 0
        sudo = not root and shutil.which("sudo") and not subprocess.call(["sudo", "-n", "true"])
        if not root and not sudo:
            node = f"{__file__}::{request.node.name}"
            again = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "pytest", node]
            subprocess.run(again, check=True)
            return
        disk = SmallDisk(tmp_path, sudo=sudo)
        try:
            test(disk)
        finally:
            disk.unmount()

    del mounted.__wrapped__  # pytest reads the arguments there
    return mounted


def write(store, *writes):
    """What each write came to: "stored", or the kind of its error."""
    answers = store.write(writes, NOW, soon())
    return ["stored" if answer is None else type(answer) for answer in answers]


def sessions_until_full(store, size):
    """As many as fit on the disk, each of `size` bytes; then there really is no room for another."""
    writes = []
    while True:
        one = signed_in(f"user{len(writes)}", body=os.urandom(size))
        if write(store, one) == [StoreFull]:
            return writes
        writes.append(one)


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_disk_full_of_sessions_leaves_reading_and_logging_out(disk):
    with closing(SQLiteStore(disk.path)) as store:
        writes = sessions_until_full(store, 2 * KIB)
        assert len(writes) > 50
        all_can_log_out(disk, store, writes)


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_disk_full_of_other_things_leaves_reading_and_logging_out(disk):
    # SQLite's log is still short then, and has no room of its own.
    with closing(SQLiteStore(disk.path)) as store:
        writes = [signed_in("ada", body=os.urandom(2 * KIB)) for _ in range(40)]
        for one in writes:
            put(store, one)
        all_can_log_out(disk, store, writes)


def all_can_log_out(disk, store, writes):
    disk.fill()
    keys = [one.key for one in writes]
    assert [found.data for found in store.load(keys, NOW, soon())] == [one.data for one in writes]
    (full,) = store.write([after(writes[0], bytes(4 << 20))], NOW, soon())
    assert isinstance(full, StoreFull)
    assert "sessions.db: no room is left on the disk" in str(full)
    assert get(store, writes[0]) == writes[0].data
    for one in writes:
        # Other programs take at once whatever becomes free.
        disk.fill()
        end = ending(one)
        assert write(store, end) == ["stored"]
        assert get(store, one) == end.data
    assert store.count(NOW, soon()) == 0
    assert query(disk.path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.promise("12")
@with_a_small_disk
def test_endings_alone_use_the_ballast_and_leave_room_in_the_log_for_taking(disk):
    with closing(SQLiteStore(disk.path)) as store:
        writes = [signed_in("ada", body=os.urandom(2 * KIB)) for _ in range(40)]
        put(store, *writes)
        disk.fill()
        takes = [after(one, os.urandom(1 * KIB), urgent=True) for one in writes[:20]]
        refused = [take for take in takes if write(store, take) == [StoreFull]]
        assert refused
        assert disk.ballast.stat().st_size == BALLAST
        for one in writes[20:]:
            disk.fill()
            assert store.remove([one.key, bytes(16)], NOW, soon()) == [True, False]
        assert 0 < disk.ballast.stat().st_size < BALLAST
        for take in refused:
            disk.fill()
            put(store, take)
        assert store.count(NOW, soon()) == 20


@pytest.mark.promise("12")
@with_a_small_disk
def test_400_visitors_log_out_while_another_process_writes_without_a_pause(disk):
    with closing(SQLiteStore(disk.path)) as store:
        writes = [signed_in("ada", body=os.urandom(2 * KIB)) for _ in range(400)]
        put(store, *writes)
        with a_writer(disk.path) as writer:
            assert writer.stdout.readline() == "full\n"
            assert [write(store, ending(one)) for one in writes] == [["stored"]] * 400


@pytest.mark.promise("12")
@with_a_small_disk
def test_on_a_full_disk_a_sweep_makes_room_for_new_sessions(disk):
    # As the message of the error says.
    with closing(SQLiteStore(disk.path)) as store:
        writes = sessions_until_full(store, 2 * KIB)
        disk.fill()
        assert store.remove([writes[0].key], NOW, soon()) == [True]
        assert write(store, new(body=os.urandom(64 * KIB))) == [StoreFull]
        assert store.sweep(NOW + 2 * DAY, 300, soon()) == 300
        put(store, new(body=os.urandom(64 * KIB)))
        assert get(store, writes[-1]) == writes[-1].data


@with_a_small_disk
def test_a_ballast_in_use_for_which_the_room_ran_out_is_still_in_use(disk):
    with closing(SQLiteStore(disk.path)) as store:
        put(store, new())
        os.truncate(disk.ballast, KIB)
        disk.fill()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1 << 40))
            (answer,) = store.write([new(body=bytes(400 * KIB))], NOW, soon())
        assert isinstance(answer, StoreFull)
        assert f"until twice its size, {2 * BALLAST} bytes, are free" in str(answer)
        assert disk.ballast.stat().st_size == 0
        disk.empty()
        put(store, new(body=bytes(400 * KIB)))
        assert disk.ballast.stat().st_size == BALLAST


@with_a_small_disk
def test_what_could_not_be_written_is_not_there_afterwards_either(disk):
    with closing(SQLiteStore(disk.path)) as store:
        stored = put(store, new())
        disk.fill()
        lost = [new(body=bytes(400 * KIB)) for _ in range(3)]
        for one in lost:
            assert write(store, after(stored, bytes(400 * KIB)), one) == [StoreFull, StoreFull]
        disk.empty()
        assert get(store, stored) == stored.data
        assert [get(store, one) for one in lost] == [None] * 3
        put(store, after(stored))


@pytest.mark.promise("12")
@with_a_small_disk
def test_logging_out_without_a_ballast_does_not_pretend(disk):
    with closing(SQLiteStore(disk.path, ballast=0)) as store:
        writes = [signed_in("ada", body=bytes(8 * KIB)) for _ in range(30)]
        put(store, *writes)
        disk.fill()
        assert not disk.ballast.exists()
        assert write(store, *map(ending, writes)) == [StoreFull] * 30
        assert store.remove([writes[0].key], NOW, soon())[0].__class__ is StoreFull
        assert [get(store, one) for one in writes] == [one.data for one in writes]


@pytest.mark.promise("12")
@with_a_small_disk
def test_in_a_mixed_batch_each_write_has_its_own_answer_and_the_logouts_are_stored(disk):
    with closing(SQLiteStore(disk.path)) as store:
        ended, slid, overtaken = new(), new(), new()
        put(store, ended, slid, overtaken)
        newest = put(store, after(overtaken))
        disk.fill()
        end, slide, large = ending(ended), after(slid, b"figs", urgent=True), new(body=bytes(4 << 20))
        answers = store.write([end, large, slide, ending(overtaken)], NOW, soon())
        assert answers[0] is answers[2] is None
        assert isinstance(answers[1], StoreFull)
        assert answers[3].found.data == newest.data
        assert (get(store, ended), get(store, slid)) == (end.data, slide.data)
        assert get(store, large) is None


@with_a_small_disk
def test_the_room_of_the_ballast_is_not_used_up_by_writes_that_grow(disk):
    with closing(SQLiteStore(disk.path)) as store:
        ended = [new(body=bytes(2 * KIB)) for _ in range(30)]
        put(store, *ended)
        disk.fill()
        growing = [new(body=bytes(200 * KIB)) for _ in range(3)]
        answers = write(store, *map(ending, ended), *growing)
        assert answers == ["stored"] * 30 + [StoreFull] * 3


@with_a_small_disk
def test_on_a_full_disk_that_is_locked_as_well_each_write_is_answered(disk):
    with closing(SQLiteStore(disk.path)) as store:
        ended = put(store, new())
        disk.fill()
        with pytest.MonkeyPatch.context() as patch:
            really_write, calls = store._connections.write, []

            def locked_after_the_first(one, items, deadline):
                calls.append(items)
                if len(calls) > 1:
                    raise StoreTimeout("locked", ambiguous=False)
                return really_write(one, items, deadline)

            patch.setattr(store._connections, "write", locked_after_the_first)
            assert write(store, new(body=bytes(4 << 20)), ending(ended)) == [StoreTimeout] * 2
        assert get(store, ended) == ended.data


@with_a_small_disk
def test_the_ballast_is_left_alone_where_nothing_urgent_is_written(disk):
    with closing(SQLiteStore(disk.path)) as store:
        stored = put(store, new())
        disk.fill()
        assert write(store, after(stored, bytes(400 * KIB))) == [StoreFull]
        assert disk.ballast.stat().st_size == BALLAST


@pytest.mark.promise("12")
@with_a_small_disk
def test_the_ballast_is_taken_up_again_when_there_is_room_for_more_than_it(disk):
    with closing(SQLiteStore(disk.path)) as store:
        writes = [signed_in("ada", body=os.urandom(2 * KIB)) for _ in range(40)]
        put(store, *writes)
        disk.fill()
        put(store, ending(writes[0]))
        assert disk.ballast.stat().st_size < BALLAST
        disk.fill()
        assert store.sweep(NOW, 10, soon()) == 0
        assert disk.ballast.stat().st_size < BALLAST
        disk.empty()
        store.sweep(NOW, 10, soon())
        assert disk.ballast.stat().st_size == BALLAST
        disk.ballast.unlink()
    SQLiteStore(disk.path).close()
    assert disk.ballast.stat().st_size == BALLAST


@with_a_small_disk
def test_no_ballast_is_made_of_the_last_room(disk):
    disk.fill()
    with disk.root.joinpath("filler").open("r+b") as filler:
        filler.truncate(SIZE - BALLAST - 800 * KIB)
    with closing(SQLiteStore(disk.path)) as store:
        put(store, new())
        assert not disk.ballast.exists()


@with_a_small_disk
def test_a_ballast_for_which_the_room_ran_out_meanwhile_is_not_kept_by_half(disk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1 << 40))
        with closing(SQLiteStore(disk.path, ballast=2 * SIZE)) as store:
            assert not disk.ballast.exists()
            put(store, new())


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_site_that_starts_on_a_full_disk_reads_and_logs_out(disk):
    with closing(SQLiteStore(disk.path)) as store:
        writes = [new(), new()]
        put(store, *writes)
    disk.fill()
    with closing(SQLiteStore(disk.path)) as store:
        assert get(store, writes[0]) == writes[0].data
        assert 0 < disk.ballast.stat().st_size < BALLAST
        disk.fill()
        for one in writes:
            end = ending(one)
            put(store, end)
            assert get(store, one) == end.data


@with_a_small_disk
def test_a_site_that_starts_on_a_full_disk_without_a_ballast_is_told_why_not(disk):
    SQLiteStore(disk.path, ballast=0).close()
    disk.fill()
    with pytest.raises(
        StoreFull, match=r"sessions\.db: no room is left.* even reading needs room for its -shm"
    ):
        SQLiteStore(disk.path)


def test_a_directory_that_is_gone_has_no_ballast(tmp_path):
    assert not Ballast(tmp_path / "gone" / "sessions.db", BALLAST).grow()


# A disk that takes no writes


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_write_protected_disk_leaves_reading_and_is_noticed_when_it_is_no_longer_protected(disk):
    with closing(SQLiteStore(disk.root / "used.db", ballast=0)) as store:
        stored = put(store, new())
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(disk.root / f"used.db{suffix}", f"{disk.path}{suffix}")
    disk.write_protect(True)
    with closing(SQLiteStore(disk.path, ballast=0)) as store:
        for refused in (after(stored), ending(stored), new()):
            with pytest.raises(StoreReadOnly, match=r"sessions\.db: no write is allowed.*SQLITE_READONLY"):
                store.write([refused], NOW, soon())
        assert get(store, stored) == stored.data
        disk.write_protect(False)
        put(store, ending(stored))


@with_a_small_disk
def test_a_disk_on_which_the_file_can_not_be_made_is_named_when_the_store_is_built(disk):
    disk.write_protect(True)
    with pytest.raises(
        StoreUnavailable, match=r"sessions\.db: it can't be opened; .*let this process write to "
    ):
        SQLiteStore(disk.path)
