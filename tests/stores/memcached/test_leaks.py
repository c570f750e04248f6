"""Nothing is left open per event loop, per thread, per fork, or per manager that nobody shut down."""

import asyncio
import gc
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from coatcheck import AsyncSessions, Sessions
from tests.servers.memcached import prefix
from tests.visitor import SECRET

pytestmark = [pytest.mark.servers, pytest.mark.promise("24")]
JOBS = 300


def sockets():
    """How many sockets this process has open."""
    names = []
    for number in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(number.readlink()))
        except FileNotFoundError:
            continue  # that of the listing itself
    return sum(name.startswith("socket:") for name in names)


@contextmanager
def without_collection():
    """What is left to the collector of cycles stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def job(sessions):
    session = sessions.open(b"")
    await sessions.load(session)
    session["a"] = 1
    await sessions.close(session)


def test_one_manager_in_many_loops(memcached):
    sessions = AsyncSessions.from_url(memcached.url, secret=SECRET, prefix=prefix())
    seen = []
    with without_collection():
        for _ in range(JOBS):
            asyncio.run(job(sessions))
            seen.append((sockets(), threading.active_count()))
    # One call at a time takes one connection, and one thread or two: the last one may not be idle yet.
    assert max(open_ for open_, _ in seen[1:]) <= seen[0][0] + 1
    assert max(threads for _, threads in seen[1:]) <= seen[0][1] + 1
    asyncio.run(sessions.shutdown())
    assert sockets() < seen[0][0]


@pytest.mark.parametrize("shut_down", [False, True])
def test_a_manager_for_each_job(memcached, shut_down):
    async def whole_job():
        sessions = AsyncSessions.from_url(memcached.url, secret=SECRET, prefix=name)
        await job(sessions)
        if shut_down:
            await sessions.shutdown()

    name, before, most = prefix(), sockets(), 0
    with without_collection():
        for _ in range(JOBS):
            asyncio.run(whole_job())
            most = max(most, sockets())
    # The thread of the last job may not have ended yet, nor that of the one before.
    assert most <= before + 5


def test_many_threads(memcached):
    with Sessions.from_url(memcached.url, secret=SECRET, prefix=prefix()) as sessions:

        def visit():
            session = sessions.open(b"")
            session["a"] = 1
            sessions.close(session)

        before = sockets()
        for _ in range(50):
            threads = [threading.Thread(target=visit) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sockets() <= before + 4
    assert sockets() <= before


def test_forks(memcached):
    with Sessions.from_url(memcached.url, secret=SECRET, prefix=prefix()) as sessions:
        sessions.ping()
        before = sockets()
        for _ in range(3):
            child = os.fork()
            if child == 0:
                sessions.ping()
                os._exit(sockets() - before)  # its own connection in place of the parent's
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        sessions.ping()
        assert sockets() == before
