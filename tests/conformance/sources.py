"""The source packages of frameworks, in the versions and with the hashes of requirements/frameworks.lock.

``python -m tests.conformance.sources FOLDER``, run by the environment that has pip.
"""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements" / "frameworks.lock"
NAMES = ("django", "flask", "pyramid", "starlette")


def pinned(name):
    """What the lock says of a package for this Python: a requirement with its hashes."""
    blocks = re.findall(rf"(?m)^{name}==\S+.*(?:\n +(?!#).*)*", LOCK.read_text())
    for block in blocks:
        bound = re.search(r"python_full_version (<|>=) '([\d.]+)'", block.partition("\\")[0])
        below = bound is not None and sys.version_info < tuple(map(int, bound[2].split(".")))
        if bound is None or below is (bound[1] == "<"):
            return block
    raise LookupError(f"{LOCK.name} pins no {name}: add it to the group frameworks")


def fetch(folder):
    """Download and unpack what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        requirement = pinned(name)
        unpacked = folder / requirement.split()[0].replace("==", "-")
        if unpacked.exists():
            continue
        wanted = folder / f"{name}.txt"
        wanted.write_text(requirement)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        source = ["--no-binary", ":all:", "--require-hashes", "--requirement", wanted, "--dest", folder]
        subprocess.run([*pip, *source], check=True)
        (package,) = folder.glob(f"{name}-*.tar.gz")
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        package.unlink()
        wanted.unlink()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
