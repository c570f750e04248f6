"""gunicorn's gevent worker, while the store hangs: the requests that don't need it go on."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.awake import awake

HERE = Path(__file__).parent
HOST = "127.0.0.1"
PAGE = (HERE.parents[1] / "docs" / "how-to" / "deploy-wsgi.md").read_text()
(PATCHED_FIRST,) = re.findall(
    r"^```python\n(from gevent import monkey\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
DEADLINE = 2.0
GUNICORN = [sys.executable, "-W", "ignore", "-m", "gunicorn", "-k", "gevent", "-b"]


class Hung:
    """A server that takes connections, and never says a word."""

    def __init__(self):
        self.met = threading.Semaphore(0)
        self.connections = []
        self.listening = socket.create_server((HOST, 0))
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.met.release()

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def hung():
    server = Hung()
    yield server
    server.close()


def get(port, path, cookie=""):
    """The status of an answer, and the seconds that it took."""
    begun = awake()
    connection = HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, awake() - begun


@contextmanager
def gunicorn(url, tmp_path, *options, config=""):
    """Gunicorn's port, and what it has written so far."""
    (tmp_path / "gunicorn.conf.py").write_text(config)
    log = tmp_path / "log"
    with socket.create_server((HOST, 0)) as listening, log.open("w") as written:
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [
                *GUNICORN,
                f"fd://{listening.fileno()}",
                "-c",
                tmp_path / "gunicorn.conf.py",
                *options,
                "preloaded:application",
            ],
            env={
                **os.environ,
                "STORE": url,
                "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            },
            pass_fds=[listening.fileno()],
            stderr=written,
        )
        try:
            assert get(port, "/")[0] == 200  # the kernel holds it until the worker is there
            yield port, log
        finally:
            process.terminate()
            process.wait()


def others_while_it_hangs(port, hung, cookie=""):
    """The longest time that a request without the store took, and the answers of those that wait for it."""
    waited, longest = [], 0.0
    threads = [threading.Thread(target=lambda: waited.append(get(port, "/store", cookie))) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert hung.met.acquire(timeout=30)
    while any(thread.is_alive() for thread in threads):
        longest = max(longest, get(port, "/")[1])
    return longest, waited


def a_cookie():
    os.environ.setdefault("STORE", "memory://")
    import preloaded

    session = preloaded.sessions.open(b"")
    session["a"] = 0
    preloaded.sessions.close(session)
    return "; ".join(f"{name}={value}" for name, value in preloaded.sessions.cookie_of(session).items())


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.mark.parametrize(
    ("url", "visitors"),
    [("memcached://{at}", "many"), ("memcached://{at}", "one"), ("redis://{at}/0", "many")],
    ids=["memcached", "memcached, one visitor", "redis"],
)
def test_a_store_that_hangs_holds_up_nobody_else(hung, tmp_path, url, visitors):
    with gunicorn(url.format(at=f"{HOST}:{hung.port}"), tmp_path, "--preload") as (port, _):
        longest, waited = others_while_it_hangs(port, hung, a_cookie() if visitors == "one" else "")
    assert {status for status, _ in waited} == {503}
    assert longest < DEADLINE / 2


@pytest.mark.parametrize("config", ["", PATCHED_FIRST], ids=["plain", "patched first"])
def test_nor_does_postgresql_where_gevent_comes_first(hung, tmp_path, config):
    options = ["--preload"] if config else []
    url = f"postgresql://ada:secret@{HOST}:{hung.port}/db"
    with gunicorn(url, tmp_path, *options, config=config) as (port, _):
        longest, waited = others_while_it_hangs(port, hung)
    assert {status for status, _ in waited} == {503}
    assert longest < DEADLINE / 2


def test_where_psycopg_would_hold_up_everybody_the_log_says_what_to_do(hung, tmp_path):
    url = f"postgresql://ada:secret@{HOST}:{hung.port}/db"
    with gunicorn(url, tmp_path, "--preload") as (port, log):
        status, took = get(port, "/store")
    assert (status, took < DEADLINE / 2) == (500, True)
    assert "begin gunicorn.conf.py with `from gevent import monkey; monkey.patch_all()`" in log.read_text()
