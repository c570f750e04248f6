"""Imports point one way. The table is that of the design, with what has grown since in its place.

A module may import what stands in a row above its own. Stores, frameworks and programs are leaves: each is named with
all that it may import of ours, so that any of them can be deleted without touching another.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import coatcheck

SOURCE = Path(coatcheck.__file__).parent

LAYERS = [
    ["errors", "events", "silent"],
    ["model.fields", "model.lifetimes", "model.ports", "model.refusals", "model.sealing"],
    ["model.codec"],
    ["model.merges"],
    ["model.record"],
    ["model.format"],
    ["http.token", "http.cookie", "http.csrf", "http.headers", "http.paths"],
    ["config"],
    ["core.calls", "core.intentions"],
    ["core.state", "core.swap"],
    ["core.identity"],
    ["core.epochs", "core.lifecycle", "core.marks"],
    ["core.old_sessions", "core.users"],
    ["core.adoption", "core.loading"],
    ["core.during"],
    ["core.requests", "core.start"],
    ["core.admin", "core.moving"],
    ["outages"],
    ["runner", "runner_async"],
    ["session"],
    ["addresses"],
    ["urls"],
    ["manager"],
    ["administration"],
    ["sessions"],
    ["responder"],
]
ROW = {module: row for row, modules in enumerate(LAYERS) for module in modules}
EVERYTHING = [*ROW, "frameworks.*", "migrate", "stores.*", "testing.*", "demo.*", "demo", "cli"]

# The rooms of the core: what is below in the table but of no concern to a room.
MODEL = [module for module in ROW if module.startswith("model.")]
HTTP = [module for module in ROW if module.startswith("http.")]
CORE = [module for module in ROW if module.startswith("core.")]
NOT_FOR = {
    **{module: ["events"] for module in MODEL},
    **{module: [*MODEL, "events"] for module in HTTP},
    "config": ["model.record", "model.format"],
    "runner": HTTP,
    "runner_async": [*HTTP, "runner"],
    "session": [
        "core.swap",
        "core.lifecycle",
        "core.users",
        "core.loading",
        "core.during",
        "core.requests",
        "core.admin",
        "runner",
        "runner_async",
    ],
    "addresses": [*MODEL, *HTTP, *CORE, "config", "events", "session", "runner", "runner_async"],
    "urls": [*CORE, "session", "runner", "runner_async"],
    "manager": ["runner", "runner_async", "urls"],
    "administration": [*[module for module in CORE if module != "core.start"], "urls"],
}
BESIDE = {"runner_async": ["stores.coalesce"], "sessions": ["stores.coalesce"]}
"""What is no row of the table and yet a part of the one that names it: the lanes in which an event loop's calls wait."""

# The leaves: what each may import beside the rows above. A store keeps bytes, and knows the port and its own URL alone.
STORES = ["errors", "silent", "model.ports", "addresses"]
PICKLES = ["compat._*", "compat.pickles"]
LEAVES = {
    "stores": [],
    "stores.coalesce": ["errors"],
    "stores.breaker": ["errors"],
    "stores.adapter": [*STORES],
    "stores.loops": [],
    "stores.threaded": [*STORES, "stores.adapter"],
    "stores.memory": [*STORES],
    "stores.sqlite*": [*STORES, "stores.threaded", "stores.sqlite*"],
    "stores.redis*": [*STORES, "stores.breaker", "stores.loops", "stores.redis*"],
    "stores.sql*": [
        *STORES,
        *("stores.adapter", "stores.breaker", "stores.loops", "stores.sql", "stores.sql.*"),
    ],
    "stores.memcached*": [*STORES, "stores.breaker", "stores.threaded", "stores.memcached*"],
    "frameworks.wsgi": [*ROW, "frameworks.environ", "frameworks.streams"],
    "frameworks.asgi*": [*ROW, "frameworks.asgi*"],
    "frameworks.django*": [
        *ROW,
        "frameworks.django*",
        "frameworks.bound",
        "frameworks.streams",
        "migrate",
    ],
    "frameworks.flask*": [*ROW, "frameworks.flask*", "frameworks.bound", "frameworks.streams"],
    "frameworks.quart*": [
        *ROW,
        "frameworks.asgi",
        "frameworks.flask_*",
        "frameworks.bound",
        "frameworks.quart",
    ],
    "frameworks.starlette": [*ROW, "frameworks.asgi", "frameworks.bound"],
    "frameworks.fastapi": [*ROW, "frameworks.asgi", "frameworks.starlette"],
    "frameworks.litestar*": [*ROW, "frameworks.asgi*", "frameworks.bound"],
    "frameworks.aiohttp*": [*ROW, "frameworks.aiohttp*", "frameworks.asgi_lifespan", "frameworks.bound"],
    "frameworks.tornado*": [*ROW, "frameworks.tornado*", "frameworks.bound"],
    "frameworks.pyramid*": [
        *ROW,
        "frameworks.pyramid*",
        "frameworks.bound",
        "frameworks.environ",
        "frameworks.streams",
    ],
    "frameworks.hug": [*ROW, "frameworks.bound", "frameworks.environ", "frameworks.streams"],
    "frameworks.*": [*ROW],
    "compat": [],
    # Its cookies are read and written, and its safe records encoded, by the code that does so for our own.
    "compat.gimlet*": [
        *("errors", "silent"),
        *("model.sealing", "http.cookie", "http.headers", "model.codec"),
        *("compat.gimlet*", *PICKLES),
    ],
    "compat.vial*": ["errors", "compat.vial*", *PICKLES],
    "compat.pycket*": ["errors", "silent", "compat.pycket*", *PICKLES],
    "compat.hug_store_redis*": ["errors", "compat.hug_store_redis*", *PICKLES],
    "compat.*": ["errors", *MODEL, *HTTP, *PICKLES],
    "migrate*": [*ROW, "migrate.*", *PICKLES],
    "testing": ["testing.*"],
    "testing.*": [*ROW, "testing.*", "stores.memory", "frameworks.wsgi", "frameworks.asgi"],
    "cli": EVERYTHING,
    "demo": EVERYTHING,
    "demo.*": [*EVERYTHING, "demo.*"],
    "__main__": ["cli"],
}
# A URL names a store; the store's module, and with it its driver, is imported only then.
ONLY_INSIDE_FUNCTIONS = {"urls": "stores.*", "session": "stores.*"}

OUTSIDE = {"msgspec"}
"""What any module may import that is no part of Python. The rest is imported by the leaf that needs it."""
DRIVERS = {
    "model.sealing": {"cryptography"},
    "stores.redis*": {"redis"},
    "stores.memcached*": {"pymemcache"},
    "stores.sql*": {"greenlet", "sqlalchemy", "psycopg"},
    "stores.sqlite*": set(),
    "frameworks.django*": {"asgiref", "django"},
    "frameworks.flask*": {"flask", "flask_login", "markupsafe", "werkzeug"},
    "frameworks.quart*": {"quart", "flask", "werkzeug", "quart_auth"},
    "frameworks.litestar*": {"litestar"},
    "frameworks.starlette": {"starlette"},
    "frameworks.fastapi": {"fastapi", "starlette"},
    "frameworks.pyramid*": {"pyramid", "zope", "webob"},
    "frameworks.tornado*": {"tornado"},
    "frameworks.aiohttp*": {"aiohttp"},
    "frameworks.hug*": {"hug", "falcon"},
    # cryptography: for the AES-ECB of old cookies, which sealing rightly can't do.
    "compat.gimlet*": {"redis", "pymemcache", "sqlalchemy", "pyramid", "zope", "webob", "cryptography"},
    "compat.vial*": {"redis"},
    "compat.pycket*": {"redis", "pymemcache", "tornado"},
    "compat.hug_store_redis*": {"redis", "hug", "falcon"},  # hug stands on falcon, whose request it hands on
    "compat._*": {"redis"},
    "migrate*": {"redis", "sqlalchemy", "flask", "itsdangerous", "django"},
    "cli": {"click"},
    "demo*": {
        "a2wsgi",
        "fastapi",
        "flask",
        "jinja2",
        "markupsafe",
        "starlette",
        "uvicorn",
        "waitress",
        "werkzeug",
    },
    "testing*": {"pytest", "hypothesis"},
}
DATABASES = {"sqlite3", "dbm"}
IMPURE = {
    *("time", "random", "secrets", "os", "io", "pathlib", "tempfile", "subprocess", "signal"),
    *("threading", "_thread", "concurrent", "multiprocessing", "contextvars", "queue", "sched"),
    *("asyncio", "selectors", "select", "socket", "ssl", "http", "urllib"),
    *("logging", "warnings", "sqlite3"),
}
"""What would let the core read a clock, make a random number, wait, or talk to the world."""


def name_of(path: Path, source: Path) -> str:
    parts = list(path.relative_to(source).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text: str, path: Path, source: Path):
    """Each import in the text of a module: its full name, and whether it stands inside a function."""
    inside = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside |= {id(child) for child in ast.walk(node)}
    package = ["coatcheck", *path.relative_to(source).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
            )
            base = base if node.level else node.module
            for alias in node.names:
                # `from coatcheck.model import codec` imports a module; `from coatcheck.errors import TooLarge` doesn't.
                full = f"{base}.{alias.name}"
                where = source / Path(*full.split(".")[1:])
                is_module = full.startswith("coatcheck.") and (
                    where.with_suffix(".py").exists() or where.is_dir()
                )
                yield full if is_module else base, id(node) in inside


def matching(module: str, table: dict):
    exact = [pattern for pattern in table if fnmatch(module, pattern)]
    return table[max(exact, key=len)] if exact else None


def allowed_to(module: str) -> list[str] | None:
    """What of ours `module` may import; None: it has no place in the table."""
    if module in ROW:
        below = [other for other, row in ROW.items() if row < ROW[module]]
        return [other for other in below if other not in NOT_FOR.get(module, ())] + BESIDE.get(module, [])
    return matching(module, LEAVES)


def complaint(module: str, imported: str, *, inside: bool) -> str | None:
    """What is wrong with this import, if anything."""
    top = imported.partition(".")[0]
    if top == "coatcheck":
        ours = imported.removeprefix("coatcheck").removeprefix(".")
        if not ours and not (module.startswith("demo") or module == "cli"):
            return "imports the package's own __init__"
        allowed = allowed_to(module)
        if allowed is None:
            return "has no place in the table of layers"
        if inside and fnmatch(ours, ONLY_INSIDE_FUNCTIONS.get(module, "-")):
            return None
        return (
            None
            if not ours or any(fnmatch(ours, pattern) for pattern in allowed)
            else f"may not import {ours}"
        )
    if module.startswith(("core.", "model.", "http.")) and top in IMPURE:
        return f"is of the core, which is pure, and may not import {top}"
    if top in DATABASES and not module.startswith(("stores.sqlite", "testing", "demo")):
        return f"may not import {top}"
    if module.startswith("demo"):  # a program, with an extra of its own
        return None
    if top in sys.stdlib_module_names or top in OUTSIDE or top in (matching(module, DRIVERS) or ()):
        return None
    return f"may not import {top}"


def violations_in(text: str, path: Path, source: Path) -> list[str]:
    module = name_of(path, source)
    if not module:  # the package's __init__, which hands on the public names
        return []
    found = []
    if module not in ROW and matching(module, LEAVES) is None and path.name != "__init__.py":
        found.append(f"{module} has no place in the table of layers")
    for imported, inside in imports_of(text, path, source):
        wrong = complaint(module, imported, inside=inside)
        if wrong is not None:
            found.append(f"{module} {wrong}")
    return found


def violations(source: Path) -> list[str]:
    return [
        wrong
        for path in sorted(source.rglob("*.py"))
        for wrong in violations_in(path.read_text(), path, source)
    ]


def test_imports_point_one_way():
    assert violations(SOURCE) == []


def test_every_row_of_the_table_that_is_built_is_there():
    missing = {
        module for module in ROW if not (SOURCE / Path(*module.split("."))).with_suffix(".py").exists()
    }
    assert missing == set()


FORBIDDEN = {
    "stores/memory.py": {
        "from coatcheck.http.token import Token": "http.token",
        "from coatcheck.model import codec": "model.codec",
        "from ..model import codec": "model.codec",
        "from ..session import Session": "session",
        "import coatcheck.session": "session",
        "from coatcheck.stores.sqlite import SQLiteStore": "stores.sqlite",
        "import redis": "redis",
    },
    "stores/sqlite/store.py": {
        "from coatcheck.stores.memory import MemoryStore": "stores.memory",
        "from coatcheck.model.record import Record": "model.record",
    },
    "stores/coalesce.py": {"from coatcheck.core.swap import Swap": "core.swap"},
    "runner.py": {
        "from coatcheck.stores.coalesce import Lane": "stores.coalesce",
        "from coatcheck.session import Session": "session",
    },
    "core/swap.py": {"from coatcheck.core.requests import Requests": "core.requests"},
    "session.py": {
        "from coatcheck.core.requests import Requests": "core.requests",
        "import sqlite3": "sqlite3",
    },
    "http/token.py": {
        "from coatcheck.model import codec": "model.codec",
        "from coatcheck.config import Settings": "config",
    },
    "core/lifecycle.py": {"from coatcheck.core import users": "core.users"},
    "model/record.py": {
        "from coatcheck.model import format": "model.format",
        "if True:\n    from coatcheck.session import Session": "session",
    },
    "errors.py": {"def f():\n    from coatcheck.sessions import Sessions": "sessions"},
    "urls.py": {"from coatcheck.stores.memory import MemoryStore": "stores.memory"},
    "sessions.py": {
        "from coatcheck.frameworks.wsgi import cookies_of": "frameworks.wsgi",
        "from cryptography import fernet": "cryptography",
    },
    "frameworks/wsgi.py": {
        "from coatcheck.frameworks.flask import x": "frameworks.flask",
        "import flask": "flask",
    },
    "frameworks/asgi.py": {"from coatcheck.stores.memory import MemoryStore": "stores.memory"},
}
FORBIDDEN_TO_THE_CORE = {
    "core/swap.py": {"import time": "time"},
    "core/lifecycle.py": {"import time": "time"},
    "core/requests.py": {"from asyncio import sleep": "asyncio"},
    "http/token.py": {"import secrets": "secrets"},
    "model/codec.py": {"def f():\n    import logging": "logging"},
}


def wrong_imports():
    """Each forbidden line with the module that it is added to, and the complaint that it must cause."""
    for told, table in (
        ("may not import", FORBIDDEN),
        ("is of the core, which is pure, and may not import", FORBIDDEN_TO_THE_CORE),
    ):
        for where, lines in table.items():
            module = where.removesuffix(".py").replace("/", ".")
            for line, imported in lines.items():
                yield where, line, f"{module} {told} {imported}"
    for line in ("from coatcheck import Session", "from . import Session", "import coatcheck"):
        yield "sessions.py", line, "sessions imports the package's own __init__"
    yield "newcomer.py", "import re", "newcomer has no place in the table of layers"


@pytest.mark.parametrize(("where", "line", "told"), list(wrong_imports()))
def test_the_check_goes_red_where_an_import_points_the_other_way(where, line, told):
    path = SOURCE / where
    text = path.read_text() if path.exists() else ""
    before = violations_in(text, path, SOURCE) if text else []
    assert set(violations_in(f"{text}\n{line}\n", path, SOURCE)) - set(before) == {told}


def test_the_check_of_a_whole_tree_goes_red_when_a_store_imports_the_core(tmp_path):
    copy = tmp_path / "coatcheck"
    shutil.copytree(
        SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "static", "templates", "demo", "testing")
    )
    assert violations(copy) == []
    with (copy / "stores" / "memory.py").open("a") as file:
        file.write("\n\ndef later():\n    from coatcheck.core.swap import Swap\n")
    assert violations(copy) == ["stores.memory may not import core.swap"]


def test_urls_may_import_stores_only_inside_functions():
    assert complaint("urls", "coatcheck.stores.memory", inside=True) is None
    assert complaint("urls", "coatcheck.stores.memory", inside=False) is not None


def loaded_by(statement: str) -> set[str]:
    """The modules that `statement` brings in, in a process of its own."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*sorted(set(sys.modules) - before), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE.parent)},
        timeout=60,
    )
    return set(done.stdout.split())


def from_outside(loaded: set[str]) -> set[str]:
    """What is no part of Python, of msgspec, or of what these bring along."""
    brought_along = loaded_by("import msgspec, zoneinfo, sysconfig, logging")
    return {name.partition(".")[0] for name in loaded - brought_along} - sys.stdlib_module_names


def test_importing_the_package_pulls_in_nothing_but_msgspec():
    loaded = loaded_by("import coatcheck")
    assert "coatcheck.sessions" in loaded
    assert "msgspec" in loaded
    assert from_outside(loaded) == {"coatcheck"}
    leaves = (
        "coatcheck.stores.",
        "coatcheck.frameworks.",
        "coatcheck.testing",
        "coatcheck.cli",
        "coatcheck.demo",
    )
    assert not {name for name in loaded if name.startswith(leaves)}
    assert not loaded & {"sqlite3", "asyncio", "ssl", "multiprocessing"}


@pytest.mark.parametrize("name", ["wsgi", "asgi"])
def test_the_modules_for_plain_applications_pull_in_no_framework(name):
    assert from_outside(loaded_by(f"import coatcheck.frameworks.{name}")) == {"coatcheck"}
