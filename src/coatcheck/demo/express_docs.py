"""The express counter's documentation: FastAPI's description of it, as a page of the shop's own, without a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Described", "described"]


@dataclass(frozen=True, slots=True)
class Described:
    """One call, as a reader wants to know it."""

    method: str
    path: str
    about: str
    fields: list[str]
    """Those of its form."""
    answer: list[str]
    """Those of the JSON that it answers; none: it answers with a page."""


def described(openapi: dict[str, Any]) -> list[Described]:
    """Every call that an OpenAPI document describes."""
    schemas: dict[str, Any] = openapi.get("components", {}).get("schemas", {})

    def names(content: dict[str, Any]) -> list[str]:
        bodies: list[dict[str, Any]] = list(content.values())
        schema: dict[str, Any] = bodies[0].get("schema", {}) if bodies else {}
        return list(schemas.get(schema.get("$ref", "").rpartition("/")[2], {}).get("properties", {}))

    return [
        Described(
            method.upper(),
            path,
            call.get("description", ""),
            [name for name in names(call.get("requestBody", {}).get("content", {})) if name != "csrf"],
            names(call["responses"].get("200", {}).get("content", {})),
        )
        for path, calls in openapi["paths"].items()
        for method, call in calls.items()
    ]
