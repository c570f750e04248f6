"""gunicorn forks an application whose store is connected already: no worker shares a socket with another (F-18)."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.frameworks.test_servers import Visitor
from tests.servers.process import HOST, Server, free_port, until

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-18", "24")]

ROOT = Path(__file__).parents[3]
WORKERS, CLIENTS = 4, 16


def pid(port):
    connection = HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", "/pid")
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.fixture
def site(redis_server, prefix, tmp_path):
    port = free_port()
    command = (
        *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--no-control-socket", "--preload"),
        *("--workers", WORKERS, "--threads", "4", "--graceful-timeout", "5", "--chdir", ROOT),
        "tests.stores.redis.served:application",
    )
    environment = {**os.environ, "REDIS_URL": redis_server.url, "REDIS_PREFIX": prefix}
    with Server(command, directory=tmp_path, ready=lambda: pid(port), env=environment, name="gunicorn"):
        yield port


def load_markers(port, each):
    visitors = [Visitor(port) for _ in range(CLIENTS)]
    for number, visitor in enumerate(visitors):
        assert visitor.play(f"set marker {number}")[0] == 200

    def use(number):
        visitor, foreign = visitors[number], 0
        for turn in range(each):
            status, results = visitor.play("get marker", *((f"set turn {turn}",) if turn % 5 == 0 else ()))
            assert status == 200
            foreign += results[0] != str(number)
        return foreign

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(use, range(CLIENTS))) == [0] * CLIENTS
        seen = set()

        def all_took_part():
            seen.update(pool.map(lambda _: pid(port), range(CLIENTS)))
            return len(seen) == WORKERS

        until(all_took_part, "every worker has answered")


def test_preloaded_workers_never_give_one_visitor_anothers_session(site):
    load_markers(site, 60)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_preloaded_workers_never_give_one_visitor_anothers_session_for_long(site):
    load_markers(site, 1_000)
