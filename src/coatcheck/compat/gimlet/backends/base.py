"""The interface of backends, and the operations of a session on any backend.

A backend is any object with ``backend[key]`` (KeyError if there is no record) and ``backend[key] = dict``, for example a
dict. The built-in backends also read several records in one round trip, expire records, and remove them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from copy import deepcopy
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from coatcheck.compat._pickler import PROTOCOL_OF_OLD, dumps
from coatcheck.compat._plain import Allow, Allowed, named
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError, NotStorable
from coatcheck.model import codec
from coatcheck.silent import silent

__all__ = ["Backend", "BaseBackend", "Record", "Renewal", "Write", "read_records", "write_records"]

Record: TypeAlias = dict[Any, Any]
log: logging.Logger = logging.getLogger("gimlet")

_SAFE = b"\0cg1"
"""The first bytes of a record in the safe format. No pickle begins with them."""


class Write(NamedTuple):
    """A record to write."""

    id: bytes
    data: Record
    seconds: int
    """The record's lifetime."""
    there: bool
    """Whether the record existed when it was read. If so, it is written only if it still exists, so that a removal by
    a logout is not undone."""

    def __repr__(self) -> str:
        return silent(self)


class Renewal(NamedTuple):
    """A record whose lifetime starts again."""

    id: bytes
    seconds: int

    def __repr__(self) -> str:
        return silent(self)


class Backend(Protocol):
    """The minimal interface of a backend."""

    def __getitem__(self, key: bytes, /) -> Any: ...
    def __setitem__(self, key: bytes, value: Any, /) -> None: ...


class BaseBackend:
    """The base class of the built-in backends and of custom ones.

    A custom backend overrides ``__getitem__`` and ``__setitem__``. The inherited methods for several records then call
    these two.
    """

    prefix: bytes = b"gimlet."
    side_by_side: bool = False
    """Whether records are written in gimlet's format, as pickles."""
    classes: Allowed = MappingProxyType({})
    """The classes that a pickle may contain besides plain types, by name."""

    def __init__(
        self, prefix: bytes | str = b"gimlet.", *, side_by_side: bool = False, allow: Allow = ()
    ) -> None:
        """Make a backend.

        Args:
            prefix: The prefix of the keys in the store.
            side_by_side: Write gimlet's format. The session factory sets it too.
            allow: The classes that a pickle may contain besides plain types.
        """
        self.prefix = prefix.encode() if isinstance(prefix, str) else prefix
        self.side_by_side = side_by_side
        self.classes = named(allow)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "__getitem__" in own and "read_many" not in own:
            cls.read_many = BaseBackend.read_many  # type: ignore[method-assign]
        if "__setitem__" in own and "write_many" not in own:
            cls.write_many = BaseBackend.write_many  # type: ignore[method-assign]

    def prefixed_key(self, key: bytes) -> bytes:
        """The key in the store."""
        return self.prefix + key

    def serialize(self, value: Any) -> bytes:
        """The bytes of a record.

        Raises:
            NotStorable: A value in it would not come back unchanged; the message names its key.
        """
        if self.side_by_side:
            return dumps(value, self.classes, PROTOCOL_OF_OLD)
        return _SAFE + encoded(value)

    def deserialize(self, raw: bytes) -> Any:
        """The record in `raw`, in the safe format or as a pickle.

        Raises:
            DecodeError: It can't be read, or contains a class that is not allowed.
        """
        if raw.startswith(_SAFE):
            return codec.decode(raw[len(_SAFE) :])
        return loads(raw, self.classes)

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """The records that exist. A record that can't be read is represented by its error."""
        found: dict[bytes, Record | DecodeError] = {}
        for key in ids:
            try:
                found[key] = self[key]
            except KeyError:
                continue
            except DecodeError as error:
                found[key] = error
        return found

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """Write, remove and renew records. Returns the ids that were not written, since they had ended."""
        for write in writes:
            self[write.id] = write.data
        for key in gone:
            _remove(self, key)
        return set()

    def close(self) -> None:
        """Close open connections. The backend can be used again afterwards."""

    def __getitem__(self, key: bytes) -> Any:
        raise NotImplementedError

    def __setitem__(self, key: bytes, value: Any) -> None:
        raise NotImplementedError

    def _read(self, raws: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, Record | DecodeError]:
        """The records of the stored bytes of each id."""
        found: dict[bytes, Record | DecodeError] = {}
        for key, raw in raws:
            if raw:
                try:
                    found[key] = self.deserialize(raw)
                except DecodeError as error:
                    found[key] = error
        return found

    def _one(self, key: bytes, raw: bytes | None) -> Any:
        """The record of the stored bytes of one id."""
        if not raw:
            raise KeyError(f"key {key!r} not found")
        return self.deserialize(raw)


def encoded(value: Any) -> bytes:
    """The bytes of a value in the safe format.

    Raises:
        NotStorable: The value can't be stored; the message names its key.
    """
    try:
        return codec.encode(value)
    except NotStorable:
        if _is_dict(value):
            for key, item in value.items():
                try:
                    codec.encode(item)
                except NotStorable as error:
                    raise NotStorable(f"session[{key!r}]: {error}", field=str(key)) from None
        raise


def read_records(backend: Backend, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
    """The records that exist, from any backend."""
    if isinstance(backend, BaseBackend):
        return backend.read_many(ids)
    found: dict[bytes, Record | DecodeError] = {}
    for key in ids:
        try:
            # A dict returns the stored object itself, and changes of it must not count before they are written.
            found[key] = deepcopy(backend[key]) if _is_dict(backend) else backend[key]
        except KeyError:
            continue
    return found


def write_records(
    backend: Backend, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
) -> set[bytes]:
    """Write to any backend. Returns the ids that were not written, since they had ended."""
    if isinstance(backend, BaseBackend):
        return backend.write_many(writes, gone, renewals)
    ended: set[bytes] = set()
    for write in writes:
        if _is_dict(backend) and write.there and write.id not in cast("Record", backend):
            ended.add(write.id)
        else:
            backend[write.id] = deepcopy(write.data) if _is_dict(backend) else write.data
    for key in gone:
        _remove(backend, key)
    return ended


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _remove(backend: Backend, key: bytes) -> None:
    """Remove a record. In a backend that can't remove records it becomes empty."""
    remove = getattr(backend, "__delitem__", None)
    if remove is None:
        backend[key] = {}
        return
    try:
        remove(key)
    except KeyError:
        return
