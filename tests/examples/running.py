"""examples/one_session as a process of its own."""

import os
import re
import sys
from pathlib import Path

from tests.behaviours.site import SECRET
from tests.servers.process import Server

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("django", "flask", "fastapi", "pyramid", "tornado", "aiohttp")


def started(folder, *arguments):
    """The running example."""
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    return Server(
        [sys.executable, "-m", "examples.one_session", *arguments],
        directory=folder,
        ready=lambda: (folder / "one_session.out").read_text().rpartition("One session at ")[1],
        env={**os.environ, "PYTHONPATH": path, "SESSION_SECRET": SECRET},
        name="one_session",
    )


def address_of(server):
    return re.search(r"One session at (http://\S+)/ ", server.output())[1]
