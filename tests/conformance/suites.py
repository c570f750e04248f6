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
MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"


class Ran:
    """What came out: the number of tests that ran, and the names of those that failed."""

    def __init__(self, number, failed):
        self.number, self.failed = number, failed


def source_of(name):
    found = sorted(SOURCES.glob(f"{name}-*"))
    if not found:
        raise FileNotFoundError(f"{SOURCES} has no {name}: `make test-frameworks` fetches it")
    return found[0]


def exceptions(name):
    """The tests that don't apply to ours, each with its reason."""
    return tomllib.loads((HERE / f"{name}.toml").read_text())


def by_pytest(name, *arguments):
    """A suite that pytest runs; the plugin ``{name}_ours`` puts ours in, ``{name}_own`` what the suite needs itself."""

    def run(folder, *, ours):
        report = folder / "report.xml"
        plugin = f"{name}_{'ours' if ours else 'own'}"
        plugins = ["-p", plugin] if (HERE / f"{plugin}.py").exists() else []
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--junitxml", report]
        said = process(folder, "-m", "pytest", *quiet, *plugins, *arguments)
        assert report.exists(), said
        cases = list(ET.parse(report).iter("testcase"))
        ran = [case for case in cases if case.find("skipped") is None]
        failed = [
            f"{case.get('classname')}.{case.get('name')}"
            for case in ran
            if case.find("failure") is not None or case.find("error") is not None
        ]
        return Ran(len(ran), sorted(failed))

    return run


def django(folder, *, ours):
    """Django's suite has a runner of its own. Its settings name the middleware in four places."""
    tests = folder / "tests"
    labels = ["auth_tests", "messages_tests", "csrf_tests", "test_client", "test_client_regress"]
    if ours:
        for path in ("runtests.py", "auth_tests/settings.py", "auth_tests/test_middleware.py"):
            text = (tests / path).read_text()
            (tests / path).write_text(
                text.replace(MIDDLEWARE, "coatcheck.frameworks.django.SessionMiddleware")
            )
        for path in HERE.glob("django_ours/*.py"):
            (tests / path.name).write_text(path.read_text())
        labels += ["coatcheck_engine", "sessions_tests.tests.SessionMiddlewareTests"]
    settings = "settings_ours" if ours else "test_sqlite"
    if not ours:
        labels += ["sessions_tests.tests.CacheSessionTests", "sessions_tests.tests.SessionMiddlewareTests"]
    said = process(tests, "runtests.py", "--parallel=1", f"--settings={settings}", *labels)
    number = int(re.search(r"^Ran (\d+) tests", said, re.MULTILINE)[1])
    return Ran(number, sorted(set(re.findall(r"^(?:FAIL|ERROR): \S+ \((\S+)\)", said, re.MULTILINE))))


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
        timeout=170,
        check=False,
    )
    return ran.stdout + ran.stderr


SUITES = {
    "flask": by_pytest("flask", "tests"),
    "starlette": by_pytest("starlette", "tests/middleware/test_session.py"),
}


def run(name, folder, *, ours):
    """Run a framework's suite in a copy of its package."""
    copy = Path(folder) / name
    shutil.copytree(source_of(name), copy)
    return SUITES[name](copy, ours=ours)
