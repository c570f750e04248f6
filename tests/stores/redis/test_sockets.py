"""A socket that keeps the deadline of the call."""

import socket
import time
from contextlib import ExitStack

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from coatcheck.stores.redis.sockets import _Socket, bounded, this_call_ends_at
from tests.awake import awake
from tests.servers.process import silent

pytestmark = pytest.mark.promise("20")


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_waits_until_the_deadline_however_many_pieces_arrive(pair):
    ours, theirs = pair
    bound = _Socket(ours, None)
    began, start = time.monotonic(), awake()
    this_call_ends_at(began + 0.2)
    with pytest.raises(TimeoutError):  # noqa: PT012 - the last one is what is waited for
        while True:
            theirs.sendall(b"x")
            assert bound.recv(1) == b"x"
            time.sleep(0.01)
    assert time.monotonic() - began > 0.15
    assert awake() - start < 2
    with pytest.raises(TimeoutError):
        bound.sendall(b"x")


def test_a_look_does_not_wait(pair):
    """So redis-py's parser in Python looked, up to release 7, whether something can be read."""
    ours, _ = pair
    bound = _Socket(ours, None)
    this_call_ends_at(time.monotonic() + 20)
    bound.settimeout(0)
    with pytest.raises(BlockingIOError):
        bound.recv_into(bytearray(1))
    bound.settimeout(None)
    this_call_ends_at(time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        bound.recv_into(bytearray(1))


def test_a_time_out_of_its_own_that_is_shorter_counts(pair):
    ours, _ = pair
    bound = _Socket(ours, 0.05)
    this_call_ends_at(time.monotonic() + 20)
    start = awake()
    with pytest.raises(TimeoutError):
        bound.recv(1)
    assert awake() - start < 5


def test_the_time_out_of_the_socket_is_set_only_when_it_differs(pair):
    ours, theirs = pair
    bound = _Socket(ours, None)
    theirs.sendall(b"x" * 100)
    set_to = []
    bound._socket = Noting(ours, set_to)
    for _ in range(50):
        this_call_ends_at(time.monotonic() + 2)
        bound.recv(1)
    assert len(set_to) == 1
    this_call_ends_at(time.monotonic() + 1)
    bound.recv(1)
    assert set_to[1:] == [pytest.approx(1, abs=0.5)]
    assert bound.fileno() == ours.fileno()


def test_all_addresses_of_a_host_are_tried_within_the_deadline(monkeypatch):
    """A silent one leaves time for the next, however many there are."""
    find, tried = socket.getaddrinfo, []

    class Address(socket.socket):
        def connect(self, address):
            tried.append(address[0])
            super().connect(address)

    def all_four(host, port, *args):
        return [info for last in range(2, 6) for info in find(f"127.0.0.{last}", port, *args)]

    monkeypatch.setattr(socket, "getaddrinfo", all_four)
    monkeypatch.setattr(socket, "socket", Address)
    with ExitStack() as stack:
        port = stack.enter_context(silent("127.0.0.2"))
        for last in range(3, 6):
            stack.enter_context(silent(f"127.0.0.{last}", port))
        tried.clear()
        connection = bounded(redis.Connection)(host="four", port=port, retry=Retry(NoBackoff(), 0))
        start = awake()
        this_call_ends_at(time.monotonic() + 0.5)
        with pytest.raises(redis.TimeoutError):
            connection.connect()
    assert tried == [f"127.0.0.{last}" for last in range(2, 6)]
    assert awake() - start < 0.9


class Noting:
    def __init__(self, inner, set_to):
        self._inner, self._set_to = inner, set_to

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def settimeout(self, limit):
        self._set_to.append(limit)
        self._inner.settimeout(limit)


@pytest.mark.promise("F-02")
def test_after_the_deadline_no_connection_is_begun():
    class Kind:
        socket_connect_timeout = socket_timeout = None

        def _connect(self):
            raise AssertionError

    this_call_ends_at(time.monotonic() - 1)
    with pytest.raises(TimeoutError, match="the deadline is over"):
        bounded(Kind)()._connect()


def test_a_time_out_that_is_set_is_read_back_also_after_the_deadline():
    connection = bounded(redis.Connection)(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    connection.socket_connect_timeout = 7
    this_call_ends_at(time.monotonic() - 1)
    assert connection.socket_connect_timeout == 7
