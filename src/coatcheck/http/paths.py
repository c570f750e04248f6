"""Which choice counts for a path, where an application made different ones for its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

from coatcheck.errors import ConfigurationError

__all__ = ["Prefixes"]

T = TypeVar("T")
_PATTERN = re.compile(r"[*?#<>{}]|%[0-9A-Fa-f]{2}")


class Prefixes(Generic[T]):
    """Prefixes of paths, each with what was chosen for it and for everything below it; the longest counts.

    ``/static`` stands for ``/static`` and ``/static/site.css``, not for ``/staticky``; ``/static/`` only for what is
    below it; ``/`` for everything. Paths are those within the application, decoded.
    """

    __slots__ = ("_longest_first",)

    def __init__(self, name: str, choices: Mapping[str, T]) -> None:
        """Keep the choices.

        Args:
            name: The setting that they come from, for the messages of errors.
            choices: What was chosen, by prefix.

        Raises:
            ConfigurationError: A prefix that no path would ever have.
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
        """What was chosen for `path`; None: nothing."""
        for prefix, below, choice in self._longest_first:
            if path == prefix or path.startswith(below):
                return choice
        return None
