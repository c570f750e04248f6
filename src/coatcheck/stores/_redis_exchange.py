"""What has to be said again: the retries of a round trip, in one place for both colours.

The drivers' own retries repeat whatever failed, also what may have been done. Here a command is sent again only if it
surely was not done, or if doing it twice is the same; never for longer than the deadline. The pauses are redis-py's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.backoff import FullJitterBackoff

from coatcheck.errors import StoreError
from coatcheck.stores._redis_errors import Broken, Said
from coatcheck.stores._redis_replies import Reply
from coatcheck.stores._redis_words import Command

__all__ = ["Exchange"]

_TRIES = 3
_HOPS = 8
_MOVES = {"MOVED", "ASK"}
_ASKING = b"*1\r\n$6\r\nASKING\r\n"
_TRANSIENT = {"READONLY", "LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"}
_PAUSES = FullJitterBackoff(cap=0.1, base=0.01)


class Exchange:
    """The commands of one round trip, and their replies as they come in.

    Attributes:
        replies: In the order of the commands: a reply, `Said`, or a `StoreError`.
        pending: The places of those that are to be sent.
        renew: Whether to ask anew, before that, which server is the one to write to.
        until: When the deadline ends, by `time.monotonic`.
    """

    def __init__(self, commands: Sequence[Command], until: float) -> None:
        self.commands = commands
        self.replies: list[Reply] = [None] * len(commands)
        self.pending: list[int] = list(range(len(commands)))
        self.renew: bool = False
        self.until = until
        self.moved: dict[int, Said] = {}
        self._again: list[int] = []
        self._tries = 0
        self._hops = 0

    def data(self, places: Sequence[int]) -> tuple[bytes, int]:
        """The bytes of some commands, and how many replies they have."""
        if len(places) == 1 and not self.moved:
            return self.commands[places[0]].data, 1
        pieces: list[bytes] = []
        for place in places:
            if self._asks(place):
                pieces.append(_ASKING)
            pieces.append(self.commands[place].data)
        return b"".join(pieces), len(pieces)

    def answered(self, places: Sequence[int], replies: Sequence[Reply]) -> None:
        """A server answered."""
        following = iter(replies)
        for place in places:
            if self._asks(place):
                next(following)
            self.replies[place] = reply = next(following)
            self.moved.pop(place, None)
            if isinstance(reply, Said):
                if reply.code in _MOVES:
                    self.moved[place] = reply
                    self._again.append(place)
                elif reply.code in _TRANSIENT:
                    self.renew = True
                    self._again.append(place)

    def broke(self, places: Sequence[int], broken: Broken) -> None:
        """A server did not."""
        self.renew = True
        done = broken.sent and broken.code is None
        for place in places:
            command = self.commands[place]
            self.replies[place] = broken.failure(writes=command.writes)
            self.moved.pop(place, None)
            if not broken.is_refusal and (not done or command.again):
                self._again.append(place)

    def refused(self, places: Sequence[int], error: StoreError) -> None:
        """It was not even asked."""
        for place in places:
            self.replies[place] = error

    def _asks(self, place: int) -> bool:
        # A server that a key is being moved to serves it only to who says that he was sent there.
        moved = self.moved.get(place)
        return moved is not None and moved.code == "ASK"

    def pause(self) -> float | None:
        """For how long (seconds) to wait before what is pending is sent again; None: that was all."""
        if not self._again:
            return None
        self.pending, self._again = self._again, []
        if len(self.moved) == len(self.pending) and self._hops < _HOPS:
            self._hops += 1
            pause = 0.0
        else:
            self._tries += 1
            if self._tries >= _TRIES:
                return None
            pause = float(_PAUSES.compute(self._tries))
        return None if time.monotonic() + pause >= self.until else pause
