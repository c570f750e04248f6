"""Real asynchronous servers, alone and beside a synchronous one on the same file, with clients that misbehave."""

import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from coatcheck.stores.sqlite import AsyncSQLiteStore
from tests.behaviours.app import query_of
from tests.frameworks.asgi_driver import House, body, head
from tests.frameworks.test_servers import PATIENCE, ROOT, Visitor
from tests.loops import Heartbeat, on_each_loop, quiet
from tests.servers.process import free_port

pytestmark = pytest.mark.xdist_group("async servers")

SERVED = (sys.executable, "-m", "tests.frameworks.served_pair")
SYNC = (*SERVED, "waitress")
ASYNC = {
    "uvicorn on asyncio": (*SERVED, "asyncio"),
    "uvicorn on uvloop": (*SERVED, "uvloop"),
    "granian, 2 processes": (
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--workers", "2"),
        *("--workers-kill-timeout", "3", "--ws", "tests.frameworks.served_pair:application", "--port"),
    ),
}


@contextmanager
def serving(command, folder):
    """The port of a server that runs on the sessions in `folder`."""
    port = free_port()
    environment = {**os.environ, "SESSIONS_DB": str(folder / "sessions.db")}
    # Not into a pipe: some servers say much of clients that hang up, and would wait for it to be read.
    with (folder / "log").open("ab") as log:
        options = {"cwd": ROOT, "env": environment, "stdout": log, "stderr": log}
        process = subprocess.Popen([*command, str(port)], **options)
    try:
        until = time.monotonic() + PATIENCE
        while not answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def answers(port):
    try:
        return Visitor(port).play()[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the file lies that all servers share."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def sync_port(folder):
    with serving(SYNC, folder) as port:
        yield port


@pytest.fixture(scope="module", params=ASYNC)
def ports(request, folder, sync_port):
    """The ports of an asynchronous and of a synchronous server on one file."""
    with serving(ASYNC[request.param], folder) as port:
        yield port, sync_port


@pytest.fixture
def port(ports):
    return ports[0]


def visitors(ports):
    """One visitor, on every server."""
    first, *others = [Visitor(port) for port in ports]
    assert first.play("set mine 1", "set left 0", "set right 0")[0] == 200
    for other in others:
        other.cookie = first.cookie
    return first, *others


# Both kinds of servers on one file


@pytest.mark.promise("6")
def test_a_hundred_parallel_changes_of_one_visitor_across_both_servers_all_stand(ports):
    both = visitors(ports)
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda n: both[n % 2].play(f"set field{n} {n}", "get mine"), range(100)))
    assert replies == [(200, [None, "1"])] * 100
    for visitor in both:
        status, values = visitor.play(*(f"get field{n}" for n in range(100)))
        assert (status, values) == (200, [str(n) for n in range(100)])


@contextmanager
def held(visitor):
    """A request that has read its session, and writes to it when the block ends; its reply is left in the list."""
    reply = []

    def go():
        connection = HTTPConnection("127.0.0.1", visitor.port, timeout=PATIENCE)
        with closing(connection):
            port = waiting.getsockname()[1]
            connection.request("GET", f"/late?{port}", headers={"Cookie": visitor.cookie})
            response = connection.getresponse()
            reply.extend(
                (response.status, json.loads(response.read()), response.headers.get_all("Set-Cookie"))
            )

    with closing(socket.create_server(("127.0.0.1", 0))) as waiting, ThreadPoolExecutor(1) as pool:
        waiting.settimeout(PATIENCE)
        late = pool.submit(go)
        with closing(waiting.accept()[0]) as handler:
            yield reply
            handler.sendall(b"x")
        late.result(PATIENCE)


@pytest.mark.promise("7")
@pytest.mark.parametrize("late", [0, 1], ids=["late on the async server", "late on the sync server"])
@pytest.mark.parametrize("end", ["sign_out", "sign_in ada"])
def test_a_late_writer_on_one_server_does_not_undo_what_was_done_on_the_other(ports, late, end):
    both = visitors(ports)
    old = both[late].cookie
    with held(both[late]) as reply:
        assert both[1 - late].play(end)[0] == 200
    assert reply == [200, False, None]  # it goes out unchanged, and without a cookie
    both[late].cookie = old
    assert both[late].play("is_new", "get late") == (200, [True, None])
    if end != "sign_out":
        both[late].cookie = both[1 - late].cookie
        for visitor in both:
            assert visitor.play("user", "get late", "get mine") == (200, ["ada", None, "1"])


@pytest.mark.promise("12")
def test_signing_out_on_one_server_ends_the_session_on_the_other(ports):
    for one, other in ((0, 1), (1, 0)):
        both = visitors(ports)
        assert both[one].play("sign_in ada")[0] == 200
        both[other].cookie = both[one].cookie
        assert both[other].play("user") == (200, ["ada"])
        assert both[other].play("sign_out")[0] == 200
        assert both[one].play("user", "is_new") == (200, [None, True])


# Clients that hang up


def hang_up(port, data, after):
    """Send `data`, and reset the connection after so many seconds."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(data)
        time.sleep(after)  # this is what is tried out, not a wait for something


@pytest.mark.promise("F-05")
def test_clients_that_hang_up_after_k_milliseconds_leave_nothing_half_and_a_server_that_serves(port):
    (visitor,) = visitors([port])
    for millisecond in range(31):
        n = f"k{millisecond}"
        target = f"/play?{query_of((f'set left {n}', f'set right {n}', 'get mine'))}"
        for data in (visitor.head(target), visitor.head("/long")):
            hang_up(port, data, millisecond / 1_000)
        status, (left, right, mine) = visitor.play("get left", "get right", "get mine")
        assert (status, left, mine) == (200, right, "1")
    assert visitor.play("set left end", "set right end")[0] == 200
    assert visitor.play("is_new", "get mine") == (200, [False, "1"])


@pytest.mark.promise("F-05")
def test_a_sign_out_whose_client_hangs_up_is_whole(port):
    ended = 0
    for millisecond in range(0, 31, 2):
        (visitor,) = visitors([port])
        hang_up(port, visitor.head(f"/play?{query_of(('sign_out', 'set bye 1'))}"), millisecond / 1_000)
        status, (is_new, mine, bye) = visitor.play("is_new", "get mine", "get bye")
        assert (status, is_new, mine, bye) in ((200, True, None, None), (200, False, "1", None))
        ended += is_new
    assert ended  # some came through


# Websockets


def talk(port, cookie=""):
    headers = {"Cookie": cookie} if cookie else {}
    return connect(f"ws://127.0.0.1:{port}/ws", additional_headers=headers, open_timeout=PATIENCE)


def test_a_websocket_shares_the_session_with_the_pages(port):
    visitor = Visitor(port)
    assert visitor.play("sign_in ada")[0] == 200
    with talk(port, visitor.cookie) as websocket:
        assert visitor.value("connections") == 1  # stored before the handshake was answered
        for text, stored in (("hello", None), ("save", ["hello", "save"]), ("more", ["hello", "save"])):
            websocket.send(text)
            assert websocket.recv(PATIENCE) == f"ada: {text}"
            assert visitor.value("said_1") == stored
    until = time.monotonic() + PATIENCE
    while visitor.value("said_1") != ["hello", "save", "more"]:  # its end comes when the server has noticed
        assert time.monotonic() < until


def test_the_handshake_of_a_first_visit_carries_the_cookie(port, request):
    with talk(port) as websocket:
        lines = websocket.response.headers.get_all("Set-Cookie")
        if "granian" in request.node.name:
            assert lines == []  # it sends no headers of an application's; this tells when it does
            return
        (line,) = lines
        websocket.send("save")
        assert websocket.recv(PATIENCE) == "None: save"
    visitor = Visitor(port)
    visitor.cookie = line.partition(";")[0]
    assert visitor.play("get connections", "get said_1") == (200, [1, ["save"]])


@pytest.mark.promise("F-20")
def test_a_websocket_is_closed_when_its_session_was_ended_elsewhere(ports):
    both = visitors(ports)
    with talk(both[0].port, both[0].cookie) as websocket:
        websocket.send("a")
        websocket.recv(PATIENCE)
        assert both[1].play("sign_out")[0] == 200
        websocket.send("b")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(PATIENCE)
    assert closed.value.rcvd.code == 1008


@pytest.mark.promise("F-05")
def test_websockets_whose_clients_are_reset_leave_a_whole_session(port):
    (visitor,) = visitors([port])
    for _ in range(10):
        with talk(port, visitor.cookie) as websocket:
            websocket.send("save")
            websocket.recv(PATIENCE)
            websocket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            websocket.send("lost")
            websocket.socket.close()
    assert visitor.value("connections") == 10
    status, talks = visitor.play(*(f"get said_{n}" for n in range(1, 11)))
    assert status == 200
    assert all(talk in (["save"], ["save", "lost"]) for talk in talks)


# The loop, and a restart


@pytest.mark.promise("F-02")
def test_the_loop_of_a_server_under_load_turns(port, record_property):
    both = visitors([port] * 16)
    Visitor(port).play()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: both[n % 16].play(f"set field{n % 50} {n}", "get mine"), range(600)))
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        connection.request("GET", "/gap")
        gap = json.loads(connection.getresponse().read())
    record_property("gap", f"the loop was held up for {gap * 1e3:.1f} ms at most")
    print(f"600 writes of one session: longest gap {gap * 1e3:.1f} ms")
    assert gap < 1


def test_a_restart_keeps_the_sessions(tmp_path):
    server = ASYNC["uvicorn on uvloop"]
    with serving(server, tmp_path) as port:
        visitor = Visitor(port)
        assert visitor.play("set kept 1", "sign_in ada")[0] == 200
    with serving(server, tmp_path) as port:
        visitor.port = port
        assert visitor.play("get kept", "user") == (200, ["1", "ada"])


# Cancelled in place


@pytest.mark.promise("F-05")
@on_each_loop
async def test_cancelling_1000_of_5000_requests_mixes_nothing_up_and_leaves_nothing_behind(
    tmp_path, record_property
):
    async def handler(scope, receive, send):
        session = scope["session"]
        assert session["mark"] == scope["mark"]
        if scope["path"] == "/write":
            session["left"] = session["right"] = scope["number"]
        await head(send)
        await body(send, session["mark"].encode(), more=True)
        if scope["path"] == "/write":
            session["mark"] = scope["mark"]
        await body(send)

    store = AsyncSQLiteStore(tmp_path / "sessions.db", ballast=0)
    house = House(handler, store=store)
    cookies = {f"visitor {n}": await house.visitor(mark=f"visitor {n}", left=0, right=0) for n in range(100)}
    pick = random.Random(7)
    doomed = set(pick.sample(range(5_000), 1_000))
    left, cancelled, answered = iter(range(5_000)), 0, 0
    loop = asyncio.get_running_loop()

    async def browser():
        nonlocal cancelled, answered
        for number in left:
            mark = pick.choice(list(cookies))
            path = pick.choice(["/read", "/read", "/write"])
            exchange = house.exchange(path, cookies[mark], mark=mark, number=number)
            task = exchange.start()
            if number in doomed:
                loop.call_later(pick.random() * 0.004, task.cancel)
            await asyncio.wait([task])
            if task.cancelled():
                cancelled += 1
            else:
                await task
                assert (exchange.status, exchange.body) == (200, mark.encode())
                answered += 1

    async with Heartbeat() as heart:
        await asyncio.gather(*(browser() for _ in range(64)))
    assert cancelled + answered == 5_000
    assert cancelled > 200  # the others were through before they could be
    await quiet()
    for mark, cookie in cookies.items():
        fields = await house.fields(cookie)
        assert fields["mark"] == mark
        assert fields["left"] == fields["right"]
    assert len(store._store._connections._open) <= 2  # the loop's and the thread's
    record_property(
        "cancelled", f"{cancelled} cancelled, loop held up for {heart.longest * 1e3:.1f} ms at most"
    )
    print(f"{cancelled} of 5,000 cancelled, longest gap {heart.longest * 1e3:.1f} ms")
    assert heart.longest < 5
    await house.sessions.shutdown()
    assert not store._store._connections._open
