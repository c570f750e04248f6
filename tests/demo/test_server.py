"""`coatcheck demo` as a process: starting, stopping, starting again."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
from contextlib import closing
from functools import partial
from http.client import HTTPConnection

import pytest

from coatcheck import Sessions
from coatcheck.demo.scenes.plays import SCENES
from coatcheck.demo.server import CannotListen, _listening, _shown, _welcome
from tests.demo.process import Demo, run
from tests.servers.process import free_port

HALVES = ("/", "/express")


def fetch(demo, path="/", *, method="GET", body=None, cookie=""):
    """One request, without following where it leads: status, headers, text."""
    with closing(HTTPConnection("127.0.0.1", int(demo.url.rpartition(":")[2]), timeout=30)) as connection:
        headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def signed_in(demo, name="Ada"):
    """The cookie of a visitor who has signed in."""
    status, headers, _ = fetch(demo, "/sign-in", method="POST", body=f"csrf=&name={name}")
    assert status == 303
    return headers["Set-Cookie"].partition(";")[0]


def scenes_end_well(demo):
    """Play every scene: well on Coatcheck, badly on the naive session, and in silence."""
    for scene in SCENES:
        status, headers, html = fetch(demo, method="POST", body=f"csrf=&scene={scene.id}")
        assert (status, headers["Set-Cookie"]) == (200, None)
        assert (html.count('class="side kept"'), html.count('class="side broken"')) == (1, 1), scene.id


def user(demo, cookie, path="/"):
    found = re.search('id="user">(.*?)<', fetch(demo, path, cookie=cookie)[2])
    return None if found is None else found[1]


def test_the_first_line_says_where_the_shop_is_and_that_it_is_plain_http(demos):
    demo = demos()
    assert re.fullmatch(
        r"The demo shop is open at http://127\.0\.0\.1:\d+ \(plain http, for this machine only; "
        r"sessions in sqlite:///coatcheck-demo\.db\)\. Ctrl-C closes it\.\n",
        demo.welcome,
    )
    status, headers, html = fetch(demo)
    assert status == 200
    assert "Leave us your coat" in html
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_in_silence_when_it_is_told_to(demos, number):
    demo = demos()
    for path in HALVES:
        fetch(demo, path)
    assert demo.stop(number) == (0, "")


def test_its_scenes_play_on_the_store_that_it_keeps_its_sessions_in_and_leave_nothing_there(demos, tmp_path):
    demo = demos()
    with closing(sqlite3.connect(tmp_path / "coatcheck-demo.db")) as database:
        lies_there = partial(database.execute, 'SELECT hex(key), data FROM "coatcheck:sessions"')
        before = lies_there().fetchall()
        scenes_end_well(demo)
        assert lies_there().fetchall() == before
    assert demo.stop() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_while_a_browser_keeps_its_connection_open(demos, number):
    demo = demos()
    with closing(HTTPConnection("127.0.0.1", int(demo.url.rpartition(":")[2]), timeout=30)) as kept:
        for path in HALVES:
            kept.request("GET", path)
            assert kept.getresponse().read()
        assert demo.stop(number) == (0, "")


def test_nobody_is_believed_to_be_a_proxy(demos):
    demo = demos()
    with closing(HTTPConnection("127.0.0.1", int(demo.url.rpartition(":")[2]), timeout=30)) as connection:
        connection.request("GET", "/express/", headers={"X-Forwarded-Proto": "https"})
        response = connection.getresponse()
        assert (response.status, response.headers["Location"]) == (307, f"{demo.url}/express")
        assert "Server" not in response.headers


def test_who_is_signed_in_stays_so_over_a_restart(demos):
    demo = demos()
    cookie = signed_in(demo)
    demo.stop()
    demo = demos()
    assert [user(demo, cookie, path) for path in HALVES] == ["Ada", "Ada"]


def test_a_server_that_is_killed_loses_nothing(demos):
    demo = demos()
    cookie = signed_in(demo)
    demo.process.kill()
    demo.process.wait(timeout=30)
    assert user(demos(), cookie) == "Ada"


def test_two_servers_that_start_at_once_on_one_store_know_each_others_visitors(demos):
    first, second = demos(wait=False), demos(wait=False)
    first.wait()
    second.wait()
    cookie = signed_in(first)
    assert user(second, cookie) == "Ada"


def test_in_memory_a_restart_ends_everything(demos, tmp_path):
    demo = demos("--store", "memory://")
    cookie = signed_in(demo)
    assert [user(demo, cookie, path) for path in HALVES] == ["Ada", "Ada"]
    demo.stop()
    assert user(demos("--store", "memory://"), cookie) is None
    assert list(tmp_path.iterdir()) == []


def test_the_secret_of_the_environment_counts(demos, tmp_path):
    secret = run("secret").stdout.strip()
    cookie = signed_in(demos(COATCHECK_SECRET=secret))
    assert user(demos(COATCHECK_SECRET=secret), cookie) == "Ada"
    assert user(demos(), cookie) is None  # this one has a secret of its own
    assert (tmp_path / "coatcheck-demo.db-secret").exists()


def test_a_bad_secret_is_one_line(tmp_path):
    done = run("demo", "--port", "0", folder=tmp_path, COATCHECK_SECRET="short")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("coatcheck: The secret is too short")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line_and_leaves_nothing_behind(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("demo", "--port", str(port), folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"coatcheck: Port {port} of 127.0.0.1 is in use: take another with --port.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_none_of_ours_is_one_line(tmp_path):
    done = run("demo", "--port", "0", "--host", "192.0.2.1", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"coatcheck: Can't listen on 192\.0\.2\.1, port 0: .*\.\n", done.stderr)
    with pytest.raises(CannotListen, match=r"Can't listen on no\.such\.host\.invalid"):
        _listening("no.such.host.invalid", 0)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    done = run("demo", "--port", "0", "--store", "sqlite:///nowhere/a.db", folder=tmp_path)
    assert done.returncode == 2
    assert "its directory does not exist" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_port_is_free_again_at_once(tmp_path):
    port = free_port()
    for _ in range(2):
        demo = Demo(tmp_path, port=port)
        try:
            assert demo.url == f"http://127.0.0.1:{port}"
            assert fetch(demo)[0] == 200
        finally:
            assert demo.stop()[0] == 0


def test_expired_sessions_are_swept_at_the_start(demos, tmp_path):
    url = f"sqlite:///{tmp_path}/coatcheck-demo.db"
    with Sessions.from_url(
        url, secret=run("secret").stdout.strip(), clock=lambda: 1_500_000_000.0
    ) as sessions:
        session = sessions.open(b"")
        session["k"] = "v"
        sessions.close(session)
    demos().stop()
    assert run("sweep", "--store", url).stdout == "0 expired sessions removed\n"


def test_the_welcome_fits_the_address():
    assert "http://127.0.0.1:80 " in _welcome("0.0.0.0", 80, "memory://")
    assert "http://[::1]:80 " in _welcome("::", 80, "memory://")
    assert "http://[::1]:80 (plain http, for this machine only" in _welcome("::1", 80, "memory://")
    assert "whoever listens on your network" in _welcome("0.0.0.0", 80, "memory://")


def test_the_welcome_shows_no_password():
    assert _shown("redis://me:geheim@db:6379/0") == "redis://…@db:6379/0"
    assert _shown("sqlite:///a.db") == "sqlite:///a.db"
    assert _shown("memory://") == "memory://"


def test_it_listens_on_ipv6_too(demos):
    demo = demos("--host", "::1")
    assert re.search(r"http://\[::1\]:\d+ \(plain http, for this machine only", demo.welcome)
