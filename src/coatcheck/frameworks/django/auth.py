"""The users of a site of which Django is one part: who signed in at another framework is ``request.user`` here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoAuthenticationMiddleware
from django.utils.functional import SimpleLazyObject

from coatcheck.frameworks.django.engine import get_session

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["AuthenticationMiddleware"]


class AuthenticationMiddleware(DjangoAuthenticationMiddleware):
    """In place of Django's, where other frameworks call ``session.sign_in(str(user.pk))``.

    Override `user_of` where they sign in something else than Django's primary key. Only use it if every application that
    shares the session may sign in every user of Django's.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Let ``request.user`` be the user of the session, whoever signed him in."""
        super().process_request(request)
        of_django = request.user

        def user() -> Any:
            signed_in = get_session(request).user
            if signed_in is None or of_django.is_authenticated or auth.SESSION_KEY in request.session:
                return of_django
            return self.user_of(signed_in) or of_django

        found: Any = SimpleLazyObject(user)
        request.user = found

        async def auser() -> Any:
            await sync_to_async(bool)(found)
            return found

        request.auser = auser

    def user_of(self, signed_in: str) -> Any:
        """The active user that ``session.user`` names, or None."""
        for backend in auth.get_backends():
            try:
                user = backend.get_user(signed_in)
            except (ValueError, auth.ValidationError):
                return None
            if user is not None:
                return user
        return None
