"""One application in both colours, on one file, for the tests with real servers. Run as a program, it serves itself."""

import asyncio
import json
import os
import socket
import sys

from coatcheck import AsyncSessions
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.frameworks.wsgi import SessionMiddleware as WsgiMiddleware
from tests.behaviours import perform_async
from tests.behaviours.site import PATIENT
from tests.frameworks import served
from tests.loops import Heartbeat

PATIENCE = 60  # seconds


def rendezvous(query):
    """Tell the test that we are here, and wait until it says to go on."""
    with socket.create_connection(("127.0.0.1", int(query)), PATIENCE) as test:
        test.recv(1)


def late(environ, start_response):
    """Reads its session, and writes to it much later."""
    if environ["PATH_INFO"] != "/late":
        return served.handler(environ, start_response)
    session = environ["coatcheck.session"]
    was_new = session.is_new
    rendezvous(environ["QUERY_STRING"])
    session["late"] = session["a"] = 1
    start_response("200 OK", [])
    return [json.dumps(was_new).encode()]


wsgi_application = WsgiMiddleware(late, served.sessions)

sessions = AsyncSessions.from_url(f"sqlite:///{os.environ['SESSIONS_DB']}", insecure_http=True, **PATIENT)
heart = Heartbeat()


async def handler(scope, receive, send):
    match scope["type"], scope.get("path"):
        case "lifespan", _:
            await lifespan(receive, send)
        case "websocket", _:
            await chat(scope, receive, send)
        case _, "/late":
            session = scope["session"]
            was_new = session.is_new
            await asyncio.to_thread(rendezvous, scope["query_string"])
            session["late"] = session["a"] = 1
            await answer(send, json.dumps(was_new).encode())
        case _, "/gap":
            await answer(send, json.dumps(heart.longest).encode())
            heart.longest = 0.0
        case _, "/long":
            await stream(scope, send)
        case _:
            await play(scope, send)


async def lifespan(receive, send):
    await receive()
    async with heart:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def play(scope, send):
    said = await perform_async(scope["query_string"].decode(), scope["session"], sessions)
    headers = [(name.encode(), value.encode()) for name, value in said.headers]
    await answer(send, b"".join(said.body), said.status, headers)


async def stream(scope, send):
    """More than any buffer takes, with a change saved before each part of it."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(2_000):
        scope["session"].update(left=number, right=number)
        await sessions.save(scope["session"])
        await send({"type": "http.response.body", "body": served.CHUNK, "more_body": True})
    await send({"type": "http.response.body"})


async def answer(send, body, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def chat(scope, receive, send):
    """Answers each message, keeps those of each connection, and ends when the session does."""
    session = scope["session"]
    await receive()
    number = session["connections"] = session.get("connections", 0) + 1
    said = f"said_{number}"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if not await sessions.is_live(session):
            await send({"type": "websocket.close", "code": 1008})
            return
        session[said] = [*session.get(said, ()), message["text"]]
        if message["text"] == "save":
            await sessions.save(session)
        await send({"type": "websocket.send", "text": f"{session.user}: {message['text']}"})


application = SessionMiddleware(handler, sessions)


def serve(kind, port):
    if kind == "waitress":
        import waitress

        waitress.serve(wsgi_application, host="127.0.0.1", port=int(port), threads=8)
    else:
        import uvicorn

        uvicorn.run(application, port=int(port), loop=kind, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    serve(*sys.argv[1:])
