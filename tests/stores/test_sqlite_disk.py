"""The SQLite store on a disk that is full, and on one that takes no writes. They are real ones."""

import functools
import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from benchmarks.sqlite_bench import NOW, a_record, create, destroy, load, query, signed_in, update
from coatcheck.errors import StoreFull, StoreReadOnly, StoreUnavailable
from coatcheck.model.record import APPLIED, Create, Tombstone
from coatcheck.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.promise("F-15")

KIB = 1 << 10
SIZE = 6 << 20
BALLAST = 1 << 20


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


def sessions_until_full(store, size):
    """As many as go onto the disk, each of `size` bytes; and then there really is no room for another."""
    records = []
    while True:
        record = signed_in(f"user{len(records)}", fields={"cart": os.urandom(size)})
        try:
            create(store, record)
        except StoreFull:
            return records
        records.append(record)


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_disk_full_of_sessions_leaves_reading_and_logging_out(disk):
    with closing(SQLiteStore(disk.path)) as store:
        records = sessions_until_full(store, 2 * KIB)
        assert len(records) > 50
        all_can_log_out(disk, store, records)


@pytest.mark.promise("12")
@with_a_small_disk
def test_a_disk_full_of_other_things_leaves_reading_and_logging_out(disk):
    # SQLite's log is still short then, and has no room of its own.
    with closing(SQLiteStore(disk.path)) as store:
        records = [signed_in("ada", fields={"cart": os.urandom(2 * KIB)}) for _ in range(40)]
        for record in records:
            create(store, record)
        all_can_log_out(disk, store, records)


def all_can_log_out(disk, store, records):
    disk.fill()
    assert store.load([record.key for record in records], NOW) == records
    with pytest.raises(StoreFull, match=r"sessions\.db: database or disk is full"):
        store.apply([update(records[0], set={"cart": bytes(4 << 20)})])
    assert load(store, records[0]) == records[0]
    for record in records:
        # Whatever becomes free is taken by others at once.
        disk.fill()
        assert store.apply([destroy(record)]) == [APPLIED]
        assert isinstance(load(store, record), Tombstone)
    assert store.count(NOW) == 0
    assert query(disk.path, "PRAGMA integrity_check") == [("ok",)]


@with_a_small_disk
def test_what_could_not_be_written_is_not_there_afterwards_either(disk):
    with closing(SQLiteStore(disk.path)) as store:
        record = create(store, a_record())
        disk.fill()
        lost = [a_record() for _ in range(3)]
        for new in lost:
            with pytest.raises(StoreFull):
                store.apply([update(record, set={"cart": bytes(400 * KIB)}), Create(new)])
        disk.empty()
        assert load(store, record) == record
        assert store.load([new.key for new in lost], NOW) == [None] * 3
        assert store.apply([update(record, set={"cart": b"pears"})]) == [APPLIED]


@pytest.mark.promise("12")
@with_a_small_disk
def test_logging_out_without_a_ballast_does_not_pretend(disk):
    with closing(SQLiteStore(disk.path, ballast=0)) as store:
        records = [create(store, signed_in("ada", fields={"cart": bytes(8 * KIB)})) for _ in range(30)]
        disk.fill()
        assert not disk.ballast.exists()
        with pytest.raises(StoreFull):
            store.apply([destroy(record) for record in records])
        assert store.load([record.key for record in records], NOW) == records


@pytest.mark.promise("12")
@with_a_small_disk
def test_in_a_mixed_batch_the_logouts_are_stored_though_it_raises(disk):
    with closing(SQLiteStore(disk.path)) as store:
        ended = create(store, a_record())
        disk.fill()
        new = a_record(fields={"cart": bytes(4 << 20)})
        with pytest.raises(StoreFull):
            store.apply([Create(new), destroy(ended)])
        assert isinstance(load(store, ended), Tombstone)
        assert load(store, new) is None
        assert not disk.ballast.exists()


@with_a_small_disk
def test_the_ballast_is_left_alone_where_nobody_logs_out(disk):
    with closing(SQLiteStore(disk.path)) as store:
        record = create(store, a_record())
        disk.fill()
        with pytest.raises(StoreFull):
            store.apply([update(record, set={"cart": bytes(400 * KIB)})])
        assert disk.ballast.stat().st_size == BALLAST


@with_a_small_disk
def test_the_ballast_is_taken_up_again_when_there_is_room_for_more_than_it(disk):
    with closing(SQLiteStore(disk.path)) as store:
        record = create(store, a_record())
        disk.fill()
        assert store.apply([destroy(record)]) == [APPLIED]
        assert not disk.ballast.exists()
        disk.fill()
        assert store.sweep(NOW, 10) == 0
        assert not disk.ballast.exists()
        disk.empty()
        store.sweep(NOW, 10)
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
        create(store, a_record())
        assert not disk.ballast.exists()


@with_a_small_disk
def test_a_ballast_for_which_the_room_ran_out_meanwhile_is_not_kept_by_half(disk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1 << 40))
        with closing(SQLiteStore(disk.path, ballast=2 * SIZE)) as store:
            assert not disk.ballast.exists()
            create(store, a_record())


@with_a_small_disk
def test_a_site_that_starts_on_a_full_disk_reads_and_logs_out(disk):
    with closing(SQLiteStore(disk.path)) as store:
        record, other = create(store, a_record()), create(store, a_record())
    disk.fill()
    with closing(SQLiteStore(disk.path)) as store:
        assert load(store, record) == record
        assert 0 < disk.ballast.stat().st_size < BALLAST
        disk.fill()
        for ended in (record, other):
            assert store.apply([destroy(ended)]) == [APPLIED]
            assert isinstance(load(store, ended), Tombstone)


@with_a_small_disk
def test_a_site_that_starts_on_a_full_disk_without_a_ballast_is_told_why_not(disk):
    SQLiteStore(disk.path, ballast=0).close()
    disk.fill()
    with pytest.raises(StoreFull, match=r"sessions\.db: disk I/O error: no room for its -shm"):
        SQLiteStore(disk.path)


# A disk that takes no writes


@with_a_small_disk
def test_a_write_protected_disk_leaves_reading_and_is_noticed_when_it_is_no_longer_protected(disk):
    with closing(SQLiteStore(disk.root / "used.db", ballast=0)) as store:
        record = create(store, a_record())
        for ending in ("", "-wal", "-shm"):
            shutil.copy(disk.root / f"used.db{ending}", f"{disk.path}{ending}")
    disk.write_protect(True)
    with closing(SQLiteStore(disk.path, ballast=0)) as store:
        for change in (update(record), destroy(record), Create(a_record())):
            with pytest.raises(StoreReadOnly, match=r"sessions\.db: attempt to write a readonly database"):
                store.apply([change])
        assert load(store, record) == record
        store._connections._close_idle()
        disk.write_protect(False)
        load(store, record)
        assert store.apply([destroy(record)]) == [APPLIED]


@with_a_small_disk
def test_a_disk_on_which_the_file_can_not_be_made_is_named_when_the_store_is_built(disk):
    disk.write_protect(True)
    with pytest.raises(
        StoreUnavailable, match=r"sessions\.db: unable .* must be able to write to it and to its dir"
    ):
        SQLiteStore(disk.path)
