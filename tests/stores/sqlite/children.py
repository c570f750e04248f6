"""The functions that the tests of `SQLiteStore` run in processes of their own: a fork takes all threads' locks along.

Run as a script: a function's name, then its arguments.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path

from coatcheck.errors import StoreUnavailable
from coatcheck.model.ports import Entry, Write
from coatcheck.stores.sqlite import SQLiteStore, connections

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests, of which this script is one
from tests.stores.sqlite.scene import NOW, after, append, data_of, ending, new, put, soon

PATIENCE = 90  # seconds, after which a process that waits for ever is ended


def create(store, key):
    put(store, new(key=key, body=b""))


def words(store, key):
    (found,) = store.load([key], NOW, soon())
    return found.data[8:].decode().split()


def write_word(store, key, word):
    append(store, key, word.encode())


def say(*words):
    print(*words, flush=True)


def at_the_signal():
    say("ready")
    sys.stdin.readline()


def build(path):
    """Open the file when told to, as all workers of a new site do."""
    at_the_signal()
    SQLiteStore(path, ballast=0).close()


def append_often(path, key, name, times):
    """Append a word with one's own name and 0, 1, 2, … from the signal on."""
    store = SQLiteStore(path, ballast=0)
    at_the_signal()
    for number in range(int(times)):
        write_word(store, bytes.fromhex(key), f"{name}.{number}")
    store.close()


def write_until_killed(path):
    """Create, replace and end, and tell what was acknowledged, for ever."""
    store = SQLiteStore(path, ballast=0)

    def body(step, number):
        return f"{step} {number} {step * 100}".encode()

    for number in count():
        key, expires = os.urandom(16), NOW + 1_000 + number
        entry = Entry(f"user{number}", key, NOW, NOW + 1)
        write = Write(key=key, data=data_of(body("created", number)), expires=expires, entry=entry)
        steps = [write, after(write, body("updated", number))]
        if number % 3 == 0:
            steps.append(
                after(ending(steps[-1]), body("ended", number), expected=steps[-1].data[:8], expires=expires)
            )
        for each in steps:
            put(store, each)
            say(key.hex(), each.data.hex())


def fork(run):
    """The id of a child that does `run` and ends, with 0 if it went well."""
    if pid := os.fork():
        return pid
    signal.alarm(PATIENCE)
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent is told by the code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def all_went_well(children):
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)


def preload(path):
    """Use a store, fork four workers that use it at once, and close it while they are still writing."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    go, told = os.pipe()
    started, starts = os.pipe()

    def work(name):
        write_word(store, key, f"{name}0")
        os.write(starts, b".")
        os.read(go, 1)
        for number in range(1, 51):
            write_word(store, key, f"{name}{number}")
            assert f"{name}{number}" in words(store, key)

    names = ["a", "b", "c", "d"]
    children = [fork(lambda name=name: work(name)) for name in names]
    waiting = 4
    while waiting:
        waiting -= len(os.read(started, waiting))
    write_word(store, key, "parent")
    store.close()
    os.write(told, b"....")
    all_went_well(children)
    store = SQLiteStore(path)
    expected = [f"{name}{number}" for name in names for number in range(51)]
    assert sorted(words(store, key)) == sorted(["parent", *expected])
    store.close()


def parent_goes_first(path):
    """A child goes on writing after its parent, which was using the store when it forked, has closed it."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    gone, tell = os.pipe()

    def work():
        write_word(store, key, "before")
        os.read(gone, 1)
        write_word(store, key, "after")
        os.write(1, key.hex().encode())
        # Not closed: the writes of a worker that is killed must be there all the same.

    child = fork(work)
    words(store, key)
    store.close()
    os.write(tell, b".")
    all_went_well([child])


def work_in_a_pool(store, key, number):
    write_word(store, key, f"job{number}")


def processes_of_multiprocessing(path):
    """Start children by `multiprocessing`, that end as the interpreter ends."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work_in_a_pool, args=(store, key, number)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode
    assert sorted(words(store, key)) == [f"job{number}" for number in range(4)]
    store.close()


def fork_amid_threads(path):
    """Fork, again and again, while threads read and write."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    stop = threading.Event()
    failures = []
    written = []

    def use(name):
        try:
            for number in count(1):
                if stop.is_set():
                    return
                write_word(store, key, f"{name}.{number}")
                written.append(f"{name}.{number}")
                assert f"{name}.{number}" in words(store, key)
        except BaseException as error:
            failures.append(error)
            raise

    def read():
        try:
            while not stop.is_set():
                assert store.load([key], NOW, soon()) != [None]
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=use, args=(f"thread{number}",)) for number in range(4)]
    threads += [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    try:
        for number in range(20):

            def work(name=f"child{number}"):
                write_word(store, key, name)
                assert name in words(store, key)

            children.append(fork(work))
        all_went_well(children)
    finally:
        stop.set()  # or this process would never end
        for thread in threads:
            thread.join()
    assert not failures
    store.close()
    store = SQLiteStore(path)
    assert sorted(words(store, key)) == sorted([*(f"child{number}" for number in range(20)), *written])
    store.close()


def fork_while_a_call_takes_long(path):
    """Fork while another thread's call outlasts the wait: the child is told, and its writes are not lost."""
    connections._FORK_PATIENCE = 0.05
    store = SQLiteStore(path)
    create(store, bytes(16))
    inside, leave = threading.Event(), threading.Event()

    def linger(item, connection):
        inside.set()
        leave.wait(60)

    thread = threading.Thread(target=lambda: store._connections.write(linger, [0], soon()))
    thread.start()
    inside.wait(60)
    all_went_well([fork(lambda: refused(store))])
    leave.set()
    thread.join()
    write_word(store, bytes(16), "parent")
    store.close()


def refused(store):
    import pytest  # slow, and most children don't need it

    with pytest.raises(StoreUnavailable, match="was forked from one that was using the file") as raised:
        store.load([bytes(16)], NOW, soon())
    assert not raised.value.ambiguous
    store.close()


def fork_without_hooks(path, used):
    """Fork as a server written in C does. A child that inherits an open connection is refused."""
    store = SQLiteStore(path, ballast=0)
    if used == "used":
        create(store, bytes(16))
    child = ctypes.PyDLL(None).fork()
    if not child:
        code = 1
        try:
            if used == "used":
                refused(store)
            else:
                create(store, bytes(16))
            code = 0
        except BaseException:  # noqa: BLE001 - as in `fork`
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    all_went_well([child])
    write_word(store, bytes(16), "parent")
    store.close()


def fork_without_hooks_amid_a_write(path):
    """Fork as a server written in C does while another thread has the turn to write; the child is not kept waiting."""
    store = SQLiteStore(path, ballast=0)
    assert store._connections._turns.take(1)
    child = ctypes.PyDLL(None).fork()
    if not child:
        code = 1
        try:
            put(store, new())
            code = 0
        except BaseException:  # noqa: BLE001 - as in `fork`
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    all_went_well([child])


def forks_at_once(path):
    """Two threads fork at the same time, and the parent's store goes on working."""
    store = SQLiteStore(path, ballast=0)
    create(store, bytes(16))
    barrier = threading.Barrier(2)

    def forks():
        for _ in range(10):
            barrier.wait(60)
            all_went_well([fork(lambda: words(store, bytes(16)))])
            words(store, bytes(16))

    threads = [threading.Thread(target=forks) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store._connections._idle  # kept for the next call again
    store.close()


if __name__ == "__main__":
    signal.alarm(PATIENCE)
    globals()[sys.argv[1]](*sys.argv[2:])
