from __future__ import annotations

import copy
import inspect
import re

import pytest

from coatcheck import errors
from coatcheck.errors import (
    CoatcheckError,
    ConfigurationError,
    DecodeError,
    NotStorable,
    SessionGone,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
    TooLarge,
)

DEFINED = {
    name: thing
    for name, thing in vars(errors).items()
    if inspect.isclass(thing) and thing.__module__ == errors.__name__
}


def drawn() -> dict[str, tuple[str, str | None]]:
    """The tree in the module's docstring: each error's parent, and its builtin base."""
    tree, branch = {}, {}
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ((?:│   |    )*)(?:├── |└── )?([A-Z]\w+)(?: \((\w+)\))?", line)
        if found is None:
            continue
        indent, name, builtin = found.groups()
        depth = 0 if name == "CoatcheckError" else 1 + len(indent) // 4
        branch[depth] = name
        tree[name] = (branch[depth - 1] if depth else "Exception", builtin)
    return tree


def test_the_tree_in_the_docstring_is_the_tree():
    actual = {}
    for name, thing in DEFINED.items():
        if issubclass(thing, Exception) and not issubclass(thing, Warning):
            parent, *builtin = (base.__name__ for base in thing.__bases__)
            actual[name] = (parent, builtin[0] if builtin else None)
    assert drawn() == actual


def test_everything_defined_is_exported_in_order():
    assert errors.__all__ == sorted(DEFINED)


@pytest.mark.parametrize("name", sorted(set(DEFINED) - {"ForeignSessionWarning", "InsecureTransportWarning"}))
def test_every_error_can_be_caught_as_ours(name):
    assert issubclass(DEFINED[name], CoatcheckError)
    assert DEFINED[name].__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (NotStorable, TypeError),
        (DecodeError, ValueError),
        (TooLarge, ValueError),
    ],
)
def test_errors_about_values_can_be_caught_as_what_python_calls_them(error, builtin):
    assert issubclass(error, builtin)


@pytest.mark.promise("20")
@pytest.mark.parametrize("error", [StoreUnavailable, StoreTimeout, StoreFull, StoreReadOnly])
def test_whatever_a_store_fails_at_is_a_store_error_with_a_time_to_come_back(error):
    assert issubclass(error, StoreError)
    assert error.retry_after == 1


@pytest.mark.promise("L")
def test_a_timeout_says_whether_it_may_have_been_done():
    assert issubclass(StoreTimeout, StoreUnavailable)
    assert StoreTimeout("slow", ambiguous=True).ambiguous is True
    assert StoreTimeout("slow", ambiguous=False).ambiguous is False


def test_errors_carry_their_evidence():
    assert NotStorable("no", field="cart").field == "cart"
    assert NotStorable("no").field is None
    assert DecodeError("no", field="cart").field == "cart"
    assert DecodeError("no").field is None
    too_large = TooLarge("no", size=5, limit=4)
    assert (str(too_large), too_large.size, too_large.limit) == ("no", 5, 4)
    gone = SessionGone("gone", handle="0" * 32)
    assert (str(gone), gone.handle) == ("gone", "0" * 32)


def test_the_warning_about_plain_http_can_be_filtered_by_itself():
    assert issubclass(errors.InsecureTransportWarning, UserWarning)
    assert issubclass(errors.ForeignSessionWarning, UserWarning)


@pytest.mark.parametrize(
    "error",
    [
        NotStorable("no", field="cart"),
        DecodeError("no", field="cart"),
        TooLarge("no", size=5, limit=4),
        SessionGone("gone", handle="0" * 32),
        StoreTimeout("slow", ambiguous=True),
        StoreUnavailable("down", ambiguous=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_copied_with_its_evidence_as_it_is_on_its_way_out_of_a_worker_process(error):
    again = copy.copy(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.promise("B")
def test_each_caller_of_a_failed_batch_gets_an_error_of_its_own():
    error = StoreTimeout("slow", ambiguous=True)
    error.__cause__ = OSError("the driver's")
    copies = [errors.copy_of(error) for _ in range(2)]
    assert len({id(error), *map(id, copies)}) == 3
    for each in copies:
        assert (type(each), str(each), each.ambiguous, each.__cause__) == (
            StoreTimeout,
            "slow",
            True,
            error.__cause__,
        )
