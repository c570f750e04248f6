"""A socket that keeps the deadline of the call."""

import socket
import time

import pytest

from coatcheck.stores.redis.sockets import _Socket, this_call_ends_at

pytestmark = pytest.mark.promise("20")


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_waits_until_the_deadline_however_many_pieces_arrive(pair):
    ours, theirs = pair
    bounded = _Socket(ours, None)
    start = time.monotonic()
    this_call_ends_at(start + 0.2)
    with pytest.raises(TimeoutError):  # noqa: PT012 - the last one is what is waited for
        while True:
            theirs.sendall(b"x")
            assert bounded.recv(1) == b"x"
            time.sleep(0.01)
    assert 0.15 < time.monotonic() - start < 2
    with pytest.raises(TimeoutError):
        bounded.sendall(b"x")


def test_a_look_does_not_wait(pair):
    """So redis-py's parser in Python looked, up to release 7, whether something can be read."""
    ours, _ = pair
    bounded = _Socket(ours, None)
    this_call_ends_at(time.monotonic() + 20)
    bounded.settimeout(0)
    with pytest.raises(BlockingIOError):
        bounded.recv_into(bytearray(1))
    bounded.settimeout(None)
    this_call_ends_at(time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        bounded.recv_into(bytearray(1))


def test_a_time_out_of_its_own_that_is_shorter_counts(pair):
    ours, _ = pair
    bounded = _Socket(ours, 0.05)
    this_call_ends_at(time.monotonic() + 20)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        bounded.recv(1)
    assert time.monotonic() - start < 5


def test_the_time_out_of_the_socket_is_set_only_when_it_differs(pair):
    ours, theirs = pair
    bounded = _Socket(ours, None)
    theirs.sendall(b"x" * 100)
    set_to = []
    bounded._socket = Noting(ours, set_to)
    for _ in range(50):
        this_call_ends_at(time.monotonic() + 2)
        bounded.recv(1)
    assert len(set_to) == 1
    this_call_ends_at(time.monotonic() + 1)
    bounded.recv(1)
    assert set_to[1:] == [pytest.approx(1, abs=0.5)]
    assert bounded.fileno() == ours.fileno()


class Noting:
    def __init__(self, inner, set_to):
        self._inner, self._set_to = inner, set_to

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def settimeout(self, limit):
        self._set_to.append(limit)
        self._inner.settimeout(limit)
