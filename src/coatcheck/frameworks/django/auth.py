"""One site of several frameworks: a user who signed in at another one is ``request.user`` here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth import middleware
from django.core.exceptions import ValidationError
from django.utils.functional import SimpleLazyObject

from coatcheck.frameworks.django.engine import get_session

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["AuthenticationMiddleware"]


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """In place of Django's, where other applications on the same sessions call ``session.sign_in(str(user.pk))``.

    Each of them can then sign in every user of this site. Override `user_of` where they name users in another way.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Let ``request.user`` be the session's user."""
        super().process_request(request)
        user: Any = SimpleLazyObject(partial(self._user, request))
        request.user = user
        request.auser = sync_to_async(partial(self._user, request))

    def _user(self, request: HttpRequest) -> Any:
        user, signed_in = middleware.get_user(request), get_session(request).user
        # A login of Django's that its own checks have refused (a changed password) stays refused.
        if signed_in is None or user.is_authenticated or auth.SESSION_KEY in request.session:
            return user
        return self.user_of(signed_in) or user

    def user_of(self, signed_in: str) -> Any:
        """The user whom ``session.user`` names, if a backend knows him and he is active; else None."""
        pk: Any = signed_in
        try:
            return next(filter(None, (backend.get_user(pk) for backend in auth.get_backends())), None)
        except (ValueError, ValidationError):
            return None
