"""URLs as hosting platforms and other libraries write them: each works, or the error says what to write."""

import asyncio
import re
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.addresses import KNOWN, parts_of
from coatcheck.errors import StoreError
from coatcheck.stores.memory import MemoryStore
from coatcheck.urls import _KINDS
from tests.visitor import SECRET

pytestmark = pytest.mark.promise("25")

PASSWORD = "hush9876hush"
LIST = (Path(__file__).parents[1] / "docs" / "reference" / "settings.md").read_text().partition("## URLs")[2]
IN_THE_LIST = re.findall(r"`([a-z0-9+_]+://[^`]*)`", LIST)


def built(url, manager=Sessions):
    """Whether the URL gives a manager, which is shut down."""
    sessions = manager.from_url(url, secret=SECRET)
    if manager is AsyncSessions:
        asyncio.run(sessions.shutdown())
    else:
        sessions.shutdown()


def told(url):
    """The message of the error."""
    with pytest.raises(ConfigurationError) as caught:
        Sessions.from_url(url, secret=SECRET)
    hides_its_password(caught.value)
    return str(caught.value)


def hides_its_password(error, password=PASSWORD[4:8]):
    while error is not None:
        texts = [str(error), repr(error), *traceback.format_exception_only(error)]
        assert not [text for text in texts if password in text]
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
@pytest.mark.parametrize("url", IN_THE_LIST)
def test_each_url_of_the_list_in_the_docs_gives_a_manager(url, manager, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").touch()
    url = url.replace("/var/lib/shop/", f"{tmp_path}/")
    if "/etc/ca.pem" in url:
        with pytest.raises(ConfigurationError, match="can't be read"):
            built(url, manager)
        return
    built(url, manager)


def test_the_list_in_the_docs_is_complete():
    schemes = {url.partition("://")[0] for url in IN_THE_LIST}
    assert schemes >= set(_KINDS)
    assert {kind.form.partition("://")[0] for kind in _KINDS.values()} <= schemes
    assert all(kind.form in KNOWN for kind in _KINDS.values())


@pytest.mark.parametrize(
    "url",
    [
        # Heroku
        f"postgres://u1:{PASSWORD}@ec2-1.compute.amazonaws.com:5432/d1",
        f"redis://h:{PASSWORD}@ec2-1.compute.amazonaws.com:6379",
        f"rediss://:{PASSWORD}@ec2-1.compute.amazonaws.com:6380?ssl_cert_reqs=CERT_NONE",
        f"mysql://u1:{PASSWORD}@us-cdbr-east-06.cleardb.net/heroku_1?reconnect=true",
        # Neon, Supabase with Prisma, Vercel
        f"postgresql://u1:{PASSWORD}@ep-1-pooler.eu.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        f"postgresql://u1:{PASSWORD}@ep-1.eu.aws.neon.tech/neondb?sslmode=require&options=endpoint%3Dep-1",
        f"postgres://postgres.ref:{PASSWORD}@aws-0.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1",
        f"postgres://u1:{PASSWORD}@aws-0.pooler.supabase.com:6543/postgres?sslmode=require&supa=base-pooler.x",
        # Upstash, Fly, Render, Railway
        f"rediss://default:{PASSWORD}@eu1-a-1.upstash.io:6379",
        f"redis://default:{PASSWORD}@fly-a.upstash.io:6379",
        "redis://red-cabc123:6379",
        f"redis://default:{PASSWORD}@redis.railway.internal:6379?family=0",
        # DigitalOcean, Aiven, PlanetScale
        f"rediss://default:{PASSWORD}@db-redis.db.ondigitalocean.com:25061",
        f"mysql://doadmin:{PASSWORD}@db-mysql.db.ondigitalocean.com:25060/defaultdb?ssl-mode=REQUIRED",
        f"postgres://avnadmin:{PASSWORD}@pg-1.aivencloud.com:12345/defaultdb?sslmode=require",
        f"mysql://u1:{PASSWORD}@aws.connect.psdb.cloud/shop?ssl_mode=VERIFY_IDENTITY",
        # SQLAlchemy's, node's, asyncpg's
        f"postgresql+psycopg2://u1:{PASSWORD}@localhost/shop?connect_timeout=10&application_name=shop",
        f"postgresql+asyncpg://u1:{PASSWORD}@localhost/shop?ssl=require&prepared_statement_cache_size=0",
        f"postgres://u1:{PASSWORD}@localhost/shop?ssl=true",
        f"mysql+pymysql://u1:{PASSWORD}@localhost/shop?charset=utf8mb4",
        f"mysql2://u1:{PASSWORD}@localhost/shop?ssl_mode=disabled",
        # Pasted
        f" postgres://u1:{PASSWORD}@localhost/shop\n",
        f"'redis://:{PASSWORD}@localhost'",
        f'"redis://:{PASSWORD}@localhost" ',
        f"REDIS://:{PASSWORD}@localhost",
        f"redis://:{PASSWORD}%2F%40%3A%23%3F%25@localhost",
        f"postgresql://u1:{PASSWORD}%2F%40%3A%23%3F%25@localhost/my%20shop",
        f"postgresql://u1:{PASSWORD}@[::1]:5432/shop",
    ],
)
@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
def test_the_url_of_a_platform_works_as_it_comes(url, manager):
    built(url, manager)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (None, "is a str, not NoneType"),
        (b"redis://h", "is a str, not bytes"),
        (Path("sessions.db"), "is a str, not PosixPath"),
        ("", "is its environment variable set"),
        (" \n", "is its environment variable set"),
        ("''", "is its environment variable set"),
        ("localhost:6379", "Write redis:// or memcached:// before a host and port"),
        ("mc1.memcachier.com:11211,mc2.memcachier.com:11211", "memcached://"),
        (
            f"shop.redis.cache.windows.net:6380,password={PASSWORD}=,ssl=True,abortConnect=False",
            "rediss://:ACCESS_KEY@HOST",
        ),
        (f"jdbc:mysql://localhost/shop?user=u1&password={PASSWORD}", "Leave out jdbc:"),
        (f"jdbc:postgresql://localhost/shop?user=u1&password={PASSWORD}", "Leave out jdbc:"),
        (
            f"host=localhost dbname=shop user=u1 password={PASSWORD}",
            "postgresql://user:password@host/database",
        ),
        (f"Server=tcp:x;Database=shop;Password={PASSWORD}", "postgresql://user:password@host/database"),
        (f"https://u1:{PASSWORD}@eu1-a.upstash.io", "begins with redis"),
        (f"memcache://u1:{PASSWORD}@h", "memcached://"),
        (f"redis+socket://u1:{PASSWORD}@/run/redis.sock", "unix://"),
        (f"redis+ssl://u1:{PASSWORD}@h", "rediss://"),
        (f"pgsql://u1:{PASSWORD}@h/db", "postgresql://"),
        (f"mongodb://u1:{PASSWORD}@h/db", "names no built-in store"),
        (f"mysql+pyodbc://u1:{PASSWORD}@h/db", "names a driver that the store can't use: write mysql://"),
        (f"redis-cli -u redis://:{PASSWORD}@h", "the URL alone"),
        (f"psql 'postgresql://u1:{PASSWORD}@ep-1.eu.aws.neon.tech/neondb'", "the URL alone"),
        (f"REDIS_URL=redis://:{PASSWORD}@h", "the URL alone"),
        (f"redis://:{PASSWORD}@h?socket_timeout=5&decode_responses=true", "leave it out"),
        ("redis://h?ssl_keyfile=x", "needs rediss://"),
        ("rediss://h?ssl_keyfile=x", "tls_key="),
        (f"redis://:{PASSWORD}/x@h", "/ as %2F"),
        (f"redis://:x/{PASSWORD}@h", "/ as %2F"),
        (f"redis://:12/{PASSWORD}@h", "/ as %2F"),
        (f"redis://:x@{PASSWORD}@h", "@ as %40"),
        (f"redis://:x#{PASSWORD}@h", "# as %23"),
        (f"redis://:x?{PASSWORD}@h", "? as %3F"),
        (f"redis://:{PASSWORD} x@h", "%20"),
        (f"redis://:{PASSWORD}%ff@h", "not UTF-8"),
        (f"redis://:{PASSWORD}\n@h", "line breaks"),
        (f"redis://:{PASSWORD}\ud800@h", "control characters"),
        (f"redis://{PASSWORD}@h", "redis://:password@host"),
        (f"redis://h?password={PASSWORD}", "stand before the host"),
        (f"redis://h?db=1&db={PASSWORD}", "twice"),
        (f"redis://h?{PASSWORD}", "name=value"),
        (f"redis://h?{PASSWORD}=1", "name=value"),
        (f"postgresql://u1:x/{PASSWORD}@h/db", "/ as %2F"),
        (f"postgresql://u1:x@{PASSWORD}@h/db", "@ as %40"),
        (f"postgresql://u1:{PASSWORD}@h:{PASSWORD}/db", "host or port is not valid"),
        (f"postgresql://u1:{PASSWORD}@h:99999/db", "host or port is not valid"),
        (f"postgresql://u1:{PASSWORD}@h", "names no database"),
        (f"postgresql://u1:{PASSWORD}@h/db?sslmode=no-verify", "sslmode=require"),
        (f"postgresql://u1:{PASSWORD}@h/db?schema=public", "client=create_engine"),
        (f"mysql://u1:{PASSWORD}@a,b/db", "several hosts"),
        (f"mysql://u1:{PASSWORD}@h/db?ssl_mode=SOMETIMES", "ssl_mode=VERIFY_IDENTITY"),
        (f"mysql://u1:{PASSWORD}@h/db?ssl_ca=/nowhere/ca.pem", "can't be read"),
        (f"mysql://u1:{PASSWORD}@h/db?zone=x", "client=create_engine"),
        (f"mysql://u1:{PASSWORD}@h/db?pool=5", "leave it out"),
        (f"mysql://u1:{PASSWORD}@h/db?sslaccept=strict", "write ?ssl_mode=VERIFY_IDENTITY"),
        (f"mysql://u1:{PASSWORD}@h/db?ssl_key=/nowhere/key.pem", "ssl_key needs ssl_cert"),
        (f"mysql://u1:{PASSWORD}@h/db?ssl_mode=DISABLED&ssl_ca=/nowhere/ca.pem", "takes none of ssl_ca"),
        (f"mysql://u1:{PASSWORD}@%2Ftmp%2Fm.sock/db", "@/database?unix_socket=/path/to/it"),
        (f"postgresql://u1:{PASSWORD}@%2fvar%2frun/db", "@/database?host=/its/directory"),
        (f"memcached://u1:{PASSWORD}@h", "no user and password"),
        (f"memcached://u1:{PASSWORD},x@h", "no user and password"),
        (f"memory://u1:{PASSWORD}@", "no host"),
        ("sqlite:/var/x.db", "sqlite:////absolute/path.db, with all its slashes"),
        ("sqlite:x.db", "sqlite:///relative/path.db"),
        ("sqlite://x.db", "sqlite:///relative/path.db"),
        (f"sqlite://u1:{PASSWORD}@/x.db", "sqlite:///relative/path.db"),
        ("sqlite:///~/x.db", "sqlite:////home/user/sessions.db"),
        ("sqlite:///C:/x.db", "path of Windows"),
        (r"sqlite:///C:\x.db", "path of Windows"),
        (r"C:\x.db", "sqlite:///C:/folder"),
        ("sqlite:///x%00.db", "zero byte"),
        ("sqlite3:///x.db", "sqlite:///"),
        (f"sqlite:///{'x' * 300}.db", "can't be the path of a file"),
        ("./x.db", "without a scheme"),
    ],
)
def test_a_url_that_does_not_work_says_what_to_write(url, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert advice in told(url)
    assert list(tmp_path.iterdir()) == []


def test_a_path_of_windows_is_one_on_windows(monkeypatch):
    monkeypatch.setattr("coatcheck.addresses.os.name", "nt")
    from coatcheck.addresses import file_of

    assert file_of(parts_of("sqlite:///C:/shop/x.db")) == "C:/shop/x.db"


def test_the_parts_of_a_url_show_no_password():
    parts = parts_of(f"redis://u1:{PASSWORD}@h/0")
    assert parts.password == PASSWORD
    assert repr(parts) == "<StoreURL>"


SCHEMES = st.sampled_from(
    [
        *(
            "redis",
            "rediss",
            "valkey",
            "redis+sentinel",
            "redis+cluster",
            "unix",
            "memory",
            "memcached",
            "sqlite",
        ),
        *("postgres", "postgresql", "postgresql+asyncpg", "mysql", "mysql+pymysql", "mariadb", "mysql2"),
        *("jdbc:mysql", "http", "REDIS", "oracle", "redis+tls", ""),
    ]
)
JUNK = st.text(st.sampled_from("aZ0/@:#?%[],&= \n\t\\'\"~.\u2100é\ud800\x00+"), max_size=6)


LOGINS = st.tuples(JUNK, JUNK).map(lambda around: f"{around[0]}{PASSWORD}{around[1]}")
URLS = st.tuples(
    SCHEMES, st.sampled_from(["://", ":", "//", ":///", ""]), LOGINS, st.sampled_from(["@", ""]), JUNK, JUNK
).map("".join)


@settings(max_examples=500, deadline=None)
@given(url=URLS)
@example(f"redis://u:{PASSWORD}/@h")
@example(f"redis://u:{PASSWORD}/h")
@example(f"postgresql://u:{PASSWORD}@h:x/db")
@example(f"memcached://u:{PASSWORD},x@h")
@example(f"memcached://u:{PASSWORD}")
def test_any_text_gives_a_manager_or_an_error_without_the_password(url):
    with suppress(ConfigurationError):
        if parts_of(url).scheme in {"sqlite", "unix"}:
            return  # it names a file
    for manager in (Sessions, AsyncSessions):
        try:
            built(url, manager)
        except ConfigurationError as error:
            hides_its_password(error)


ANYTHING = st.one_of(
    st.text(), st.tuples(SCHEMES, st.just("://"), st.text(max_size=20)).map("".join), st.binary(), st.none()
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(url=ANYTHING)
@example(url="sqlite:///")
@example(url="sqlite:////")
def test_anything_gives_a_manager_or_a_configuration_error(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with suppress(ConfigurationError, StoreError):
        built(url)


def test_a_manager_in_memory_is_made_of_a_url_with_quotes():
    with Sessions.from_url("'memory://'\n", secret=SECRET) as sessions:
        assert isinstance(sessions.store, MemoryStore)
