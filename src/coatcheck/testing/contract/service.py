"""Opening and closing, deadlines, and the promises that a store makes about itself."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Sequence
from typing import cast

from coatcheck.errors import StoreUnavailable
from coatcheck.testing.contract.harness import Bench, scenario

__all__ = ["Service", "comes_back"]

LONG = 2.0
"""Seconds that no call may take whose deadline has passed."""


class Service:
    """The store as a whole."""

    @scenario
    async def test_the_store_answers_a_ping(self, bench: Bench) -> None:
        before = int(time.time() * 1000)
        clock = await bench.store.ping(bench.deadline)
        if clock is not None:
            assert before - 5_000 <= clock <= int(time.time() * 1000) + 5_000, "not milliseconds since 1970"

    @scenario
    async def test_a_closed_store_can_be_used_again_and_finds_its_data(self, bench: Bench) -> None:
        written = await bench.put(b"kept")
        loaded = await bench.found(written.key)
        for _ in range(2):
            await bench.store.close()
        assert await bench.data(written.key) == written.data
        await bench.store.close()
        again = await bench.put(b"written anew", key=written.key, over=loaded)
        await bench.store.close()
        await bench.store.ping(bench.deadline)
        assert await bench.data(written.key) == again.data

    @scenario
    async def test_closing_a_store_leaves_others_over_the_same_data_open(self, bench: Bench) -> None:
        other = await bench.another()
        written = await bench.put(b"kept")
        assert await bench.data(written.key, store=other) == written.data
        await bench.store.close()
        assert await bench.data(written.key, store=other) == written.data

    @scenario
    async def test_a_call_whose_deadline_has_passed_comes_back_at_once(self, bench: Bench) -> None:
        lying = await bench.put(b"before")
        after = bench.item(b"after", over=lying)
        removed = await bench.put()
        for passed in (time.monotonic(), time.monotonic() - 60, 0.0):
            store, start = bench.store, bench.start
            await comes_back(store.load([lying.key, os.urandom(16)], start, passed))
            await comes_back(store.write([after, bench.item()], start, passed))
            await comes_back(store.remove([removed.key], start, passed))
            await comes_back(store.sweep(start, 1, passed))
            await comes_back(store.ping(passed))
            if store.index != "none":
                await comes_back(store.sessions_of("ada", start, 1, None, passed))
                await comes_back(store.count(start, passed))
        # The store is as good as before, and nothing was done by half.
        found = await bench.found(lying.key)
        assert found.data in {lying.data, after.data}
        last = await bench.put(b"last", key=lying.key, over=found)
        assert await bench.data(lying.key) == last.data

    @scenario
    async def test_a_store_that_loads_in_place_never_waits(self, bench: Bench) -> None:
        written = await bench.put(b"here")
        if bench.store.loads_in_place:
            load = bench.store.load([written.key, os.urandom(16)], bench.start, bench.deadline)
            try:
                load.send(None)
            except StopIteration as ended:
                found, absent = ended.value
            else:
                load.close()
                raise AssertionError("the load waits")
            assert found.data == written.data
            assert absent is None


async def comes_back(call: Awaitable[object]) -> None:
    """See that a call ends soon, and in one of the ways that it may: with its answer, or because of its deadline."""
    began = time.monotonic()
    try:
        answer = await call
    except StoreUnavailable:
        answer = None
    assert time.monotonic() - began < LONG
    if isinstance(answer, Sequence):
        for item in cast("Sequence[object]", answer):
            assert not isinstance(item, Exception) or isinstance(item, StoreUnavailable), item
