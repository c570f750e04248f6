"""A plugin for pytest: what Flask's tests need to run on this pytest."""

import _pytest.monkeypatch

_pytest.monkeypatch.notset = _pytest.monkeypatch.NOTSET  # the name that they import
