"""Stores in memory with the other kinds of index."""

from msgspec.structs import replace

from coatcheck.stores.memory import MemoryStore


class SeparateIndexStore(MemoryStore):
    """Knows of a user's sessions only what it was told by `note`."""

    index = "beside"

    def __init__(self):
        super().__init__()
        self.noted = {}  # by user and key

    def note(self, entries, now, deadline):
        with self._lock:
            for entry in entries:
                self.enter(entry)

    def enter(self, entry):
        at = entry.user, entry.key
        known = self.noted.get(at, entry)
        self.noted[at] = replace(
            max(known, entry, key=lambda either: either.signed_in), until=max(known.until, entry.until)
        )

    def sessions_of(self, user, now, limit, after, deadline):
        def rank(entry):
            return -entry.signed_in, entry.key

        with self._lock:
            entries = [entry for (of, _), entry in self.noted.items() if of == user and entry.until > now]
        entries.sort(key=rank)
        return [entry for entry in entries if after is None or rank(entry) > rank(after)][:limit]

    def forget(self, entries, deadline):
        with self._lock:
            for entry in entries:
                self.drop(entry)

    def drop(self, entry):
        at = entry.user, entry.key
        if self.noted.get(at) == entry:
            del self.noted[at]


class NoIndexStore(MemoryStore):
    """Keeps no list of a user's sessions."""

    index = "none"

    def sessions_of(self, *_):
        raise AssertionError("the store has no index, and was asked for one")

    count = note = forget = sessions_of
