"""A file or a directory that the process may not write to: the message says which, and the remedy works."""

import os
import re
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from coatcheck.errors import StoreError, StoreReadOnly, StoreUnavailable
from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import NOW, after, get, new, put, soon

NOBODY = 65534


@pytest.fixture
def directory():
    """One of a user for whom permissions count, which they don't for root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            Path(name).chmod(0o700)
            if root:
                os.seteuid(0)


def used(path):
    """A site's file that was closed."""
    with closing(SQLiteStore(path, ballast=0)) as store:
        return put(store, new())


def carry_out(error):
    """The remedy of the message, to the letter."""
    (named,) = re.findall(
        r"may not write to (.*): change the owner or mode of each \(chown, chmod\)", str(error)
    )
    for name in named.split(" and "):
        path = Path(name)
        path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.promise("20")
@pytest.mark.parametrize("which", ["file", "directory"])
def test_a_file_or_directory_that_may_not_be_written_to_is_named_and_the_remedy_works(directory, which):
    path = directory / "sessions.db"
    write = used(path)
    (path if which == "file" else directory).chmod(0o500)

    def change():
        with closing(SQLiteStore(path, ballast=0)) as store:
            store.write([after(write)], NOW, soon())

    with pytest.raises(StoreError, match=r"sessions\.db: ") as raised:
        change()
    carry_out(raised.value)
    change()


@pytest.mark.promise("20")
def test_a_running_site_writes_again_once_the_remedy_is_carried_out(directory):
    path = directory / "sessions.db"
    write = used(path)
    with closing(SQLiteStore(path, ballast=0)) as store:
        path.chmod(0o400)
        with pytest.raises(StoreReadOnly) as raised:
            store.write([after(write)], NOW, soon())
        assert get(store, write) == write.data
        carry_out(raised.value)
        put(store, after(write))


@pytest.mark.promise("20")
def test_a_log_that_another_user_left_is_named(directory):
    path = directory / "sessions.db"
    log = Path(f"{path}-wal")
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new())
        left = log.read_bytes()
    log.write_bytes(left)
    log.chmod(0o400)
    with pytest.raises(StoreError, match=f"may not write to {log}"):
        SQLiteStore(path, ballast=0).write([after(write)], NOW, soon())


@pytest.mark.promise("20")
def test_a_file_that_can_not_be_made_is_named_with_its_directory(directory):
    directory.chmod(0o500)
    with pytest.raises(StoreUnavailable, match=f"let this process write to {directory}, where"):
        SQLiteStore(directory / "sessions.db", ballast=0)
    directory.chmod(0o700)
    SQLiteStore(directory / "sessions.db", ballast=0).close()
