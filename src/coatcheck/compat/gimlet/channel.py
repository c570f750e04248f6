"""One of the two halves of a session: a cookie and a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from coatcheck.compat.gimlet.backends.base import Backend, Record, Write, read_records, write_records
from coatcheck.errors import DecodeError

__all__ = ["SessionChannel"]

_YEAR = 365 * 24 * 60 * 60


class SessionChannel:
    """The data of one cookie (``client_data``) and one record (``backend_data``), and whether each must be written."""

    def __init__(
        self,
        id: bytes,  # noqa: A002 - gimlet's name
        created_timestamp: int,
        backend: Backend | None,
        fresh: bool,
        client_data: dict[Any, Any] | None = None,
    ) -> None:
        """The arguments are gimlet's. A fresh channel has no record yet, so the backend is not called."""
        self.dirty_keys: set[Any] = set()
        self.id: bytes = id
        self.created_timestamp: int = created_timestamp
        self.backend: Backend | None = backend
        self.fresh: bool = fresh
        self.client_data: dict[Any, Any] = client_data or {}
        self.client_dirty: bool = False
        self.backend_data: Record = {}
        self.backend_dirty: bool = False
        self.backend_loaded: bool = backend is None or fresh
        self.there: bool = False
        """Whether the record existed when it was read."""
        self.renew: bool = False
        """Whether the cookie must be sent again."""
        self.sent: bool = not fresh
        """Whether the browser has the cookie, or gets it with this response."""
        self.seconds: int = _YEAR
        """The record's lifetime."""
        self.load: Callable[[], None] | None = None
        """Reads the records of all channels of the session in one operation."""
        self._client_read = False
        self._backend_read = False

    @property
    def created_time(self) -> datetime:
        """The creation time: UTC, as a naive datetime."""
        return datetime.fromtimestamp(self.created_timestamp, UTC).replace(tzinfo=None)

    def backend_read(self) -> None:
        """Read the record, unless it was read before.

        Raises:
            DecodeError: The record can't be read, and the channel belongs to no session, which would handle this.
        """
        if self.backend_loaded or self.backend is None:
            return
        if self.load is not None:
            self.load()
            return
        self.loaded(read_records(self.backend, [self.id]).get(self.id))

    def loaded(self, record: Record | DecodeError | None) -> None:
        """Use `record`, which was read for the id; None: there is none."""
        if isinstance(record, DecodeError):
            raise record
        if record is not None and not hasattr(record, "keys"):
            raise DecodeError("it is not a session")
        self.there = record is not None
        self.backend_data = {} if record is None else record
        self.backend_loaded = True

    def write(self) -> Write:
        """The write operation for the record."""
        return Write(self.id, self.backend_data, self.seconds, self.there)

    def backend_write(self) -> None:
        """Write the record now."""
        if self.backend is not None:
            self.backend_read()
            self.written(write_records(self.backend, [self.write()], [], []))

    def written(self, ended: AbstractSet[bytes]) -> None:
        """Mark the record as written. `ended` are the ids of records that were not written, since they had ended."""
        self.backend_dirty = False
        self.there = self.id not in ended

    def get(self, key: Any, clientside: bool | None = None) -> Any:
        """The value from the cookie (`clientside`) or the record; with None from either."""
        if clientside or (clientside is None and key in self.client_data):
            self._client_read = True
            return self.client_data[key]
        self.backend_read()
        value = self.backend_data[key]
        self._backend_read = True
        return value

    def set(self, key: Any, value: Any, clientside: bool | None = None) -> None:
        """Put a value into the cookie or the record."""
        if clientside:
            self.client_data[key] = value
            self.client_dirty = True
        else:
            self.backend_read()
            self.backend_data[key] = value
            self.backend_dirty = True

    def delete(self, key: Any) -> None:
        """Remove a value.

        Raises:
            KeyError: There is none.
        """
        if key in self.client_data:
            del self.client_data[key]
            self.client_dirty = True
        else:
            self.backend_read()
            del self.backend_data[key]
            self.backend_dirty = True

    def clear(self) -> None:
        """Remove every value."""
        self.backend_read()
        self.client_dirty = self.client_dirty or bool(self.client_data)
        self.backend_dirty = self.backend_dirty or bool(self.backend_data)
        self.client_data, self.backend_data = {}, {}

    def save(self, clientside: bool) -> None:
        """Mark the cookie or the record for writing. A record that was not read can't have changed."""
        if clientside:
            self.client_dirty = True
        elif self.backend_loaded and self.backend is not None:
            self.backend_dirty = True

    def save_what_was_read(self) -> None:
        """Mark the cookie and the record for writing, each if a value was read from it."""
        self.client_dirty = self.client_dirty or self._client_read
        self.backend_dirty = self.backend_dirty or self._backend_read

    def __contains__(self, key: object) -> bool:
        if key in self.client_data:
            return True
        self.backend_read()
        return key in self.backend_data

    def __iter__(self) -> Iterator[Any]:
        self.backend_read()
        return chain(self.client_data, self.backend_data)

    def __len__(self) -> int:
        self.backend_read()
        return len(self.client_data) + len(self.backend_data)

    def __repr__(self) -> str:
        self.backend_read()
        return (
            f"id {self.id!r}\ncreated {self.created_time}\n"
            f"backend {list(self.backend_data)!r}\nclient {list(self.client_data)!r}"
        )
