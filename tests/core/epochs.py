"""Shared by the tests of epochs: sign-ins, ending all sessions of a user, the epoch that is stored."""

from __future__ import annotations

from coatcheck.core.calls import Apply
from coatcheck.core.epochs import Epoch, epoch_key
from coatcheck.http.token import handle_of
from coatcheck.model.ports import Write
from coatcheck.model.record import Record
from tests.core.scene import DAY, a_record, a_token, make_settings

BY_EPOCH = make_settings(revocation="epoch")
KEY = epoch_key("ada")


def signed_in(world, number, *, user="ada", at=None):
    """A sign-in that is stored and noted."""
    at = world.now if at is None else at
    return world.put(a_record(a_token(number), user=user, signed_in=at, last_used=world.now, created=at))


def unnoted(world, number, *, at=None):
    """A sign-in that is stored, and what is left of its flow: to note it, and to answer."""
    now, world.now = world.now, world.now if at is None else at
    visit = world.request()
    visit.session.sign_in("ada")
    left = world.until(visit.closing(), Apply)
    wish = next(left)
    results = world.answer(wish)
    world.now = now

    def rest():
        call = left.send(results)
        return (yield from _again(left, call))

    return results[0].held.state, rest()


def _again(flow, call):
    try:
        while True:
            call = flow.send((yield call))
    except StopIteration as stop:
        return stop.value


def end_all(world, *, at=None, keep=None):
    keep = None if keep is None else handle_of(keep.key)
    return world.run(world.admin.revoke_user("ada", world.now if at is None else at, keep))


def alive(world, *records):
    return [isinstance(world.counts(record), Record) for record in records]


def epoch_of(world, user="ada"):
    (found,) = world.store.load([epoch_key(user)], world.now, 0)
    return None if found is None else Epoch.decode(found.data)


def plant(world, data):
    world.store.remove([KEY], world.now, 0)
    if data is not None:
        write = Write(key=KEY, data=data, expires=world.now + DAY, live=False)
        assert world.store.write([write], world.now, 0) == [None]
