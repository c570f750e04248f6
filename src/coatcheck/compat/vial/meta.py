"""The metadata of the old package."""

from __future__ import annotations

__all__ = ["description", "version"]

version: str = "0.1.0"
description: str = "A session store backed by redis."
