"""What an operator sees of Redis under uvicorn and gunicorn, whose logging nobody has configured."""

import os
import sys
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from coatcheck import Sessions
from tests.servers.process import HOST, Server, free_port, until
from tests.servers.redis import single
from tests.visitor import SECRET, Visitor

pytestmark = [pytest.mark.servers, pytest.mark.promise("17", "20")]

ROOT = Path(__file__).parents[3]
SERVED = "tests.stores.redis.served_told"
COMMANDS = {
    "uvicorn": (*("-m", "uvicorn", "--factory", f"{SERVED}:make_asgi", "--host", HOST, "--port"), "{}"),
    "gunicorn": (
        *("-m", "gunicorn", "--no-control-socket", "--chdir", ROOT, f"{SERVED}:make_wsgi()", "--bind"),
        f"{HOST}:{{}}",
    ),
}


@pytest.fixture(scope="module")
def own():
    with single() as server:
        yield server


@contextmanager
def serving(kind, redis, prefix, folder):
    """A server that has started: its port, and itself."""
    port = free_port()
    command = [sys.executable, *(str(part).format(port) for part in COMMANDS[kind])]
    environment = {
        **os.environ,
        "REDIS_URL": redis.url,
        "REDIS_PREFIX": prefix,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    ready = lambda: status(port, "/") == 200
    with Server(command, directory=folder, ready=ready, env=environment, name=kind) as server:
        yield port, server


def status(port, path):
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def lines_in(server, text):
    return [line for line in server.output().splitlines() if text in line]


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
def test_a_policy_that_may_lose_index_entries_is_said_when_the_server_starts(
    kind, policy, own, prefix, tmp_path
):
    own.ask("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        with serving(kind, own, prefix, tmp_path) as (_, server):
            assert len(lines_in(server, "maxmemory-policy")) == (policy == "allkeys-lru")
    finally:
        own.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("kind", COMMANDS)
def test_an_outage_is_said_when_it_begins_when_the_breaker_opens_and_when_it_ends(kind, prefix, tmp_path):
    with single() as redis, serving(kind, redis, prefix, tmp_path) as (port, server):
        redis.kill()
        assert [status(port, "/put") for _ in range(8)] == [503] * 8
        (begun,) = lines_in(server, " fails: ")
        assert f"redis://{redis.address}" in begun
        assert "is it running" in begun
        (opened,) = lines_in(server, "is not called by every request any more")
        assert "failed 5 times in a row" in opened
        assert "ConnectionRefusedError" in opened
        redis.start()
        until(lambda: status(port, "/put") == 200 and lines_in(server, " answers again: "), "it is back")
        assert len(lines_in(server, "The session store")) == 3


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "volatile-random"])
def test_on_a_server_that_evicts_nobody_stays_signed_in_after_revoke_user(policy, own, prefix):
    own.ask("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        with Sessions.from_url(own.url, secret=SECRET, prefix=prefix) as sessions, own.client() as client:
            visitors = {f"user{n}": Visitor(sessions).signed_in(f"user{n}", a=1) for n in range(20)}
            before = own.told("stats")["evicted_keys"]
            own.ask("CONFIG", "SET", "maxmemory", own.told("memory")["used_memory"] + 1_000_000)
            number = 0
            # As many as fit in: some of the visitors' keys are gone, and others are still there.
            while own.told("stats")["evicted_keys"] < before + 1_000:
                for _ in range(50):
                    client.set(f"{prefix}filler{number}", bytes(1_000), px=600_000)
                    number += 1
                for visitor in visitors.values():  # they are in use
                    visitor.read()
            assert any(visitor.read() for visitor in visitors.values())
            for user in visitors:
                sessions.revoke_user(user)
            assert [visitor.read() for visitor in visitors.values()] == [{}] * 20
            assert [user for user in visitors if sessions.of_user(user)] == []
    finally:
        own.ask("CONFIG", "SET", "maxmemory", 0)
        own.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
