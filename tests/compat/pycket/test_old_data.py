"""What the old library wrote is read, and with `side_by_side` it reads what we write."""

import base64
import json
import pickle
from pathlib import Path
from uuid import uuid4

import pytest

from coatcheck.compat.pycket import _manager
from coatcheck.compat.pycket.session import SessionManager, SideBySideWarning
from coatcheck.compat.pycket01.session import SessionManager as SessionManager01
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import SECRET, Site, StubHandler, cookies_of, handler, look, raw, signed, site
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

# Written by pycket 0.3.0 on Python 3.11.7, Tornado 6.6.1 and redis-py 8.1.0. Its cookie is of November 2026: the sites
# below take one of any age.
OLD = json.loads((Path(__file__).parents[1] / "data" / "pycket311.json").read_text())
RECORD, NOTES = (base64.b64decode(OLD["redis"][db][OLD["session_id"]]) for db in ("db0", "db1"))
FOR_EVER = {"expires_days": 36_500}


def see(self):
    return dict(self.session.items()), self.notifications.get("note"), self.notifications.get("note")


@pytest.mark.parametrize("generation", ["0.3", "0.1"])
def test_a_running_session_goes_on(generation, redis_port, dbs):
    """[KEEP 3.2 cookie, 3.5 stored form] A site changes its imports."""
    assert OLD["cookie_secret"] == SECRET
    storage = {"host": HOST, "port": redis_port, "db_sessions": 6, "db_notifications": 7}
    settings = (
        {"pycket": {"engine": "redis", "storage": storage, "cookies": FOR_EVER}}
        if generation == "0.3"
        else {"pycket_redis": storage, "pycket_cookies": FOR_EVER}
    )
    dbs(6).set(OLD["session_id"], RECORD, ex=500)
    dbs(7).set(OLD["session_id"], NOTES, ex=500)

    def change(self):
        self.session["n"] += 1

    handlers = [("/see", handler(see, generation)), ("/change", handler(change, generation))]
    with Site(handlers, **settings) as running:
        visitor = running.visitor(headers={"Cookie": f"PYCKET_ID={OLD['cookie_value']}"})
        assert eval(visitor.get("/see").text) == (OLD["data"], "hi", None)
        assert visitor.get("/change").status_code == 200
        assert pickle.loads(dbs(6)[OLD["session_id"]]) == {**OLD["data"], "n": 8}
        assert dbs(6).ttl(OLD["session_id"]) > 86000
        assert pickle.loads(dbs(7)[OLD["session_id"]]) == {}


def test_a_running_session_goes_on_in_memcached(memcached, memcached_settings):
    """[KEEP 3.5 memcached] [3.3 migration: read the old shared record as the session]"""
    both = pickle.dumps({**OLD["data"], "note": "hi"})
    memcached.set(OLD["session_id"], both, expire=500, flags=0)
    with site({**memcached_settings, "cookies": FOR_EVER}, see=see, look=look) as running:
        visitor = running.visitor(headers={"Cookie": f"PYCKET_ID={OLD['cookie_value']}"})
        assert visitor.get("/see").text == repr(({**OLD["data"], "note": "hi"}, None, None))
        assert visitor.get("/look").text == repr({**OLD["data"], "note": "hi"})
    assert memcached.get(OLD["session_id"]) == both


@pytest.fixture
def warned():
    _manager._warned.clear()
    yield
    _manager._warned.clear()


@pytest.mark.parametrize("engine", ["redis", "memcached", "0.1"])
def test_side_by_side_what_is_written_is_read_by_old_servers(engine, redis_port, memcached_port, warned):
    """[3.5 protocol] [7.3 protocol 2 is read by all]: what an old server does is `pickle.loads`, on Python 2.7 too."""
    if engine == "0.1":
        stub = StubHandler({"pycket_redis": {"host": HOST, "port": redis_port, "side_by_side": True}})
        kind = SessionManager01
    else:
        port = redis_port if engine == "redis" else memcached_port
        stub, kind = StubHandler(settings_for(engine, port, side_by_side=True)), SessionManager
    with pytest.warns(SideBySideWarning, match="servers with pycket run the code of any pickle"):
        kind(stub).set("value", {"a": [b"\xff", {1}, "é"]})
    assert raw(kind(stub))[:2] == b"\x80\x02"
    assert pickle.loads(raw(kind(stub))) == {"value": {"a": [b"\xff", {1}, "é"]}}
    kind(stub).set("b", 2)  # it warns once


def test_without_side_by_side_it_is_of_a_protocol_that_names_nothing(redis_settings):
    """[FIX 3.4 only safe forms are written]"""
    session = StubHandler(redis_settings).session
    session["value"] = {"a": [b"\xff", {1}]}
    assert raw(session)[:2] == b"\x80\x04"


def test_side_by_side_in_memcached_notifications_are_where_old_servers_look(
    memcached, memcached_settings, warned
):
    """[3.3 memcached: same record as the session; the README admits it]"""
    stub = StubHandler({**memcached_settings, "side_by_side": True})
    with pytest.warns(SideBySideWarning):
        stub.session["user"] = "ada"
    stub.notifications["note"] = "hi"
    assert pickle.loads(memcached.get(stub.session_id)) == {"user": "ada", "note": "hi"}
    assert stub.notifications.get("note") == "hi"
    assert pickle.loads(memcached.get(stub.session_id)) == {"user": "ada"}
    stub.session.destroy()
    assert memcached.get(stub.session_id) is None


def test_what_the_application_allows_is_read_and_written(redis_settings, redis_port, dbs):
    """[FIX 3.4 an allow-list that the user names], in the settings of both generations"""
    name = uuid4().hex
    dbs(0).set(name, pickle.dumps({"path": Path("/a")}), ex=500)
    kinds = [f"{type(Path()).__module__}.{type(Path()).__qualname__}"]
    for settings in (
        {**redis_settings, "allow": kinds},
        {"pycket_redis": {"host": HOST, "port": redis_port, "allow": kinds}},
    ):
        with site(settings, "0.1" if "pycket_redis" in settings else "0.3", more=more) as running:
            answer = running.visitor(cookies={"PYCKET_ID": signed(name)}).get("/more")
            assert answer.text == repr(Path("/a"))
            assert cookies_of(answer) == []
    assert pickle.loads(dbs(0)[name]) == {"path": Path("/a"), "more": Path("/b")}


def more(self):
    self.session["more"] = Path("/b")
    return self.session["path"]
