"""The settings of docs/how-to/from-django.md, in a site with visitors of Django's own engine."""

import json
import tempfile

from tests.migrate.libraries import run, visits


def arrive(url):
    """A visitor of the old site comes to the new one."""
    with tempfile.TemporaryDirectory() as folder:
        site = {
            "DATABASE": f"{folder}/db.sqlite3",
            "NEW": url.replace("sqlite:///", f"sqlite:///{folder}/"),
            "DJANGO_SECRET_KEY": "the-site-has-this-secret-key-of-fifty-characters-0123",
        }
        run("django_app.py", "prepare", LIBRARY="db", **site)
        _, cookies = visits("django_app.py", "", "/in/ada", LIBRARY="db", **site)
        new = {**site, "LIBRARY": "coatcheck", "MOVES_FROM": "django"}
        (me, shown), _ = visits("django_app.py", cookies, "/me", "/messages", **new)
        assert json.loads(me)["user"] == "ada"
        assert json.loads(shown) == [["error", "hello", "loud"]]


def go_back(settings, name):
    """A visitor of the new site comes to an old server, and back."""
    assert settings["keep_old"]
    assert settings["from_"].cookie == "sessionid" != name
    with tempfile.TemporaryDirectory() as folder:
        old = {
            "DATABASE": f"{folder}/db.sqlite3",
            "DJANGO_SECRET_KEY": "the-site-has-this-secret-key-of-fifty-characters-0123",
            "LIBRARY": "db",
        }
        new = {
            **old,
            "NEW": settings["url"].replace("sqlite:///", f"sqlite:///{folder}/"),
            "LIBRARY": "coatcheck",
            "MOVES_FROM": "django",
            "KEEP_OLD": "1",
            "COOKIE": name,
        }
        run("django_app.py", "prepare", **old)
        _, cookies = visits("django_app.py", "", "/in/ada", **old)
        for where in (new, old, new):
            (me,), cookies = visits("django_app.py", cookies, "/me", **where)
            assert json.loads(me)["user"] == "ada"
