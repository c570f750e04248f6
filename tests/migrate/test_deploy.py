"""A deploy while visitors browse: from each library to ours, under real servers. Nobody is logged out, nothing is lost.

The soak test has 200 visitors, and writes its figures to build/deploys.json.
"""

import json
import random
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

    def get(self, path, port=None):
        """The text of a page; None where the server went away meanwhile."""
        with self._lock:
            header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.site.phase == "between":
            self.site.deployed.wait(PATIENCE)
        phase = self.site.phase
        try:
            status, text, setting = asked(port or self.site.port, path, header)
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

    def browse(self, port=None):
        """Put something in, and look."""
        with self._lock:
            self._number += 1
            name, value = f"field{self._number}", str(self._number)
            known = dict(self.acknowledged)
        if self.get(f"/put/{name}/{value}", port) is not None:
            with self._lock:
                self.acknowledged[name] = value
        self.look(known, port)

    def look(self, known, port=None):
        text = self.get("/me", port)
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

    def server(self, app, directory, port=None, **variables):
        """Its server, which may be another one after a while, or one more on a port of its own."""
        port = port or self.port

        def answers():
            try:
                return asked(port, "/nothing", "")[0] == 404
            except (OSError, HTTPException):
                return False

        command = [sys.executable, APPS / app, "serve", str(port)]
        return Server(command, directory=directory, ready=answers, env=environment(**variables))

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
SIGNED = ("Flask's cookie", "Starlette's cookie")


def site_of(library, folder, redis_url):
    """Its application, the name of the user's field, the variables of the old site, and those of the new one."""
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
    return (
        app,
        user,
        {"LIBRARY": before, **where},
        {"LIBRARY": "coatcheck", "MOVES_FROM": moves_from, **where},
    )


def deploy(library, visitors, folder, redis_url, *, requests, pause):
    """Let visitors move, with a pause (seconds) after two requests of a tab. Returns what happened, and its figures."""
    app, user, old, new = site_of(library, folder, redis_url)
    site = Site(user, visitors, pause)
    began = time.monotonic()
    try:
        with site.server(app, folder, **old):
            for visitor in site.visitors:
                assert visitor.get(f"/in/{visitor.name}") is not None, visitor.complaints
            # One tab each: with two, the old libraries themselves lose fields.
            site.open_tabs(1)
            site.everybody(requests, "before")
        site.phase = "between"
        with site.server(app, folder, **new):
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


def meet_both(visitor, new_port, rounds):
    """A tab whose requests reach old and new servers by turns. What one kind has stored, the other need not know."""
    for _ in range(rounds):
        for port in random.sample([visitor.site.port, new_port], 2):
            if port == new_port:
                visitor.browse(port)
            else:
                visitor.get("/put/old/1")
                visitor.look({})


def roll(library, visitors, folder, redis_url, *, rounds):
    """Let visitors meet old and new servers at the same time, and sign out on a new one. Returns what was wrong.

    A signed cookie: of two tabs, each may have a cookie that carries over a session of its own, so here are no two.
    """
    app, user, old, new = site_of(library, folder, redis_url)
    tabs_of_each = 1 if library in SIGNED else 2
    site, new_port = Site(user, visitors, 0), free_port()
    site.phase = "both"
    kept = {"KEEP_OLD": "1", "COOKIE": "coatcheck", **new}
    if library in SIGNED:
        kept["DELETES"] = "1"
    with site.server(app, folder, **old), site.server(app, folder, new_port, **kept):
        for visitor in site.visitors:
            assert visitor.get(f"/in/{visitor.name}") is not None, visitor.complaints
        tabs = [
            threading.Thread(target=meet_both, args=(visitor, new_port, rounds))
            for visitor in site.visitors
            for _ in range(tabs_of_each)
        ]
        for tab in tabs:
            tab.start()
        for tab in tabs:
            tab.join(PATIENCE)
        for visitor in site.visitors:
            visitor.look(visitor.acknowledged, new_port)
            visitor.get("/out", new_port)
            for port in (site.port, new_port):
                text = visitor.get("/me", port)
                if text is not None and json.loads(text).get(user):
                    visitor.complaints.append(f"still signed in: {text}")
            if (answers := visitor.answered["both"]) != 4 * tabs_of_each * rounds + 5:
                visitor.complaints.append(f"{answers} answers")
    return [each for visitor in site.visitors for each in visitor.complaints]


@pytest.mark.promise("6", "12", "13")
@pytest.mark.parametrize(
    "library", ["Flask-Session on Redis", "Flask's cookie", "Django's db", "starsessions on Redis"]
)
def test_while_old_and_new_servers_answer_both_know_every_visitor(library, redis_server, tmp_path):
    assert roll(library, 4, tmp_path, redis_server.url, rounds=3) == []


@pytest.mark.soak
@pytest.mark.parametrize("library", LIBRARIES)
def test_while_old_and_new_servers_answer_both_know_200_visitors(library, redis_server, tmp_path):
    assert roll(library, 200, tmp_path, redis_server.url, rounds=2) == []
