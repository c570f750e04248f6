"""What is said to Memcached, once for both colours.

Each flow is a generator: it yields what it wants of the servers, is sent the answer (or has the error thrown in), and
returns what the port promises. Nothing is ever overwritten blindly: a new item is added, a changed one goes back with
the token under which it was read, and if somebody else was there first, all is read and decided anew.

A signed-in session counts only while its user's *epoch* says so (`Epoch`). The epoch is an item of its own, and may
lie on another server, or be gone: then the session is refused. A user's sign-ins are noted in it before they are
answered, so ending all of them is one step: those that were noted are over. No clock has a part in that.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.errors import StoreFull, TooLarge
from coatcheck.model.ports import Found, Life, Unreadable
from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Applied,
    Create,
    Destroy,
    Record,
    RecordError,
    Refused,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)
from coatcheck.stores._memcached_items import Epoch, Items

__all__ = ["Delete", "Get", "Item", "Pause", "Put", "Steps", "apply", "enroll", "load", "revoke_all"]

_T = TypeVar("_T")


class Item(Struct, frozen=True):
    """What lies under a name, and the token of this version of it."""

    data: bytes
    token: bytes


class Get(Struct, frozen=True):
    """Read items, each server's in one round trip. The answer: for each its `Item`, or None."""

    names: Sequence[bytes]


class Put(Struct, frozen=True):
    """Store an item in place of the version `token`; without one, only if there is none.

    The answer: whether it was stored. If not, somebody else was there first.
    """

    name: bytes
    data: bytes
    lifetime: int
    token: bytes | None


class Delete(Struct, frozen=True):
    """Remove an item. The answer: whether there was one."""

    name: bytes


class Pause(Struct, frozen=True):
    """Wait a moment, longer with each of the `tries`, so that those who change the same item do not keep step."""

    tries: int


Steps = Generator[Get | Put | Delete | Pause, Any, _T]


def load(items: Items, keys: Sequence[bytes], now: int) -> Steps[list[Found]]:
    """See `coatcheck.model.ports.Store.load`. One round trip, and another where somebody is signed in."""
    read: Sequence[Item | None] = yield Get([items.of_record(key) for key in keys])
    found = [_found(key, item) for key, item in zip(keys, read, strict=True)]
    users = dict.fromkeys(
        [state.user for state in found if isinstance(state, Record) and state.user is not None]
    )
    if not users:
        return found
    epochs: Sequence[Item | None] = yield Get([items.of_user(user) for user in users])
    of_user = {user: _epoch(item) for user, item in zip(users, epochs, strict=True)}
    return [
        _judged(state, of_user[state.user], now)
        if isinstance(state, Record) and state.user is not None
        else state
        for state in found
    ]


def apply(items: Items, change: Create | Update | Destroy) -> Steps[Applied | Refused]:
    """Apply one change to what is there now."""
    if isinstance(change, Create):
        return (yield from _create(items, change.record))
    name = items.of_record(change.key)
    for tries in count():
        if tries:
            yield Pause(tries)
        (item,) = yield Get((name,))
        if item is None:
            return Refused.GONE
        # Logging out asks no epoch: it must do its work also when that one's server is down.
        if isinstance(change, Update) and not (yield from _counts(items, change.key, item)):
            return Refused.GONE
        settled = settle(item.data, change)
        if settled.state is None:
            return settled.answer
        data = encode(settled.state)
        items.check_size(name, data)
        try:
            stored = yield Put(name, data, items.lifetime(settled.state.expires), item.token)
        except (StoreFull, TooLarge):
            # A tombstone is a courtesy, the end is not. But only where it has no conditions: to remove is to remove
            # whatever is there by now.
            if not isinstance(change, Destroy) or change.user is not None or change.signed_in is not None:
                raise
            return APPLIED if (yield Delete(name)) else Refused.GONE
        if stored:
            return settled.answer
    raise AssertionError


def enroll(items: Items, user: str, life: Life, expires: int) -> Steps[None]:
    """Note a sign-in that was stored, and is not answered yet, in its user's epoch.

    What counts is the sign-in as the record has it now: a later one of the same session may have replaced it.
    """
    record_name, epoch_name = items.of_record(life.key), items.of_user(user)
    for tries in count():
        if tries:
            yield Pause(tries)
        item, epoch_item = yield Get((record_name, epoch_name))
        record = _found(life.key, item)
        if item is None or not isinstance(record, Record) or record.user != user:
            return  # it has ended already, or has become somebody else's, who notes it himself
        epoch = _epoch(epoch_item)
        # The lifetime counts from the sign-in as well.
        ends = max(expires, expires - life.signed_in + record.signed_in)
        if epoch is None:
            # The first, or what was there is lost. All that came before this sign-in, it takes for over.
            noted = Epoch(ended=record.signed_in - 1, newest=record.signed_in, expires=ends)
        elif record.signed_in <= epoch.ended and record.key != epoch.kept:
            # All were ended since it was stored, or within its millisecond, or by a clock that runs ahead. It was not
            # answered yet, so it is one that begins after them.
            later = replace(record, signed_in=epoch.ended + 1)
            yield Put(record_name, encode(later), items.lifetime(later.expires), item.token)
            continue
        else:
            noted = replace(
                epoch, newest=max(epoch.newest, record.signed_in), expires=max(epoch.expires, ends)
            )
            if noted == epoch:
                return
        if (yield _put_epoch(items, epoch_name, noted, epoch_item)):
            return


def revoke_all(items: Items, user: str, at: int, until: int, keep: bytes | None) -> Steps[None]:
    """End every sign-in of `user` that was noted, but for the session `keep`, if that one counts now."""
    epoch_name = items.of_user(user)
    names = (epoch_name,) if keep is None else (epoch_name, items.of_record(keep))
    for tries in count():
        if tries:
            yield Pause(tries)
        epoch_item, *spared = yield Get(names)
        epoch = _epoch(epoch_item)
        if epoch is None:
            # Nothing counts at present. What lies there from before must not count again either.
            ended = Epoch(ended=at, newest=at, expires=until, revoked=at)
        else:
            record = None if keep is None else _found(keep, spared[0])
            stays = isinstance(record, Record) and record.user == user and epoch.admits(record)
            ended = replace(
                epoch,
                ended=max(epoch.ended, epoch.newest),
                revoked=max(epoch.revoked, at),
                kept=keep if stays and keep is not None else b"",
            )
        try:
            done = yield _put_epoch(items, epoch_name, ended, epoch_item)
        except StoreFull:
            # Without an epoch none of them counts either, not even the one to keep: better that than to go on.
            yield Delete(epoch_name)
            return
        if done:
            return


def _create(items: Items, record: Record) -> Steps[Applied | Refused]:
    name, data = items.of_record(record.key), encode(record)
    items.check_size(name, data)
    stored = yield Put(name, data, items.lifetime(record.expires), None)
    return APPLIED if stored else Refused.EXISTS


def _put_epoch(items: Items, name: bytes, epoch: Epoch, before: Item | None) -> Put:
    lifetime = items.lifetime(epoch.expires)
    return Put(name, epoch.encode(), lifetime, None if before is None else before.token)


def _counts(items: Items, key: bytes, item: Item) -> Steps[bool]:
    """Whether the record in `item` may be changed: it is nobody's, or its user's epoch admits it."""
    record = _found(key, item)
    if not isinstance(record, Record) or record.user is None:
        return True
    (epoch_item,) = yield Get((items.of_user(record.user),))
    epoch = _epoch(epoch_item)
    return epoch is not None and epoch.admits(record)


def _found(key: bytes, item: Item | None) -> Found:
    if item is None:
        return None
    try:
        return decode(key, item.data)
    except RecordError as error:
        return Unreadable(str(error))


def _epoch(item: Item | None) -> Epoch | None:
    return None if item is None else Epoch.decode(item.data)


def _judged(record: Record, epoch: Epoch | None, now: int) -> Found:
    """The record if its epoch admits it, else what is left of it.

    For a while that is a tombstone: a request that was under way when the session ended, or while its sign-in is
    being noted, is a late one, and must not be given a new session in place of the one that the visitor now has.
    """
    if epoch is not None and epoch.admits(record):
        return record
    end = max(record.signed_in, 0 if epoch is None else epoch.revoked) + TOMBSTONE_LIFE
    return Tombstone(record.key, end) if now < end else None
