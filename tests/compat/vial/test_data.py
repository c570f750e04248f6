"""What vial 0.1.0 really wrote (Python 3.6, redis-py 2.10.6) is read, and its sessions go on."""

import json
from base64 import b64decode
from pathlib import Path

import pytest

from coatcheck.compat.vial import Vial
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

CASES = json.loads((Path(__file__).parents[1] / "data" / "vial36.json").read_text())["cases"]


def plant(raw, case):
    fields = {name: b64decode(value) for name, value in case["hash"].items()}
    raw.hset(case["key"], mapping=fields)
    if case["ttl"] > 0:
        raw.expire(case["key"], case["ttl"])
    if "user" in case:
        raw.sadd(case["user_key"], *case["members"])
    return fields


def test_there_are_the_four_cases():
    assert len(CASES) == 4
    assert sum("user" in case for case in CASES) == 2
    assert [case["ttl"] for case in CASES].count(-1) == 1


@pytest.mark.parametrize("case", CASES, ids=range(4))
@pytest.mark.parametrize("kind", ["Session", "UserSession"])
def test_a_session_of_the_old_library_goes_on(one_redis, database, raw, case, kind):
    """[KEEP] 2.4, and the issue: a site changes its imports, and its running sessions go on."""
    fields = plant(raw, case)
    vial = Vial(HOST, one_redis.port, database, case["namespace"])
    expires = False if case["ttl"] == -1 else 86400
    session = getattr(vial, kind)(case["id"], expires=expires)
    assert not session.is_new
    assert session["_created"] == fields["_created"].decode()
    assert isinstance(session["_accessed"], float)
    assert {name: session[name] for name in case["expect"]} == case["expect"]
    assert raw.ttl(case["key"]) == case["ttl"]
    session["more"] = "é"
    assert session.save()
    assert session.id == case["id"]
    stored = raw.hgetall(case["key"])
    accessed = stored.pop(b"_accessed")
    assert float(accessed) > float(fields.pop("_accessed"))
    assert stored == {name.encode(): value for name, value in fields.items()} | {b"more": "é".encode()}


@pytest.mark.parametrize("case", [case for case in CASES if "user" in case], ids=["namespace", "none"])
def test_a_user_of_the_old_library_has_his_sessions(one_redis, database, raw, case):
    plant(raw, case)
    vial = Vial(HOST, one_redis.port, database, case["namespace"])
    assert vial.UserSession(case["id"]).user == case["user"]
    assert list(vial.get_for_user(case["user"])) == [case["id"].encode()]
    vial.delete_for_user(case["user"])
    assert raw.keys() == []
