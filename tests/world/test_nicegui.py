"""NiceGUI in a site of ours: with the session middleware that it brings, and with our session in its place."""

import os
import re
import sys
from contextlib import contextmanager

import httpx
import pytest

from tests.servers.process import HOST, Server, free_port
from tests.world.serving import ROOT

pytestmark = pytest.mark.promise("H")


@contextmanager
def browser_of(name, directory):
    """A browser on uvicorn with that application, and what the server said."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", f"tests.world.nicegui_site:{name}"]
    command += ["--app-dir", ROOT, "--host", HOST, "--port", port]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        "NICEGUI_STORAGE_PATH": str(directory / "storage"),
    }
    with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60) as browser:
        ready = lambda: httpx.get(f"{browser.base_url}/who").status_code == 200
        with Server(command, directory=directory, ready=ready, env=environment, name="nicegui") as server:
            yield browser, server.output


def visits(browser):
    answer = browser.get("/gui/")
    assert answer.status_code == 200
    return re.findall(r"visit \d+", answer.text)


def test_with_its_own_session_middleware_there_are_two_sessions_and_one_warning(tmp_path):
    with browser_of("beside", tmp_path) as (browser, told):
        assert visits(browser) == ["visit 1"]
        browser.get("/sign-in")
        assert visits(browser) == ["visit 2"]
        assert browser.get("/who").json() == "ada"
        assert sorted(browser.cookies) == ["coatcheck", "session"]
        browser.get("/sign-out")
        assert visits(browser) == ["visit 3"]
        assert browser.get("/who").json() is None
        assert told().count("ForeignSessionWarning: Another session middleware, inside of Coatcheck's") == 1


def test_without_one_its_storage_uses_our_session_and_a_sign_in_keeps_it(tmp_path):
    with browser_of("instead", tmp_path) as (browser, told):
        assert visits(browser) == ["visit 1"]
        browser.get("/sign-in")
        assert visits(browser) == ["visit 2"]
        assert browser.get("/who").json() == "ada"
        assert sorted(browser.cookies) == ["coatcheck"]
        browser.get("/sign-out")
        assert visits(browser) == ["visit 1"]
        assert "ForeignSessionWarning" not in told()
