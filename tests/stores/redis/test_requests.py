"""What a request costs on the wire, through each framework: the table of the design's budgets, counted by a proxy."""

import pytest

from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.redis.site import RedisSite

pytestmark = [pytest.mark.servers, pytest.mark.promise("1", "2", "3")]

TEN = tuple(f"f{number}" for number in range(10))
TABLE = {
    # what the handler does: round trips, commands that the server was given by us
    "nothing, without a cookie": ((), False, 0, []),
    "looks, without a cookie": (("get a", "user"), False, 0, []),
    "reads one field": (("get f0",), True, 1, ["get"]),
    "reads ten fields": (tuple(f"get {name}" for name in TEN), True, 1, ["get"]),
    "sets what is there": (("set f0 1",), True, 1, ["get"]),
    "changes one field": (("set f0 2",), True, 2, ["get", "evalsha"]),
    "changes ten fields": (tuple(f"set {name} 2" for name in TEN), True, 2, ["get", "evalsha"]),
    "changes, removes, flashes, rotates": (
        ("set f0 3", "delete f1", "flash hello", "csrf", "rotate"),
        True,
        2,
        ["get", "evalsha"],
    ),
    "begins a session": (("set f0 1", "set f1 1"), False, 1, ["evalsha"]),
    "signs in": (("sign_in ada",), True, 3, ["get", "evalsha", "evalsha", "info"]),
    "signs in as the first thing": (("sign_in ada", "set a 1"), False, 2, ["evalsha", "evalsha", "info"]),
    "signs out": (("sign_out",), True, 2, ["get", "evalsha"]),
}


@pytest.fixture(params=["wsgi", "flask", "asgi"])
def framework(request):
    return request.param


@pytest.fixture
def site(framework, redis_server, prefix):
    with (
        Proxy(redis_server.port) as proxy,
        RedisSite(framework, f"redis://{HOST}:{proxy.port}/0", prefix) as site,
    ):
        site.proxy = proxy
        # The connection stands, and the server knows the scripts.
        site.browser("set a 1").play("set a 2", "sign_in ada")
        site.browser("sign_in ada").play("sign_out")
        yield site


def sent(transcript):
    """The names of the commands that went over the wire, in order."""
    asked = b"".join(data for way, data in transcript if way == "sent")
    names = []
    while asked:
        head, _, asked = asked.partition(b"\r\n")
        for place in range(int(head[1:])):
            size, _, asked = asked.partition(b"\r\n")
            part, asked = asked[: int(size[1:])], asked[int(size[1:]) + 2 :]
            if place == 0:
                names.append(part.decode().lower())
    return names


@pytest.mark.parametrize("work", TABLE)
def test_a_request_costs_what_the_table_says(site, work):
    steps, known, trips, expected = TABLE[work]
    browser = site.browser(*(f"set {name} 1" for name in TEN)) if known else site.browser()
    with site.proxy.counting() as counted, site.proxy.recording() as transcript:
        reply = browser.play(*steps)
    assert reply.status == 200
    assert counted.connections == 0
    assert counted.round_trips == trips
    assert sent(transcript) == expected


def test_a_request_that_never_looks_costs_the_load_where_it_is_eager_and_nothing_else(site, framework):
    browser = site.browser("set a 1")
    with site.proxy.counting() as counted:
        assert browser.play().status == 200
    assert counted.round_trips == (1 if framework == "asgi" else 0)


def test_a_cookie_that_is_not_ours_costs_nothing(site):
    with site.proxy.counting() as counted:
        for value in ("x", "A" * 86, "A" * 5_000):
            browser = site.browser()
            browser.cookies[site.sessions.settings.template.name] = value
            assert browser.play("get a", "is_new").status == 200
    assert counted.sent == 0
