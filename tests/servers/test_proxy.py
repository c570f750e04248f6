"""The fault proxy does what its faults are called."""

import socket
import threading
import time

import pytest

from tests.servers.process import HOST, free_port
from tests.servers.proxy import Proxy


@pytest.fixture
def echo():
    """A server that sends back what it gets."""
    port, stop = free_port(), threading.Event()
    listener = socket.create_server((HOST, port))

    def answer(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    def serve():
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield port
    stop.set()
    listener.close()


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy):
    with socket.create_connection((HOST, proxy.port), timeout=5) as connection:
        yield connection


def ask(connection, data):
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data) and (part := connection.recv(65536)):
        answer += part
    return answer


def test_it_passes_on_and_counts(proxy, connection):
    with proxy.counting() as counted:
        assert ask(connection, b"one") == b"one"
        assert ask(connection, b"three") == b"three"
    assert (counted.round_trips, counted.sent, counted.received) == (2, 8, 8)


def test_a_record_of_what_went_through(proxy, connection):
    with proxy.recording() as transcript:
        ask(connection, b"one")
    assert transcript == [("sent", b"one"), ("received", b"one")]


def test_latency_is_added_each_way(proxy, connection):
    ask(connection, b"warm")
    proxy.latency = 0.1
    before = time.monotonic()
    assert ask(connection, b"slow") == b"slow"
    assert time.monotonic() - before >= 0.2


def test_silence_passes_nothing_on_until_it_ends(proxy, connection):
    ask(connection, b"warm")
    proxy.silent = True
    connection.sendall(b"anybody?")
    connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        connection.recv(10)
    connection.settimeout(5)
    proxy.silent = False
    assert connection.recv(10) == b"anybody?"


def test_slices_change_nothing_but_the_sizes(proxy, connection):
    proxy.slice = 1
    assert ask(connection, b"a longer message") == b"a longer message"


def is_ended(connection):
    """Whether the other side has ended the connection: in order, or by a reset, whichever the kernel tells."""
    try:
        return connection.recv(10) == b""
    except ConnectionError:
        return True


def test_a_reply_is_cut_and_the_connection_ended(proxy, connection):
    proxy.cut_reply_after(3)
    assert ask(connection, b"abcdef") == b"abc"
    assert is_ended(connection)


def test_replies_are_dropped_though_the_question_arrived(proxy, connection):
    proxy.drop_replies()
    with proxy.recording() as transcript:
        connection.sendall(b"abc")
        assert is_ended(connection)
    assert transcript == [("sent", b"abc"), ("received", b"abc")]


def test_down_refuses_and_ends_and_up_takes_again(proxy, connection):
    ask(connection, b"warm")
    proxy.down()
    assert is_ended(connection)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), timeout=1)
    proxy.up()
    with socket.create_connection((HOST, proxy.port), timeout=5) as again:
        assert ask(again, b"hello") == b"hello"


def test_a_request_is_cut_where_it_is_told_and_what_came_before_that_arrives(proxy, echo):
    with socket.create_server((HOST, 0)) as listener:
        proxy.target = listener.getsockname()[1]
        proxy.cut_request_after(4)
        with socket.create_connection((HOST, proxy.port), timeout=5) as client:
            client.sendall(b"one two")
            server, _ = listener.accept()
            with server:
                assert server.recv(10) == b"one "
                server.sendall(b"an answer that nobody gets")
                assert server.recv(10) == b""
            with pytest.raises(ConnectionResetError):
                client.recv(10)
    proxy.target = echo
    proxy.heal()
    with socket.create_connection((HOST, proxy.port), timeout=5) as client:
        assert ask(client, b"whole") == b"whole"
