"""What Flask-Session and Flask have written, release by release, goes on."""

import json
import sqlite3
import sys
from contextlib import closing

import pytest
import redis

from tests.migrate.libraries import visits

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("libraries"), pytest.mark.timeout(300)]

APP = "flask_app.py"
ENVIRONMENT = "0.8.0"  # the others are in releases/
NEEDS_OLD_PYTHON = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="Flask 2.2, which Flask-Session 0.5 needs, uses ast.Str"
)
CARRIED = {
    "user_id": "ada",
    "cart": [1, {"a": 2}],
    "text": "tea für zwei",
    "pair": [1, 2],
    "when": "2026-01-02 03:04:05+00:00",
    "last": "one",
}


@pytest.fixture
def in_redis(redis_server):
    """Where the old sessions are, and how many there are."""
    with closing(redis.from_url(redis_server.url)) as client:
        yield {"OLD_REDIS": redis_server.url}, lambda: len(client.keys("session:*"))
        client.delete(*client.keys("session:*") or ["none"])


@pytest.fixture
def in_a_table(tmp_path):
    """The same."""

    def count():
        with closing(sqlite3.connect(f"{tmp_path}/old.db")) as database:
            return database.execute("SELECT count(*) FROM sessions").fetchone()[0]

    return {"OLD_DATABASE": f"sqlite:///{tmp_path}/old.db"}, count


@pytest.fixture
def new(tmp_path):
    return {"LIBRARY": "coatcheck", "MOVES_FROM": "flask-session", "NEW": f"sqlite:///{tmp_path}/new.db"}


@pytest.mark.parametrize(
    ("release", "form", "signed", "old"),
    [
        pytest.param("0.5.0", "", True, "in_redis", marks=NEEDS_OLD_PYTHON),
        pytest.param("0.5.0", "", False, "in_a_table", marks=[NEEDS_OLD_PYTHON, pytest.mark.soak]),
        pytest.param("0.6.0", "", False, "in_redis", marks=pytest.mark.soak),
        ("0.6.0", "", True, "in_a_table"),
        pytest.param("0.7.0", "msgpack", True, "in_redis", marks=pytest.mark.soak),
        ("0.7.0", "json", False, "in_a_table"),
        pytest.param("0.8.0", "json", False, "in_redis", marks=pytest.mark.soak),
        ("0.8.0", "msgpack", True, "in_a_table"),
    ],
)
def test_a_session_of_flask_session_goes_on(release, form, signed, old, new, request):
    where, count = request.getfixturevalue(old)
    settings = {"SESSION_USE_SIGNER": signed}
    if form:
        settings["SESSION_SERIALIZATION_FORMAT"] = form
    where = {**where, "OPTIONS": json.dumps(settings)}
    older = None if release == ENVIRONMENT else release
    pickled = not form  # and only pickles hold objects of the application's own
    before = {"release": older, "LIBRARY": "flask-session", **where}
    _, cookies = visits(APP, "", f"/in/ada{'?own=1' if pickled else ''}", "/put/last/one", **before)
    assert count() == 1
    pages = ("/me", "/events", "/messages", "/messages", "/me")
    (me, events, messages, none, again), _ = visits(APP, cookies, *pages, **where, **new)
    assert json.loads(me) == CARRIED | ({"when": "2026-01-02T03:04:05Z"} if form == "json" else {})
    lost = "; not carried over: own" if pickled else ""
    assert json.loads(events)[0] == ["migrated", "ada", f"from Flask-Session{lost}"]
    assert count() == 0
    assert json.loads(messages) == [["error", "hello"]]
    assert json.loads(none) == []
    assert again == me


@pytest.mark.promise("12")
def test_with_keep_old_the_old_site_knows_the_visitor_until_the_logout_on_the_new_one(in_redis, new):
    where, count = in_redis
    before = {"LIBRARY": "flask-session", **where}
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", **before)
    (me,), after = visits(APP, cookies, "/me", **where, **new, KEEP_OLD="1")
    assert count() == 1
    (back,), _ = visits(APP, after, "/me", **before)
    assert json.loads(back) == json.loads(me)
    _, out = visits(APP, after, "/out", **where, **new, KEEP_OLD="1")
    assert count() == 0
    for site in (before, {**where, **new, "KEEP_OLD": "1"}):
        (nobody,), _ = visits(APP, out, "/me", **site)
        assert json.loads(nobody) == {}


def test_a_session_in_flasks_own_cookie_goes_on_and_a_logout_stays_one(new):
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", LIBRARY="cookie")
    new["MOVES_FROM"] = "cookie"
    pages = ("/me", "/messages", "/events", "/out", "/me")
    (me, messages, events, _, nobody), out = visits(APP, cookies, *pages, **new)
    assert json.loads(me) == CARRIED
    assert json.loads(messages) == [["error", "hello"]]
    assert json.loads(events)[0] == ["migrated", "ada", "from Flask's cookie"]
    assert json.loads(nobody) == {}
    assert json.loads(visits(APP, out, "/me", **new)[0][0]) == {}
