"""How often vial asks Redis: counted between the two, and compared with the table in the guide."""

import pytest

from coatcheck.compat.vial import Session, Vial
from tests.compat.guides import round_trips_in
from tests.servers.process import HOST
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.servers

# Section 10: what vial 0.1.0 took on redis-py 2.10, for a Session and for a UserSession.
OLD = {
    "new visitor, session untouched": (0, 0),
    "new visitor, 1 read": (1, 1),
    "new visitor, 1 change": (3, 4),
    "new visitor, 2 changes": (3, 4),
    "returning, session untouched": (2, 3),
    "returning, 1 read": (3, 4),
    "returning, 2 reads": (4, 5),
    "returning, 1 change": (4, 5),
    "returning, 2 changes": (4, 5),
    "returning, read and change": (5, 6),
    "delete a key": (5, None),
    "`get_for_user`": (1, 1),
    "`delete_for_user`": (3, 3),
}


def reads(*names):
    return lambda session: [session.get(name) for name in names]


def changes(*names):
    def change(session):
        session.update(dict.fromkeys(names, "1"))
        session.save()

    return change


def reads_and_changes(session):
    assert session["a"] == "1"
    changes("b")(session)


def deletes_a_key(session):
    del session["a"]
    session.save()


WHAT = {
    "session untouched": lambda session: session.id,
    "1 read": reads("a"),
    "2 reads": reads("a", "missing"),
    "1 change": changes("b"),
    "2 changes": changes("b", "c"),
    "read and change": reads_and_changes,
}


@pytest.fixture
def proxy(one_redis):
    with Proxy(one_redis.port) as proxy:
        yield proxy


def count(proxy, request):
    """How many round trips the request takes, on connections that stand."""
    with proxy.counting() as counted:
        request()
    assert counted.connections == 0
    return counted.round_trips


@pytest.mark.parametrize("kind", ["Session", "UserSession"])
def test_the_table_of_the_guide_is_what_is_counted(proxy, database, raw, kind):
    """Section 10, and the issue: untouched 0; read 1; changes 1 more; a new visitor's write 1; no connection."""
    vial = Vial(HOST, proxy.port, database)
    make = getattr(vial, kind)

    def stored():
        session = make()
        session["a"] = "1"
        if kind == "UserSession":
            session.user = "7"
        session.save()
        return session.id

    make(stored()).get("a")  # the connection stands, and the scripts are known
    list(vial.get_for_user("nobody"))
    vial.delete_for_user("nobody")
    measured = {}
    for row in OLD:
        visitor, _, what = row.partition(", ")
        if what:
            id_ = stored() if visitor == "returning" else None
            measured[row] = count(proxy, lambda id_=id_, what=what: WHAT[what](make(id_)))
    id_ = stored()
    measured["delete a key"] = count(proxy, lambda: deletes_a_key(make(id_)))
    measured["`get_for_user`"] = count(proxy, lambda: list(vial.get_for_user("7")))
    measured["`delete_for_user`"] = count(proxy, lambda: vial.delete_for_user("7"))
    column = ["Session", "UserSession"].index(kind)
    told = round_trips_in("from-vial")
    assert {row: cells[2] for row, cells in told.items()} == measured
    assert {row: cells[column] for row, cells in told.items()} == {
        row: old[column] for row, old in OLD.items()
    }


def test_sessions_made_without_a_vial_open_no_connections(proxy, database):
    """[FIX] pooled connections: `Session(host=, port=)` opened one per session."""

    def visit():
        session = Session(host=HOST, port=proxy.port, db=database)
        session["a"] = "1"
        session.save()

    visit()
    assert [count(proxy, visit) for _ in range(3)] == [1, 1, 1]


def test_ending_and_moving_a_session_take_one_round_trip_each(proxy, database):
    vial = Vial(HOST, proxy.port, database)
    session = vial.UserSession(user="7")
    session.save()
    session.refresh()  # the server knows the scripts

    def rotate():
        session.rotate()
        session.save()

    assert count(proxy, rotate) == 1
    assert count(proxy, session.refresh) == 1
    assert count(proxy, session.delete) == 1
