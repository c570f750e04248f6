"""The source packages of frameworks and programs, in the versions and with the hashes of a lock.

``python -m tests.conformance.sources LOCK FOLDER``, run by the environment that has pip.
"""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

LOCKS = Path(__file__).parents[2] / "requirements"
NAMES = {"frameworks": ("django", "flask", "pyramid", "starlette"), "world": ("django-allauth",)}


def pinned(name, lock):
    """What a lock says of a package for this Python: a requirement with its hashes."""
    blocks = re.findall(rf"(?m)^{name}==\S+.*(?:\n +(?!#).*)*", (LOCKS / f"{lock}.lock").read_text())
    for block in blocks:
        bound = re.search(r"python_full_version (<|>=) '([\d.]+)'", block.partition("\\")[0])
        below = bound is not None and sys.version_info < tuple(map(int, bound[2].split(".")))
        if bound is None or below is (bound[1] == "<"):
            return block
    raise LookupError(f"{lock}.lock pins no {name}: add it to the group {lock}")


def fetch(lock, folder):
    """Download and unpack what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES[lock]:
        requirement = pinned(name, lock)
        unpacked = folder / requirement.split()[0].replace("-", "_").replace("==", "-")
        if unpacked.exists():
            continue
        wanted = folder / f"{name}.txt"
        wanted.write_text(requirement)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        source = ["--no-binary", ":all:", "--require-hashes", "--requirement", wanted, "--dest", folder]
        subprocess.run([*pip, *source], check=True)
        (package,) = folder.glob(f"{name.replace('-', '_')}-*.tar.gz")
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        package.unlink()
        wanted.unlink()


if __name__ == "__main__":
    fetch(sys.argv[1], Path(sys.argv[2]))
