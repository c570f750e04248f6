"""The files and commands of the pages about deployment, in real servers behind a real nginx that terminates TLS."""

import json
import os
import re
import shlex
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from configparser import RawConfigParser
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
import trustme
import yaml

from coatcheck import Sessions
from tests.docs.pages import DOCS, ROOT, SECRET
from tests.servers.nginx import listens, nginx
from tests.servers.process import HOST, Server, free_port

pytestmark = pytest.mark.xdist_group("servers")

PAGES = {page.stem: page.read_text() for page in (DOCS / "how-to").glob("deploy*.md")}
_FILE = re.compile(r"^```[a-z]+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(_FILE.findall("".join(PAGES.values())))
SERVERS = re.compile(r"^\$ ((?:gunicorn|waitress-serve|granian|uvicorn) .*)$", re.MULTILINE)
COMMANDS = [*SERVERS.findall(PAGES["deploy-wsgi"]), *SERVERS.findall(PAGES["deploy-asgi"])]
MODULES = ("shop.py", "express.py", "served.py", "gunicorn.conf.py")
COMPOSE = ("compose.yaml", "compose.sqlite.yaml")
BIN = Path(sys.executable).parent
COOKIE = re.compile(r"(__Host-session=[\w-]{86}); Path=/; Secure; HttpOnly; SameSite=Lax")
PATIENCE = 60


class Site:
    """A directory as the pages lay it out, with nginx in front of `port`."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.plain, self.https = free_port(), free_port(), free_port()
        for name in MODULES:
            (folder / name).write_text(FILES[name].replace("127.0.0.1:8000", f"{HOST}:{self.port}"))
        secret = folder / "session-secret"
        secret.touch(mode=0o600)
        secret.write_text(f"{SECRET}\n")  # as `coatcheck secret > session-secret` leaves it
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("shop.example", HOST)
        issued.private_key_pem.write_to_path(folder / "privkey.pem")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(folder / "fullchain.pem", append=True)

    def nginx(self):
        text = FILES["/etc/nginx/conf.d/shop.conf"]
        for written, here in (
            ("127.0.0.1:8000", f"{HOST}:{self.port}"),
            ("listen 80;", f"listen {HOST}:{self.plain};"),
            ("listen 443 ssl;", f"listen {HOST}:{self.https} ssl;"),
            ("/etc/letsencrypt/live/shop.example", str(self.folder)),
        ):
            assert written in text
            text = text.replace(written, here)
        return nginx(self.folder, text, (self.plain, self.https))

    @contextmanager
    def serving(self, command):
        program, *arguments = shlex.split(command.replace("8000", str(self.port)))
        for file in self.folder.glob("sessions.db*"):
            file.unlink()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))),
            "PYTHONUNBUFFERED": "1",
            "SESSION_SECRET_FILE": str(self.folder / "session-secret"),
        }
        more = ["--no-control-socket"] * (program == "gunicorn" and "--no-control-socket" not in arguments)
        server = Server(
            [BIN / program, *more, *arguments],
            directory=self.folder,
            ready=lambda: listens(self.port) and self.ask("GET", "/health").status == 200,
            env=environment,
            name=f"server{free_port()}",
        )
        with server:
            yield server

    def ask(self, method, path, cookie=""):
        """An answer to a browser that came by https, read to its end."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        with closing(HTTPSConnection(HOST, self.https, timeout=PATIENCE, context=context)) as connection:
            connection.request(method, path, headers={"Host": "shop.example", "Cookie": cookie})
            answer = connection.getresponse()
            answer.text = answer.read().decode()
        return answer


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("shop"))
    with made.nginx():
        yield made


@pytest.mark.parametrize("command", COMMANDS)
def test_parallel_requests_of_one_visitor_keep_one_session_behind_nginx(site, command):
    with site.serving(command) as server:
        health = site.ask("GET", "/health")
        assert (health.headers["Set-Cookie"], health.headers["Vary"]) == (None, None)
        first = site.ask("POST", "/basket/first")
        assert first.headers["Cache-Control"] == "no-store"
        cookie = COOKIE.fullmatch(first.headers["Set-Cookie"])[1]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: site.ask("POST", f"/basket/{n}", cookie), range(16)))
        assert [(answer.status, answer.headers["Set-Cookie"]) for answer in answers] == [(200, None)] * 16
        basket = json.loads(site.ask("POST", "/basket/last", cookie).text)
        assert sorted(basket) == sorted(["first", "last", *map(str, range(16))])
    # The application knows that it is served by https.
    assert "InsecureTransportWarning" not in server.output()


def test_there_is_a_command_for_each_server():
    assert sorted(command.split()[0] for command in COMMANDS) == [
        *("granian", "granian", "gunicorn", "gunicorn", "uvicorn", "waitress-serve"),
    ]


def test_plain_http_is_sent_to_https(site):
    with closing(HTTPConnection(HOST, site.plain, timeout=PATIENCE)) as connection:
        connection.request("POST", "/basket/scarf?a=b", headers={"Host": "shop.example"})
        answer = connection.getresponse()
        answer.read()
    assert (answer.status, answer.headers["Location"]) == (308, "https://shop.example/basket/scarf?a=b")


def section_of(unit, name="Service"):
    """The settings of a unit, each as the list of its values."""
    lines = FILES[f"/etc/systemd/system/{unit}"].partition(f"[{name}]\n")[2].partition("\n[")[0].splitlines()
    settings = {}
    for line in filter(None, lines):
        key, _, value = line.partition("=")
        settings.setdefault(key, []).append(value)
    return settings


def test_the_units_run_what_is_there_as_the_user_of_the_store(tmp_path):
    shop, sweep = section_of("shop.service"), section_of("shop-sweep.service")
    assert shop["ExecStart"] == ["/srv/shop/.venv/bin/gunicorn --no-control-socket shop:app"]
    assert "gunicorn shop:app" in COMMANDS
    assert sweep["User"] == shop["User"]
    assert sweep["StateDirectory"] == shop["StateDirectory"] == ["shop"]
    (store,) = (value.removeprefix("SESSION_STORE=") for value in shop["Environment"] if "STORE" in value)
    (command,) = sweep["ExecStart"]
    program, *arguments = shlex.split(command)
    assert (program, arguments[-1]) == ("/srv/shop/.venv/bin/coatcheck", store)
    with Sessions.from_url(f"sqlite:///{tmp_path}/sessions.db", secret=SECRET) as sessions:
        sessions.ping()
    arguments[-1] = f"sqlite:///{tmp_path}/sessions.db"
    swept = subprocess.run(
        [sys.executable, "-m", "coatcheck", *arguments], capture_output=True, text=True, check=True
    )
    assert swept.stdout == "0 expired sessions removed\n"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("/etc/systemd/")])
def test_a_unit_has_the_sections_of_its_kind(name):
    parser = RawConfigParser(strict=False)
    parser.read_string(FILES[name])
    kind = name.rpartition(".")[2].capitalize()
    assert set(parser.sections()) <= {"Unit", kind, "Install"}
    assert {"Unit", kind} <= set(parser.sections())


def test_the_health_check_of_the_image_tells_whether_the_site_serves(site):
    check = json.loads(re.search(r"HEALTHCHECK .*\\\n\s+(\[.*\])", FILES["Dockerfile"])[1])
    assert check[:2] == ["python", "-c"]
    code = check[2].replace("8000", str(site.port))

    def ask():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode

    assert ask() == 1
    (command,) = re.findall(r"^CMD (\[.*\])$", FILES["Dockerfile"], re.MULTILINE)
    with site.serving(shlex.join(json.loads(command)).replace("0.0.0.0", HOST)):
        assert ask() == 0


def test_no_secret_comes_into_the_image():
    assert not re.search(r"^(ENV|ARG)", FILES["Dockerfile"], re.MULTILINE)
    assert re.findall(r"^COPY (.*) \.$", FILES["Dockerfile"], re.MULTILINE) == ["requirements.txt", "*.py"]
    assert "secrets" in FILES[".dockerignore"].splitlines()
    assert "file: ./secrets/session-secret" in FILES["compose.yaml"]
    for name in COMPOSE:
        assert "SESSION_SECRET:" not in FILES[name]


@pytest.mark.parametrize("name", COMPOSE)
def test_the_services_have_what_they_name(name):
    compose = yaml.safe_load(FILES[name])
    services = compose["services"].values()
    mounted = {source for service in services for source in service.get("volumes", ()) if source[0] != "."}
    assert {source.partition(":")[0] for source in mounted} == {*compose["volumes"]}
    assert {name for service in services for name in service.get("secrets", ())} == {*compose["secrets"]}
    needed = {other for service in services for other in service.get("depends_on", ())}
    assert needed <= compose["services"].keys()
    variables = {*compose["services"]["shop"]["environment"]}
    assert variables == set(re.findall(r'os\.environ(?:\.get\(|\[)"(\w+)"', FILES["shop.py"]))
