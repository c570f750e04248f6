"""The pages of the documentation about frameworks that this environment has: every block of them runs.

Each in a process of its own, since Sanic rewrites its own classes for good, and Gradio leaves event loops open.
"""

import asyncio
import os
import subprocess
import sys

import pytest

from coatcheck import AsyncSessions, Sessions
from tests.docs.pages import DOCS, ROOT, SECRET, parse, run_pytest


@pytest.mark.parametrize("page", ["other-frameworks"])
def test_every_block_of_the_page_runs(page, tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "SESSION_SECRET": SECRET}
    command = [sys.executable, "-m", "tests.thirdparty.test_docs", page]
    options = {"cwd": tmp_path, "capture_output": True, "text": True}
    environment["GRADIO_ANALYTICS_ENABLED"] = "False"
    ran = subprocess.run(command, env=environment, check=False, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def run(page):
    document = parse(DOCS / "how-to" / f"{page}.md")
    for example in document.examples():
        example.evaluate()
    run_pytest()
    managers = [each for each in document.namespace.values() if isinstance(each, Sessions | AsyncSessions)]
    for manager in managers:
        if (stopping := manager.shutdown()) is not None:
            asyncio.run(stopping)


if __name__ == "__main__":
    run(sys.argv[1])
