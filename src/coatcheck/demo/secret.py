"""The demo's secret: kept in a file, so that its visitors survive a restart."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from coatcheck.addresses import file_of, parts_of
from coatcheck.errors import CoatcheckError

__all__ = ["SecretFileError", "secret_for", "sqlite_file"]

VARIABLE = "COATCHECK_SECRET"


class SecretFileError(CoatcheckError):
    """The file with the demo's secret can't be read or made."""


def secret_for(store: str) -> str:
    """The secret of the demo on this store: the same at every start.

    That of ``COATCHECK_SECRET`` counts. Otherwise it lies in a file that only its owner may read: beside an SQLite
    database, for another store in the current directory. In memory nothing survives, and neither does the secret.

    Raises:
        SecretFileError: The file can't be read or made.
    """
    if given := os.environ.get(VARIABLE):
        return given
    if parts_of(store).scheme == "memory":
        return secrets.token_urlsafe(32)
    database = sqlite_file(store)
    file = Path(".coatcheck-demo-secret") if database is None else Path(f"{database}-secret")
    try:
        return _kept_in(file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no text"
        raise SecretFileError(
            f"The demo keeps its secret in {file}, and can't: {reason}. Set {VARIABLE} instead."
        ) from error


def sqlite_file(store: str) -> Path | None:
    """The file of an ``sqlite:`` URL; None for every other."""
    parts = parts_of(store)
    return Path(file_of(parts)) if parts.scheme == "sqlite" else None


def _kept_in(file: Path) -> str:
    if not file.exists():
        # Written whole under another name first: two servers that start at once must end up with the same secret.
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as written:
                written.write(f"{secrets.token_urlsafe(32)}\n")
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
    return file.read_text().strip()
