"""One site of several frameworks: a user who signed in at another one is ``request.user`` here."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend

__all__ = ["Backend"]


class Backend(BaseBackend):
    """``AUTHENTICATION_BACKENDS = [..., "coatcheck.frameworks.django.auth.Backend"]``.

    For a site where other applications on the same sessions call ``session.sign_in(str(user.pk))``: each of them can then
    sign in every active user of this site. It checks no password, and gives no permission.
    """

    def get_user(self, user_id: Any) -> Any:
        """The active user of this primary key, or None."""
        user = get_user_model()._default_manager.filter(pk=user_id).first()  # noqa: SLF001
        # A database may find "ada" for "ADA".
        same = user is not None and str(user.pk) == str(user_id)
        return user if same and getattr(user, "is_active", True) else None
