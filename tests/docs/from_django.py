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
