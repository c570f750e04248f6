"""The libraries that people come from, at their own releases, each in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.visitor import SECRET

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"
SECRET_KEY = "the-old-secret-key-of-the-site"


def installed(release):
    """A folder with a release of Flask-Session, for PYTHONPATH. What else it needs is the environment's."""
    pins = Path(__file__).parent / "releases" / f"flask-session-{release}.txt"
    folder = ROOT / "build" / "libraries" / f"{pins.stem}-{sha256(pins.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        subprocess.run(
            [
                *(Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--target", fresh),
                *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", pins),
            ],
            check=True,
        )
        try:
            fresh.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return folder


def environment(release=None, **variables):
    """The variables of a process; with a `release` of Flask-Session, one that sees it before that of the environment."""
    paths = [] if release is None else [str(installed(release))]
    paths += [str(ROOT / "src"), str(ROOT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "SECRET_KEY": SECRET_KEY,
        "SESSION_SECRET": SECRET,
        **{name: value for name, value in variables.items() if value is not None},
    }


def run(app, *arguments, release=None, **variables):
    """What an application prints."""
    done = subprocess.run(
        [sys.executable, APPS / app, *arguments],
        env=environment(release, **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def visits(app, cookies, *paths, release=None, **variables):
    """What a visitor of an application sees on the pages of these paths, and the cookies that he then has."""
    told = json.loads(run(app, "visit", cookies, *paths, release=release, **variables).splitlines()[-1])
    return told["bodies"], told["cookies"]
