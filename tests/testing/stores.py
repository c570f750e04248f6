"""Stores for tests of the kit: one with a separate index, and one that can do little."""

from coatcheck.model.ports import Capabilities
from coatcheck.model.record import Record
from coatcheck.stores.memory import MemoryStore
from tests.testing.twin import Twin


class SeparateIndexStore(MemoryStore):
    """Knows of a user's sessions only what it was told by `enroll`."""

    capabilities = Capabilities(separate_index=True)

    def __init__(self):
        super().__init__()
        self.index = {}

    def enroll(self, user, life, expires):
        self.index.setdefault(user, {})[life.key] = (life, expires)

    def lives_of(self, user, now):
        lives = [life for life, expires in list(self.index.get(user, {}).values()) if now < expires]
        return sorted(
            (life for life in lives if self._is_of(life, user, now)), key=lambda life: -life.signed_in
        )

    def _is_of(self, life, user, now):
        found = self._read(life.key)
        return isinstance(found, Record) and found.user == user and now < found.expires


class NoTombstonesStore(Twin):
    capabilities = Capabilities(users=False, count=False, tombstones=False)

    def _put(self, state):
        super()._put(state)
        if not isinstance(state, Record):
            self._remove(state.key)

    def lives_of(self, user, now):
        raise AssertionError("the capability is missing, and it was called all the same")

    def count(self, now):
        raise AssertionError("the capability is missing, and it was called all the same")
