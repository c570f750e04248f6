"""What the old package said of itself."""

from __future__ import annotations

__all__ = ["description", "version"]

version: str = "0.1.0"
description: str = "A session store backed by redis."
