"""The body of a WSGI response that is made while it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coatcheck.responder import Responder
from coatcheck.session import Session

__all__ = ["Stream", "close_body"]


def close_body(body: object) -> None:
    """Close a body that may have no `close`: each is closed, at its end or before it (PEP 3333)."""
    if (close := getattr(body, "close", None)) is not None:
        close()


class Stream:
    """The body, whose end stores what changed while it was sent."""

    def __init__(self, session: Session, responder: Responder, body: Iterable[bytes]) -> None:
        """Wrap a body.

        Args:
            session: Lives as long as the body: a responder may have only a weak reference to it.
            responder: The end of its request, whose head was asked for.
            body: The application's body.
        """
        self._session = session
        self._responder = responder
        self._body = body
        self._chunks = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            self._responder.end()
            raise
        except BaseException:
            self._responder.fail()
            raise

    def close(self) -> None:
        """Called by the server at the end, also when the client hung up."""
        try:
            close_body(self._body)
        finally:
            self._responder.end(last=True)
