"""Entries of an index, and the records behind them."""

from __future__ import annotations

import pytest

from coatcheck.model.ports import Entry
from coatcheck.model.record import Destroy, Holder
from tests.core.scene import DAY, NOW, a_record, a_token

INDEXES = pytest.mark.parametrize("index", ["within", "beside"])


def an_entry(number, user="ada"):
    return Entry(user, a_token(number).key, NOW - number, NOW + DAY)


def its_record(entry, **parts):
    return a_record(a_token(entry.key[0]), user=entry.user, signed_in=entry.signed_in, **parts)


def many_entries(count):
    return [Entry("ada", number.to_bytes(16, "big"), NOW, NOW + DAY) for number in range(count)]


def ends(entry):
    return Destroy(key=entry.key, at=NOW, holder=Holder("ada", entry.signed_in))


ENTRIES = [an_entry(number) for number in (2, 3, 4, 5)]
