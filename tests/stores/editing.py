"""Many requests that edit one session at once, in threads, tasks and processes: every edit is there in the end."""

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from coatcheck import Sessions

ROOT = Path(__file__).parents[2]
SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
MANY = 100
OPTIONS = {"secret": SECRET, "deadline": timedelta(seconds=60)}


def begin(sessions):
    """The handle of a session to edit."""
    session = sessions.open(b"")
    session["list"], session["set"], session["dict"] = [], set(), {}
    sessions.save(session)
    return session.handle


def edit(session, number):
    session["list"].append(number)
    session["set"].add(number)
    session["dict"][str(number)] = number
    session[f"field {number}"] = number


def holds(session, numbers):
    assert sorted(session["list"]) == numbers
    assert session["set"] == set(numbers)
    assert session["dict"] == {str(number): number for number in numbers}
    assert all(session[f"field {number}"] == number for number in numbers)


def threads_keep_all_their_edits(one, other):
    """Threads that edit through two managers, none of which stores before all have edited."""
    handle = begin(one)
    barrier = threading.Barrier(MANY)

    def request(number):
        with (one, other)[number % 2].edit(handle) as session:
            edit(session, number)
            barrier.wait(60)

    with ThreadPoolExecutor(MANY) as threads:
        list(threads.map(request, range(MANY)))
    with other.edit(handle) as session:
        holds(session, list(range(MANY)))


async def tasks_keep_all_their_edits(one, other, sync_store):
    """Tasks that edit through two managers, none of which stores before all have edited."""
    with Sessions(sync_store, **OPTIONS) as sessions:
        handle = begin(sessions)
    barrier = asyncio.Barrier(MANY)

    async def request(number):
        async with (one, other)[number % 2].edit(handle) as session:
            edit(session, number)
            await barrier.wait()

    await asyncio.gather(*map(request, range(MANY)))
    async with one.edit(handle) as session:
        holds(session, list(range(MANY)))


def processes_keep_all_their_edits(store, module, *place):
    """Two processes that run `module`, a program that gives `edit_as_told` a store in that place."""
    with Sessions(store, **OPTIONS) as sessions:
        handle = begin(sessions)
        command = [sys.executable, "-W", "error", "-m", module, *map(str, place), handle]
        options = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        children = [subprocess.Popen([*command, str(start)], **options) for start in (0, MANY)]
        for child in children:
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            child.stdin.write(b"go\n")
            child.stdin.flush()
        for child in children:
            with child:
                child.communicate(timeout=90)
            assert child.returncode == 0
        with sessions.edit(handle) as session:
            holds(session, list(range(2 * MANY)))


def edit_as_told(store, handle, start):
    """Edit the session many times, from number `start` on, once the parent says so."""
    signal.alarm(90)
    with Sessions(store, **OPTIONS) as sessions:
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(int(start), int(start) + MANY):
            with sessions.edit(handle) as session:
                edit(session, number)
