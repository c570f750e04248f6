"""Every form of URL, and what can't work, which fails when the application is built and shows no password."""

import asyncio
import inspect

import pytest
import trustme

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.stores.redis import AsyncRedisStore, RedisStore, async_from_url, from_url
from coatcheck.stores.redis.address import Address, address_of
from tests.servers.process import HOST, free_port
from tests.servers.redis import single
from tests.visitor import SECRET, Visitor

PASSWORD = "p@:/#?%w"
QUOTED = "p%40%3A%2F%23%3F%25w"

TLS = {
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_cert_reqs": "required",
    "ssl_check_hostname": True,
}


def address(kind, *hosts, user=None, password=None, database=0, **parts):
    tls = TLS if parts.get("tls") else {}
    options = {"username": user, "password": password, "db": database, **tls}
    if kind == "sentinel":
        nobody = {"username": None, "password": None}
        parts["sentinel_options"] = {**nobody, "ssl": parts.get("tls", False), **tls}
    return Address(kind=kind, hosts=hosts, options=options, **parts)


def socket(path, user=None, password=None):
    return Address(kind="server", path=path, options={"username": user, "password": password})


GOOD = {
    "redis://localhost": address("server", ("localhost", 6379)),
    "redis://localhost/": address("server", ("localhost", 6379)),
    "valkey://10.0.0.1:7000/5": address("server", ("10.0.0.1", 7000), database=5),
    "redis://[::1]:7000": address("server", ("::1", 7000)),
    f"redis://:{QUOTED}@h": address("server", ("h", 6379), password=PASSWORD),
    f"rediss://sh%40p:{QUOTED}@h/1": address(
        "server", ("h", 6379), user="sh@p", password=PASSWORD, database=1, tls=True
    ),
    "valkeys://h": address("server", ("h", 6379), tls=True),
    "redis+sentinel://u:p@a:1,b:2,[::2]:3/shop/4": address(
        "sentinel", ("a", 1), ("b", 2), ("::2", 3), user="u", password="p", database=4, service="shop"
    ),
    "rediss+sentinel://a,b/a%20shop": address(
        "sentinel", ("a", 26379), ("b", 26379), service="a shop", tls=True
    ),
    "valkey+sentinel://a/shop": address("sentinel", ("a", 26379), service="shop"),
    "redis+cluster://u:p@a:1,b:2": address("cluster", ("a", 1), ("b", 2), user="u", password="p"),
    "valkeys+cluster://a": address("cluster", ("a", 6379), tls=True),
    "redis://h?db=3": address("server", ("h", 6379), database=3),
    "unix:///r.sock?db=3": Address(
        kind="server", path="/r.sock", options={"username": None, "password": None, "db": 3}
    ),
    "redis://h/0?family=0&protocol=3": address("server", ("h", 6379)),
    "redis://u:a:[b]℀@h": address("server", ("h", 6379), user="u", password="a:[b]℀"),
    "unix:///run/redis/r.sock": socket("/run/redis/r.sock"),
    f"unix://u:{QUOTED}@/run/r%20.sock": socket("/run/r .sock", "u", PASSWORD),
}


@pytest.mark.parametrize("url", GOOD)
def test_a_url_names_its_servers(url):
    named = address_of(url, {})
    assert named == GOOD[url]
    assert "p@" not in f"{named!r} {named.where}"


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://:6379",
        "redis://a,b",
        "redis://h:port",
        "redis://h:99999",
        "redis://h:0",
        "redis://h/zero",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/²",
        "redis://[::1",
        "redis://h h/0",
        "redis://user@h",
        "redis://user:@h",
        "redis://u:hush@hush@h",
        "redis://u:hush/hush@h",
        "redis://h/1?db=1",
        "redis://h?db=one",
        "redis://h?user=u&password=hush",
        "redis://h?ssl_cert_reqs=none",
        "redis://h?timeout=5",
        "rediss://h?ssl_cert_reqs=perhaps",
        "rediss://h?ssl_check_hostname=perhaps",
        "rediss://h?ssl_ca_certs=/nowhere/ca.pem",
        "unix:///r.sock?ssl_cert_reqs=none",
        "redis://:%FF@h",
        "redis://:%00@h",
        "redis://u:hu#sh@h",
        "redis://u:hu?sh@h",
        "redis+sentinel://a:1,b:2",
        "redis+sentinel://a:1,,b:2/shop",
        "redis+cluster://a:1/1",
        "redis+cluster://",
        "unix://",
        "unix:///",
        "unix://h/path",
        "unix:relative.sock",
    ],
)
@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
def test_a_url_that_can_not_work_fails_when_it_is_built(manager, url):
    with pytest.raises(ConfigurationError) as raised:
        manager.from_url(url, secret=SECRET)
    assert "hush" not in str(raised.value)


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("redis://h", {"tls_ca": "x"}, "rediss://"),
        ("unix:///r.sock", {"tls_cert": "x"}, "rediss://"),
        ("rediss://h", {"tls_ca": "/nowhere/ca.pem"}, "can't be read"),
        ("rediss://h", {"tls_cert": "/nowhere/cert.pem"}, "can't be read"),
        ("rediss://h", {"tls_key": "/nowhere/key.pem"}, "tls_cert"),
        ("rediss://h", {"sentinel_password": "hush"}, "sentinel"),
        ("redis://h", {"sentinel_username": "hush"}, "sentinel"),
        ("redis://h", {"prefix": "{x}:"}, "braces"),
        ("redis://h", {"prefix": "a b"}, "spaces"),
        ("redis://h", {"prefix": "\n"}, "printable"),
        ("redis://h", {"prefix": "ä"}, "ASCII"),
        ("redis://h", {"prefix": 7}, "str"),
        ("redis://h", {"max_connections": 0}, "max_connections"),
        ("redis://h", {"max_connections": True}, "max_connections"),
        ("redis://h", {"max_connections": "5"}, "max_connections"),
        ("redis://h", {"ballast": 5}, "does not take ballast"),
    ],
)
@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
def test_an_option_that_can_not_work_fails_when_it_is_built(manager, url, options, message):
    with pytest.raises(ConfigurationError, match=message) as raised:
        manager.from_url(url, secret=SECRET, **options)
    assert "hush" not in str(raised.value)


def test_sync_and_async_take_the_same_options():
    parameters = [inspect.signature(make).parameters for make in (from_url, async_from_url)]
    assert parameters[0] == parameters[1]
    parameters = [inspect.signature(kind.__init__).parameters for kind in (RedisStore, AsyncRedisStore)]
    assert parameters[0] == parameters[1]


def public(kind):
    return {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(kind).items()
        if name[0] != "_" and callable(value)
    }


def test_sync_and_async_have_the_same_methods():
    assert public(RedisStore) == public(AsyncRedisStore)


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    """One server on a port, a socket, and a port with TLS that asks for the client's certificate."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name, issued in (("server", authority.issue_cert(HOST)), ("client", authority.issue_cert("a@b.org"))):
        issued.private_key_pem.write_to_path(directory / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
    port = free_port()
    tls = {
        "tls_port": port,
        "tls_auth_clients": "yes",
        "tls_ca_cert_file": directory / "ca.pem",
        "tls_cert_file": directory / "server.pem",
        "tls_key_file": directory / "server.key",
    }
    with single(unixsocket=True, **tls) as server:
        server.ask("ACL", "SETUSER", "sh@p", "on", f">{PASSWORD}", "~*", "+@all")
        yield directory, server, port


def visit(url, **options):
    """A session kept sync and read async, over the same URL."""
    with Sessions.from_url(url, secret=SECRET, **options) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]

    async def read():
        async with AsyncSessions.from_url(url, secret=SECRET, **options) as sessions:
            await sessions.ping()
            return await sessions.count()

    assert asyncio.run(read()) >= 1
    with Sessions.from_url(url, secret=SECRET, **options) as sessions:
        return Visitor(sessions, visitor.cookie).read()


@pytest.mark.servers
def test_a_session_is_kept_over_every_way_to_one_server(everywhere):
    directory, server, tls_port = everywhere
    port, socket = server.port, server.socket
    tls = {
        "tls_ca": str(directory / "ca.pem"),
        "tls_cert": str(directory / "client.pem"),
        "tls_key": str(directory / "client.key"),
    }
    for url, options in (
        (f"redis://{HOST}:{port}", {}),
        (f"valkey://{HOST}:{port}/5", {}),
        (f"redis://sh%40p:{QUOTED}@{HOST}:{port}/2", {}),
        (f"unix://{socket}", {}),
        (f"unix://sh%40p:{QUOTED}@{socket}", {}),
        (f"rediss://{HOST}:{tls_port}/1", tls),
        (f"valkeys://sh%40p:{QUOTED}@{HOST}:{tls_port}", tls),
        (f"redis://{HOST}:{port}?db=2", {}),
        (f"unix://{socket}?db=2", {}),
        (f"rediss://{HOST}:{tls_port}?ssl_ca_certs={directory}/ca.pem", {**tls, "tls_ca": None}),
    ):
        assert visit(url, **options) == {"a": [1]}


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory):
    """A server over TLS whose certificate proves nothing, and is for another name. It wants a password, as Heroku's."""
    directory = tmp_path_factory.mktemp("self_signed")
    issued = trustme.CA().issue_cert("redis.example.org")
    issued.private_key_pem.write_to_path(directory / "server.key")
    issued.cert_chain_pems[0].write_to_path(directory / "server.pem")
    port = free_port()
    tls = {"tls_port": port, "tls_auth_clients": "no", "tls_ca_cert_file": directory / "server.pem"}
    files = {"tls_cert_file": directory / "server.pem", "tls_key_file": directory / "server.key"}
    with single(**tls, **files) as server:
        server.ask("ACL", "SETUSER", "default", "on", "resetpass", f">{PASSWORD}", "~*", "+@all")
        yield f"rediss://:{QUOTED}@{HOST}:{port}"


@pytest.mark.servers
@pytest.mark.parametrize("query", ["?ssl_cert_reqs=none", "?ssl_cert_reqs=CERT_NONE&db=1"])
def test_a_session_is_kept_by_a_server_with_a_self_signed_certificate_if_the_url_allows_it(
    self_signed, query
):
    assert visit(f"{self_signed}{query}") == {"a": [1]}


@pytest.mark.servers
def test_a_self_signed_certificate_is_refused_with_the_remedy(self_signed):
    with (
        Sessions.from_url(self_signed, secret=SECRET) as sessions,
        pytest.raises(StoreUnavailable, match="SSLCertVerificationError") as raised,
    ):
        sessions.ping()
    assert "write ?ssl_cert_reqs=none after the URL" in str(raised.value)


@pytest.mark.servers
@pytest.mark.parametrize(
    ("options", "message"), [({}, "SSLCertVerificationError"), ({"tls_ca": "ca.pem"}, "can't be reached")]
)
def test_a_certificate_that_is_missing_or_not_known_is_no_way_in(everywhere, options, message):
    directory, _, port = everywhere
    options = {name: str(directory / value) for name, value in options.items()}
    with (
        Sessions.from_url(f"rediss://{HOST}:{port}", secret=SECRET, **options) as sessions,
        pytest.raises(StoreUnavailable, match=message),
    ):
        sessions.ping()
