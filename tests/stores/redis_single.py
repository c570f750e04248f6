"""A Redis server of the tests' own, and the harnesses of the stores on it."""

import itertools
import os
import socket
import tempfile
from contextlib import contextmanager
from datetime import timedelta

from coatcheck.stores._redis_replies import done
from coatcheck.stores._redis_words import Command, packed
from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract import Harness
from tests.servers.process import HOST, Server, free_port

_numbers = itertools.count()
PATIENT = {"deadline": timedelta(seconds=30), "connect_deadline": timedelta(seconds=30)}
"""For tests that are not about deadlines, on machines that have much to do."""


def ask(port, *parts):
    """One command, past every driver; the first bytes of its reply."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))
        return connection.recv(65536)


@contextmanager
def redis_server(*options):
    """A server on a free port, that saves nothing; gives the port."""
    with tempfile.TemporaryDirectory(prefix="coatcheck-redis-") as directory:
        port = free_port()
        command = [
            "redis-server",
            "--port",
            port,
            "--bind",
            HOST,
            "--save",
            "",
            "--repl-diskless-sync-delay",
            0,
            *options,
        ]
        ready = lambda: ask(port, "PING").startswith(b"+PONG")
        with Server(command, directory=directory, ready=ready, name="redis") as server:
            server.port = port
            yield server


def new_prefix():
    """One that no other test uses."""
    return f"t{os.getpid()}.{next(_numbers)}:"


class RedisHarness(Harness):
    """Each `open` is a store as another process has it. The clock may be moved: what expires is judged by it."""

    def __init__(self, port, login=""):
        super().__init__()
        self.port, self.prefix = port, new_prefix()
        self.url = f"redis://{login}{HOST}:{port}"
        self.inspector = from_url(f"redis://{HOST}:{port}", prefix=self.prefix, **PATIENT)

    async def open(self):
        return from_url(self.url, prefix=self.prefix, **PATIENT)

    async def plant(self, key, data):
        self.command("SET", self.name(key), data, "PX", 86_400_000)

    async def raw(self, key):
        return self.command("GET", self.name(key))

    async def advance(self, seconds):
        """Time goes by for the server too: it lets go of what is over, and of nothing else, however slow the machine.

        What the server is told of the end of a key has tests of its own.
        """
        await super().advance(seconds)
        for name in self.names():
            assert self.command("PTTL", name) >= 0, f"{name} stays for ever"
            if self.command("TYPE", name) == b"string":
                data = self.command("GET", name)
                left = int.from_bytes(data[68:74], "big") - self.now if len(data) >= 74 else 1
                self.command("PEXPIRE", name, 0 if left <= 0 else max(left, 60_000))

    async def clean(self):
        for name in self.names():
            self.command("DEL", name)
        self.inspector.close()

    def name(self, key):
        return self.inspector._words.name(key)

    def names(self):
        return self.command("KEYS", f"{self.prefix}*")

    def command(self, *parts):
        """A command, and its reply in full."""
        return command(self.inspector, *parts)


def command(store, *parts):
    """Send a command by a connection of a store; its reply."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    (reply,) = store._exchange([Command(b"", packed(*parts))])
    return done(reply)


class AsyncRedisHarness(RedisHarness):
    async def open(self):
        return async_from_url(self.url, prefix=self.prefix, **PATIENT)._store


class CoalescedRedisHarness(RedisHarness):
    async def open(self):
        return async_from_url(self.url, prefix=self.prefix, **PATIENT)
