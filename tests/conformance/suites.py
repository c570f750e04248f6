"""Which tests of a framework are run, and how: with its own sessions, and with ours put in their place."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

HERE = Path(__file__).parent
SOURCES = Path(sys.prefix) / "sources"
"""Where `sources` has unpacked the packages: in the environment that they are tested in."""
PATIENCE = 900
"""How many seconds a suite may take; Django's takes most of a minute on a machine that does nothing else."""


class Ran:
    """The names of the tests that ran, and of those that failed."""

    def __init__(self, names, failed):
        self.names, self.failed = set(names), set(failed)


class Listed:
    """What the ``.toml`` of a suite names: the tests that don't pass with ours, each with its reason.

    Those in its table ``own`` fail with the framework's own sessions, too.
    """

    def __init__(self, name):
        tables = tomllib.loads((HERE / f"{name}.toml").read_text())
        self.own, self.ours = tables.pop("own", {}), tables.pop("ours")
        assert not tables

    @property
    def all(self):
        return self.own | self.ours


def by_pytest(name, *arguments):
    """A suite that pytest runs, with the plugin ``{name}_{sessions}``."""

    def run(folder, sessions):
        report = folder / "report.xml"
        plugin = f"{name}_{sessions}"
        plugins = ["-p", plugin] if (HERE / f"{plugin}.py").exists() else []
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--junitxml", report]
        said = process(folder, "-m", "pytest", *quiet, *plugins, *arguments)
        assert report.exists(), said
        cases = {
            f"{case.get('classname')}.{case.get('name')}": case for case in ET.parse(report).iter("testcase")
        }
        ran = [each for each, case in cases.items() if case.find("skipped") is None]
        failed = [
            each for each in ran if any(cases[each].find(kind) is not None for kind in ("failure", "error"))
        ]
        return Ran(ran, failed)

    return run


def django(*labels):
    """Tests of Django's suite, which has a runner of its own, with the settings ``settings_{sessions}``."""

    def run(folder, sessions):
        tests = folder / "tests"
        for path in HERE.glob("django_settings/*.py"):
            shutil.copy(path, tests)
        said = process(
            tests, "runtests.py", "-v2", "--parallel=1", f"--settings=settings_{sessions}", *labels
        )
        assert re.search(r"^Ran \d+ tests", said, re.MULTILINE), said
        # The result stands behind the name, or behind the docstring on the next line.
        ran = re.findall(r"^\w+ \(([\w.]+)\)(?!.*\.\.\. skipped)(?!\n.*\.\.\. skipped)", said, re.MULTILINE)
        return Ran(ran, re.findall(r"^(?:FAIL|ERROR): \w+ \(([\w.]+)\)", said, re.MULTILINE))

    return run


def process(folder, *arguments):
    """Run a program of the suite's in its folder; what it said."""
    path = [str(HERE), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": ""}
    environment.pop("PYTEST_ADDOPTS", None)
    for name in [each for each in environment if each.startswith("PYTEST_XDIST")]:
        environment.pop(name)
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ran.stdout + ran.stderr


SUITES = {
    "django": django(
        "session_engine",
        "sessions_tests.tests.SessionMiddlewareTests",
        "auth_tests",
        "messages_tests",
        "csrf_tests",
        "test_client",
        "test_client_regress",
    ),
    "flask": by_pytest("flask", "tests"),
    "pyramid": by_pytest(
        "pyramid",
        "tests/test_session.py::TestBaseCookieSession",
        "tests/test_testing.py::TestDummySession",
        "tests/test_csrf.py::TestSessionCSRFStoragePolicy",
        "tests/test_authentication.py::TestSessionAuthenticationPolicy",
        "tests/test_authentication.py::TestSessionAuthenticationHelper",
    ),
    "starlette": by_pytest("starlette", "tests/middleware/test_session.py"),
}


def source_of(name):
    found = sorted(SOURCES.glob(f"{name}-*"))
    if not found:
        raise FileNotFoundError(f"{SOURCES} has no {name}: `make test-frameworks` fetches it")
    return found[0]


def run(name, folder, *, sessions, suite=None):
    """Run a framework's suite in a copy of its package, with sessions of this kind: ``own``, ``ours`` or ``broken``."""
    copy = Path(folder) / name
    shutil.copytree(source_of(name), copy)
    return (suite or SUITES[name])(copy, sessions)


def complaints(ran, named):
    """What is wrong with a list, by what ran: each failure must be named, and each name must be a failure."""
    return [
        *(f"{name} fails, and is not in the list" for name in sorted(ran.failed - named)),
        *(f"{name} is in the list, and passes" for name in sorted((ran.names & named) - ran.failed)),
        *(f"{name} is in the list, and does not run" for name in sorted(named - ran.names)),
    ]
