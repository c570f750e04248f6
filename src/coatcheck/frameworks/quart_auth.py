"""Quart-Auth on our sessions: `login_user` signs in and `logout_user` signs out.

::

    SessionInterface(sessions).init_app(app)
    SessionAuth(app)  # in place of QuartAuth(app)

`QuartAuth` itself keeps the user in a signed cookie of its own. Whoever has copied that stays signed in after the logout,
for a year; here the logout ends the session on the server, and the user's list has it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

try:
    from quart import g
    from quart.typing import ResponseTypes, TestClientProtocol
    from quart_auth import Action, AuthUser, QuartAuth
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Quart-Auth
    raise ModuleNotFoundError(
        "coatcheck.frameworks.quart_auth needs Quart-Auth: pip install quart-auth"
    ) from _error

from coatcheck.frameworks.quart import QuartSession, session

__all__ = ["SessionAuth"]


class SessionAuth(QuartAuth):
    """`QuartAuth`, with the user in ``quart.session`` and not in a cookie of its own."""

    def resolve_user(self) -> AuthUser:
        """The session's user, of the application's `user_class`."""
        return self.user_class(session.user)

    def login_user(self, user: AuthUser) -> None:
        """Sign `user` in, with a new secret; permanently if ``login_user(user, remember=True)`` says so.

        Raises:
            TypeError: The user's id is not a str of 1 to 255 characters.
        """
        super().login_user(user)
        session.sign_in(cast("str", user.auth_id))
        session.permanent = user.action is Action.WRITE_PERMANENT

    def logout_user(self) -> None:
        """End the session."""
        session.sign_out()
        super().logout_user()

    async def after_request(self, response: ResponseTypes) -> ResponseTypes:  # type: ignore[override]
        """Carry out `renew_login`: the session becomes permanent. There is no cookie to set."""
        # Not `load_user`: not every request looks at its session.
        user = getattr(g, self.attribute_name, None)
        if isinstance(user, AuthUser) and user.action is Action.WRITE_PERMANENT:
            session.permanent = True
        return response

    async def after_websocket(self, response: ResponseTypes | None) -> ResponseTypes | None:  # type: ignore[override]
        """Nothing: there is no cookie to set."""
        return response

    @asynccontextmanager
    async def authenticated_client(
        self, client: TestClientProtocol, auth_id: str
    ) -> AsyncGenerator[None, None]:
        """Sign a test client in, and out at the end."""
        transaction: Callable[[], AbstractAsyncContextManager[QuartSession]]
        transaction = cast("Any", client).session_transaction
        async with transaction() as prepared:
            prepared.sign_in(auth_id)
        yield
        async with transaction() as prepared:
            prepared.sign_out()
