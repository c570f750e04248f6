"""The contract asks of a store what it says it can do, and tells what a test class lacks."""

import subprocess
import sys
import textwrap

import pytest

from coatcheck.testing.contract import Harness, StoreContract
from coatcheck.testing.contract.users import Users
from tests.stores.harnesses import MemoryHarness
from tests.testing.stores import NoTombstonesStore, SeparateIndexStore


class TestAStoreWithASeparateIndex(StoreContract):
    @pytest.fixture
    def harness(self):
        return MemoryHarness(SeparateIndexStore())


def test_what_a_store_says_it_can_not_do_is_skipped_and_nothing_else():
    skipped = {}
    for name in (name for name in dir(StoreContract) if name.startswith("test_")):
        try:
            getattr(StoreContract(), name)(MemoryHarness(NoTombstonesStore()))
        except pytest.skip.Exception as skip:
            skipped[name] = str(skip)
    of_users = {name for name in vars(Users) if name.startswith("test_")}
    assert set(skipped) == of_users | {"test_what_is_dead_is_not_counted"}
    assert set(skipped.values()) == {
        "this store finds no sessions by their user (capabilities.users)",
        "this store does not count its records (capabilities.count)",
    }


def test_what_a_class_says_its_store_lacks_is_not_tested_and_nothing_else_is_left_out():
    class Lacking(StoreContract, lacks={"users", "count"}):
        pass

    missing = {
        name for name in dir(StoreContract) if name.startswith("test_") and getattr(Lacking, name) is None
    }
    of_users = {name for name in vars(Users) if name.startswith("test_")}
    assert missing == of_users | {"test_what_is_dead_is_not_counted"}
    for name in (name for name in dir(Lacking) if name.startswith("test_") and name not in missing):
        getattr(Lacking(), name)(MemoryHarness(NoTombstonesStore()))


def test_a_class_that_says_its_store_lacks_what_it_has_fails():
    class Lacking(StoreContract, lacks={"count"}):
        pass

    with pytest.raises(AssertionError, match="lacks count, and it has it"):
        Lacking().test_a_destroyed_record_is_never_changed_again(MemoryHarness())


def test_a_class_without_a_harness_is_told_what_it_lacks(tmp_path):
    output = run_pytest(
        tmp_path,
        """
        from coatcheck.testing.contract import StoreContract


        class TestMine(StoreContract):
            pass
        """,
    )
    assert "TestMine needs a fixture `harness` that gives a Harness" in output


def test_in_another_project_a_failure_shows_its_values(tmp_path):
    output = run_pytest(
        tmp_path,
        """
        import pytest
        from coatcheck.stores.memory import MemoryStore
        from coatcheck.testing.contract import Harness, StoreContract


        class Harness(Harness):
            store = MemoryStore()

            async def open(self):
                return self.store

            async def plant(self, key, data): ...

            async def raw(self, key):
                return b"something else"


        class TestMine(StoreContract):
            @pytest.fixture
            def harness(self):
                return Harness()
        """,
        "-k",
        "documented_format",
    )
    assert "assert b'something else' == b" in output
    assert "1 failed" in output


def run_pytest(directory, text, *arguments):
    """What pytest says of a test module in a project of its own, where no plugin of ours is."""
    (directory / "test_mine.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", directory, *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout


def test_a_harness_says_what_time_it_is_by_a_clock_of_its_own():
    harness = MemoryHarness()
    assert isinstance(harness, Harness)
    before = harness.now
    harness.clock.advance(1)
    assert harness.now == before + 1_000
