"""Real servers, in several threads and processes, with clients that come all at once or hang up half way."""

import json
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.behaviours.app import query_of

pytestmark = pytest.mark.xdist_group("servers")

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds; only a test that is about to fail waits so long
GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "--workers", "2"),
    *("--graceful-timeout", "5", "tests.frameworks.served:application"),
)
SERVERS = {
    "gunicorn, 2 processes": (*GUNICORN, "--worker-class", "sync"),
    "gunicorn, 2 processes of 4 threads, preloaded": (*GUNICORN, "--threads", "4", "--preload"),
    "waitress, 8 threads": (sys.executable, "-m", "tests.frameworks.served"),
}


class Visitor:
    """One who keeps his cookie, and may send many requests at once."""

    def __init__(self, port):
        self.port = port
        self.cookie = ""

    def play(self, *steps):
        """The status, and what the steps gave back."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"/play?{query_of(steps)}", headers={"Cookie": self.cookie})
            response = connection.getresponse()
            body = response.read()
            for line in response.headers.get_all("Set-Cookie") or ():
                self.cookie = line.split(";")[0]
        finally:
            connection.close()
        return response.status, [json.loads(line) for line in body.splitlines() if line]

    def value(self, name):
        status, (value,) = self.play(f"get {name}")
        assert status == 200
        return value

    def head(self, target):
        """A whole request, as its bytes."""
        return f"GET {target} HTTP/1.1\r\nHost: shop\r\nCookie: {self.cookie}\r\n\r\n".encode()


@contextmanager
def serving(command, folder):
    """The port of a server that runs on the sessions in `folder`."""
    environment = {**os.environ, "SESSIONS_DB": str(folder / "sessions.db")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        try:
            with (folder / "log").open("ab") as log:
                yield _port(process, log)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()


def _port(process, log):
    """Read what the server says until it names its port; the pipe then holds the rest, which is little."""
    said, until = b"", time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if not select.select([process.stderr], [], [], 1)[0]:
            continue
        some = os.read(process.stderr.fileno(), 4096)
        said += some
        log.write(some)
        if found := re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", said):
            return int(found[1])
        if not some:
            break
    raise AssertionError(f"the server did not start: {said.decode()}")


@pytest.fixture(scope="module", params=SERVERS)
def port(request, tmp_path_factory):
    with serving(SERVERS[request.param], tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.mark.promise("6")
def test_a_hundred_parallel_changes_of_one_visitor_all_stand(port):
    visitor, number = Visitor(port), 34
    setup = [*(f"set deleted{n} 1" for n in range(number)), *(f"list list{n}" for n in range(number))]
    assert visitor.play("set mine 1", *setup)[0] == 200
    scripts = [
        script
        for n in range(number)
        for script in ((f"set set{n} {n}",), (f"push list{n} {n}", f"get list{n}"), (f"delete deleted{n}",))
    ]
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda script: visitor.play(*script), scripts))
    assert len(replies) > 100
    assert {status for status, _ in replies} == {200}
    _, (names,) = visitor.play("names")
    expected = {"mine", *(f"{kind}{n}" for kind in ("set", "list") for n in range(number))}
    assert set(names) == expected
    _, values = visitor.play(*(f"get {kind}{n}" for n in range(number) for kind in ("set", "list")))
    assert values == [value for n in range(number) for value in (str(n), [str(n)])]


@pytest.mark.promise("11")
def test_messages_are_shown_once_however_many_read_at_once(port):
    visitor = Visitor(port)
    visitor.play("set mine 1")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: visitor.play(f"flash {n}"), range(20)))
        replies = list(pool.map(lambda _: visitor.play("take_flashes"), range(20)))
    shown = [message for _, (flashes,) in replies for _, message in flashes]
    assert sorted(shown, key=int) == [str(n) for n in range(20)]


@pytest.mark.promise("12")
def test_parallel_log_outs_and_changes_leave_the_session_ended(port):
    visitor = Visitor(port)
    visitor.play("set mine 1", "sign_in ada")
    thief = Visitor(port)
    thief.cookie = visitor.cookie
    scripts = [("sign_out",) if n == 10 else (f"set late{n} 1",) for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda script: thief.play(*script), scripts))
    assert {status for status, _ in replies} == {200}
    thief.cookie = visitor.cookie
    assert thief.play("is_new", "user")[1] == [True, None]


def _hang_up(port, data, *, reading=0, reset=True):
    """Send `data`, read some bytes of the answer, and be gone: with a reset, or as one who closes his browser."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(data)
        while reading > 0:
            reading -= len(client.recv(min(reading, 65_536)) or b"x" * reading)


@pytest.mark.promise("F-05")
def test_clients_that_hang_up_half_way_leave_no_half_record_and_a_server_that_serves(port):
    visitor = Visitor(port)
    visitor.play("set left 0", "set right 0", "set kept 1")
    for round_number in range(1, 6):
        n = f"{round_number}"
        whole = visitor.head(f"/play?{query_of((f'set left {n}', f'set right {n}'))}")
        cut = whole.index(b"Cookie:")
        for reset in (True, False):
            _hang_up(port, b"", reset=reset)
            _hang_up(port, whole[:20], reset=reset)
            _hang_up(port, whole[: whole.index(b"\r\n") + 2], reset=reset)  # after the request line
            _hang_up(port, whole[: cut + 30], reset=reset)  # in the middle of the cookie
            _hang_up(port, whole[:-2], reset=reset)
            _hang_up(port, whole, reset=reset)  # it may have been carried out, but then whole
            _hang_up(port, whole, reading=10, reset=reset)
        status, (left, right, kept) = visitor.play("get left", "get right", "get kept")
        assert (status, left, kept) == (200, right, "1")
        # What was acknowledged is there.
        assert visitor.play(f"set left a{n}", f"set right a{n}", "set kept 1")[0] == 200
        status, (left, right) = visitor.play("get left", "get right")
        assert left == right
    assert Visitor(port).play("is_new") == (200, [True])


@pytest.mark.promise("F-05")
def test_a_client_that_hangs_up_in_the_middle_of_a_body_leaves_stored_what_was_done(port):
    visitor = Visitor(port)
    visitor.play("set kept 1")
    fields = [f"sent{n}" for n in range(4)]
    for n, field in enumerate(fields):
        _hang_up(port, visitor.head(f"/long?{field}"), reading=200_000, reset=n % 2 == 0)
    until = time.monotonic() + PATIENCE
    values = []
    # What stood in a field when the head left was stored with it; what came later is, as soon as the server notices.
    while not (values and all(values)):
        assert time.monotonic() < until, f"a body that nobody reads was never ended: {values}"
        values = [visitor.value(field) for field in fields]
    assert max(values) < 1_999
    assert visitor.value("kept") == "1"


def test_a_restart_keeps_the_sessions(tmp_path):
    server = SERVERS["waitress, 8 threads"]
    with serving(server, tmp_path) as port:
        visitor = Visitor(port)
        assert visitor.play("set kept 1", "sign_in ada")[0] == 200
    with serving(server, tmp_path) as port:
        visitor.port = port
        assert visitor.play("get kept", "user") == (200, ["1", "ada"])
