"""Round trips to Redis, counted by the proxy, and held against the table in the guide."""

from contextlib import closing

import pytest

from coatcheck.compat.gimlet.backends.pyredis import RedisBackend
from coatcheck.compat.gimlet.session import Session
from tests.compat.gimlet.conftest import Visitor
from tests.compat.guides import round_trips_in
from tests.servers.process import HOST
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.xdist_group("gimlet")

DOCUMENTED = round_trips_in("from-gimlet")


def write(session):
    session["a"] = 1


def write_twice(session):
    session["a"] = 1
    session.set("b", 2, permanent=True)


def read_and_write(session):
    session["seen"] = session["kept"]


def read_twice(session):
    session.get("kept")
    session.get("other")


DOES = {
    "new visitor, session untouched": (False, lambda session: None),
    "new visitor, one read": (False, lambda session: session.get("a")),
    "new visitor, one write": (False, write),
    "new visitor, two writes": (False, write_twice),
    "returning, untouched": (True, lambda session: None),
    "returning, one read": (True, lambda session: session["kept"]),
    "returning, two reads": (True, read_twice),
    "returning, one write": (True, write),
    "returning, two writes": (True, write_twice),
    "returning, read and write": (True, read_and_write),
    "returning, read of a clientside key": (True, lambda session: session["client"]),
    "returning, change of a clientside key": (
        True,
        lambda session: session.set("client", 2, clientside=True),
    ),
    "returning, delete": (True, lambda session: session.__delitem__("kept")),
    "returning, invalidate": (True, Session.invalidate),
}


@pytest.fixture
def proxy(one_redis):
    with Proxy(one_redis.port) as proxy:
        yield proxy


@pytest.fixture
def backend(proxy, database):
    with closing(RedisBackend(HOST, proxy.port, database)) as backend:
        backend.client.ping()
        yield backend


def visitor_of(backend, *, returning):
    visitor = Visitor(backend=backend)
    if returning:
        visitor.visit(lambda session: session.update(kept=1))
        visitor.visit(lambda session: session.set("kept too", 1, permanent=True))
        visitor.visit(lambda session: session.set("client", 1, clientside=True))
    return visitor


@pytest.mark.parametrize("what", DOES)
def test_what_a_request_costs(what, proxy, backend):
    returning, action = DOES[what]
    visitor = visitor_of(backend, returning=returning)
    with proxy.counting() as counted:
        visitor.visit(action)
    assert counted.connections == 0, "no connection per request"
    assert counted.round_trips == DOCUMENTED[what][-1]


def test_the_table_of_the_guide_has_these_rows():
    assert list(DOCUMENTED) == list(DOES)


def test_both_channels_are_read_in_one_command_and_written_in_one_transaction(proxy, backend):
    visitor = visitor_of(backend, returning=True)
    with proxy.recording() as transcript:
        visitor.visit(write_twice)
    sent = [data for way, data in transcript if way == "sent"]
    assert len(sent) == 2
    assert sent[0].count(b"MGET") == 1
    assert sent[1].count(b"SET") == 2
    assert sent[1].startswith(b"*1\r\n$5\r\nMULTI")


def test_a_single_write_goes_with_its_expiry_in_one_command(proxy, backend):
    visitor = visitor_of(backend, returning=False)
    with proxy.recording() as transcript:
        visitor.visit(write)
    (sent,) = [data for way, data in transcript if way == "sent"]
    assert b"SET" in sent
    assert b"EX" in sent
    assert b"MULTI" not in sent


def test_many_requests_share_connections(proxy, backend):
    with proxy.counting() as counted:
        for _ in range(20):
            visitor_of(backend, returning=True)
    assert counted.connections == 0
