"""The harness of the memory store, sync and async: how the contract suite gets at the bytes behind it."""

from coatcheck.model.ports import Write
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing.contract import Harness

FAR = 86_400_000


class MemoryHarness(Harness):
    def __init__(self, store=None):
        super().__init__()
        self.store = MemoryStore() if store is None else store
        self.memory = self.store

    async def open(self):
        return self.store

    async def plant(self, key, data):
        self.memory.remove([key], self.now, 0)
        self.memory.write([Write(key=key, data=data, expires=self.now + FAR)], self.now, 0)

    async def raw(self, key):
        found = self.memory._found.get(key)
        return None if found is None else found.data


class AsyncMemoryHarness(MemoryHarness):
    def __init__(self, store=None):
        super().__init__(AsyncMemoryStore() if store is None else store)
        self.memory = self.store._store
