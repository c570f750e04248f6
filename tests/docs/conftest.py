import subprocess
import sys
from types import ModuleType

import pytest

from tests.docs.pages import DOCS, SECRET
from tests.unmeasured import unmeasured


@pytest.fixture
def empty_folder(tmp_path, tmp_path_factory, monkeypatch):
    """An empty current directory, in which modules can be imported, and a secret in the environment and in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    file = tmp_path_factory.mktemp("secret") / "session-secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("SESSION_SECRET_FILE", str(file))
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))  # Litestar looks up the module of a handler
    imported = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - imported:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of the built documentation. What uses it is in the group "documentation", so that it is built once."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    built = subprocess.run(
        [*command, str(DOCS), str(site)], capture_output=True, text=True, check=False, env=unmeasured()
    )
    assert built.returncode == 0, built.stderr
    return site
