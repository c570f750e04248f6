"""A plugin for pytest: Starlette's SessionMiddleware is ours, set up by the arguments of Starlette's."""

import json
import secrets
from datetime import timedelta

from starlette.middleware import sessions as module
from starlette.responses import JSONResponse

from coatcheck import AsyncSessions, CookieSettings
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore


class Ours(SessionMiddleware):
    def __init__(self, app, secret_key, session_cookie="session", max_age=14 * 86400, **options):
        cookie = CookieSettings(
            name=session_cookie,
            path=options.get("path", "/"),
            domain=options.get("domain"),
            samesite=options.get("same_site", "lax").capitalize(),
            partitioned=options.get("partitioned", False),
        )
        life = timedelta(days=14) if max_age is None else timedelta(seconds=max_age)
        sessions = AsyncSessions(
            AsyncMemoryStore(),
            secret=secrets.token_urlsafe(32),
            cookie=cookie,
            insecure_http=not options.get("https_only", False),
            remember_idle=life,
            remember_absolute=life,
        )
        super().__init__(app, sessions=sessions)


def render(self, content):
    # `json.dumps` takes no mapping but a dict.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=dict).encode()


def pytest_configure(config):
    # Starlette's tests make errors of warnings, and send a Secure cookie on plain http on purpose.
    config.addinivalue_line("filterwarnings", "ignore::coatcheck.InsecureTransportWarning")
    module.SessionMiddleware = Ours
    JSONResponse.render = render
