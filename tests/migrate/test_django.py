"""What Django's own engines have written goes on, in the same site and in another one."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
import redis

from tests.migrate.libraries import run, visits

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("libraries"), pytest.mark.timeout(300)]

APP = "django_app.py"
KEY, OLD_KEY = (
    "the-site-has-this-secret-key-of-fifty-characters-0123",
    "and-had-that-one-before-it-which-has-fifty-too-456789",
)
CARRIED = {"cart": [1, {"a": 2}], "text": "tea für zwei", "last": "one", "user": "ada"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A database with Django's tables."""
    file = tmp_path_factory.mktemp("django") / "db.sqlite3"
    run(APP, "prepare", LIBRARY="db", DATABASE=str(file), DJANGO_SECRET_KEY=KEY)
    return file


@pytest.fixture
def site(tmp_path, redis_server, tables):
    """The variables of the site."""
    shutil.copy(tables, tmp_path)
    where = {
        "DATABASE": f"{tmp_path}/db.sqlite3",
        "NEW": f"sqlite:///{tmp_path}/new.db",
        "OLD_REDIS": redis_server.url,
        "DJANGO_SECRET_KEY": KEY,
    }
    client = redis.from_url(redis_server.url)
    yield where
    client.delete(*client.keys(":1:django*") or ["none"])
    client.close()


def rows(site):
    with closing(sqlite3.connect(site["DATABASE"])) as database:
        return database.execute("SELECT count(*) FROM django_session").fetchone()[0]


def cached(site):
    with closing(redis.from_url(site["OLD_REDIS"])) as client:
        return len(client.keys(":1:django.contrib.sessions.cache*"))


@pytest.mark.parametrize(
    ("engine", "read_by", "there"),
    [
        ("db", "django", rows),
        ("cached_db", "django", rows),
        ("db", "sqlalchemy", rows),
        ("cache", "cache", cached),
    ],
)
def test_a_session_of_django_goes_on(engine, read_by, there, site):
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", LIBRARY=engine, **site)
    assert there(site) == 1
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": read_by}
    pages = ("/me", "/events", "/messages", "/messages", "/me", "/out")
    (me, events, shown, none, again, _), out = visits(APP, cookies, *pages, **new)
    assert json.loads(me) == CARRIED
    assert json.loads(events)[0] == ["migrated", "1", "from Django"]
    assert there(site) == 0
    assert json.loads(shown) == [["error", "hello", "loud"]]
    assert json.loads(none) == []
    assert again == me
    (anonymous,), _ = visits(APP, f"{out}; {cookies}", "/me", **new)
    assert json.loads(anonymous) == {"user": ""}


@pytest.mark.parametrize("read_by", ["sqlalchemy", pytest.param("django", marks=pytest.mark.soak)])
def test_a_key_that_was_replaced_opens_the_old_sessions_too(read_by, site):
    before = {**site, "DJANGO_SECRET_KEY": OLD_KEY}
    _, cookies = visits(APP, "", "/in/ada", "/put/last/one", LIBRARY="db", **before)
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": read_by, "DJANGO_FALLBACKS": OLD_KEY}
    (me, again), _ = visits(APP, cookies, "/me", "/me", **new)
    assert json.loads(me) == json.loads(again) == CARRIED


@pytest.mark.promise("12", "13")
def test_with_keep_old_and_a_cookie_of_its_own_a_site_goes_back_and_forth(site):
    _, cookies = visits(APP, "", "/in/ada", LIBRARY="db", **site)
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django", "KEEP_OLD": "1", "COOKIE": "coatcheck"}
    for where in (new, {**site, "LIBRARY": "db"}, new):
        (me,), cookies = visits(APP, cookies, "/me", **where)
        assert json.loads(me)["user"] == "ada"
    visits(APP, cookies, "/out", **new)
    (anonymous,), _ = visits(APP, cookies, "/me", LIBRARY="db", **site)
    assert json.loads(anonymous) == {"user": ""}


def test_an_id_without_a_row_is_nobodys(site):
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django"}
    (me,), _ = visits(APP, f"sessionid={'a' * 32}", "/me", **new)
    assert json.loads(me) == {"user": ""}


@pytest.mark.promise("12")
def test_a_request_whose_transaction_is_rolled_back_leaves_no_way_back(site):
    """The old row is removed in the request's transaction. If that fails, the row is there again."""
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django", "ATOMIC": "1"}
    _, cookies = visits(APP, "", "/in/ada", LIBRARY="db", **site)
    _, after = visits(APP, cookies, "/fails", EXPECT="500", **new)
    assert rows(site) == 1
    (me,), after = visits(APP, after or cookies, "/me", **new)
    assert json.loads(me)["user"] == "ada"
    _, out = visits(APP, after, "/out", **new)
    (anonymous,), _ = visits(APP, f"{out}; {cookies}", "/me", **new)
    assert json.loads(anonymous) == {"user": ""}


@pytest.mark.promise("20")
def test_a_connection_that_was_opened_for_an_old_session_does_not_stay_open(site):
    """In the threads of an async manager nothing else closes it: it would fail once the database has closed it."""
    visitors = [visits(APP, "", "/in/ada", LIBRARY="db", **site)[1] for _ in range(2)]
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django"}
    beside, of_the_request = json.loads(run("django_threads.py", *visitors, **new))
    assert beside == [False, False, True]
    assert of_the_request == [True, True, True]


@pytest.mark.promise("16")
@pytest.mark.parametrize(
    ("expiry", "persists", "zone"),
    [
        ("0", False, "utc"),
        pytest.param("3600", True, "utc", marks=pytest.mark.soak),
        ("at 3600", True, "local"),
    ],
)
def test_a_sessions_own_expiry_is_carried_over(expiry, persists, zone, site):
    if zone == "local":
        site["LOCAL_TIME"] = "1"
    _, cookies = visits(APP, "", f"/in/ada?expiry={expiry.replace(' ', '+')}", LIBRARY="db", **site)
    new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django"}
    (me, ends), _ = visits(APP, cookies, "/me", "/ends", **new)
    assert json.loads(me)["user"] == "ada"
    browser_only, left = json.loads(ends)
    assert browser_only is not persists
    assert persists is (0 < left <= 3600)
