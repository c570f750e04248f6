"""Measuring side by side: every candidate in every round, in a new order each time, the median over the rounds.

The machine's noise hits all candidates of a round alike, so the ratios hold where the times do not.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Cost", "side_by_side"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one candidate took: microseconds of CPU a call, the median and the quartiles over the rounds."""

    median: float
    low: float
    high: float


def side_by_side(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 25, seconds_a_round: float = 0.05
) -> dict[str, Cost]:
    """The cost of one call of each candidate."""
    loops = {name: _calibrated(call, seconds_a_round) for name, call in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            samples[name].append(_timed(candidates[name], loops[name]))
    return {name: _cost(times) for name, times in samples.items()}


def _calibrated(call: Callable[[], object], seconds: float) -> int:
    for _ in range(50):
        call()
    return max(1, round(seconds * 1e6 / _timed(call, 50)))


def _timed(call: Callable[[], object], loops: int) -> float:
    enabled = gc.isenabled()
    gc.disable()
    try:
        start = time.process_time()
        for _ in range(loops):
            call()
        return (time.process_time() - start) / loops * 1e6
    finally:
        if enabled:
            gc.enable()


def _cost(times: list[float]) -> Cost:
    low, median, high = statistics.quantiles(times, n=4)
    return Cost(median, low, high)
