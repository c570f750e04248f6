"""Records and changes as the tests of the SQL store need them."""

import os
import time

from coatcheck.model.record import APPLIED, Create, Destroy, Lifetimes, Record, Update

NOW = int(time.time() * 1000)
DAY = 86_400_000
LIFETIMES = Lifetimes(idle=DAY, absolute=30 * DAY, remember_idle=30 * DAY, remember_absolute=90 * DAY)


def a_record(**parts):
    plain = {
        "key": os.urandom(16),
        "secret": bytes(32),
        "secret_at": NOW,
        "created": NOW,
        "last_used": NOW,
        "expires": NOW + DAY,
        "fields": {"theme": b"dark"},
    }
    return Record(**{**plain, **parts})


def create(store, record=None, **parts):
    record = record or a_record(**parts)
    assert store.apply([Create(record)]) == [APPLIED]
    return record


def update(record, **parts):
    return Update(**{"key": record.key, "at": NOW, "lifetimes": LIFETIMES, **parts})


def destroy(record, **parts):
    return Destroy(**{"key": record.key, "at": NOW, **parts})


def load(store, record):
    (found,) = store.load([record.key], NOW)
    return found


def fields(store, record):
    return dict(load(store, record).fields)
