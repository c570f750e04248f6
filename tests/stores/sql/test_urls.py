"""The URLs of databases, each tried against a real server: the names of drivers, sockets, TLS."""

import asyncio
import gc
import os
import shutil
import ssl
import tempfile
import warnings
from contextlib import closing, nullcontext
from pathlib import Path

import aiomysql
import pytest
import trustme
from pymysql.constants import CLIENT
from pymysql.err import OperationalError
from sqlalchemy import create_engine

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql.address import address_of
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import PostgreSQL
from tests.servers.process import HOST
from tests.stores.sql.scene import soon
from tests.stores.sql.servers import a_place
from tests.visitor import SECRET, Visitor

OWNERS = {"postgresql": "postgres", "mysql": "mysql"}


class Secured:
    """A server with TLS, whose certificate an authority of the tests' own signed."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        authority, other = trustme.CA(), trustme.CA()
        issued, client = authority.issue_cert(HOST, "localhost"), authority.issue_cert("shop@example.org")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        other.cert_pem.write_to_path(folder / "other.pem")
        for name, cert in (("server", issued), ("client", client)):
            cert.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
            cert.private_key_pem.write_to_path(folder / f"{name}.key")
            (folder / f"{name}.key").chmod(0o600)
        if os.getuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, OWNERS[kind], OWNERS[kind])
        if kind == "postgresql":
            files = {"ssl_cert_file": f"'{folder}/server.pem'", "ssl_key_file": f"'{folder}/server.key'"}
            self.server = PostgreSQL(ssl="on", **files)
            self.socket = self.server.folder
        else:
            files = (f"--ssl-cert={folder}/server.pem", f"--ssl-key={folder}/server.key")
            self.server = MariaDB(*files, f"--ssl-ca={folder}/ca.pem")
            self.socket = self.server.socket

    def set_up(self):
        with closing(SQLStore(self.server.url())) as store:
            store.create_tables()
        if self.kind == "mysql":
            self.server.execute("CREATE USER tls IDENTIFIED BY 'tls' REQUIRE SSL")
            self.server.execute("CREATE USER known IDENTIFIED BY 'known' REQUIRE X509")
            self.server.execute("GRANT ALL PRIVILEGES ON *.* TO tls, known")

    def url(self, query="", *, scheme=None):
        """One that uses TLS if the query says so, or nothing at all."""
        scheme = scheme or self.kind
        if self.kind == "mysql":
            login = "tls:tls" if "ssl" in query else "coatcheck:coatcheck"
            return f"{scheme}://{login}@{HOST}:{self.server.port}/coatcheck{query}"
        return f"{scheme}://{self.server.user}@{HOST}:{self.server.port}/postgres{query}"


@pytest.fixture(scope="module", params=OWNERS)
def secured(request):
    folder = Path(tempfile.mkdtemp(prefix="coatcheck-tls-"))
    made = Secured(request.param, folder)
    with made.server:
        made.set_up()
        yield made
    shutil.rmtree(folder)


def visit(url):
    """A session that is written sync and read async."""
    with Sessions.from_url(url, secret=SECRET) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]

    async def read():
        async with AsyncSessions.from_url(url, secret=SECRET) as several:
            session = several.open(visitor.cookie.encode())
            await several.load(session)
            return dict(session)

    return asyncio.run(read())


SCHEMES = {
    "postgresql": [
        *("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg_async"),
        *("postgresql+psycopg2", "postgresql+asyncpg", "postgresql+pg8000"),
    ],
    "mysql": [
        *("mysql", "mariadb", "mysql2", "mysql+pymysql", "mysql+aiomysql", "mysql+asyncmy", "mysql+mysqldb"),
        *("mysql+mysqlconnector", "mariadb+pymysql", "mariadb+mariadbconnector"),
    ],
}
UNCHECKED = {"postgresql": "?sslmode=require", "mysql": "?ssl-mode=REQUIRED"}
CHECKED = {"postgresql": "?sslmode=verify-full&sslrootcert={}/ca.pem", "mysql": "?ssl_ca={}/ca.pem"}
HOSTED = {
    "postgresql": [
        "?sslmode=require&channel_binding=prefer",
        "?ssl=true",
        "?pgbouncer=true&connection_limit=1&connect_timeout=300&application_name=shop",
        "?options=-c%20work_mem%3D8MB&target_session_attrs=read-write",
    ],
    "mysql": [
        "?charset=utf8mb4&reconnect=true",
        "?ssl_mode=VERIFY_CA&ssl_ca={}/ca.pem",
        "?ssl_cert={}/client.pem&ssl_key={}/client.key",
        "?sslmode=disabled",
    ],
}


def test_a_session_is_kept_whichever_driver_the_url_names(secured):
    for scheme in SCHEMES[secured.kind]:
        assert visit(secured.url(scheme=scheme)) == {"a": [1]}, scheme


def test_a_session_is_kept_with_what_platforms_append_to_their_urls(secured):
    for query in HOSTED[secured.kind]:
        url = secured.url(query.replace("{}", str(secured.folder)))
        url = url.replace("tls:tls", "coatcheck:coatcheck") if "disabled" in query else url
        assert visit(url) == {"a": [1]}, query


def test_a_session_is_kept_over_tls(secured):
    for query in (UNCHECKED[secured.kind], CHECKED[secured.kind].format(secured.folder)):
        assert visit(secured.url(query)) == {"a": [1]}
        if secured.kind == "postgresql":
            with Sessions.from_url(secured.url(query), secret=SECRET) as sessions:
                sessions.ping()
                used = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = %s"
                assert set(secured.server.execute(used, ("coatcheck",))) == {(True,)}


def test_a_certificate_of_another_authority_is_no_way_in(secured):
    query = CHECKED[secured.kind].format(secured.folder).replace("ca.pem", "other.pem")
    with Sessions.from_url(secured.url(query), secret=SECRET) as sessions, pytest.raises(StoreUnavailable):
        sessions.ping()


def test_a_session_is_kept_over_a_socket(secured):
    if secured.kind == "postgresql":
        url = f"postgresql://{secured.server.user}@/postgres?host={secured.socket}"
        url = f"{url}&port={secured.server.port}"
    else:
        url = f"mysql://coatcheck:coatcheck@localhost/coatcheck?unix_socket={secured.socket}"
    assert visit(url) == {"a": [1]}


def test_of_several_servers_of_postgresql_one_that_answers_is_used(secured):
    if secured.kind == "mysql":
        with pytest.raises(ConfigurationError, match="several hosts"):
            address_of("mysql://a,b/db")
        return
    places = f"{HOST}:1,{HOST}:{secured.server.port}"
    assert visit(f"postgresql://{secured.server.user}@{places}/postgres") == {"a": [1]}


def test_what_is_checked_of_a_server_of_mysql():
    for query, mode, names in (
        ("?ssl_mode=REQUIRED", ssl.CERT_NONE, False),
        ("?ssl_mode=VERIFY_CA", ssl.CERT_REQUIRED, False),
        ("?sslmode=verify_identity", ssl.CERT_REQUIRED, True),
    ):
        context = address_of(f"mysql://h/db{query}").arguments["ssl"]
        assert (context.verify_mode, context.check_hostname) == (mode, names)


def pings(url, **options):
    """Whether the synchronous store reaches the server, and whether the async one does."""

    def answers(ping):
        try:
            ping()
        except StoreUnavailable:
            return False
        return True

    async def ping():
        async with AsyncSessions.from_url(url, secret=SECRET, **options) as sessions:
            await sessions.ping()

    with Sessions.from_url(url, secret=SECRET, **options) as sessions:
        return answers(sessions.ping), answers(lambda: asyncio.run(ping()))


@pytest.mark.parametrize("secured", ["mysql"], indirect=True)
@pytest.mark.parametrize(
    ("mode", "without", "demanded"),
    [("", True, True), ("PREFERRED", True, True), ("DISABLED", True, False), ("REQUIRED", False, True)],
)
def test_mysql_has_tls_as_the_url_says(secured, mode, without, demanded):
    query = mode and f"?ssl_mode={mode}"
    tls, plain = secured.server.port, a_place("mysql")
    assert pings(f"mysql://coatcheck:coatcheck@{HOST}:{tls}/coatcheck{query}") == (True, True)
    # The server lets this user in over TLS alone.
    assert pings(f"mysql://tls:tls@{HOST}:{tls}/coatcheck{query}") == (demanded, demanded)
    assert pings(plain.url + query, prefix=plain.prefix) == (without, without)
    plain.leave()


@pytest.mark.parametrize("secured", ["mysql"], indirect=True)
@pytest.mark.parametrize("mode", ["PREFERRED", "REQUIRED"])
def test_mysql_sees_the_certificate_that_the_url_names(secured, mode):
    where = f"mysql://known:known@{HOST}:{secured.server.port}/coatcheck?ssl_mode={mode}"
    assert pings(where) == (False, False)
    assert pings(f"{where}&ssl_cert={secured.folder}/client.pem&ssl_key={secured.folder}/client.key") == (
        True,
        True,
    )


@pytest.mark.parametrize("secured", ["mysql"], indirect=True)
@pytest.mark.parametrize("mode", ["", "PREFERRED", "REQUIRED", "DISABLED"])
def test_a_connection_to_mysql_reads_no_certificates_of_its_own(secured, mode, monkeypatch):
    query = mode and f"?ssl_mode={mode}"
    where = f"mysql://coatcheck:coatcheck@{HOST}:{secured.server.port}/coatcheck{query}"
    with closing(SQLStore(where)) as store:
        monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", None)
        store.ping(soon())


def test_a_server_of_mysql_without_tls_is_not_told_that_the_client_uses_it(monkeypatch):
    told, login = [], aiomysql.Connection._request_authentication

    async def noted(connection):
        told.append(bool(connection.client_flag & CLIENT.SSL))
        await login(connection)

    monkeypatch.setattr(aiomysql.Connection, "_request_authentication", noted)
    plain = a_place("mysql")
    assert pings(plain.url, prefix=plain.prefix) == (True, True)
    assert set(told) == {False}
    plain.leave()


@pytest.mark.parametrize("secured", ["mysql"], indirect=True)
@pytest.mark.parametrize("refused", [False, True])
def test_over_tls_a_silent_server_keeps_no_transport_beyond_the_loop(secured, refused, monkeypatch):
    server, login = secured.server, aiomysql.Connection._request_authentication

    async def lost(connection):
        await login(connection)
        server.pause()  # it does not say goodbye
        raise OperationalError(1045, "refused")

    async def ping():
        sessions = AsyncSessions.from_url(f"mysql://tls:tls@{HOST}:{server.port}/coatcheck", secret=SECRET)
        with pytest.raises(StoreUnavailable) if refused else nullcontext():
            await sessions.ping()
        server.pause()
        await sessions.shutdown()

    if refused:
        monkeypatch.setattr(aiomysql.Connection, "_request_authentication", lost)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            asyncio.run(ping())
        finally:
            server.resume()
        gc.collect()
    assert [str(each.message) for each in told if each.category is ResourceWarning] == []


def test_several_servers_have_ports_and_a_database_a_space():
    url = address_of("postgresql://a,b:6000/my%20shop").url
    assert url.query == {"host": "a,b", "port": "5432,6000"}
    assert url.database == "my shop"


def test_addresses_of_version_6_and_sockets_are_given_to_the_driver_as_it_takes_them():
    def given(url):
        address, _ = address_of(url)
        engine = create_engine(address.set(drivername="postgresql+psycopg"))
        return engine.dialect.create_connect_args(engine.url)[1]

    several = given("postgresql://u:p@[::1]:5433,[::1],db/shop")
    assert (several["host"], several["port"]) == ("::1,::1,db", "5433,5432,5432")
    assert given("postgresql://u:p@[::1]:5433/shop")["host"] == "::1"
    assert given("postgresql://u:p@/shop?host=/var/run")["host"] == "/var/run"
    assert address_of("mysql://u:p@/shop?unix_socket=/tmp/m.sock").url.query == {"unix_socket": "/tmp/m.sock"}
