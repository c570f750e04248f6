"""The settings that the six applications share. If they differed in one of these, each would see another session."""

import os
from typing import Any

from coatcheck import CookieSettings, merges

URL = os.environ["SESSION_STORE"]
SETTINGS: dict[str, Any] = {
    "secret": os.environ["SESSION_SECRET"],
    "prefix": "one-session:",
    "cookie": CookieSettings(name="one-session"),
    "identity": "_auth_user_id",  # where Django's login() writes the user
    "merge": {"notes": merges.add},  # parallel requests each add theirs
    "insecure_http": True,  # this example's address is plain http
}

USERS = {"ada": "1", "grace": "2"}  # the primary keys in Django's database
PASSWORD = "analytical-engine"


def user_of(name: str | None, password: str | None) -> str | None:
    """The id of the user with this name and password. A real application asks its database."""
    return USERS.get(name or "") if password == PASSWORD else None
