"""gimlet's session: one mapping over two channels."""

from __future__ import annotations

import logging
import os
import time
from binascii import hexlify
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from itertools import chain
from types import GeneratorType
from typing import Any, ClassVar

from coatcheck.compat.gimlet.backends.base import Backend, Renewal, read_records, write_records
from coatcheck.compat.gimlet.channel import SessionChannel
from coatcheck.compat.gimlet.cookies import BadCookie, Cookie, Cookies, cookies_in
from coatcheck.compat.gimlet.pyramid_session import PyramidSession
from coatcheck.compat.gimlet.serializer import URLSafeCookieSerializer
from coatcheck.errors import CannotSendCookie, DecodeError
from coatcheck.http.cookie import CookieTemplate
from coatcheck.http.headers import amend

__all__ = ["DEFAULT", "Session", "SessionChannel", "log"]

log: logging.Logger = logging.getLogger("gimlet")

DEFAULT: Any = object()
"""Marks an option of `Session.get` as not given. None is different: it stands for the session's default."""

_MOST_TRIED = 4
_CHANNELS = ("perm", "nonperm")
_PARTS_OF_LIFE = 10


class Session(PyramidSession):
    """A visitor's session. `session_factory_factory` makes subclasses with the settings as class attributes."""

    backend: ClassVar[Backend | None] = None
    channel_names: ClassVar[Mapping[str, str]] = {"perm": "gimlet-p", "nonperm": "gimlet-n"}
    channel_opts: ClassVar[Mapping[str, Mapping[str, Any]]] = {"perm": {}, "nonperm": {}}
    """The attributes of a channel's cookie: ``max_age`` (a timedelta; without it the cookie ends with the browser),
    ``domain``, ``path``, ``samesite``."""
    defaults: ClassVar[Mapping[str, Any]] = {"permanent": False, "clientside": None}
    lifetimes: ClassVar[Mapping[str, timedelta]] = {
        "perm": timedelta(days=400),
        "nonperm": timedelta(days=30),
    }
    serializer: ClassVar[URLSafeCookieSerializer]
    cookies: ClassVar[Cookies]
    clock: ClassVar[staticmethod[[], float]] = staticmethod(time.time)

    def __init__(self, request: Any) -> None:
        """Read the cookies of a request. The backend is called when a value of it is first needed.

        Args:
            request: An object with ``cookies``, ``remote_addr`` and ``scheme``. If it has ``add_response_callback``, as
                in Pyramid, the session registers itself there to be written.
        """
        self.request: Any = request
        self.flushed: bool = False
        self._used = False
        # Whether the cookies of fresh channels are sent. They are not, as long as the session holds nothing.
        self._sticks = False
        self._gone: list[bytes] = []
        self._unreadable: list[bytes] = []
        self.channels: dict[str, SessionChannel] = {key: self.read_channel(key) for key in _CHANNELS}
        perm, nonperm = self.channels["perm"], self.channels["nonperm"]
        if perm.id == nonperm.id:
            # One channel's cookie came under both names, which gimlet's cookies don't rule out.
            self.channels["perm"] = self.fresh_channel()
            self._sticks = True
        self.has_backend: bool = self.backend is not None
        for key, channel in self.channels.items():
            self._adopt(key, channel)
        if hasattr(request, "add_response_callback"):
            request.add_response_callback(self.write_callback)

    @property
    def default_channel(self) -> SessionChannel:
        """The channel whose id is the session's."""
        return self.channels["perm"]

    @property
    def id(self) -> bytes:
        """The id of the perm channel: 32 hexadecimal digits. Reading it sends the cookie, since the id may be kept."""
        self._sticks = True
        return self.default_channel.id

    @property
    def created_timestamp(self) -> int:
        """The creation time of the perm channel, in seconds since 1970."""
        self._sticks = True
        return self.default_channel.created_timestamp

    created = created_timestamp

    @property
    def created_time(self) -> datetime:
        """The creation time of the perm channel: UTC, as a naive datetime."""
        self._sticks = True
        return self.default_channel.created_time

    @property
    def new(self) -> bool:
        """Whether the request came without a session."""
        return all(channel.fresh for channel in self.channels.values())

    def __getitem__(self, key: Any) -> Any:
        self._used = True
        # The cookies first, since they cost no I/O. A key is in one place only.
        for channel in self.channels.values():
            if key in channel.client_data:
                return channel.get(key)
        for channel in self.channels.values():
            if key in channel:
                return channel.get(key)
        raise KeyError(key)

    def get(self, key: Any, default: Any = None, permanent: Any = DEFAULT, clientside: Any = DEFAULT) -> Any:
        """The value of `key`, or `default`. With an option, only the place that the options name is read."""
        try:
            if permanent is DEFAULT and clientside is DEFAULT:
                return self[key]
            self._used = True
            options = (None if option is DEFAULT else option for option in (permanent, clientside))
            channel, at_client = self._place(*options)
            return channel.get(key, clientside=at_client)
        except KeyError:
            return default

    def __setitem__(self, key: Any, val: Any) -> None:
        self.set(key, val)

    def set(self, key: Any, val: Any, permanent: bool | None = None, clientside: bool | None = None) -> None:
        """Store a value in the place that the options name, and remove it from every other place.

        Raises:
            ValueError: The place is not available: there is no backend, or it is a cookie and the response was sent.
            CannotSendCookie: The response was sent, and the visitor has no cookie of this session.
        """
        channel, at_client = self._place(permanent, clientside)
        self._check_not_late(at_client)
        if not channel.sent and self.flushed:
            raise CannotSendCookie("the response was sent, and this visitor has no session cookie yet")
        self._used = True
        if not (at_client and key in channel.client_data):
            for other in self.channels.values():
                if key in other and (other is not channel or at_client is not (key in other.client_data)):
                    self._check_not_late(key in other.client_data)
                    other.delete(key)
        channel.set(key, val, clientside=at_client)
        self._after_change()

    def save(self, permanent: bool | None = None, clientside: bool | None = None) -> None:
        """Mark values that were changed in place for writing.

        Without options this covers everything that the request has read; with options the place that they name.
        """
        channel, at_client = self._place(permanent, clientside)
        self._check_not_late(at_client)
        if permanent is None and clientside is None:
            for each in self.channels.values():
                each.save_what_was_read()
        else:
            channel.save(at_client)
        self._after_change()

    def __delitem__(self, key: Any) -> None:
        self._used = True
        holding = [channel for channel in self.channels.values() if key in channel]
        if not holding:
            raise KeyError(key)
        self._check_not_late(any(key in channel.client_data for channel in holding))
        for channel in holding:
            channel.delete(key)
        self._after_change()

    def clear(self) -> None:
        """Remove every value."""
        self._used = True
        self._check_not_late(any(channel.client_data for channel in self.channels.values()))
        for channel in self.channels.values():
            channel.clear()
        self._after_change()

    def __contains__(self, key: object) -> bool:
        self._used = True
        return any(key in channel.client_data for channel in self.channels.values()) or any(
            key in channel for channel in self.channels.values()
        )

    def __iter__(self) -> Iterator[Any]:
        self._used = True
        return iter(dict.fromkeys(chain(*self.channels.values())))

    def __len__(self) -> int:
        self._used = True
        return len(dict.fromkeys(chain(*self.channels.values())))

    def is_permanent(self, key: Any) -> bool:
        """Whether the key is in the perm channel."""
        self._used = True
        return key in self.channels["perm"]

    def __repr__(self) -> str:
        """The keys, without the values."""
        self._used = True
        shown = "\n".join(f"-- {key} --\n{channel!r}" for key, channel in self.channels.items())
        return f"<Session \n{shown}\n>"

    def invalidate(self) -> None:
        """End the session: its records are removed with the response, and the visitor gets new, empty channels.

        The browser drops the data in the cookies, but a copy of a cookie remains valid for its lifetime: keep nothing
        in cookies that grants access.
        """
        self._gone += [channel.id for channel in self.channels.values() if not channel.fresh or channel.there]
        self._gone += self._unreadable
        for key in self.channels:
            self.channels[key] = self._adopt(key, self.fresh_channel())
        self._used = self._sticks = True
        self._after_change()

    def make_session_id(self) -> bytes:
        """A new id: 32 hexadecimal digits."""
        return hexlify(os.urandom(16))

    def fresh_channel(self) -> SessionChannel:
        """A new, empty channel."""
        return SessionChannel(self.make_session_id(), int(self.clock()), self.backend, fresh=True)

    def read_channel(self, key: str) -> SessionChannel:
        """The channel of a request's cookie, or a fresh one if there is no valid cookie."""
        name = self.channel_names[key]
        good: dict[bytes, Cookie] = {}
        for value in cookies_in(self.request, name)[:_MOST_TRIED]:
            try:
                cookie = self.cookies.read(value, name=name, channel=key)
            except BadCookie as error:
                # Browsers send the bad cookie until it is replaced.
                self._sticks = True
                remote = getattr(self.request, "remote_addr", None)
                log.warning("Request from %s contained bad sig. %s", remote, error)
            else:
                good[cookie.id] = cookie
        # Of several valid cookies an attacker may have planted one.
        if len(good) != 1:
            return self.fresh_channel()
        (cookie,) = good.values()
        age = 0 if cookie.issued is None else self.clock() - cookie.issued
        lifetime = self.lifetimes[key].total_seconds()
        if age > lifetime:
            return self.fresh_channel()
        channel = SessionChannel(
            cookie.id, cookie.created, self.backend, fresh=False, client_data=cookie.client_data
        )
        channel.renew = not cookie.current or age > lifetime / _PARTS_OF_LIFE
        return channel

    def write_callback(self, request: Any, response: Any) -> None:
        """Write the changes, then add the cookies to the response.

        Raises:
            TooLarge: A cookie is larger than browsers accept; nothing was written.
            NotStorable: A value would not come back unchanged; nothing was written.
        """
        self.flushed = True
        body: object = getattr(response, "app_iter", None)
        # A generator has not run yet, and the values that it stores later need the cookie.
        self._sticks = self._sticks or isinstance(body, GeneratorType) or self._is_dirty()
        sending = [(key, channel) for key, channel in self.channels.items() if self._must_send(channel)]
        cookies = {channel.id: self._set_cookie(request, key, channel) for key, channel in sending}
        ended = self._store([channel for _, channel in sending])
        for _, channel in sending:
            if channel.id in ended:
                continue
            headers: list[tuple[str, str]] = response.headerlist
            response.headerlist = amend(headers, cookies[channel.id], vary=None)
            channel.sent, channel.client_dirty, channel.renew = True, False, False
        if self._used or sending:
            response.headerlist = amend(response.headerlist, None)

    def response_callback(self, request: Any, response: Any) -> None:
        """Does nothing. Applications for gimlet before 0.5.2 register it."""

    def _place(self, permanent: bool | None, clientside: bool | None) -> tuple[SessionChannel, bool]:
        if not self.has_backend and clientside is False:
            raise ValueError("setting a non-clientside key with no backend present is not supported")
        permanent = self.defaults["permanent"] if permanent is None else permanent
        clientside = self.defaults["clientside"] if clientside is None else clientside
        return self.channels["perm" if permanent else "nonperm"], bool(clientside)

    def _check_not_late(self, at_client: bool) -> None:
        if self.flushed and at_client:
            raise ValueError("clientside keys cannot be set after the WSGI response has been returned")

    def _adopt(self, key: str, channel: SessionChannel) -> SessionChannel:
        channel.load = self._load
        lifetimes = self.lifetimes.values() if self.cookies.side_by_side else [self.lifetimes[key]]
        # gimlet does not renew its cookies, so their records must have the longest lifetime.
        channel.seconds = int(max(lifetimes).total_seconds())
        return channel

    def _load(self) -> None:
        """Read the missing records of all channels in one round trip."""
        waiting = [channel for channel in self.channels.values() if not channel.backend_loaded]
        if self.backend is None or not waiting:
            return
        found = read_records(self.backend, [channel.id for channel in waiting])
        for channel in waiting:
            try:
                channel.loaded(found.get(channel.id))
            except DecodeError as error:
                # The record is not changed, and new values go to a new one.
                log.warning("A session's record can't be read: %s", error)
                self._unreadable.append(channel.id)
                channel.id, channel.created_timestamp = self.make_session_id(), int(self.clock())
                channel.fresh = channel.backend_loaded = True
                channel.sent = False

    def _is_dirty(self) -> bool:
        return any(channel.client_dirty or channel.backend_dirty for channel in self.channels.values())

    def _must_send(self, channel: SessionChannel) -> bool:
        return (
            channel.client_dirty
            or (channel.fresh and not channel.sent and self._sticks)
            or (channel.renew and self._used)
        )

    def _set_cookie(self, request: Any, key: str, channel: SessionChannel) -> str:
        name, options = self.channel_names[key], dict(self.channel_opts[key])
        max_age: timedelta | None = options.pop("max_age", None)
        template = CookieTemplate(name=name, secure=request.scheme == "https", **options)
        value = self.cookies.write(channel, name=name, channel=key, now=int(self.clock()))
        return template.set(value, max_age=None if max_age is None else int(max_age.total_seconds()))

    def _after_change(self) -> None:
        if self.flushed:
            self._store([])

    def _store(self, sending: list[SessionChannel]) -> AbstractSet[bytes]:
        """Write, remove and renew records. Returns the ids of the channels whose session ended meanwhile."""
        dirty = [channel for channel in self.channels.values() if channel.backend_dirty]
        gone, self._gone = self._gone, []
        renewed = [
            Renewal(channel.id, channel.seconds)
            for channel in sending
            if channel.renew and not channel.fresh and not channel.backend_dirty
        ]
        if self.backend is None or not (dirty or gone or renewed):
            return frozenset()
        try:
            ended = write_records(self.backend, [channel.write() for channel in dirty], gone, renewed)
        except Exception:
            if dirty or gone:
                raise
            log.warning("The lifetime of a session's records is not renewed.", exc_info=True)
            return frozenset(renewal.id for renewal in renewed)
        for channel in dirty:
            channel.written(ended)
        if ended:
            log.warning("A session ended while a request changed it; the change was dropped.")
        return ended
