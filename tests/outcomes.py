"""A pytest plugin: `--outcomes FILE` notes what became of each test, beside what the file has of earlier runs.

A test that its class forbids (tests/behaviours/forbidden.py) is noted with the reason.
"""

import json
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--outcomes", metavar="FILE", type=Path, help="note what became of each test")


def pytest_configure(config):
    file = config.getoption("outcomes")
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(file))


class Outcomes:
    def __init__(self, file):
        self.file, self.found = file, {}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.found[report.nodeid] = getattr(report, "wasxfail", "") or report.outcome
        elif not report.passed:
            self.found[report.nodeid] = report.outcome

    @pytest.hookimpl
    def pytest_sessionfinish(self):
        before = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(before | self.found))
