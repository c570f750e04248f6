"""The ASGI middleware: the shared list, loading eagerly and on demand."""

from contextlib import suppress

from coatcheck import StoreError
from coatcheck.frameworks.asgi import SessionMiddleware
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.app import looks
from tests.behaviours.served import OnUvicorn


def build(sessions, portal, **options):
    async def handler(scope, receive, send):
        query, session = scope["query_string"].decode(), scope["session"]
        if looks(query) and options.get("load") == "on_demand":
            with suppress(StoreError):  # the first look raises it again
                await sessions.load(session)
        answer = await perform_async(query, session, sessions)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(answer.body, list):
            await send({"type": "http.response.body", "body": b"".join(answer.body)})
            return
        async for chunk in answer.body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    return AsgiClient(SessionMiddleware(handler, sessions, **options), portal)


class TestEager(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return build(sessions, portal)


class TestOnDemand(AsyncHttpBehaviours):
    untouched = ()

    def build_async(self, sessions, portal):
        return build(sessions, portal, load="on_demand")


class TestServed(OnUvicorn, TestEager):
    pass


class TestServedOnDemand(OnUvicorn, TestOnDemand):
    pass
