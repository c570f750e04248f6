"""Short ways to write to a store, and to see what lies in it."""

import os

from coatcheck.model.ports import Conflict, Write

KEY = bytes(16)
OTHER = bytes(15) + b"\1"
NOW = 1_000
DEADLINE = float("inf")


def item(key=KEY, text=b"", *, over=None, expires=100_000, **more):
    """A write of `text` behind 8 random bytes, where nothing lies or over an earlier write."""
    expected = None if over is None else over.data[:8]
    return Write(key=key, data=os.urandom(8) + text, expires=expires, expected=expected, **more)


def write(store, *writes):
    return store.write(writes, NOW, DEADLINE)


def data(store, key=KEY):
    (found,) = store.load([key], NOW, DEADLINE)
    return None if found is None else found.data


def lost_to(answers, winner):
    """Whether a single write met `winner`."""
    (answer,) = answers
    return isinstance(answer, Conflict) and answer.found.data == winner.data
