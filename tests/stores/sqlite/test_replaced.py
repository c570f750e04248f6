"""The file is removed, replaced or restored while sites have it open."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from tests.stores.sqlite.scene import NOW, after, ending, get, new, put, query, soon

pytestmark = pytest.mark.promise("20")

LATER = NOW + 1000


class InLoop:
    """An async store, called from outside its loop."""

    def __init__(self, path, ballast):
        self._store = AsyncSQLiteStore(path, ballast=ballast)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name):
        return lambda *args: self._loop.run_until_complete(getattr(self._store, name)(*args))

    def close(self):
        self._loop.run_until_complete(self._store.close())
        self._loop.close()


@pytest.fixture(params=[SQLiteStore, InLoop])
def make(request):
    return request.param


def at(store, write, now):
    (found,) = store.load([write.key], now, soon())
    return found and found.data


def files(path, *suffixes):
    return [Path(f"{path}{suffix}") for suffix in suffixes]


def copy_of(path):
    """A complete copy beside it."""
    copy = path.with_name("copy.db")
    query(path, "VACUUM INTO ?", str(copy))
    return copy


def uses(store, write, now):
    return [
        lambda: store.load([write.key], now, soon()),
        lambda: store.write([after(write)], now, soon()),
        lambda: store.remove([write.key], now, soon()),
        lambda: store.sessions_of("ada", now, 10, None, soon()),
        lambda: store.count(now, soon()),
        lambda: store.sweep(now, 10, soon()),
        lambda: store.ping(soon()),
    ]


def test_a_file_that_was_removed_is_missed_within_a_second_until_it_is_back(path, make):
    with closing(make(path, ballast=0)) as store:
        write = put(store, new())
        assert at(store, write, NOW) == write.data
        hidden = path.rename(path.with_name("hidden.db"))
        assert at(store, write, NOW + 999) == write.data
        for use in uses(store, write, LATER):
            with pytest.raises(
                StoreUnavailable, match=r"sessions\.db: it was removed .*put it back"
            ) as raised:
                use()
            assert not raised.value.ambiguous
        assert not path.exists()
        hidden.rename(path)
        assert at(store, write, LATER) == write.data
        put(store, after(write))


def test_a_clock_that_was_set_back_looks_too(path, make):
    with closing(make(path, ballast=0)) as store:
        write = put(store, new())
        path.unlink()
        with pytest.raises(StoreUnavailable, match="it was removed"):
            at(store, write, NOW - 1)


def test_a_file_that_was_replaced_as_the_page_on_backups_says_is_opened_within_a_second(path, make):
    with closing(make(path, ballast=0)) as store:
        write = put(store, new())
        copy = copy_of(path)
        put(store, ending(write))
        for file in files(path, "", "-wal", "-shm"):
            file.unlink()
        copy.rename(path)
        assert at(store, write, LATER) == write.data
        newest = put(store, after(write))
        assert query(path, 'SELECT data FROM "coatcheck:sessions"') == [(newest.data,)]
        assert query(path, "PRAGMA integrity_check") == [("ok",)]


def replaced_beside_its_log(store, path):
    """The write that the copy holds; the site ended it afterwards."""
    write = put(store, new())
    copy = copy_of(path)
    put(store, ending(write))
    copy.replace(path)
    return write


def test_a_copy_beside_the_log_of_the_file_before_it_is_not_touched(path, make):
    with closing(make(path, ballast=0)) as store:
        write = replaced_beside_its_log(store, path)
        restored = path.read_bytes()
        for use in uses(store, write, LATER) * 2:
            with pytest.raises(
                StoreUnavailable, match="remove its -wal and -shm, put the file in place again"
            ):
                use()
        # What the message says, to the letter.
    shutil.copy(path, path.with_name("kept.db"))
    assert path.read_bytes() == restored
    for file in files(path, "-wal", "-shm"):
        file.unlink()
    path.with_name("kept.db").replace(path)
    with closing(make(path, ballast=0)) as store:
        assert at(store, write, LATER) == write.data
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_removing_the_strange_log_is_enough_for_a_site_that_goes_on_running(path, make):
    with closing(make(path, ballast=0)) as store:
        write = replaced_beside_its_log(store, path)
        with pytest.raises(StoreUnavailable):
            at(store, write, LATER)
        for file in files(path, "-wal", "-shm"):
            file.unlink()
        assert at(store, write, LATER) == write.data


def test_another_thread_s_first_connection_does_not_open_a_strange_log(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        reading, go_on = threading.Event(), threading.Event()

        def linger(connection):
            reading.set()
            go_on.wait(60)

        lingering = threading.Thread(target=store._connections.use, args=(linger, soon()))
        write = put(store, new())
        lingering.start()
        assert reading.wait(60)
        copy_of(path).replace(path)
        restored = path.read_bytes()
        with pytest.raises(StoreUnavailable, match="belongs to the file before it"):
            get(store, write)
        go_on.set()
        lingering.join()
        assert path.read_bytes() == restored


def test_a_call_that_is_under_way_while_the_file_is_replaced_ends_on_the_old_one(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new())
        copy = copy_of(path)

        def replace(connection):
            for file in files(path, "", "-wal", "-shm"):
                file.unlink()
            copy.rename(path)
            assert at(store, write, LATER) == write.data
            return connection.execute("SELECT 1").fetchall()

        assert store._connections.use(replace, soon()) == [(1,)]
        assert not store._connections._retired
        assert at(store, write, LATER + 1000) == write.data


def test_a_log_that_was_removed_is_missed_and_starting_again_keeps_what_was_stored(path, make):
    with closing(make(path, ballast=0)) as store:
        write = put(store, new())
        for file in files(path, "-wal", "-shm"):
            file.unlink()
        for use in uses(store, write, LATER):
            with pytest.raises(StoreUnavailable, match="its -wal was removed"):
                use()
    with closing(make(path, ballast=0)) as store:
        assert at(store, write, LATER) == write.data


def test_a_link_that_names_another_file_is_followed(path, make):
    one, other = path.with_name("one.db"), path.with_name("other.db")
    path.symlink_to(one)
    with closing(make(path, ballast=0)) as store:
        write = put(store, new())
        shutil.copy(copy_of(one), other)
        put(store, ending(write))
        link = path.with_name("link")
        link.symlink_to(other)
        link.replace(path)
        assert at(store, write, LATER) == write.data


def test_a_strange_log_is_known_behind_a_link(path, make):
    one = path.with_name("one.db")
    path.symlink_to(one)
    with closing(make(path, ballast=0)) as store:
        write = replaced_beside_its_log(store, one)
        with pytest.raises(StoreUnavailable, match="belongs to the file before it"):
            at(store, write, LATER)


def test_several_processes_all_come_to_the_file_that_is_there(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new())
        copy = copy_of(path)
        newest = put(store, after(write))
    child = [
        sys.executable,
        str(Path(__file__).with_name("children_replaced.py")),
        str(path),
        write.key.hex(),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sites = [subprocess.Popen(child, **pipes) for _ in range(3)]

    def each_says(now):
        for site in sites:
            site.stdin.write(f"{now}\n")
            site.stdin.flush()
        return {site.stdout.readline().strip() for site in sites}

    assert each_says(NOW) == {newest.data.hex()}
    copy.replace(path)
    assert each_says(LATER) == {"unavailable"}
    for file in files(path, "-wal", "-shm"):
        file.unlink()
    assert each_says(LATER) == {write.data.hex()}
    assert each_says(LATER + 1000) == {write.data.hex()}
    for site in sites:
        with site:
            site.stdin.close()
        assert site.returncode == 0
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_looking_costs_nothing_within_the_same_second(path, monkeypatch):
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new())
        looks = []
        monkeypatch.setattr(store._connections, "check", lambda: looks.append(1))
        for milliseconds in range(0, 3000, 100):
            assert at(store, write, LATER + milliseconds) == write.data
        assert len(looks) == 3


def test_a_file_in_which_no_log_was_kept_yet_is_opened_again(path):
    # As by two sites that start at once on an application's database of another journal mode.
    query(path, "CREATE TABLE theirs (x)")
    store = SQLiteStore(path, ballast=0)
    query(path, "PRAGMA journal_mode = DELETE")
    with closing(store):
        store.ping(soon())
        assert not Path(f"{path}-wal").exists()
        os.close(os.open(f"{path}-wal", os.O_CREAT))
        store.ping(soon())


def test_a_restored_copy_is_no_longer_the_file_that_a_killed_site_left(path):
    # The order of docs/how-to/sqlite.md: stop, remove -wal and -shm, put the file, start.
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new())
        copy = copy_of(path)
        put(store, ending(write))
        left = {file: file.read_bytes() for file in files(path, "", "-wal", "-shm")}
    for file, content in left.items():  # a site that is killed closes nothing
        file.write_bytes(content)
    for file in files(path, "-wal", "-shm"):
        file.unlink()
    copy.replace(path)
    with closing(SQLiteStore(path, ballast=0)) as store:
        assert get(store, write) == write.data
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
