"""Framework by behaviour: `make behaviours` runs the list and writes docs/reference/behaviours.md from it.

The outcomes are those of `pytest --outcomes build/outcomes.json`, in whatever environments it ran.
"""

import inspect
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tests.behaviours.failing import ErrorPages
from tests.behaviours.suite import HttpBehaviours
from tests.behaviours.websockets import Websockets
from tests.conformance.suites import Listed
from tests.lines import ADAPTERS, PARTS, lines_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/behaviours.md"
OUTCOMES = ROOT / "build/outcomes.json"
GROUPS = (*HttpBehaviours.__mro__[1:], ErrorPages, Websockets)


class Column(NamedTuple):
    """A framework: the head of its column, its server, and the classes that run the list on it."""

    name: str
    head: str
    server: str
    served: str
    in_place: tuple[str, ...] = ()
    adapter: str = ""
    own_suite: str = ""


F, T = "tests/frameworks/test_", "tests/thirdparty/test_"
PAGES = f"{F}error_pages.py::Test"
COLUMNS = (
    Column("WSGI", "WS", "waitress", f"{F}wsgi.py::TestServed", (f"{F}wsgi.py::TestInMemory", f"{PAGES}WsgiWithExcInfo"), "wsgi"),
    Column("ASGI", "AS", "uvicorn", f"{F}asgi.py::TestServed", (f"{F}asgi.py::TestEager", f"{PAGES}AsgiWithFail"), "asgi"),
    Column("Flask", "Fl", "waitress", f"{F}flask.py::TestServed", (f"{F}flask.py::TestInMemory", f"{PAGES}FlaskWithAHandlerOfExceptions"), "flask", "flask"),
    Column("Starlette", "St", "uvicorn", f"{F}starlette.py::TestStarletteServed", (f"{F}starlette.py::TestStarlette", f"{PAGES}StarletteWithin"), "starlette", "starlette"),
    Column("FastAPI", "FA", "uvicorn", f"{F}starlette.py::TestFastAPIServed", (f"{F}starlette.py::TestFastAPI",), "fastapi"),
    Column("Django, WSGI", "DW", "waitress", f"{F}django.py::TestWsgiServed", (f"{F}django.py::TestWsgiWithAPageOfItsOwn",), "django", "django"),
    Column("Django, ASGI", "DA", "uvicorn", f"{F}django.py::TestAsgiServed", (f"{F}django.py::TestAsgiWithAnAsyncView",), "django", "django"),
    Column("Pyramid", "Py", "waitress", f"{F}pyramid.py::TestServed", (f"{F}pyramid.py::TestWithAnExceptionView",), "pyramid", "pyramid"),
    Column("Tornado", "To", "its own", f"{F}tornado.py::TestMixinLast", (), "tornado"),
    Column("aiohttp", "ai", "its own", f"{F}aiohttp.py::TestAiohttp", (), "aiohttp"),
    Column("hug", "hu", "waitress", f"{F}hug.py::TestServed", (f"{F}hug.py::TestWithAnExceptionHandler",), "hug"),
    Column("Litestar", "Li", "uvicorn", f"{F}litestar_plugin.py::TestServed", (f"{F}litestar_plugin.py::TestLitestar",), "litestar"),
    Column("Quart", "Qu", "hypercorn", f"{F}quart.py::TestServed", (f"{F}quart.py::TestQuart",), "quart"),
    Column("Falcon, WSGI", "FW", "waitress", f"{T}falcon.py::TestWsgiServed", (f"{T}falcon.py::TestWsgi",)),
    Column("Falcon, ASGI", "Fa", "uvicorn", f"{T}falcon.py::TestAsgiServed", (f"{T}falcon.py::TestAsgi",)),
    Column("Bottle", "Bo", "waitress", f"{T}bottle.py::TestServed", (f"{T}bottle.py::TestWithAPageThatUsesTheSession",)),
    Column("FastHTML", "FH", "uvicorn", f"{T}fasthtml.py::TestServed", (f"{T}fasthtml.py::TestFastHTML",)),
    Column("Sanic", "Sa", "uvicorn", f"{T}sanic.py::TestServed", (f"{T}sanic.py::TestSanic",)),
)  # fmt: skip

HEAD = """# Behaviour of each framework

Coatcheck behaves in the same way in every framework. To prove it, the tests run one list of HTTP behaviours on a small
application in each framework: on a server that the framework is deployed with, over sockets, and mostly also in place,
without a server. `make behaviours` runs the list and writes this page.

| cell | means |
|---|---|
| ● | tested on the server, and in place where that is possible |
| ○ | tested in place only |
| a number | does not apply, for the reason below the table |
| – | not tested: the framework has no such feature, or the list has no test for it |

The test's client also acts as the proxy that ends TLS: it sends `X-Forwarded-Proto`.

## The frameworks

"Lines" counts the module's lines of code, without blank lines, comments and docstrings, and gives its limit. "Left out"
counts the tests of the framework's own suite that do not pass or do not apply: see [the reason for
each](conformance.md).
"""

APOSTROPHES = {
    "cant": "can't",
    "visitors fields": "visitor's fields",
    "applications own": "application's own",
    "sessions cookie": "session's cookie",
    "users list": "user's list",
    "frameworks session": "framework's session",
    "is the users": "is the user's",
}


class Row(NamedTuple):
    """One behaviour."""

    test: str

    @property
    def words(self):
        words = self.test.removeprefix("test_").replace("_", " ")
        for written, meant in APOSTROPHES.items():
            words = re.sub(rf"\b{written}\b", meant, words)
        return words[0].upper() + words[1:]


def rows_of(group):
    """The behaviours of a part of the list, as they stand in it."""
    return [Row(name) for name in vars(group) if name.startswith("test_")]


def title(group):
    """The heading of a part of the list."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", group.__name__).capitalize()


def groups():
    """The parts of the list that have behaviours."""
    return [group for group in GROUPS if group is not object and rows_of(group)]


def cell(outcomes, column, row):
    """What a framework does with a behaviour: a mark, or the reason why it does not apply."""
    served, in_place = (
        set().union(*(outcomes[f"{owner}::{row.test}"] for owner in owners))
        for owners in ((column.served,), column.in_place)
    )
    reasons = (served | in_place) - {"passed"}
    if "failed" in reasons:
        sys.exit(f"{column.name} fails {row.test}")
    if reasons:
        return reasons.pop().removeprefix("reason: ")
    return "●" if served else "○" if in_place else "–"


def table_of(outcomes, group):
    """A part of the list as lines of Markdown."""
    reasons, lines = [], []
    for row in rows_of(group):
        marks = []
        for column in COLUMNS:
            mark = cell(outcomes, column, row)
            if len(mark) > 1:
                if mark not in reasons:
                    reasons.append(mark)
                mark = str(reasons.index(mark) + 1)
            marks.append(mark)
        lines.append(f"| {row.words} | {' | '.join(marks)} |")
    yield from (f"\n## {title(group)}\n", f"{inspect.getdoc(group).splitlines()[0]}\n")
    yield from (
        f"| behaviour | {' | '.join(column.head for column in COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    )
    yield from lines
    if reasons:
        yield ""
        yield from (f"{number}. {reason}." for number, reason in enumerate(reasons, 1))


def frameworks():
    """The table of the frameworks."""
    yield from ("| | framework | server | lines | left out |", "|---|---|---|---|---|")
    for column in COLUMNS:
        lines = (
            f"{lines_of(*ADAPTERS[column.adapter][1])} of {ADAPTERS[column.adapter][0]}"
            if column.adapter
            else "a recipe"
        )
        left_out = f"[{len(Listed(column.own_suite).all)}](conformance.md)" if column.own_suite else "–"
        yield f"| {column.head} | {column.name} | {column.server} | {lines} | {left_out} |"
    yield "\nBeside those modules, in lines of code:"
    yield ";\n".join(f"{words} {lines_of(file)}" for file, words in PARTS.items()) + "."


def page_of(found):
    """The page, of the outcome of each test by its node id."""
    outcomes = defaultdict(set)
    for node, outcome in found.items():
        outcomes[node.partition("[")[0]].add(outcome)
    if lacking := set(classes("")) - {node.rpartition("::")[0] for node in outcomes}:
        sys.exit(f"No outcomes of {', '.join(sorted(lacking))}: run `make behaviours`")
    lines = [HEAD, *frameworks()]
    for group in groups():
        lines += table_of(outcomes, group)
    return "\n".join(lines) + "\n"


def classes(folder):
    """The classes of tests below a folder that the page tells of."""
    every = [owner for column in COLUMNS for owner in (column.served, *column.in_place)]
    return [owner for owner in every if owner.startswith(folder)]


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(print(*classes(sys.argv[1])))
    PAGE.write_text(page_of(json.loads(OUTCOMES.read_text())))
