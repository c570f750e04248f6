import sys
from types import ModuleType

import pytest

from tests.docs.pages import SECRET


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """An empty current directory, in which modules can be imported, and a secret in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))  # Litestar looks up the module of a handler
    imported = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - imported:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
