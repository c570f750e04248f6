"""Settings that are chosen by path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

from coatcheck.errors import ConfigurationError

__all__ = ["Prefixes"]

T = TypeVar("T")
_PATTERN = re.compile(r"[*?#<>{}]|%[0-9A-Fa-f]{2}")


class Prefixes(Generic[T]):
    """A choice for each path prefix. The longest matching prefix counts.

    ``/static`` matches ``/static`` and ``/static/site.css``, but not ``/staticky``; ``/static/`` matches only paths
    below it; ``/`` matches every path. Paths are decoded, and relative to the application.
    """

    __slots__ = ("_longest_first",)

    def __init__(self, name: str, choices: Mapping[str, T]) -> None:
        """Check and keep the choices.

        Args:
            name: The name of the setting, for error messages.
            choices: The choice for each prefix.

        Raises:
            ConfigurationError: A prefix can match no path.
        """
        for prefix in choices:
            if not isinstance(prefix, str) or not prefix.startswith("/"):
                raise ConfigurationError(
                    f"{name} takes prefixes of paths, which begin with '/': not {prefix!r}."
                )
            if _PATTERN.search(prefix):
                raise ConfigurationError(
                    f"{name} takes prefixes of decoded paths, not patterns: write '/shop', not {prefix!r}."
                )
        self._longest_first: list[tuple[str, str, T]] = [
            (prefix, prefix if prefix.endswith("/") else f"{prefix}/", choices[prefix])
            for prefix in sorted(choices, key=len, reverse=True)
        ]

    def __bool__(self) -> bool:
        return bool(self._longest_first)

    def of(self, path: str) -> T | None:
        """The choice for `path`, or None if no prefix matches."""
        for prefix, below, choice in self._longest_first:
            if path == prefix or path.startswith(below):
                return choice
        return None
