"""Where the demo's secret comes from."""

from __future__ import annotations

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coatcheck.demo.secret import SecretFileError, secret_for, sqlite_file


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_SECRET", raising=False)


def test_it_is_made_once_and_kept_beside_the_database_for_its_owner_only(tmp_path):
    secret = secret_for("sqlite:///shop.db")
    assert re.fullmatch("[A-Za-z0-9_-]{43}", secret)
    assert secret_for("sqlite:///shop.db") == secret
    file = tmp_path / "shop.db-secret"
    assert file.read_text() == f"{secret}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_another_database_has_another_one(tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    url = f"sqlite:///{elsewhere}/shop.db".replace(" ", "%20")
    assert secret_for(url) != secret_for("sqlite:///shop.db")
    assert (elsewhere / "shop.db-secret").exists()


def test_other_stores_have_it_in_the_current_folder(tmp_path):
    secret = secret_for("redis://localhost/0")
    assert (tmp_path / ".coatcheck-demo-secret").read_text().strip() == secret


def test_in_memory_nothing_is_kept(tmp_path):
    assert secret_for("memory://") != secret_for("memory://")
    assert list(tmp_path.iterdir()) == []


def test_the_environment_overrules_and_an_empty_variable_does_not(monkeypatch, tmp_path):
    monkeypatch.setenv("COATCHECK_SECRET", "from the environment")
    assert secret_for("sqlite:///shop.db") == "from the environment"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("COATCHECK_SECRET", "")
    assert len(secret_for("sqlite:///shop.db")) == 43


def test_servers_that_start_at_once_get_the_same():
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(secret_for, ["sqlite:///shop.db"] * 64))) == 1


def test_one_that_is_made_meanwhile_by_another_server_is_taken(tmp_path, monkeypatch):
    file = tmp_path / "shop.db-secret"
    file.write_text("made meanwhile\n")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert secret_for("sqlite:///shop.db") == "made meanwhile"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_can_not_be_read_is_named_with_the_way_out(tmp_path):
    (tmp_path / "shop.db-secret").mkdir()
    with pytest.raises(
        SecretFileError, match=r"shop\.db-secret, and can't: Is a directory.*COATCHECK_SECRET"
    ):
        secret_for("sqlite:///shop.db")


def test_a_file_that_holds_no_text_is_named(tmp_path):
    (tmp_path / "shop.db-secret").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SecretFileError, match="holds no text"):
        secret_for("sqlite:///shop.db")


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(SecretFileError, match="No such file"):
        secret_for("sqlite:///nowhere/shop.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////tmp/a%20b.db", "/tmp/a b.db"),
        ("memory://", None),
        ("redis://localhost/0", None),
    ],
)
def test_the_file_of_a_url(url, path):
    assert sqlite_file(url) == (None if path is None else Path(path))
