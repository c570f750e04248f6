"""A deploy while visitors browse: from each library to ours, under real servers. Nobody is logged out, nothing is lost.

The soak test has 200 visitors, and writes its figures to build/deploys.json.
"""

import json
import re
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie

import pytest

from tests.migrate.libraries import APPS, ROOT, environment, run
from tests.servers.process import HOST, Server, free_port, until

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("libraries")]

PATIENCE = 300
has_token = re.compile(r"=[\w-]{86}(?:;|$)").search
"""Whether a Cookie header has a token of ours, whatever the name."""


def asked(port, path, cookies):
    """The status, the text, and the cookies that are set."""
    with closing(HTTPConnection(HOST, port, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers={"Cookie": cookies} if cookies else {})
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, text, response.headers.get_all("Set-Cookie") or []


class Visitor:
    """A browser, of which several tabs may be open at once."""

    def __init__(self, number, site):
        self.name, self.site = f"v{number}", site
        self.cookies, self.acknowledged, self.complaints = {}, {}, []
        self.answered = Counter()
        self.without_ours = 0  # requests to the new site that came with the old cookie alone
        self._lock = threading.Lock()
        self._number = 0

    def get(self, path):
        """The text of a page; None where the server went away meanwhile."""
        with self._lock:
            header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.site.phase == "between":
            self.site.deployed.wait(PATIENCE)
        phase = self.site.phase
        try:
            status, text, setting = asked(self.site.port, path, header)
        except (OSError, HTTPException):
            return None
        if status != 200:
            self.complaints.append(f"{path}: {status} {text[:300]}")
            return None
        with self._lock:
            for line in setting:
                for cookie in SimpleCookie(line).values():
                    self.cookies[cookie.key] = cookie.value
            self.answered[phase] += 1
            self.without_ours += phase == "after" and not has_token(header)
        return text

    def browse(self):
        """Put something in, and look."""
        with self._lock:
            self._number += 1
            name, value = f"field{self._number}", str(self._number)
            known = dict(self.acknowledged)
        if self.get(f"/put/{name}/{value}") is not None:
            with self._lock:
                self.acknowledged[name] = value
        self.look(known)

    def look(self, known):
        text = self.get("/me")
        if text is None:
            return
        found = json.loads(text)
        if found.get(self.site.user) != self.name:
            self.complaints.append(f"logged out: {found}")
        if lost := {name for name, value in known.items() if found.get(name) != value}:
            self.complaints.append(f"lost: {lost}")


class Site:
    """A site and its visitors."""

    def __init__(self, user, visitors, pause):
        self.pause = pause
        self.port, self.user, self.phase = free_port(), user, "before"
        self.visitors = [Visitor(number, self) for number in range(visitors)]
        # All tabs ask for the new site at the same time, each with the cookie that the old one set.
        self.deployed = threading.Barrier(3 * visitors, action=self._reopen)
        self._over = threading.Event()
        self._threads = []

    def server(self, app, directory, **variables):
        """Its server, which may be another one after a while."""
        command = [sys.executable, APPS / app, "serve", str(self.port)]
        return Server(command, directory=directory, ready=self._answers, env=environment(**variables))

    def _answers(self):
        try:
            return asked(self.port, "/nothing", "")[0] == 404
        except (OSError, HTTPException):
            return False

    def _reopen(self):
        self.phase = "after"

    def open_tabs(self, number):
        """Each visitor opens so many more."""
        for visitor in self.visitors:
            for _ in range(number):
                thread = threading.Thread(target=self._browse, args=(visitor,))
                self._threads.append(thread)
                thread.start()

    def _browse(self, visitor):
        while not self._over.is_set():
            visitor.browse()
            self._over.wait(self.pause)

    def everybody(self, answers, phase):
        """Wait until each visitor had so many answers in a phase."""
        until(
            lambda: all(visitor.answered[phase] >= answers for visitor in self.visitors),
            "everybody was served",
            patience=PATIENCE,
        )

    def close(self):
        self._over.set()
        self.deployed.abort()
        for thread in self._threads:
            thread.join(PATIENCE)


LIBRARIES = {
    "Flask-Session on Redis": ("flask_app.py", "flask-session", "user_id", "OLD_REDIS"),
    "Flask-Session on SQLAlchemy": ("flask_app.py", "flask-session", "user_id", "OLD_DATABASE"),
    "Flask's cookie": ("flask_app.py", "cookie", "user_id", None),
    "Django's db": ("django_app.py", "db", "user", None),
    "Starlette's cookie": ("asgi_app.py", "starlette", "user_id", None),
    "starsessions on Redis": ("asgi_app.py", "starsessions", "user_id", "OLD_REDIS"),
}


def deploy(library, visitors, folder, redis_url, *, requests, pause):
    """Let visitors move, with a pause (seconds) after two requests of a tab. Returns what happened, and its figures."""
    app, before, user, place = LIBRARIES[library]
    places = {"OLD_REDIS": redis_url, "OLD_DATABASE": f"sqlite:///{folder}/old.db"}
    where = {
        "DATABASE": f"{folder}/db.sqlite3",
        "NEW": f"sqlite:///{folder}/new.db",
        "DJANGO_SECRET_KEY": "the-site-has-this-secret-key-of-fifty-characters-0123",
        "LIFETIME": "3600",
        **({place: places[place]} if place else {}),
    }
    moves_from = before
    if app == "django_app.py":
        run(app, "prepare", LIBRARY=before, **where)
        moves_from = "django"
    site = Site(user, visitors, pause)
    began = time.monotonic()
    try:
        with site.server(app, folder, LIBRARY=before, **where):
            for visitor in site.visitors:
                assert visitor.get(f"/in/{visitor.name}") is not None, visitor.complaints
            # One tab each: with two, the old libraries themselves lose fields.
            site.open_tabs(1)
            site.everybody(requests, "before")
        site.phase = "between"
        with site.server(app, folder, LIBRARY="coatcheck", MOVES_FROM=moves_from, **where):
            site.open_tabs(2)
            site.everybody(2 * requests, "after")
            site.close()
            for visitor in site.visitors:
                visitor.look(visitor.acknowledged)
            events = Counter(kind for kind, _, _ in json.loads(asked(site.port, "/events", "")[1]))
    finally:
        site.close()
    complaints = [each for visitor in site.visitors for each in visitor.complaints]
    figures = {
        "visitors": visitors,
        "requests before": sum(visitor.answered["before"] for visitor in site.visitors),
        "requests after": sum(visitor.answered["after"] for visitor in site.visitors),
        "visitors with several first requests at once": sum(
            visitor.without_ours > 1 for visitor in site.visitors
        ),
        "sessions carried over": events["migrated"],
        "sessions begun anew": events["created"],
        "logged out": sum(each.startswith("logged out") for each in complaints),
        "lost fields": sum(each.startswith("lost") for each in complaints),
        "other complaints": sum(not each.startswith(("logged out", "lost")) for each in complaints),
        "seconds": round(time.monotonic() - began, 1),
    }
    return complaints, figures


@pytest.mark.promise("6", "12", "13")
@pytest.mark.parametrize(
    "library", ["Flask-Session on Redis", "Django's db", "Starlette's cookie", "starsessions on Redis"]
)
def test_a_deploy_logs_nobody_out_and_loses_nothing(library, redis_server, tmp_path):
    complaints, figures = deploy(library, 8, tmp_path, redis_server.url, requests=2, pause=0.05)
    assert complaints == []
    assert figures["sessions carried over"] == 8
    assert figures["sessions begun anew"] == 0
    assert figures["visitors with several first requests at once"] == 8


@pytest.mark.soak
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_deploy_under_load_logs_none_of_200_visitors_out(library, redis_server, tmp_path):
    complaints, figures = deploy(library, 200, tmp_path, redis_server.url, requests=4, pause=0.5)
    told = ROOT / "build" / "deploys.json"
    told.parent.mkdir(exist_ok=True)
    known = json.loads(told.read_text()) if told.exists() else {}
    told.write_text(json.dumps({**known, library: figures}, indent=2))
    assert complaints == []
    assert figures["sessions carried over"] == 200
    assert figures["sessions begun anew"] == 0
