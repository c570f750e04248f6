"""A real nginx with a cache for everybody, in front of each framework's server: nobody gets what is somebody else's."""

import os
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.frameworks.served_cached import SERVERS
from tests.servers.nginx import listens, nginx
from tests.servers.process import HOST, Server, free_port

pytestmark = [pytest.mark.xdist_group("servers"), pytest.mark.promise("H")]

ROOT = Path(__file__).parents[2]
HEEDING = {
    "as it is": "",
    # What people write when "nothing is cached".
    "told to cache all the same": "proxy_ignore_headers Set-Cookie Cache-Control;",
}
IGNORING = {
    "no Expires": "proxy_ignore_headers Set-Cookie Cache-Control Expires;",
    "no Vary": "proxy_ignore_headers Vary;",
}
CACHES = HEEDING | IGNORING
SERVER = """\
    proxy_cache_path {folder}/{zone} keys_zone={zone}:1m;
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://{host}:{upstream};
            proxy_cache {zone};
            proxy_cache_key $request_uri;
            proxy_cache_valid 200 10m;
            {ignoring}
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
"""


@pytest.fixture(scope="module", params=SERVERS)
def ports(request, tmp_path_factory):
    """The port of each cache in front of one application."""
    folder = tmp_path_factory.mktemp("cached")
    upstream = free_port()
    caches = {kind: free_port() for kind in CACHES}
    servers = [
        SERVER.format(
            folder=folder,
            zone=f"cache{number}",
            host=HOST,
            port=caches[kind],
            upstream=upstream,
            ignoring=ignoring,
        )
        for number, (kind, ignoring) in enumerate(CACHES.items())
    ]
    application = Server(
        [sys.executable, "-m", "tests.frameworks.served_cached", request.param, upstream],
        directory=folder,
        ready=lambda: listens(upstream),
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
        name="application",
    )
    with application, nginx(folder, "".join(servers), caches.values()):
        yield Ports(caches, folder)


class Ports(dict):
    """The port of each cache."""

    def __init__(self, ports, folder):
        super().__init__(ports)
        self._folder = folder

    def kept(self, kind):
        """What a cache has on its disk."""
        number = list(CACHES).index(kind)
        return [file.read_bytes() for file in (self._folder / f"cache{number}").rglob("*") if file.is_file()]


class Visitor:
    """One who keeps his cookie."""

    def __init__(self, port, name):
        self.port = port
        self.name = name
        self.cookie = None
        self.given = []

    def get(self, path):
        """The body, and what the cache did."""
        connection = HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request("GET", path, headers={} if self.cookie is None else {"Cookie": self.cookie})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        assert response.status == 200
        for line in response.headers.get_all("Set-Cookie") or ():
            self.cookie = line.partition(";")[0]
            self.given.append(self.cookie)
        return body, response.headers["X-Cache"]

    def signed_in(self):
        self.get(f"/sign-in/{self.name}")
        return self


@pytest.mark.parametrize("page", ["/page", "/streamed"])
@pytest.mark.parametrize("kind", HEEDING)
def test_a_page_that_shows_who_is_signed_in_is_cached_for_its_visitor_alone(ports, kind, page):
    alice, bob = (Visitor(ports[kind], name).signed_in() for name in ("alice", "bob"))
    stranger = Visitor(ports[kind], "stranger")
    assert [alice.get(page) for _ in range(2)] == [("hello alice", "MISS"), ("hello alice", "HIT")]
    assert [bob.get(page) for _ in range(2)] == [("hello bob", "MISS"), ("hello bob", "HIT")]
    assert stranger.get(page)[0] == "hello None"
    assert alice.get(page) == ("hello alice", "HIT")
    assert stranger.cookie is None


@pytest.mark.parametrize("kind", HEEDING)
def test_the_page_of_a_stranger_is_cached_for_strangers_alone(ports, kind):
    strangers = [Visitor(ports[kind], "stranger") for _ in range(2)]
    alice = Visitor(ports[kind], "alice").signed_in()
    assert [stranger.get("/page?first") for stranger in strangers] == [
        ("hello None", "MISS"),
        ("hello None", "HIT"),
    ]
    assert alice.get("/page?first") == ("hello alice", "MISS")
    assert strangers[0].get("/page?first")[0] == "hello None"


@pytest.mark.parametrize("kind", HEEDING)
def test_no_cookie_comes_into_a_cache(ports, kind):
    visitor = Visitor(ports[kind], "alice").signed_in()
    for path in ("/visit", "/page", "/logo", "/visit"):
        visitor.get(path)
    kept = ports.kept(kind)
    assert any(b"hello alice" in file for file in kept)
    assert not any(b"set-cookie" in file.lower() for file in kept)


@pytest.mark.parametrize("kind", HEEDING)
def test_a_cookie_goes_to_the_visitor_whose_it_is(ports, kind):
    strangers = [Visitor(ports[kind], "stranger") for _ in range(4)]
    for visits in ("visit 1 of None", "visit 2 of None"):
        assert {visitor.get("/visit")[0] for visitor in strangers} == {visits}
    assert len({visitor.cookie for visitor in strangers}) == 4
    for visitor in strangers[:2]:
        # Both go to the same address, as with a form of which only the body differs.
        visitor.name = "alice"
        assert visitor.signed_in().get("/page")[0] == "hello alice"
    assert len({cookie for visitor in strangers for cookie in visitor.given}) == 6


@pytest.mark.parametrize("kind", CACHES)
def test_what_does_not_look_at_the_session_is_cached_for_everybody(ports, kind):
    alice, stranger = Visitor(ports[kind], "alice").signed_in(), Visitor(ports[kind], "stranger")
    alice.get("/logo")
    assert alice.get("/logo") == stranger.get("/logo") == ("logo", "HIT")


def test_it_is_those_headers_that_keep_them_apart(ports):
    # Otherwise the tests above would show nothing.
    first, second = (Visitor(ports["no Expires"], "stranger") for _ in range(2))
    assert (first.get("/visit")[1], second.get("/visit")[1]) == ("MISS", "HIT")
    assert first.cookie == second.cookie
    alice, stranger = Visitor(ports["no Vary"], "alice").signed_in(), Visitor(ports["no Vary"], "stranger")
    alice.get("/page")
    assert stranger.get("/page") == ("hello alice", "HIT")
