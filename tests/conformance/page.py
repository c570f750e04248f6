"""docs/reference/conformance.md: what the suites came to, and the list of each."""

import re
from pathlib import Path

from tests.conformance.suites import SUITES, Listed, source_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"

HEAD = """# The frameworks' own tests

Django, Flask, Pyramid and Starlette publish their tests of sessions in their source packages. `make test-frameworks`
runs these tests with Coatcheck's sessions in place of the framework's own. It fails if a test fails that is not listed
below, and if a listed test passes or no longer exists. `.venv-frameworks/bin/python -m tests.conformance` runs each
suite with both kinds of sessions, and writes this page.

| framework | tests | pass with its own sessions | pass with Coatcheck's | do not apply |
|---|---|---|---|---|
"""

ABOUT = {
    "django": """Django's tests of session engines, of its session middleware, of `auth`, `messages` and CSRF, and of the
test client. The settings name our engine, and our `SessionMiddleware` replaces Django's.""",
    "flask": """All tests of Flask. Each application has our `SessionInterface`.""",
    "pyramid": """Pyramid's tests of its cookie session, of the session that its `testing` module gives to tests, of the
CSRF policy on the session, and of the authentication that keeps the user in the session. Each of these sessions is ours.
Where a test puts messages into a field, or looks for them there, the field shows the queue of messages.""",
    "starlette": """Starlette's tests of its `SessionMiddleware`, which is ours, with the arguments of Starlette's. Their
handlers answer with `JSONResponse({"session": request.session})`. Our session is no `dict`, so the runner lets the
response make a `dict` of it.""",
}

TAIL = """
## Other frameworks

The packages of Quart, Litestar and hug contain no tests. Tornado, Falcon, Bottle and Sanic have no sessions, so they have
no tests of sessions. aiohttp-session's tests do not apply: they test that library's own classes, and the form in which
these store their data. Coatcheck has the function `get_session` for aiohttp, and none of these classes.

All these frameworks pass the [list of HTTP behaviours](behaviours.md).
"""


def row(name, number):
    """A suite's line in the table, if so many of its tests ran."""
    listed = Listed(name)
    own, ours = number - len(listed.own), number - len(listed.all)
    return f"| {_title(name)} | {number} | {own} | {ours} | {len(listed.all)} |\n"


def page(numbers):
    """The page, by the number of tests that ran of each suite."""
    return HEAD + "".join(row(name, numbers[name]) for name in SUITES) + "".join(map(_section, SUITES)) + TAIL


def numbers_in(text):
    """The number of tests that a page says of each suite."""
    return {name: int(re.search(rf"(?m)^\| {name.title()} \S+ \| (\d+) ", text)[1]) for name in SUITES}


def _title(name):
    return source_of(name).name.replace("-", " ").capitalize()


def _section(name):
    listed = Listed(name)
    own = {
        test: f"It fails with {name.title()}'s own sessions, too. {why}" for test, why in listed.own.items()
    }
    lines = [f"- `{test}`: {why}" for test, why in sorted((listed.ours | own).items())]
    return "\n".join([f"\n## {_title(name)}\n", ABOUT[name], "\nThese do not apply:\n", *lines, ""])
