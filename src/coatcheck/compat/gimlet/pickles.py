"""The pickles that gimlet wrote, read without running anything; and pickles that gimlet can read.

Reading takes two looks. The first goes through the opcodes, and refuses whatever is not plain data (and what would make
the unpickler reserve memory that the pickle doesn't fill). The second is an unpickler that finds no class but a few
containers of Python's own, and those that the application has named. Such a class is called with whatever arguments
stand in the pickle: name only what is harmless whatever it is made of, as ``datetime.datetime`` is.

Writing takes builtins, and the same named classes. The protocol is 2, which every gimlet reads.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from coatcheck.errors import ConfigurationError, DecodeError, NotStorable

__all__ = ["Allow", "dumps", "loads", "named"]

Allow: TypeAlias = Iterable[type | str]
"""Classes that old pickles may hold: themselves, or their names (``"decimal.Decimal"``)."""

_MOST_BYTES = 16 * 1024 * 1024
_PROTOCOL = 2
_DATA = frozenset(
    {
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT"),
        *("BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING"),
        *("BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "LIST", "APPEND"),
        *("APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM"),
        *("SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
        *("GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE"),
    }
)
_OBJECTS = frozenset({"NEWOBJ", "NEWOBJ_EX", "BUILD"})
_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _Encode:
    """``_codecs.encode`` as protocol 2 uses it to write bytes, and nothing else that it can do."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise DecodeError("the pickle encodes text in a way that no gimlet does")
        return text.encode("latin-1")


class _Bytes:
    """``bytes`` and ``bytearray`` of what stands in the pickle, and not of a number of zeros."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[bytes | bytearray]) -> None:
        self._kind = kind

    def __call__(self, *arguments: Any) -> bytes | bytearray:
        if arguments and not isinstance(arguments[0], bytes | str):
            raise DecodeError("the pickle reserves more memory than it fills")
        return self._kind(*arguments)


# Builtin classes can't be changed by what a pickle holds, and make nothing but themselves.
_CONTAINERS: Mapping[str, Any] = {
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.complex": complex,
    "builtins.bytes": _Bytes(bytes),
    "builtins.bytearray": _Bytes(bytearray),
    "_codecs.encode": _Encode(),
}
_WRITTEN = frozenset({set, frozenset, bytes, bytearray, complex})


def named(allow: Allow) -> dict[str, type]:
    """The classes that `allow` names, by the names that pickles call them.

    Raises:
        ConfigurationError: One of them is not there, or is no class.
    """
    classes: dict[str, type] = {}
    for entry in allow.replace(",", " ").split() if isinstance(allow, str) else allow:
        found: object = entry
        if isinstance(entry, str):
            try:
                found = pkgutil.resolve_name(entry)
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigurationError(f"allow names {entry!r}, which can't be imported.") from error
            if isinstance(found, type):
                classes[entry] = found
        if not isinstance(found, type):
            raise ConfigurationError(f"allow takes classes or their names, not {entry!r}.")
        classes[f"{found.__module__}.{found.__qualname__}"] = found
    return classes


def loads(data: bytes, classes: Mapping[str, type]) -> Any:
    """The value in an old pickle. Text of Python 2 counts as UTF-8, or else as Latin-1.

    Raises:
        DecodeError: It is broken, too large, or holds more than plain data and `classes`.
    """
    _look_through(data, classes)
    try:
        try:
            return _Reader(data, classes, "utf-8").load()
        except UnicodeDecodeError:
            return _Reader(data, classes, "latin-1").load()
    except DecodeError:
        raise
    except Exception:  # noqa: BLE001 - a pickle can fail in any way; not chained, since errors show values
        raise DecodeError("the pickle can't be read") from None


def dumps(value: object, classes: Mapping[str, type]) -> bytes:
    """A pickle of builtins and `classes`.

    Raises:
        NotStorable: There is something else in `value`.
    """
    file = io.BytesIO()
    try:
        _Writer(file, classes).dump(value)
    except RecursionError:
        raise NotStorable("it is nested too deep, or contains itself") from None
    return file.getvalue()


def _look_through(data: bytes, classes: Mapping[str, type]) -> None:
    if len(data) > _MOST_BYTES:
        raise DecodeError("the pickle is too large")
    allowed = _DATA | _OBJECTS if classes else _DATA
    file = io.BytesIO(data)
    while code := file.read(1):
        opcode = _OPCODES.get(code)
        if opcode is None or opcode.name not in allowed:
            raise DecodeError(f"the pickle holds more than plain data ({opcode.name if opcode else code!r})")
        if opcode.name == "STOP":
            return
        argument: object = None
        try:
            if opcode.name == "STRING":
                file.readline()  # any bytes; pickletools wants ASCII
            elif opcode.arg is not None:
                argument = opcode.arg.reader(file)
        except Exception:  # noqa: BLE001 - as above
            raise DecodeError("the pickle can't be read") from None
        if opcode.name in _PUTS and (not isinstance(argument, int) or argument > len(data)):
            raise DecodeError("the pickle reserves more memory than it fills")
    raise DecodeError("the pickle can't be read")


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, classes: Mapping[str, type], encoding: str) -> None:
        super().__init__(io.BytesIO(data), encoding=encoding)
        self._classes = classes

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module = {"__builtin__": "builtins"}.get(module_name, module_name)
        name = f"{module}.{global_name}"
        found = _CONTAINERS.get(name) or self._classes.get(name)
        if found is None:
            raise DecodeError(f"the pickle holds {name[:120]!r}, which `allow` does not name")
        return found

    def persistent_load(self, pid: Any, /) -> Any:
        raise DecodeError("the pickle holds more than plain data")


class _Writer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, classes: Mapping[str, type]) -> None:
        super().__init__(file, protocol=_PROTOCOL)
        self._classes = frozenset(classes.values()) | _WRITTEN

    def reducer_override(self, obj: Any, /) -> Any:
        """Called for whatever is no builtin scalar or container."""
        kind = cast("type[object]", type(obj))
        is_encode = (
            getattr(obj, "__module__", None) == "_codecs" and kind.__name__ == "builtin_function_or_method"
        )
        if kind in self._classes or is_encode or (isinstance(obj, type) and obj in self._classes):
            return NotImplemented
        raise NotStorable(
            f"{kind.__module__}.{kind.__qualname__} can't be stored side by side with gimlet: "
            "store plain data that stands for it, or name the class in `allow`"
        )
