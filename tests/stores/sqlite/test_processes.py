"""Several processes on one file: at once, forked from one another, and killed."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import NOW, new, put, query, words
from tests.unmeasured import unmeasured

pytestmark = pytest.mark.promise("F-18", "24")

CHILDREN = Path(__file__).with_name("children.py")
WARNINGS = (
    *("-W", "error"),
    *("-W", "ignore:This process:DeprecationWarning"),  # … is multi-threaded, and forks
    *(
        "-W",
        "ignore:Module coatcheck was:Warning",
    ),  # … previously imported: coverage's own, in a child of a child
)


def start(function, *arguments, measured=True):
    command = [sys.executable, *WARNINGS, str(CHILDREN), function, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    variables = None if measured else unmeasured()
    return subprocess.Popen(command, text=True, env=variables, **pipes)


def run(function, *arguments, measured=True):
    """Run the function in a process of its own, which must end well. Returns what it printed.

    A function that forks while its threads work must not be `measured`. Coverage has a lock for all threads. If another
    thread holds it at the fork, the child waits for it for ever.
    """
    with start(function, *arguments, measured=measured) as process:
        said, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, "")
    return said


def at_once(*processes):
    """Let them begin when all are there, and end well."""
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        with process:
            _, complaints = process.communicate()
        assert (process.returncode, complaints) == (0, "")


def test_processes_that_build_the_store_at_once_all_get_one(path):
    at_once(*(start("build", path) for _ in range(6)))
    assert query(path, 'SELECT * FROM "coatcheck:meta"') == [(2,)]


@pytest.mark.promise("6")
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_append_to_one_record_at_once_lose_nothing(path, processes):
    with closing(SQLiteStore(path, ballast=0)) as store:
        write = put(store, new(body=b""))
    names = [f"process{number}" for number in range(processes)]
    at_once(*(start("append_often", path, write.key.hex(), name, 200) for name in names))
    there = words(path, write.key)
    for name in names:
        mine = [word for word in there if word.startswith(name.encode())]
        assert mine == [b"%s.%d" % (name.encode(), number) for number in range(200)]


@pytest.mark.promise("F-14")
def test_a_process_that_is_killed_loses_nothing_that_it_was_told_is_stored(path):
    acknowledged = {}
    for kill in range(20):
        process = start("write_until_killed", path)
        for number, line in enumerate(process.stdout):
            if not line.endswith("\n"):
                break  # it was killed amid saying so
            key, data = line.split()
            acknowledged[bytes.fromhex(key)] = bytes.fromhex(data)
            if number == 20 + 7 * kill:
                process.send_signal(signal.SIGKILL)
        with process:
            assert process.stderr.read() == ""
        assert process.returncode == -signal.SIGKILL
    assert len(acknowledged) > 600
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    rows = {
        key: row
        for key, *row in query(path, 'SELECT key, data, expires, live, user FROM "coatcheck:sessions"')
    }
    assert len(rows.keys() - acknowledged.keys()) <= 20
    later = 0
    for key, (data, expires, live, user) in rows.items():
        # A write that was not acknowledged may have been done all the same, but whole.
        step, number, check = data[8:].split()
        assert check == step * 100
        assert expires == NOW + 1_000 + int(number)
        assert (live, user) == ((0, None) if step == b"ended" else (1, f"user{int(number)}"))
        if key in acknowledged and acknowledged[key] != data:
            steps = [b"created", b"updated", b"ended"]
            assert steps.index(step) == steps.index(acknowledged[key][8:].split()[0]) + 1
            later += 1
    assert later <= 20


def test_workers_forked_from_a_process_that_used_the_store_lose_nothing(path):
    run("preload", path)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_what_a_worker_writes_after_its_parent_closed_the_store_is_there(path):
    key = bytes.fromhex(run("parent_goes_first", path))
    assert words(path, key) == [b"before", b"after"]


def test_processes_of_multiprocessing_use_the_store_that_they_were_given(path):
    run("processes_of_multiprocessing", path)


def test_a_process_may_fork_while_its_threads_read_and_write(path):
    run("fork_amid_threads", path, measured=False)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_threads_may_fork_at_the_same_time(path):
    run("forks_at_once", path, measured=False)


def test_a_child_forked_while_a_call_took_too_long_is_refused_instead_of_losing_what_it_writes(path):
    run("fork_while_a_call_takes_long", path, measured=False)


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_fork_that_python_does_not_hear_of_is_noticed(path, used):
    run("fork_without_hooks", path, used)
    assert words(path, bytes(16))[-1] == b"parent"


def test_a_child_of_such_a_fork_writes_though_a_thread_of_its_parent_was_writing(path):
    run("fork_without_hooks_amid_a_write", path)
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(1,)]
