"""Reads an application's settings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import getmembers, isclass
from typing import Any

from coatcheck.compat.gimlet.backends.base import BaseBackend

__all__ = ["asbool", "parse_settings"]

_PACKAGE = "coatcheck.compat."
_BOOLEANS = ("clientside", "permanent", "side_by_side", "read_old", "backend.side_by_side", "backend.create")


def parse_settings(settings: Mapping[str, Any], prefix: str = "gimlet.") -> dict[str, Any]:
    """The arguments of `session_factory_factory` from an application's settings.

    Args:
        settings: The settings. Only those whose names begin with `prefix` count. Booleans may be text. ``backend`` is
            None, a backend, a subclass of `BaseBackend`, or the name of a module with such a subclass: ``pyredis``,
            ``memcache``, ``sql``, or a name with dots. ``backend.x`` is the argument ``x`` of the class.
        prefix: The prefix, which is removed from the names.

    Raises:
        ValueError: There is no secret, or the backend is not a backend.
        ImportError: The module does not exist, or contains no backend.
    """
    options = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    options |= {name: asbool(options[name]) for name in _BOOLEANS if name in options}
    if "secret" not in options:
        raise ValueError("secret is required")
    backend = options.get("backend")
    if backend is None or isinstance(backend, BaseBackend):
        return options
    if isinstance(backend, str):
        backend = _backend_in(backend)
    if not (isclass(backend) and issubclass(backend, BaseBackend)):
        raise ValueError("backend must be a subclass of BaseBackend")
    names = [name for name in options if name.startswith("backend.")]
    arguments = {name.removeprefix("backend."): options.pop(name) for name in names}
    options["backend"] = backend(**arguments)
    return options


def asbool(s: object) -> bool:
    """The boolean of a setting's text: t, true, y, yes, on and 1 are True."""
    if s is None or isinstance(s, bool):
        return bool(s)
    return str(s).strip().lower() in ("t", "true", "y", "yes", "on", "1")


def _backend_in(name: str) -> type[BaseBackend]:
    full = name if "." in name else f"gimlet.backends.{name}"
    if full.startswith("gimlet.backends."):
        full = _PACKAGE + full
    module = import_module(full)
    found = getmembers(
        module, lambda item: isclass(item) and issubclass(item, BaseBackend) and item is not BaseBackend
    )
    if not found:
        raise ImportError(f"{full} has no subclass of BaseBackend")
    backend: type[BaseBackend] = found[0][1]
    return backend
