"""What Starlette's middleware and starsessions have written goes on."""

import json
import time

import pytest
import redis

from tests.migrate.libraries import visits

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("libraries"), pytest.mark.timeout(300)]

APP = "asgi_app.py"
CARRIED = {"user_id": "ada", "cart": [1, {"a": 2}], "text": "tea für zwei", "last": "one"}


@pytest.fixture
def new(tmp_path):
    return {"LIBRARY": "coatcheck", "NEW": f"sqlite:///{tmp_path}/new.db"}


@pytest.fixture
def old(redis_server):
    client = redis.from_url(redis_server.url)
    yield {"OLD_REDIS": redis_server.url}
    client.delete(*client.keys("starsessions.*") or ["none"])
    client.close()


def test_a_session_in_starlettes_cookie_goes_on_and_a_logout_stays_one(new):
    new["MOVES_FROM"] = "starlette"
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", LIBRARY="starlette")
    pages = ("/me", "/events", "/me", "/out", "/me")
    (me, events, again, _, nobody), out = visits(APP, cookies, *pages, **new)
    assert json.loads(me) == json.loads(again) == CARRIED
    assert json.loads(events)[0] == ["migrated", "ada", "from Starlette's cookie"]
    assert json.loads(nobody) == {}
    assert "session=" in out
    assert json.loads(visits(APP, out, "/me", **new)[0][0]) == {}


@pytest.mark.promise("16")
@pytest.mark.parametrize(
    ("lifetime", "rolling"),
    [("0", False), ("3600", False), pytest.param("3600", True, marks=pytest.mark.soak)],
)
def test_a_session_of_starsessions_goes_on_with_its_lifetime(lifetime, rolling, old, new):
    where = {**old, "LIFETIME": lifetime, **({"ROLLING": "1"} if rolling else {})}
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", LIBRARY="starsessions", **where)
    new = {**new, **where, "MOVES_FROM": "starsessions"}
    pages = ("/me", "/ends", "/events", "/out", "/me")
    (me, ends, events, _, nobody), out = visits(APP, cookies, *pages, **new)
    assert json.loads(me) == CARRIED
    assert json.loads(events)[0] == ["migrated", "ada", "from starsessions"]
    permanent, at = json.loads(ends)
    assert permanent is (lifetime != "0")
    assert (at - time.time() <= 3600) is (lifetime == "3600" and not rolling)
    assert json.loads(nobody) == {}
    assert json.loads(visits(APP, f"{out}; {cookies}", "/me", **new)[0][0]) == {}
