"""Moving to Coatcheck from another session library while the site runs, without logging anybody out.

::

    sessions = Migrating(
        Sessions.from_url(url, secret=secret, identity="user_id"), from_=FlaskSessionRecords(old_redis)
    )

A request with a cookie of the old library and none of ours gets a session of ours with the fields of the old one, under
a new secret. The old record is removed once the new one is stored. Parallel requests end in one session, unless they come
with a signed cookie that names no user. Everything else is as in `Sessions`. When the longest old session is over, remove
`Migrating` again.
"""

from __future__ import annotations

from coatcheck.core.old_sessions import Old, Source
from coatcheck.migrate.django import DjangoSessions
from coatcheck.migrate.flask import FlaskCookie, FlaskSessionRecords
from coatcheck.migrate.managers import AsyncMigrating, Migrating
from coatcheck.migrate.starlette import StarletteCookie, Starsessions

__all__ = [
    "AsyncMigrating",
    "DjangoSessions",
    "FlaskCookie",
    "FlaskSessionRecords",
    "Migrating",
    "Old",
    "Source",
    "StarletteCookie",
    "Starsessions",
]
