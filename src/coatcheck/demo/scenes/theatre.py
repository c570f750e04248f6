"""Plays scenes: one at a time, and a bounded number in a while, so that they can't exhaust the server."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from coatcheck.demo.scenes.plays import Scene, Seen
from coatcheck.demo.scenes.sides import SWITCHED_OFF, CoatcheckSide, NaiveSide, Side
from coatcheck.demo.scenes.stage import Stage
from coatcheck.model.ports import Store

__all__ = ["Busy", "Played", "Theatre", "played"]

_MOST = 30
_SECONDS = 10.0
_DEADLINE = 2.0


class Busy(Exception):
    """Another scene is being played, or there were too many of late."""


@dataclass(frozen=True, slots=True)
class Played:
    """How a scene went on one side."""

    seen: Seen
    log: list[str]
    held: list[str]


class Theatre:
    """Plays on the demo's store. Safe for threads."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._stage = threading.Lock()
        self._begun: deque[float] = deque(maxlen=_MOST)
        logging.getLogger("coatcheck").addFilter(
            _is_no_scene
        )  # an outage on purpose is no news for the operator

    def play(self, scene: Scene) -> tuple[Played, Played]:
        """Play a scene on Coatcheck, and on the naive session.

        Raises:
            Busy: Not now.
            BrokenOff: The scene could not be played to its end.
            StoreError: The demo's store can't be reached.
        """
        if not self._stage.acquire(blocking=False):
            raise Busy
        try:
            now = monotonic()
            if len(self._begun) == _MOST and now - self._begun[0] < _SECONDS:
                raise Busy
            self._begun.append(now)
            self._store.ping(now + _DEADLINE)
            return (
                played(scene, CoatcheckSide(self._store, self._clock)),
                played(scene, NaiveSide(scene.naive())),
            )
        finally:
            self._stage.release()


def _is_no_scene(record: logging.LogRecord) -> bool:
    return SWITCHED_OFF not in record.getMessage()


def played(scene: Scene, side: Side) -> Played:
    """Play a scene on one side.

    Raises:
        BrokenOff: The scene could not be played to its end.
        StoreError: The store can't be reached.
    """
    with Stage(side) as stage:
        seen = scene.play(stage)
        return Played(seen, stage.log, side.held())
