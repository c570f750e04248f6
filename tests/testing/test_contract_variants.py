"""The contract has the tests that fit the index of the store."""

import subprocess
import sys
import textwrap

import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.contract import Harness, StoreContract
from coatcheck.testing.contract.expiry import Counting
from coatcheck.testing.contract.users import Beside, Listing, Within
from tests.stores.harnesses import MemoryHarness
from tests.testing.stores import NoIndexStore, SeparateIndexStore


class TestAStoreWithASeparateIndex(StoreContract, index="beside"):
    @pytest.fixture
    def harness(self):
        return MemoryHarness(SeparateIndexStore())


class TestAStoreWithoutAnIndex(StoreContract, index="none"):
    @pytest.fixture
    def harness(self):
        return MemoryHarness(NoIndexStore())


def names_in(*classes):
    names = {name for each in classes for name in dir(each) if name.startswith("test_")}
    return {name for name in names if any(getattr(each, name, None) for each in classes)}


@pytest.mark.parametrize(
    ("index", "missing"),
    [("within", [Beside]), ("beside", [Within]), ("none", [Beside, Within, Listing, Counting])],
)
def test_a_class_has_the_tests_of_its_index_and_all_others(index, missing):
    class Chosen(StoreContract, index=index):
        pass

    class Derived(Chosen):
        pass

    assert names_in(StoreContract) - names_in(Chosen) == names_in(*missing)
    assert names_in(Derived) == names_in(Chosen)


def test_a_derived_class_may_name_another_index():
    class WithoutAnIndex(StoreContract, index="none"):
        pass

    class WithOne(WithoutAnIndex, index="beside"):
        pass

    assert names_in(StoreContract) - names_in(WithOne) == names_in(Within)


@pytest.mark.parametrize("store", [MemoryStore, SeparateIndexStore, NoIndexStore])
def test_a_class_that_names_another_index_than_the_stores_fails(store):
    wrong = "none" if store.index != "none" else "beside"

    class Wrong(StoreContract, index=wrong):
        pass

    with pytest.raises(AssertionError, match=f"say StoreContract, index='{store.index}'"):
        Wrong().test_loading_writes_nothing(MemoryHarness(store()))


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
        "as_it_is",
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
