"""The README's first example, by its own commands, in an environment that has only the wheel and what pip adds to it.

`make test-wheel` runs this: the wheel is in build/wheel. The visitor is Python's own, which sends no `Secure` cookie
over plain http, as Safari doesn't.
"""

import os
import re
import signal
import subprocess
import sys
import time
from http.client import RemoteDisconnected
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import pytest

from tests.servers.process import free_port

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "build" / "wheel"
README = (ROOT / "README.md").read_text()
EXAMPLE = README.split("\n## ")[1]
PREPARE, SERVE = re.findall(r"^```sh\n(.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
(APP,) = re.findall(r"^```python\n(# app\.py\n.*?)^```$", EXAMPLE, re.MULTILINE | re.DOTALL)
# The commands are these, to the letter; only the environment says which wheel, which versions and which port.
COMMANDS = [
    'pip install "coatcheck[flask]"',
    "export SESSION_SECRET=$(coatcheck secret)",
    "flask run --debug",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Follow the README in an empty folder, and serve."""
    assert (PREPARE + SERVE).splitlines() == COMMANDS
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "app.py").write_text(APP)
    uv = ROOT / ".venv" / "bin" / "uv"
    subprocess.run([uv, "venv", "--quiet", "--seed", "--python", sys.executable, folder / "venv"], check=True)
    port = free_port()
    path = f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SESSION_SECRET")},
        "PATH": path,
        "PIP_CONSTRAINT": str(_constraints(folder)),
        "PIP_ONLY_BINARY": ":all:",
        "PIP_QUIET": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "FLASK_RUN_PORT": str(port),
    }
    server = subprocess.Popen(
        ["bash", "-euc", "\n".join(COMMANDS)], cwd=folder, env=environment, start_new_session=True
    )
    yield port, server
    if server.poll() is None:
        os.killpg(
            server.pid, signal.SIGTERM
        )  # bash, flask, and the process that flask restarts after a change
        server.wait(60)


def _constraints(folder):
    """The versions of the lock, and the wheel by its path: by its version alone, pip may prefer one from PyPI."""
    (wheel,) = WHEELS.glob("*.whl")
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    pins = re.findall(r"^(\S+==.*?) \\$", lock, re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join([*pins, f"coatcheck @ {wheel.as_uri()}"]))
    return constraints


def test_a_visitor_fills_a_basket_signs_in_and_signs_out_over_plain_http(port):
    number, server = port
    visitor = build_opener(HTTPCookieProcessor(CookieJar()), ProxyHandler({}))

    def see(path="/", data=None):
        with visitor.open(f"http://127.0.0.1:{number}{path}", data, timeout=60) as page:
            return re.search("<h1>(.*?)</h1>", page.read().decode())[1]

    assert _when_it_serves(see, server) == "Nobody: an empty basket"
    assert see("/add/hat", b"") == "Nobody: hat"
    assert see("/sign-in", b"") == "ada: hat"
    assert see() == "ada: hat"
    assert see("/sign-out", b"") == "Nobody: an empty basket"


def _when_it_serves(see, server):
    end = time.monotonic() + 300
    while True:
        try:
            return see()
        except HTTPError:
            raise
        except (URLError, RemoteDisconnected):
            assert server.poll() is None, "a command of the README failed"
            assert time.monotonic() < end, "the server did not start in time"
            time.sleep(0.05)
