"""Memcached for the tests: one server for each worker, and others where a test kills or starves them."""

import itertools
import os
import socket
import tempfile

import pytest

from tests.servers.process import HOST, Server, free_port

_prefixes = itertools.count()


def prefix():
    """A prefix of keys that no other test has, on whatever server."""
    return f"t{os.getpid()}-{next(_prefixes)}:"


class Memcached(Server):
    """A server of its own, on a free port."""

    def __init__(self, directory, *options):
        self.port = free_port()
        super().__init__(
            ["memcached", "-l", HOST, "-p", self.port, "-U", "0", "-u", "nobody", "-t", "2", *options],
            directory=directory,
            ready=self.answers,
            name=f"memcached-{self.port}",
        )

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    @property
    def url(self):
        return f"memcached://{self.address}"

    def answers(self):
        return self.ask(b"version\r\n").startswith(b"VERSION")

    def ask(self, command, end=b"\r\n"):
        """What it says to a command, past every client."""
        with socket.create_connection((HOST, self.port), 5) as connection:
            connection.sendall(command)
            answer = b""
            while not answer.endswith(end):
                piece = connection.recv(65536)
                if not piece:
                    raise ConnectionError(f"it ended after {answer!r}")
                answer += piece
        return answer

    def read(self, name):
        """The bytes that lie under a name, or None."""
        answer = self.ask(b"get " + name + b"\r\n", b"END\r\n")
        if answer == b"END\r\n":
            return None
        head, _, rest = answer.partition(b"\r\n")
        return rest[: int(head.split()[3])]

    def write(self, name, data, lifetime=3600):
        answer = self.ask(b"set %b 0 %d %d\r\n%b\r\n" % (name, lifetime, len(data), data))
        assert answer == b"STORED\r\n", answer

    def remove(self, name):
        self.ask(b"delete " + name + b"\r\n")

    def stats(self):
        lines = self.ask(b"stats\r\n", b"END\r\n").decode().split("\r\n")[:-2]
        return {name: value for _, name, value in (line.split(" ", 2) for line in lines)}


@pytest.fixture(scope="session")
def memcached():
    """The worker's server. Each test takes a prefix of its own, and never empties it."""
    with (
        tempfile.TemporaryDirectory(prefix="coatcheck-memcached-") as directory,
        Memcached(directory) as server,
    ):
        yield server


@pytest.fixture
def a_memcached(tmp_path):
    """Starts servers that a test may do with as it likes."""
    started = []

    def start(*options):
        server = Memcached(tmp_path, *options)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
