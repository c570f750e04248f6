"""The table of promises is up to date, and what it is made of is sound."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from coatcheck.testing.contract import StoreContract
from tests.behaviours import HttpBehaviours
from tests.promises import ENGINE_TWINS, PAGE, PARTS, PROMISES, ROOT, column_of, is_async, promises_of
from tests.unmeasured import unmeasured


def test_the_page_says_what_the_tests_say(tmp_path):
    page = tmp_path / "promises.md"
    command = [sys.executable, "-m", "tests.promises", str(page)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=unmeasured())
    assert made.returncode == 0, made.stderr
    assert page.read_text() == PAGE.read_text(), (
        "docs/reference/promises.md is out of date: run `make promises`"
    )
    lacking = [test for test in ENGINE_TWINS.values() if test and f"  - `{test}`" not in page.read_text()]
    assert lacking == [], "ENGINE_TWINS names tests that hold no promise"


@pytest.mark.parametrize("promises", [("12", "F-10"), ("12", "F-99")])
def test_a_promise_that_the_table_does_not_have_is_refused(promises):
    item = SimpleNamespace(
        nodeid="tests/a.py::test_b", iter_markers=lambda _: [SimpleNamespace(args=promises)]
    )
    if set(promises) <= PROMISES.keys():
        assert promises_of(item) == set(promises)
        return
    with pytest.raises(pytest.UsageError, match=r"tests/a\.py::test_b holds the promise F-99.*make promises"):
        promises_of(item)


def test_what_is_said_of_parts_is_said_of_something_in_them():
    parts = {*StoreContract.__bases__, *HttpBehaviours.__bases__}
    known = {name.removeprefix("test_") for part in parts for name in [part.__name__, *dir(part)]}
    assert PARTS.keys() <= known
    assert {promise for promises in PARTS.values() for promise in promises} <= PROMISES.keys()


@pytest.mark.parametrize(
    ("node_id", "column", "asynchronous"),
    [
        ("tests/stores/test_redis_shapes.py::TestUnderSentinel::test_a[sync]", "Redis Sentinel", False),
        ("tests/stores/test_redis_http.py::TestAClusterOverAsgi::test_a", "Redis Cluster", True),
        ("tests/stores/test_redis_wire.py::test_a[async]", "Redis", True),
        ("tests/stores/test_sql_cost.py::test_a[mysql]", "MariaDB", False),
        ("tests/stores/test_sql_contract.py::TestSQLiteThroughSQLAlchemy::test_a", "SQLite", False),
        ("tests/frameworks/test_starlette.py::TestStarlette::test_a", "memory or none", True),
    ],
)
def test_a_tests_column_is_the_first_store_that_its_node_id_names(node_id, column, asynchronous):
    assert (column_of(node_id), is_async(node_id)) == (column, asynchronous)
