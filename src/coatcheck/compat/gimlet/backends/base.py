"""What every backend has, and how a session speaks with any of them.

A backend is whatever has ``backend[key]`` (KeyError if there is none) and ``backend[key] = dict``: a plain dict is one.
Those that are built in can do more: several records in one round trip, expiry, an end for good.
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

__all__ = ["Backend", "BaseBackend", "Record", "Renewal", "Write", "read_records", "write_records"]

Record: TypeAlias = dict[Any, Any]
log: logging.Logger = logging.getLogger("gimlet")

_SAFE = b"\0cg1"
"""How a record begins that is in the safe form. No pickle begins so."""


class Write(NamedTuple):
    """A record to write."""

    id: bytes
    data: Record
    seconds: int
    """How long it is kept."""
    there: bool
    """Whether it was there when it was read. Then it is written only if it still is: what a logout removed stays
    removed."""


class Renewal(NamedTuple):
    """A record whose life begins anew."""

    id: bytes
    seconds: int


class Backend(Protocol):
    """The least that a backend must have."""

    def __getitem__(self, key: bytes, /) -> Any: ...
    def __setitem__(self, key: bytes, value: Any, /) -> None: ...


class BaseBackend:
    """The base of the backends that are built in, and of your own.

    One of your own overrides ``__getitem__`` and ``__setitem__``. What it inherits for several records at once then goes
    through these two.
    """

    prefix: bytes = b"gimlet."
    side_by_side: bool = False
    """Whether records are written as gimlet reads them: as pickles."""
    classes: Allowed = MappingProxyType({})
    """The classes that a pickle may hold besides plain types, by name."""

    def __init__(
        self, prefix: bytes | str = b"gimlet.", *, side_by_side: bool = False, allow: Allow = ()
    ) -> None:
        """Make one.

        Args:
            prefix: What stands in front of the key in the store.
            side_by_side: Write what gimlet reads. The session's factory sets it, too.
            allow: The classes that a pickle may hold besides plain types.
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
            NotStorable: Something in it would not come back as what it was; the message names the key.
        """
        if self.side_by_side:
            return dumps(value, self.classes, PROTOCOL_OF_OLD)
        return _SAFE + encoded(value)

    def deserialize(self, raw: bytes) -> Any:
        """The record in `raw`, in the safe form or a pickle.

        Raises:
            DecodeError: It can't be read, or holds what may not be made.
        """
        if raw.startswith(_SAFE):
            return codec.decode(raw[len(_SAFE) :])
        return loads(raw, self.classes)

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """The records that there are; in place of one that can't be read its error."""
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
        """Write and remove records, and renew others. The ids that were not written, because they had ended."""
        for write in writes:
            self[write.id] = write.data
        for key in gone:
            _remove(self, key)
        return set()

    def close(self) -> None:
        """Close what it holds open. It can be used again afterwards."""

    def __getitem__(self, key: bytes) -> Any:
        raise NotImplementedError

    def __setitem__(self, key: bytes, value: Any) -> None:
        raise NotImplementedError

    def _read(self, raws: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, Record | DecodeError]:
        """The records in what a store gave for each id."""
        found: dict[bytes, Record | DecodeError] = {}
        for key, raw in raws:
            if raw:
                try:
                    found[key] = self.deserialize(raw)
                except DecodeError as error:
                    found[key] = error
        return found

    def _one(self, key: bytes, raw: bytes | None) -> Any:
        """The one record in what a store gave for it."""
        if not raw:
            raise KeyError(f"key {key!r} not found")
        return self.deserialize(raw)


def encoded(value: Any) -> bytes:
    """The bytes of a value, in the form that runs no code; what can't be stored is named by its key.

    Raises:
        NotStorable: As above.
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
    """The records that there are, from any backend."""
    if isinstance(backend, BaseBackend):
        return backend.read_many(ids)
    found: dict[bytes, Record | DecodeError] = {}
    for key in ids:
        try:
            # A dict hands out what it holds itself; what is changed in it must not count before it is written.
            found[key] = deepcopy(backend[key]) if _is_dict(backend) else backend[key]
        except KeyError:
            continue
    return found


def write_records(
    backend: Backend, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
) -> set[bytes]:
    """Write to any backend. The ids that were not written, because they had ended."""
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
    """End a record for good, in a backend that may know no removing: then nothing is left in it."""
    remove = getattr(backend, "__delitem__", None)
    if remove is None:
        backend[key] = {}
        return
    try:
        remove(key)
    except KeyError:
        return
