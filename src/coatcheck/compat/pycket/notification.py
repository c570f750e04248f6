"""`NotificationMixin` for request handlers, and `NotificationManager`: values that are read once.

They are stored apart from the session: in Redis in another database, in Memcached under another key.
"""

from __future__ import annotations

from coatcheck.compat.pycket._manager import ReadOnce
from coatcheck.compat.pycket.session import SessionManager, create_mixin

__all__ = ["NotificationManager", "NotificationMixin"]


class NotificationManager(ReadOnce, SessionManager):
    """A visitor's notifications. `get` removes and returns one, and no other request gets it."""

    STORAGE_CATEGORY: str = "db_notifications"


class NotificationMixin:
    """Adds `notifications` to a request handler."""

    @property
    def notifications(self) -> NotificationManager:
        """The visitor's notifications."""
        manager: NotificationManager = create_mixin(self, "__notification_manager", NotificationManager)
        return manager
