"""The common base of sessions and notifications. The two generations of pycket differ in their settings only."""

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
    """Servers with pycket still run, and load pickles that can run any code."""


_warned: set[str] = set()


def warn_of_side_by_side() -> None:
    """Warn once per process."""
    if "side_by_side" not in _warned:
        _warned.add("side_by_side")
        warnings.warn(
            "pycket's side_by_side=True: servers with pycket run the code of any pickle in the store, and lose changes of "
            "parallel requests. Remove this setting when no such server runs any more.",
            SideBySideWarning,
            stacklevel=4,
        )


class Manager:
    """A visitor's values, similar to a dict.

    Changes are stored before the response's headers are sent, and before any other handler runs in this process; `save`
    stores them immediately. Values are returned as copies: changing one in place does not change the stored value.
    """

    SESSION_ID_NAME: str = "PYCKET_ID"
    _NAME: str = "session"
    _MAY_REPLACE: bool = False

    def __init__(self, handler: Any) -> None:
        """For a request of a `tornado.web.RequestHandler`, or of a stand-in with the same methods."""
        self.handler: Any = handler

    # Reading

    def get(self, name: Any, default: Any = None) -> Any:
        """The value of `name`, or `default` if there is none."""
        return self._values().get(name, default)

    def keys(self) -> KeysView[Any]:
        """The names."""
        return self._values().keys()

    def values(self) -> ValuesView[Any]:
        """The values. Notifications are not removed."""
        return self._values().values()

    def items(self) -> ItemsView[Any, Any]:
        """The names with their values. Notifications are not removed."""
        return self._values().items()

    def iterkeys(self) -> Iterator[Any]:
        """An iterator over the names."""
        return iter(self._values())

    def __iter__(self) -> Iterator[Any]:
        return self.iterkeys()

    def __contains__(self, name: object) -> bool:
        return name in self._values()

    def __len__(self) -> int:
        return len(self._values())

    def __bool__(self) -> bool:
        # pycket's manager has no length, so that `if self.session` is always true there.
        return True

    def __getitem__(self, name: Any) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(f"{name} not found in {self._NAME}")
        return value

    # Changing

    def set(self, name: Any, value: Any) -> None:
        """Set the value of `name`.

        Raises:
            NotStorable: The value contains something that is neither a plain value nor allowed by the settings.
            CannotSendCookie: The visitor has no cookie yet, and the response's headers were already sent.
        """
        self._change({name: value})

    def __setitem__(self, name: Any, value: Any) -> None:
        self.set(name, value)

    def update(self, other: Mapping[Any, Any] | None = None, /, **values: Any) -> None:
        """Set several values."""
        self._change({**(other or {}), **values})

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """The value of `name`. A missing value is set to `default`."""
        values = self._values()
        if name not in values:
            self.set(name, default)
            return default
        return values[name]

    def delete(self, *names: Any) -> None:
        """Remove values. Missing names are ignored."""
        self._change({}, gone=names)

    def __delitem__(self, name: Any) -> None:
        self.delete(name)

    def pop(self, name: Any, default: Any = MISSING) -> Any:
        """Remove the value of `name` and return it, or `default`.

        Raises:
            KeyError: There is neither a value nor a default.
        """
        value = self._values().get(name, MISSING)
        if value is MISSING:
            if default is MISSING:
                raise KeyError(f"{name} not found in {self._NAME}")
            return default
        self.delete(name)
        return value

    def clear(self) -> None:
        """Remove all values. The visitor keeps the id; to log out, use `destroy`."""
        self.delete(*self._values())

    # The session as a whole

    def save(self) -> None:
        """Store the changes of this request now."""
        self._visit().settle()

    def rotate(self) -> None:
        """Give the visitor a new id, and end the old one. Call this at every sign-in.

        Values and notifications are kept. Changes by parallel requests with the old id are lost.
        """
        self._visit().rotate(self._drivers())

    def destroy(self) -> None:
        """Log the visitor out: remove the values and notifications from the store, and clear the cookie.

        Values that are set afterwards are stored under a new id.
        """
        self._visit().destroy(self._drivers())

    # Internals

    def _driver(self) -> Driver:
        raise NotImplementedError

    def _drivers(self) -> list[Driver]:
        """The drivers of all records of a visitor."""
        raise NotImplementedError

    def _cookies(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _visit(self) -> Visit:
        return visit_of(self.handler, self.SESSION_ID_NAME, self._cookies)

    def _values(self) -> dict[Any, Any]:
        return self._opened()[1]

    def _opened(self) -> tuple[Record, dict[Any, Any], bool]:
        """The visitor's record, its values, and whether a write may wait for the end of the loop's iteration."""
        visit, driver = self._visit(), self._driver()
        record, may_wait = visit.record(driver, may_replace=self._MAY_REPLACE)
        try:
            return record, record.read(), may_wait
        except DecodeError as error:
            log.warning(
                "A session can't be read. It is not changed, and its visitor gets a new one. %s", error
            )
        visit.start_anew()
        record, may_wait = visit.record(driver, may_replace=self._MAY_REPLACE)
        return record, record.read(), may_wait

    def _change(self, values: Mapping[Any, Any], *, gone: tuple[Any, ...] = ()) -> None:
        pickles = self._driver().pickles
        # Pickled now, so that the assignment raises the error, and later changes of the value have no effect.
        changes = {name: pickles.dumps(values[name], field=str(name)) for name in values}
        self._visit().may_write()
        record, _, may_wait = self._opened()
        if record.is_absent and not changes:
            return  # a new visitor has nothing to remove
        record.change({**dict.fromkeys(gone, GONE), **changes})
        if not may_wait:
            record.write()


class ReadOnce(Manager):
    """Values that are read once: `get` removes and returns one, and no other request gets it."""

    # Notifications are minor and live for a day, so an unreadable record is replaced, and the id is kept.
    _MAY_REPLACE: bool = True

    def get(self, name: Any, default: Any = None) -> Any:
        """Remove and return the value of `name`, or return `default` if there is none."""
        value = self._opened()[0].take(name)
        return default if value is MISSING else value

    def pop(self, name: Any, default: Any = MISSING) -> Any:
        """As `get`.

        Raises:
            KeyError: There is neither a value nor a default.
        """
        value = self._opened()[0].take(name)
        if value is not MISSING:
            return value
        if default is MISSING:
            raise KeyError(f"{name} not found in {self._NAME}")
        return default


def create_mixin(context: Any, manager_property: str, manager_class: type[Any]) -> Any:
    """The manager in the handler's attribute of this name, made on first use."""
    if not hasattr(context, manager_property):
        setattr(context, manager_property, manager_class(context))
    return getattr(context, manager_property)
