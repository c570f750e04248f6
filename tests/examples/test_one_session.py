"""examples/one_session: six applications, each in another framework under its own server, behind one nginx."""

import html
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from coatcheck import CookieSettings, Sessions
from tests.behaviours.site import SECRET
from tests.examples.running import FRAMEWORKS, ROOT, address_of, started
from tests.servers.process import free_port, until

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("one-session")]

COOKIE = "one-session"
PASSWORD = "analytical-engine"
ON_SQLITE = pytest.mark.parametrize("site", ["sqlite"], indirect=True)  # every pair, on one store
NOTE = "tea at <four> & six"


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def site(request, tmp_path_factory):
    """The address of the running example, and a manager on its store."""
    folder = tmp_path_factory.mktemp("one_session")
    url = f"sqlite:///{folder}/sessions.db"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    sessions = Sessions.from_url(
        url, secret=SECRET, prefix="one-session:", cookie=CookieSettings(name=COOKIE), insecure_http=True
    )
    with started(folder, "--store", url) as server:
        yield address_of(server), sessions
    sessions.shutdown()


class Visitor:
    """A browser without JavaScript: it keeps cookies, follows redirects, and sends the hidden fields of forms."""

    def __init__(self, site, **headers):
        address, self.sessions = site
        self.client = httpx.Client(  # without TLS, which would read certificates for each visitor
            base_url=address, follow_redirects=True, timeout=30, headers=headers, verify=False
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def get(self, path):
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response

    def post(self, page, path, **form):
        """Send a form of `page`; the response to it, and not what it redirects to."""
        hidden = re.findall(r'name="(csrfmiddlewaretoken)" value="([^"]+)"', self.get(page).text)
        response = self.client.post(path, data={**dict(hidden), **form}, follow_redirects=False)
        assert response.status_code in (302, 303), response.text
        self.get(urlsplit(response.headers["Location"]).path)
        return response

    def sign_in(self, framework, user="ada"):
        page = "/django/sign-in" if framework == "django" else f"/{framework}/"
        return self.post(page, f"/{framework}/sign-in", username=user, password=PASSWORD)

    def sign_out(self, framework):
        return self.post(f"/{framework}/", f"/{framework}/sign-out")

    def write(self, framework, note=NOTE):
        return self.post(f"/{framework}/", f"/{framework}/note", note=note)

    def seen(self, framework):
        """The user and the note that a page shows."""
        text = self.get(f"/{framework}/").text
        user, note = (re.search(rf'id="{name}">([^<]*)<', text)[1] for name in ("user", "note"))
        return re.sub(", .*$", "", user), html.unescape(note)

    def messages(self, framework):
        return re.findall(r'<p class="message">([^<]*)</p>', self.get(f"/{framework}/").text)

    @property
    def cookie(self):
        return self.client.cookies[COOKIE]


@pytest.fixture
def visitor(site):
    with Visitor(site) as visitor:
        yield visitor


ADA = ("as user 1", NOTE)
ANONYMOUS = ("no", "none yet")


def shown_with(site, cookie):
    """What each of the six shows to a browser with a copied cookie."""
    with Visitor(site) as thief:
        thief.client.headers["Cookie"] = f"{COOKIE}={cookie}"
        return {framework: thief.seen(framework) for framework in FRAMEWORKS}


def test_signed_in_at_django_and_out_at_aiohttp_everywhere(site, visitor):
    visitor.sign_in("django")
    visitor.write("django")
    assert visitor.seen("fastapi") == visitor.seen("tornado") == ADA
    assert visitor.messages("aiohttp") == []  # FastAPI has shown it
    visitor.write("flask")
    assert visitor.messages("pyramid") == ["Noted in Flask."]
    assert visitor.messages("pyramid") == visitor.messages("flask") == []
    copied = visitor.cookie
    assert shown_with(site, copied) == dict.fromkeys(FRAMEWORKS, ADA)
    visitor.sign_out("aiohttp")
    assert {framework: visitor.seen(framework) for framework in FRAMEWORKS} == dict.fromkeys(
        FRAMEWORKS, ANONYMOUS
    )
    assert shown_with(site, copied) == dict.fromkeys(FRAMEWORKS, ANONYMOUS)


@ON_SQLITE
@pytest.mark.parametrize("at", FRAMEWORKS)
@pytest.mark.parametrize("out", FRAMEWORKS)
def test_who_signed_in_at_one_is_known_at_each_and_may_sign_out_at_any(site, visitor, at, out):
    visitor.write(at)
    anonymous = visitor.cookie
    visitor.sign_in(at)
    copied = visitor.cookie
    assert copied != anonymous
    assert shown_with(site, copied) == dict.fromkeys(FRAMEWORKS, ADA)
    assert shown_with(site, anonymous) == dict.fromkeys(FRAMEWORKS, ANONYMOUS)
    visitor.sign_out(out)
    assert shown_with(site, copied) == dict.fromkeys(FRAMEWORKS, ANONYMOUS)


@ON_SQLITE
@pytest.mark.parametrize(("at", "over"), list(itertools.product(FRAMEWORKS, repeat=2)))
def test_the_next_user_gets_nothing_of_the_one_before(site, visitor, at, over):
    visitor.sign_in(at)
    visitor.write(at)
    copied = visitor.cookie
    visitor.sign_in(over, "grace")
    assert shown_with(site, visitor.cookie) == dict.fromkeys(FRAMEWORKS, ("as user 2", "none yet"))
    assert "as user 2, grace" in visitor.get("/django/").text
    assert shown_with(site, copied) == dict.fromkeys(FRAMEWORKS, ANONYMOUS)


def test_django_knows_the_person_wherever_she_signed_in(visitor):
    for framework in FRAMEWORKS:
        visitor.sign_in(framework)
        assert "as user 1, ada" in visitor.get("/django/").text
        visitor.sign_out("django")


@pytest.mark.parametrize("framework", FRAMEWORKS[1:])
def test_a_wrong_password_signs_nobody_in(visitor, framework):
    visitor.client.post(f"/{framework}/sign-in", data={"username": "ada", "password": "guessed"})
    assert visitor.seen("flask") == ANONYMOUS


@ON_SQLITE
@pytest.mark.parametrize(("writes", "shows"), list(itertools.permutations(FRAMEWORKS, 2)))
def test_a_message_left_in_one_is_shown_once_by_another(visitor, writes, shows):
    name = {"django": "Django", "flask": "Flask", "fastapi": "FastAPI"}.get(writes, writes)
    visitor.write(writes)
    (message,) = visitor.messages(shows)
    assert message.lower() == f"noted in {name.lower()}."
    assert visitor.messages(shows) == visitor.messages(writes) == []


def test_parallel_requests_to_all_six_lose_nothing(site, visitor):
    visitor.write("flask")
    hidden = re.findall(r'name="(csrfmiddlewaretoken)" value="([^"]+)"', visitor.get("/django/").text)
    cookies = {name: visitor.client.cookies[name] for name in (COOKIE, "csrftoken")}

    def write(framework):
        sent = httpx.post(
            f"{site[0]}/{framework}/note",
            data={**dict(hidden), "note": framework},
            headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
            timeout=60,
            verify=False,
        )
        return sent.status_code, COOKIE in sent.cookies

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(write, FRAMEWORKS * 20))
    assert {status for status, _ in answers} <= {302, 303}
    assert not any(new_cookie for _, new_cookie in answers)
    assert 'id="notes">121<' in visitor.get("/tornado/").text
    assert len(visitor.messages("pyramid")) == 0  # Tornado has shown all of them
    with Visitor(site) as another:
        assert 'id="notes">0<' in another.get("/tornado/").text


def test_each_writes_the_same_cookie(site):
    lines = {}
    for framework in FRAMEWORKS:
        with Visitor(site) as visitor:
            (line,) = (
                line
                for line in visitor.write(framework).headers.get_list("set-cookie")
                if line.startswith(f"{COOKIE}=")
            )
            lines[framework] = {*line.split("; ")[1:]}
    assert all(attributes == {"Path=/", "HttpOnly", "SameSite=Lax"} for attributes in lines.values()), lines


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_says_that_its_page_depends_on_the_cookie_and_gives_none_to_a_reader(visitor, framework):
    response = visitor.get(f"/{framework}/")
    assert response.headers.get_list("vary", split_commas=True) == ["Cookie"]
    assert COOKIE not in visitor.client.cookies
    visitor.sign_in(framework)
    assert visitor.get(f"/{framework}/").headers.get_list("vary", split_commas=True) == ["Cookie"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_enters_the_device_and_the_user_in_the_same_way(site, framework):
    with Visitor(site, **{"User-Agent": f"Browser of {framework}"}) as visitor:
        visitor.sign_in(framework)
        devices = {device.client for device in visitor.sessions.of_user("1")}
        assert f"Browser of {framework}" in devices
        assert visitor.sessions.revoke_user("1") >= 1
        assert set(shown_with(site, visitor.cookie).values()) == {ANONYMOUS}


@pytest.mark.parametrize("site", ["redis"], indirect=True)
def test_while_the_store_is_silent_each_says_so_and_nobody_is_signed_out(site, visitor, redis_server):
    visitor.sign_in("django")
    visitor.write("django")
    visitor.messages("flask")
    redis_server.pause()
    try:
        with ThreadPoolExecutor(6) as threads:
            paths = [f"/{framework}/" for framework in FRAMEWORKS]
            answers = dict(zip(FRAMEWORKS, threads.map(visitor.client.get, paths), strict=True))
    finally:
        redis_server.resume()
    assert {framework: answer.status_code for framework, answer in answers.items()} == dict.fromkeys(
        FRAMEWORKS, 503
    )
    assert len({answer.text for answer in answers.values()}) == 1
    assert all("retry-after" in answer.headers for answer in answers.values())
    assert not any("set-cookie" in answer.headers for answer in answers.values())
    for framework in FRAMEWORKS:
        until(lambda: visitor.client.get(f"/{framework}/").status_code == 200, framework)  # noqa: B023
    assert {framework: visitor.seen(framework) for framework in FRAMEWORKS} == dict.fromkeys(FRAMEWORKS, ADA)


def test_it_stops_its_servers_when_it_is_told_to(tmp_path):
    with started(tmp_path, "--port", free_port(7)) as server:
        address = httpx.URL(address_of(server))
        assert httpx.get(address).status_code == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0
    for port in range(address.port, address.port + 7):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")


def test_it_says_that_a_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-m", "examples.one_session", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"A port from {port} to {port + 6} can't be had: ")
    assert "Address already in use" in ran.stderr


def test_it_says_which_application_fails_at_its_start_and_gives_no_address(tmp_path):
    # gunicorn opens its port, and then its workers fail.
    package = tmp_path / "flask"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('This Flask is broken.')")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    ran = subprocess.run(
        [sys.executable, "-m", "examples.one_session"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1
    assert "One session at" not in ran.stdout
    assert "This Flask is broken." in ran.stderr
    assert ran.stderr.rstrip().splitlines()[-1] == "Ended, for the reason above: flask"
