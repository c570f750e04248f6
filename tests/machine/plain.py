"""A session in the plainest words, for the model to compare a store with. It knows nothing of `Record.apply`."""

from __future__ import annotations

from coatcheck.model.lifetimes import Lifetimes

__all__ = ["LIFETIMES", "PlainSession"]

# Each absolute limit is reached after two uses that are just in time.
LIFETIMES = Lifetimes(idle=60_000, absolute=100_000, remember_idle=150_000, remember_absolute=250_000)


class PlainSession:
    """A session, as the model sees it: a dict, and what a visitor may know of it."""

    def __init__(self, key: bytes, secret: bytes, now: int, fields: dict[str, bytes]) -> None:
        self.key = key
        self.secret: bytes = secret
        self.fields = fields
        self.old_secrets: list[bytes] = []
        self.previous: bytes | None = None
        self.previous_until: int | None = None
        self.user: str | None = None
        self.signed_in = 0
        self.created = now
        self.last_used: int = now
        self.permanent = False
        self.destroyed: int | None = None

    @property
    def expires(self) -> int:
        """The earlier of two moments: idle for too long, or too old."""
        born = self.signed_in or self.created
        if self.permanent:
            return min(self.last_used + LIFETIMES.remember_idle, born + LIFETIMES.remember_absolute)
        return min(self.last_used + LIFETIMES.idle, born + LIFETIMES.absolute)

    def is_live(self, now: int) -> bool:
        return self.destroyed is None and now < self.expires

    def opens(self, secret: bytes, now: int) -> bool:
        if secret == self.previous:
            return self.previous_until is None or now < self.previous_until
        return secret == self.secret

    def replace_secret(self, secret: bytes) -> None:
        self.old_secrets.append(self.secret)
        self.secret, self.previous, self.previous_until = secret, None, None

    def use(self, at: int) -> None:
        self.last_used = max(self.last_used, at)
