"""One Starlette application on each library of sessions. Called like flask_app.py.

LIBRARY is "starlette", "starsessions", or "coatcheck", which carries over those of MOVES_FROM.
"""

import json
import os
import sys

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

EVENTS = []
SECRET_KEY = os.environ["SECRET_KEY"]


async def sign_in(request):
    await loaded(request)
    fields = {"user_id": request.path_params["user"], "cart": [1, {"a": 2}], "text": "tea für zwei"}
    request.session.update(fields)
    return JSONResponse("in")


async def put(request):
    await loaded(request)
    request.session[request.path_params["name"]] = request.path_params["value"]
    return JSONResponse("put")


async def me(request):
    await loaded(request)
    return JSONResponse(dict(request.session))


async def sign_out(request):
    await loaded(request)
    request.session.clear()
    response = JSONResponse("out")
    if "DELETES" in os.environ:  # as the page says, for old servers that still run
        response.delete_cookie("session")
    return response


async def ends(request):
    await loaded(request)
    session = request.session
    return JSONResponse([session.permanent, session.expires_at.timestamp()])


async def told(_):
    return JSONResponse([(event.kind, event.user, event.reason) for event in EVENTS])


async def loaded(request):
    if os.environ["LIBRARY"] == "starsessions":
        from starsessions import load_session

        await load_session(request)


def starlette():
    from starlette.middleware.sessions import SessionMiddleware

    return [Middleware(SessionMiddleware, secret_key=SECRET_KEY)]


def starsessions():
    import redis.asyncio
    from starsessions import SessionMiddleware
    from starsessions.stores.redis import RedisStore

    return [
        Middleware(
            SessionMiddleware,
            store=RedisStore(connection=redis.asyncio.from_url(os.environ["OLD_REDIS"])),
            cookie_https_only=False,
            lifetime=int(os.environ.get("LIFETIME", "0")),
            rolling="ROLLING" in os.environ,
        )
    ]


def coatcheck():
    import redis

    from coatcheck import AsyncSessions
    from coatcheck.frameworks.starlette import SessionMiddleware
    from coatcheck.migrate import AsyncMigrating, StarletteCookie, Starsessions

    sessions = AsyncSessions.from_url(
        os.environ["NEW"],
        secret=os.environ["SESSION_SECRET"],
        identity="user_id",
        insecure_http=True,
        on_event=EVENTS.append,
    )
    if os.environ["MOVES_FROM"] == "starlette":
        source = StarletteCookie(SECRET_KEY)
    else:
        source = Starsessions(redis.from_url(os.environ["OLD_REDIS"]), rolling="ROLLING" in os.environ)
    keep_old = "KEEP_OLD" in os.environ
    return [Middleware(SessionMiddleware, sessions=AsyncMigrating(sessions, from_=source, keep_old=keep_old))]


app = Starlette(
    routes=[
        Route("/in/{user}", sign_in),
        Route("/put/{name}/{value}", put),
        Route("/me", me),
        Route("/out", sign_out),
        Route("/ends", ends),
        Route("/events", told),
    ],
    middleware={"starlette": starlette, "starsessions": starsessions, "coatcheck": coatcheck}[
        os.environ["LIBRARY"]
    ](),
)

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "serve":
        import uvicorn

        uvicorn.run(app, host="127.0.0.1", port=int(arguments[0]), log_level="warning")
    else:
        with TestClient(app) as client:
            for pair in arguments[0].split("; ") if arguments[0] else ():
                client.cookies.set(*pair.split("=", 1))
            bodies = [client.get(path).raise_for_status().text for path in arguments[1:]]
            cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)
        print(json.dumps({"cookies": cookies, "bodies": bodies}))
