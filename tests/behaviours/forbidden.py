"""Behaviours that a framework or its servers make impossible: named at the framework's own test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

__all__ = ["forbids"]

Suite = TypeVar("Suite", bound=type[Any])


def forbids(**reasons: str) -> Callable[[Suite], Suite]:
    """Name the behaviours that a framework makes impossible, each with its reason.

    They run all the same, and must fail: a framework that comes to allow one is noticed.
    """

    def mark(suite: Suite) -> Suite:
        for name, reason in reasons.items():
            setattr(suite, name, pytest.mark.xfail(strict=True, reason=reason)(_own(getattr(suite, name))))
        return suite

    return mark


def _own(behaviour: Callable[..., None]) -> Callable[..., None]:
    """A copy of a behaviour, so that other frameworks' tests are not marked too."""

    @functools.wraps(behaviour)
    def own(*args: Any, **kwargs: Any) -> None:
        behaviour(*args, **kwargs)

    return own
