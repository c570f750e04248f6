"""The ASGI middleware: the shared list, loading eagerly and on demand."""

from contextlib import suppress

from coatcheck import StoreError
from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.app import looks
from tests.behaviours.served import OnUvicorn
from tests.behaviours.websockets import Websockets, talk


def build(sessions, portal, **options):
    async def socket(scope, receive, send):
        async def messages():
            while (message := await receive())["type"] == "websocket.receive":
                yield message["text"]

        async def accept():
            await receive()
            await send({"type": "websocket.accept"})

        async def answer(text):
            await send({"type": "websocket.send", "text": text})

        session, query = scope["session"], scope["query_string"].decode()
        await talk(query, session, sessions, accept=accept, messages=messages(), send=answer)

    async def handler(scope, receive, send):
        if scope["type"] == "websocket":
            return await socket(scope, receive, send)
        query, session = scope["query_string"].decode(), scope["session"]
        if looks(query) and options.get("load") == "on_demand":
            with suppress(StoreError):  # the first look raises it again
                await sessions.load(session)
        answer = await perform_async(query, session, sessions)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(answer.body, list):
            return await send({"type": "http.response.body", "body": b"".join(answer.body)})
        async for chunk in answer.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        return await send({"type": "http.response.body"})

    return AsgiClient(SessionMiddleware(handler, sessions, **options), portal)


class TestEager(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return build(sessions, portal)


class TestOnDemand(AsyncHttpBehaviours):
    untouched = ()

    def build_async(self, sessions, portal):
        return build(sessions, portal, load="on_demand")


class TestServed(OnUvicorn, Websockets, TestEager):
    pass


class TestServedOnDemand(OnUvicorn, TestOnDemand):
    pass
