"""Reads pickles of protocols 0 to 5 without running code, within bounds that no bytes can exceed.

The opcodes are carried out here, one after the other, on a stack of this module's own: `pickle.Unpickler` calls what the
pickle names, recurses in C, and reserves what a length says. Here a pickle can make plain values, and call what the
application allows by name (`_plain`). `_bounds` says how much of it.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from enum import Enum
from struct import unpack
from typing import Any
from uuid import UUID

from coatcheck.compat._bounds import CONTAINERS, Bounds
from coatcheck.compat._lenient import LEFT_OUT, LENIENT, OPENING_FILES, StandIn, zone_of_key
from coatcheck.compat._plain import PLAIN, Allowed, checked, reconstructor, set_state, set_uuid
from coatcheck.errors import DecodeError

__all__ = ["LEFT_OUT", "loads"]

_MOST_BYTES = 16 << 20
_MOST_OPCODES = 500_000
_LONGEST_NUMBER = 4300
"""Digits; Python's own limit, which an application may have lifted. Conversion takes time by their square."""

_LONGEST_NAME = 1000
_WORK_OF_A_ZONE = 1000
"""How much longer than another call it takes to look a time zone up in the machine's files."""

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def loads(data: bytes, allowed: Allowed, *, lenient: bool = False) -> Any:
    """The value in a pickle.

    Byte strings of Python 2 become text: UTF-8 if they can be, otherwise Latin-1.

    Args:
        data: The pickle.
        allowed: What it may call beside plain types, by name (`named`). This is called with whatever arguments are in
            the pickle: the bounds hold for the arguments, not for what the call does with them.
        lenient: Read the classes of `LENIENT` as plain values. Put `LEFT_OUT` in the place of an object of any other
            class, and of each object that is made with one.

    Raises:
        DecodeError: It is no pickle, exceeds a bound, or names something else and is not read leniently.
    """
    if len(data) > _MOST_BYTES:
        raise DecodeError("The pickle is too large.")
    try:
        return _Machine(data, allowed, lenient=lenient).run()
    except DecodeError:
        raise
    except Exception as error:  # noqa: BLE001 - garbage, and what is allowed, may fail in any way
        # Not chained: the message of the cause may hold values.
        raise DecodeError(f"It is no pickle of plain values: {type(error).__name__}.") from None


class _Machine:
    """A pickle while it is read."""

    def __init__(self, data: bytes, allowed: Allowed, *, lenient: bool) -> None:
        self._data = data
        self._lenient = lenient
        self._at = 0
        self._allowed = allowed
        self._bounds = Bounds()
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # the stacks that a MARK has covered
        self._memo: dict[int, Any] = {}
        # By id, of all that was named. `zone_of_key` is got with `getattr`, which only the lenient reading knows.
        self._calls: dict[int, Callable[..., Any]] = {id(zone_of_key): zone_of_key} if lenient else {}

    def run(self) -> Any:
        for _ in range(_MOST_OPCODES):
            opcode = self._data[self._at : self._at + 1]
            self._at += 1
            if opcode == b".":
                value = self.pop()
                self._bounds.finished(value)
                return value
            carry_out = _OPCODES.get(opcode)
            if carry_out is None:
                raise DecodeError("The pickle holds more than plain values.")
            carry_out(self)
        raise DecodeError("The pickle has too many opcodes.")

    # Bytes

    def take(self, count: int) -> bytes:
        """The next bytes. Nothing is reserved for bytes that are not there."""
        end = self._at + count
        if not self._at <= end <= len(self._data):
            raise DecodeError("The pickle ends too early.")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def long(self, width: int) -> int:
        return self.number(self.number(width, signed=width > 1), signed=True)

    def line(self) -> bytes:
        return self.take(self._data.index(b"\n", self._at) - self._at + 1)[:-1]

    def digits(self) -> bytes:
        line = self.line()
        if len(line) > _LONGEST_NUMBER:
            raise DecodeError("The pickle holds a number that is too long.")
        return line

    def protocol(self) -> None:
        if self.number(1) > 5:
            raise DecodeError("The pickle is of an unknown protocol.")

    def frame(self) -> None:
        if self.number(8) > len(self._data) - self._at:
            raise DecodeError("The pickle ends too early.")

    # The stack

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def to_mark(self) -> list[Any]:
        """Remove the topmost mark from the stack, with the values above it. Returns these values."""
        items = self._stack
        self._stack = self._below.pop()
        return items

    def last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise DecodeError("The pickle takes more values than it holds.")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def put(self, index: int) -> None:
        if not 0 <= index <= len(self._data):
            raise DecodeError("The pickle numbers more values than it holds.")
        self._memo[index] = self._stack[-1]

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: int) -> None:
        self.push(self._memo[index])

    # Containers

    def push_new(self, container: Any, parts: Sequence[Any] = ()) -> None:
        self._bounds.made(container, parts)
        self.push(container)

    def push_tuple(self, items: list[Any]) -> None:
        self.push_new(tuple(items), items)

    def push_frozenset(self, members: list[Any]) -> None:
        self._bounds.hashed(members)
        self.push_new(frozenset(members), members)

    def push_dict(self, items: list[Any]) -> None:
        self.push_new({})
        self.set_items(items)

    def extend(self, items: list[Any]) -> None:
        container = self._stack[-1]
        if isinstance(container, StandIn):
            return
        self._bounds.changes(container, items)
        container.extend(items)

    def add(self, members: list[Any]) -> None:
        if isinstance(self._stack[-1], StandIn):
            return
        container: set[Any] = checked(self._stack[-1], set)
        self._bounds.hashed(members, len(container))
        self._bounds.changes(container, members)
        container.update(members)

    def set_items(self, items: list[Any]) -> None:
        container = self._stack[-1]
        if isinstance(container, StandIn):
            return
        self._bounds.hashed(items[::2], len(container))
        self._bounds.changes(container, items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            container[key] = value

    # What is named

    def name(self, module: str, name: str) -> None:
        if len(module) + len(name) > _LONGEST_NAME:
            raise DecodeError("The pickle names something with a name that is none.")
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in PLAIN:
            thing, call = PLAIN[full]
        elif full in self._allowed:
            thing = call = self._allowed[full]
        elif self._lenient:
            thing, call = LENIENT.get(full, (LEFT_OUT, None))
        else:
            raise DecodeError(f"The pickle names {full[:120]!r}, which the setting 'allow' does not.")
        if call is not None:
            self._calls[id(thing)] = call
        self.push_new(thing)

    def name_from_stack(self) -> None:
        module, name = self.last(2)
        self.name(checked(module, str), checked(name, str))

    def name_from_lines(self) -> None:
        self.name(self.line().decode(), self.line().decode())

    def _push_stand_in(self, thing: Any, arguments: Sequence[Any]) -> bool:
        """Push what stands for the object that `thing` makes of `arguments`, if one of them is a stand-in."""
        if not self._lenient:
            return False
        self._bounds.called(arguments)  # before the first walk through them
        if not any(isinstance(part, StandIn) for part in (thing, *arguments)):
            return False
        kind = arguments[0] if thing is reconstructor else thing
        self.push_new(kind.make(arguments) if isinstance(kind, StandIn) else LEFT_OUT)
        return True

    def reduce(self) -> None:
        thing, given = self.last(2)
        arguments: tuple[Any, ...] = checked(given, tuple)
        if self._push_stand_in(thing, arguments):
            return
        call = self._calls.get(id(thing))
        if call is None:
            raise DecodeError("The pickle calls what it has not named.")
        if thing is reconstructor:
            kind, base, state = arguments
            if base is not object or state is not None:
                raise DecodeError("The pickle makes an object of a state.")
            self._push_object(kind, object.__new__, ())
            return
        if isinstance(thing, type):
            self._bounds.hashed_by(thing, arguments)
        self._push_called(call, arguments)

    def new(self, keywords: Any = None) -> None:
        kind, given = self.last(2)
        arguments: tuple[Any, ...] = checked(given, tuple)
        if not self._push_stand_in(kind, arguments):
            self._push_object(kind, kind.__new__, arguments, keywords)

    def old_instance(self, kind: Any, arguments: list[Any]) -> None:
        """An object of an old class of Python 2. Without arguments its `__init__` is not called."""
        if self._push_stand_in(kind, arguments):
            return
        if arguments and self._is_allowed(kind):
            self._push_called(kind, arguments)
        else:
            self._push_object(kind, kind.__new__, ())

    def old_instance_by_name(self) -> None:
        self.name_from_lines()
        self.old_instance(self.pop(), self.to_mark())

    def _is_allowed(self, kind: Any) -> bool:
        return self._calls.get(id(kind)) is kind  # a plain type has another way to be made

    def _push_object(
        self, kind: Any, new: Callable[..., Any], arguments: Sequence[Any], keywords: Any = None
    ) -> None:
        if kind is UUID:
            self.push(object.__new__(UUID))  # until it has its state, it can't be part of anything
        elif self._is_allowed(kind):
            self._push_called(new, (kind, *arguments), keywords)
        else:
            raise DecodeError("The pickle makes an object of what `allow` does not name.")

    def _push_called(self, call: Callable[..., Any], arguments: Sequence[Any], keywords: Any = None) -> None:
        named: dict[str, Any] = checked(keywords, dict) if keywords else {}
        parts = [*arguments, *named.values()]
        self._bounds.called(parts, _WORK_OF_A_ZONE if call in OPENING_FILES else 1)
        self.push_new(call(*arguments, **named), parts)

    def build(self) -> None:
        state = self.pop()
        made = self._stack[-1]
        if isinstance(made, StandIn):
            return
        if type(made) is UUID:
            set_uuid(made, state)
            return
        if type(made) in CONTAINERS or isinstance(made, type | Enum) or id(made) in self._calls:
            raise DecodeError("The pickle changes what has no state, or one that the whole process shares.")
        self._bounds.called((state,))
        self._bounds.changes(made, (state,))
        set_state(made, state)


def _from_python_2(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _quoted(line: bytes) -> bytes:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise DecodeError("The pickle holds a text without quotes.")
    return codecs.escape_decode(line[1:-1])[0]


def _int(line: bytes) -> int:
    return {b"00": False, b"01": True}.get(line, int(line))


def _utf8(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


_OPCODES: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.frame,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(value=True),
    b"\x89": lambda m: m.push(value=False),
    b"I": lambda m: m.push(_int(m.digits())),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"L": lambda m: m.push(int(m.digits().removesuffix(b"L"))),
    b"\x8a": lambda m: m.push(m.long(1)),
    b"\x8b": lambda m: m.push(m.long(4)),
    b"F": lambda m: m.push(float(m.digits())),
    b"G": lambda m: m.push(unpack(">d", m.take(8))[0]),
    b"S": lambda m: m.push(_from_python_2(_quoted(m.line()))),
    b"T": lambda m: m.push(_from_python_2(m.take(m.number(4, signed=True)))),
    b"U": lambda m: m.push(_from_python_2(m.take(m.number(1)))),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(_utf8(m.take(m.number(4)))),
    b"\x8c": lambda m: m.push(_utf8(m.take(m.number(1)))),
    b"\x8d": lambda m: m.push(_utf8(m.take(m.number(8)))),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(bytearray(m.take(m.number(8)))),
    b"(": _Machine.mark,
    b"p": lambda m: m.put(int(m.digits())),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": _Machine.memoize,
    b"g": lambda m: m.get(int(m.digits())),
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    b")": lambda m: m.push_tuple([]),
    b"\x85": lambda m: m.push_tuple(m.last(1)),
    b"\x86": lambda m: m.push_tuple(m.last(2)),
    b"\x87": lambda m: m.push_tuple(m.last(3)),
    b"t": lambda m: m.push_tuple(m.to_mark()),
    b"]": lambda m: m.push_new([]),
    b"l": lambda m: m.push_new(items := m.to_mark(), items),
    b"a": lambda m: m.extend(m.last(1)),
    b"e": lambda m: m.extend(m.to_mark()),
    b"}": lambda m: m.push_new({}),
    b"d": lambda m: m.push_dict(m.to_mark()),
    b"s": lambda m: m.set_items(m.last(2)),
    b"u": lambda m: m.set_items(m.to_mark()),
    b"\x8f": lambda m: m.push_new(set()),
    b"\x90": lambda m: m.add(m.to_mark()),
    b"\x91": lambda m: m.push_frozenset(m.to_mark()),
    b"c": _Machine.name_from_lines,
    b"\x93": _Machine.name_from_stack,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"i": _Machine.old_instance_by_name,
    b"o": lambda m: m.old_instance((items := m.to_mark())[0], items[1:]),
    b"\x81": _Machine.new,
    b"\x92": lambda m: m.new(m.pop()),
}
"""By byte. POP, POP_MARK and DUP are missing: picklers write them for values that contain themselves, or not at all.
So are persistent ids, extension codes and buffers outside of the pickle, whose meaning is in code."""
