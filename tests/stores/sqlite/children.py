"""What the tests of `SQLiteStore` run in processes of their own, since a fork takes all threads' locks along.

Run as a script: a function's name, then its arguments.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from datetime import timedelta
from itertools import count

from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED, Create, Destroy, Lifetimes, Record, Update
from coatcheck.stores.sqlite import SQLiteStore

NOW = 1_700_000_000_000
DAY = 86_400_000
PATIENCE = 30  # seconds, until one who waits for ever is ended
LIFETIMES = Lifetimes(DAY, 30 * DAY, 30 * DAY, 90 * DAY)


def set_fields(store, key, **values):
    change = Update(key=key, at=NOW, lifetimes=LIFETIMES, set={name: b"%d" % n for name, n in values.items()})
    assert store.apply([change]) == [APPLIED]


def create(store, key):
    record = Record(key=key, secret=bytes(32), secret_at=NOW, created=NOW, last_used=NOW, expires=NOW + DAY)
    assert store.apply([Create(record)]) == [APPLIED]


def fields(store, key):
    (record,) = store.load([key], NOW)
    return {name: int(value) for name, value in record.fields.items()}


def say(*words):
    print(*words, flush=True)


def at_the_signal():
    say("ready")
    sys.stdin.readline()


def build(path):
    """Open the file when told to, as all workers of a new site do."""
    at_the_signal()
    SQLiteStore(path, ballast=0).close()


def update_own_field(path, key, name, times):
    """Set one's own field to 1, 2, 3, … from the signal on."""
    store = SQLiteStore(path, ballast=0)
    at_the_signal()
    for number in range(1, int(times) + 1):
        set_fields(store, bytes.fromhex(key), **{name: number})
    store.close()


def write_until_killed(path):
    """Create, update and destroy, and say what was acknowledged, for ever."""
    store = SQLiteStore(path, ballast=0)
    for number in count():
        key = os.urandom(16)
        create(store, key)
        say("created", key.hex(), 0)
        set_fields(store, key, one=number, other=number)
        say("updated", key.hex(), number)
        if number % 3 == 0:
            assert store.apply([Destroy(key=key, at=NOW)]) == [APPLIED]
            say("destroyed", key.hex(), 0)


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
        set_fields(store, key, **{name: 0})
        os.write(starts, b".")
        os.read(go, 1)
        for number in range(1, 51):
            set_fields(store, key, **{name: number})
            assert fields(store, key)[name] == number

    names = ["a", "b", "c", "d"]
    children = [fork(lambda name=name: work(name)) for name in names]
    waiting = 4
    while waiting:
        waiting -= len(os.read(started, waiting))
    set_fields(store, key, parent=1)
    store.close()
    os.write(told, b"....")
    all_went_well(children)
    store = SQLiteStore(path)
    assert fields(store, key) == {**dict.fromkeys(names, 50), "parent": 1}
    store.close()


def parent_goes_first(path):
    """A child goes on writing after its parent, which was using the store when it forked, has closed it."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    gone, tell = os.pipe()

    def work():
        set_fields(store, key, before=1)
        os.read(gone, 1)
        set_fields(store, key, after=1)
        os.write(1, key.hex().encode())
        # No close: what a worker that is killed has written must be there all the same.

    child = fork(work)
    fields(store, key)
    store.close()
    os.write(tell, b".")
    all_went_well([child])


def work_in_a_pool(store, key, number):
    set_fields(store, key, **{f"job{number}": number})


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
    assert fields(store, key) == {f"job{number}": number for number in range(4)}
    store.close()


def fork_amid_threads(path):
    """Fork, again and again, while threads read and write."""
    store = SQLiteStore(path)
    key = os.urandom(16)
    create(store, key)
    stop = threading.Event()
    failures = []
    written = {}

    def use(name):
        try:
            for number in count(1):
                if stop.is_set():
                    return
                set_fields(store, key, **{name: number})
                written[name] = number
                assert fields(store, key)[name] == number
        except BaseException as error:
            failures.append(error)
            raise

    def read():
        try:
            while not stop.is_set():
                assert store.load([key], NOW)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=use, args=(f"thread{number}",)) for number in range(4)]
    threads += [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(20):

        def work(name=f"child{number}"):
            set_fields(store, key, **{name: 1})
            assert fields(store, key)[name] == 1

        children.append(fork(work))
    all_went_well(children)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    store.close()
    store = SQLiteStore(path)
    assert fields(store, key) == {**{f"child{number}": 1 for number in range(20)}, **written}
    store.close()


def fork_while_a_call_takes_long(path):
    """Fork while another thread's call outlasts the deadline: the child is told, instead of losing what it writes."""
    store = SQLiteStore(path, deadline=timedelta(seconds=0.05))
    create(store, bytes(16))
    inside, leave = threading.Event(), threading.Event()

    def linger(connection):
        inside.set()
        leave.wait(60)

    thread = threading.Thread(target=lambda: store._write(linger))
    thread.start()
    inside.wait(60)
    all_went_well([fork(lambda: refused(store))])
    leave.set()
    thread.join()
    set_fields(store, bytes(16), parent=1)
    store.close()


def refused(store):
    import pytest  # slow, and most children don't need it

    with pytest.raises(StoreUnavailable, match="was forked from one that was using the file"):
        store.load([bytes(16)], NOW)
    store.close()


def fork_without_hooks(path, used):
    """Fork as a server written in C does. What is told to do so, when a connection was open, is refused."""
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
    set_fields(store, bytes(16), parent=1)
    store.close()


def forks_at_once(path):
    """Two threads fork at the same time, and the parent's store goes on working."""
    store = SQLiteStore(path, ballast=0)
    create(store, bytes(16))
    barrier = threading.Barrier(2)

    def forks():
        for _ in range(10):
            barrier.wait(60)
            all_went_well([fork(lambda: fields(store, bytes(16)))])
            fields(store, bytes(16))

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
