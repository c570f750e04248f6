"""What a session and its notifications can do. The two generations of pycket differ in where their settings stand."""

from __future__ import annotations

import warnings
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from coatcheck.compat.pycket._records import GONE, MISSING, Record, log
from coatcheck.compat.pycket._visits import Visit, visit_of
from coatcheck.compat.pycket.driver import Driver
from coatcheck.errors import DecodeError

__all__ = ["Manager", "ReadOnce", "SideBySideWarning", "create_mixin", "warn_of_side_by_side"]


class SideBySideWarning(UserWarning):
    """Servers of the old library still run: what they read, they read with all that a pickle can do."""


_warned: set[str] = set()


def warn_of_side_by_side() -> None:
    """Warn, once in a process."""
    if "side_by_side" not in _warned:
        _warned.add("side_by_side")
        warnings.warn(
            "pycket's side_by_side=True: old servers run the code of any pickle that lies in the store, and lose changes "
            "of parallel requests. Take it out once they are gone.",
            SideBySideWarning,
            stacklevel=4,
        )


class Manager:
    """The visitor's values, much like a dict.

    What is put in is stored before the response's head leaves, and before anything else runs in this process; `save`
    stores it at once. A value that was got is the caller's own: changing it in place changes nothing that is stored.
    """

    SESSION_ID_NAME: str = "PYCKET_ID"
    _NAME: str = "session"
    _MAY_REPLACE: bool = False

    def __init__(self, handler: Any) -> None:
        """For a request of a `tornado.web.RequestHandler`, or of what stands in for one."""
        self.handler: Any = handler

    # Reading

    def get(self, name: Any, default: Any = None) -> Any:
        """The value under a name, `default` if there is none."""
        return self._values().get(name, default)

    def keys(self) -> KeysView[Any]:
        """The names."""
        return self._values().keys()

    def values(self) -> ValuesView[Any]:
        """The values. Looking at them takes no notification out."""
        return self._values().values()

    def items(self) -> ItemsView[Any, Any]:
        """The names with their values. Looking at them takes no notification out."""
        return self._values().items()

    def iterkeys(self) -> Iterator[Any]:
        """The names, one by one."""
        return iter(self._values())

    def __iter__(self) -> Iterator[Any]:
        return self.iterkeys()

    def __contains__(self, name: object) -> bool:
        return name in self._values()

    def __len__(self) -> int:
        return len(self._values())

    def __bool__(self) -> bool:
        # It had no length, so that `if self.session` has always been true.
        return True

    def __getitem__(self, name: Any) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(f"{name} not found in {self._NAME}")
        return value

    # Changing

    def set(self, name: Any, value: Any) -> None:
        """Put a value under a name.

        Raises:
            NotStorable: There is something in it that is neither a plain value nor allowed by the settings.
            CannotSendCookie: The visitor is new, and the head of the response has left.
        """
        self._change({name: value})

    def __setitem__(self, name: Any, value: Any) -> None:
        self.set(name, value)

    def update(self, other: Mapping[Any, Any] | None = None, /, **values: Any) -> None:
        """Put in several values."""
        self._change({**(other or {}), **values})

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """The value under a name; if there is none, `default`, which is put in."""
        values = self._values()
        if name not in values:
            self.set(name, default)
            return default
        return values[name]

    def delete(self, *names: Any) -> None:
        """Take names out. Those that are not there don't matter."""
        self._change({}, gone=names)

    def __delitem__(self, name: Any) -> None:
        self.delete(name)

    def pop(self, name: Any, default: Any = MISSING) -> Any:
        """Take a name out, and return its value; `default`, or a `KeyError`, if there is none."""
        value = self._values().get(name, MISSING)
        if value is MISSING:
            if default is MISSING:
                raise KeyError(f"{name} not found in {self._NAME}")
            return default
        self.delete(name)
        return value

    def clear(self) -> None:
        """Take out all names. The visitor keeps his id; to log him out, use `destroy`."""
        self.delete(*self._values())

    # The session as a whole

    def save(self) -> None:
        """Have what this request has changed so far in the store now."""
        self._visit().settle()

    def rotate(self) -> None:
        """Give the visitor a new id, and end the old one. Do so when he signs in.

        Values and notifications stay. What a request that came with the old id still changes is lost.
        """
        self._visit().rotate(self._drivers())

    def destroy(self) -> None:
        """Log the visitor out: his values and his notifications are gone from the store, and the cookie is cleared.

        What is put in afterwards lies under a new id.
        """
        self._visit().destroy(self._drivers())

    # How

    def _driver(self) -> Driver:
        raise NotImplementedError

    def _drivers(self) -> list[Driver]:
        """Those of all that lies under a visitor's id."""
        raise NotImplementedError

    def _cookies(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _visit(self) -> Visit:
        return visit_of(self.handler, self.SESSION_ID_NAME, self._cookies)

    def _values(self) -> dict[Any, Any]:
        return self._opened()[1]

    def _opened(self) -> tuple[Record, dict[Any, Any], bool]:
        """The visitor's record, what is in it, and whether a change may wait for the end of the turn."""
        visit, driver = self._visit(), self._driver()
        record, may_wait = visit.record(driver, may_replace=self._MAY_REPLACE)
        try:
            return record, record.read(), may_wait
        except DecodeError as error:
            log.warning("A session can't be read. Its visitor gets a new one; it is left alone. %s", error)
        visit.start_anew()
        record, may_wait = visit.record(driver, may_replace=self._MAY_REPLACE)
        return record, record.read(), may_wait

    def _change(self, values: Mapping[Any, Any], *, gone: tuple[Any, ...] = ()) -> None:
        pickles = self._driver().pickles
        # At once, so that the error comes where the value does, and later changes of the value don't matter.
        changes = {name: pickles.dumps(values[name], field=str(name)) for name in values}
        self._visit().may_write()
        record, _, may_wait = self._opened()
        if record.is_absent and not changes:
            return  # of a new visitor, who has nothing to take out
        record.change({**dict.fromkeys(gone, GONE), **changes})
        if not may_wait:
            record.write()


class ReadOnce(Manager):
    """Values that are read once: `get` returns one and takes it out, and nobody else gets it."""

    # They are hints, and live for a day: what can't be read is not worth a new id.
    _MAY_REPLACE: bool = True

    def get(self, name: Any, default: Any = None) -> Any:
        """The value under a name, which is then gone; `default` if there is none."""
        value = self._opened()[0].take(name)
        return default if value is MISSING else value

    def pop(self, name: Any, default: Any = MISSING) -> Any:
        """As `get`, but a `KeyError` where there is neither a value nor a default."""
        value = self._opened()[0].take(name)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise KeyError(f"{name} not found in {self._NAME}")
        return default


def create_mixin(context: Any, manager_property: str, manager_class: type[Any]) -> Any:
    """The manager that is kept on a handler under this name, made of the class if there is none yet."""
    if not hasattr(context, manager_property):
        setattr(context, manager_property, manager_class(context))
    return getattr(context, manager_property)
