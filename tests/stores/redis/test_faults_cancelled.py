"""Requests that are cancelled at any moment never leave an answer on the wire for another (B-15, redis-py's CVE-2023-28858).

The proxy delays each answer, and there is one connection: the next caller is given what the cancelled one left.
"""

import asyncio
import random
import time
from datetime import timedelta

import anyio
import pytest

from coatcheck import AsyncSessions
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.redis import async_from_url
from tests.behaviours import perform_async
from tests.behaviours.aio import scope_of
from tests.behaviours.client import Request
from tests.behaviours.site import SECRET
from tests.loops import on_each_loop, quiet
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.redis.scene import item, soon, staged

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-05")]

DELAY = 0.003  # seconds, each way


async def by_cancel(work, after):
    task = asyncio.create_task(work)
    await asyncio.sleep(after)
    task.cancel()
    (answer,) = await asyncio.gather(task, return_exceptions=True)
    return None if isinstance(answer, asyncio.CancelledError) else answer


async def by_cancel_scope(work, after):
    with anyio.move_on_after(after):
        return await work


def slow_store(proxy, prefix):
    return async_from_url(f"redis://{HOST}:{proxy.port}/0", prefix=prefix, max_connections=1)


@pytest.mark.parametrize("cancelled", [by_cancel, by_cancel_scope])
@on_each_loop
async def test_after_a_cancelled_call_the_next_one_gets_its_own_answer(cancelled, redis_server, prefix):
    moments = random.Random(0)
    with staged("sync", redis_server, prefix) as scene:
        writes = [scene.put(b"%d" % number) for number in range(8)]
        store = slow_store(scene.proxy, prefix)
        await store.load([writes[0].key], scene.now, soon())
        scene.proxy.latency = DELAY
        cut = 0
        for number in range(50):
            ours, theirs = writes[number % 8], writes[(number + 3) % 8]
            moment = moments.uniform(0, 3 * DELAY)  # seeded; before, in and after the reply
            if number % 2:
                answer = await cancelled(store.load([ours.key], scene.now, soon()), moment)
                assert answer is None or answer[0].data == ours.data
            else:
                write = item()
                answer = await cancelled(store.write([write], scene.now, soon()), moment)
                assert answer is None or list(answer) == [None]
                # Cancelled, it is done or not: nothing in between.
                assert scene.data(write.key) in ([write.data] if answer else [write.data, None])
            cut += answer is None
            (found,) = await store.load([theirs.key], scene.now, soon())
            assert found.data == theirs.data
        assert cut > 10
        # The one connection is whole, and free.
        scene.proxy.latency = 0
        answers = await asyncio.gather(*(store.load([write.key], scene.now, soon()) for write in writes))
        assert [found.data for (found,) in answers] == [write.data for write in writes]
        assert len(scene.proxy._links) <= 1
        await store.close()


def test_two_hundred_requests_that_are_cancelled_show_nobody_anothers_session(redis_server, prefix):
    moments = random.Random(1)

    async def scenario(proxy):
        sessions = AsyncSessions(slow_store(proxy, prefix), secret=SECRET, deadline=timedelta(seconds=20))

        async def handler(scope, receive, send):
            said = await perform_async(scope["query_string"].decode(), scope["session"], sessions)
            await send({"type": "http.response.start", "status": said.status, "headers": []})
            await send({"type": "http.response.body", "body": b"".join(said.body)})

        app = SessionMiddleware(handler, sessions)

        async def play(cookie, *steps):
            came = []

            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message):
                came.append(message)

            await app(scope_of(Request(steps, cookie, True)), receive, send)
            head, body = came
            assert head["status"] == 200, body
            cookies = [value for name, value in head["headers"] if name == b"set-cookie"]
            return body["body"].decode().splitlines(), cookies

        cookies = {}
        for number in range(20):
            _, (line,) = await play(None, f"set owner {number}")
            cookies[number] = line.split(b";")[0]
        proxy.latency = DELAY
        cut, answered = 0, []

        async def hasty(number, turn):
            nonlocal cut
            steps = (("get owner",), ("get owner", f"set turn {turn}"), ("set left 1", "get owner"))[turn % 3]
            try:
                # Seeded moments in all parts of a request: it takes a load and a write, and waits for others.
                async with asyncio.timeout(moments.uniform(0, 8 * DELAY)):
                    lines, _ = await play(cookies[number], *steps)
                answered.append((number, lines))
            except TimeoutError:
                cut += 1

        async def patient(number):
            lines, _ = await play(cookies[number], "get owner")
            answered.append((number, lines))

        for turn in range(20):
            visitors = moments.sample(range(20), 10)
            await asyncio.gather(
                *(hasty(number, turn) for number in visitors), *(patient(number) for number in visitors[:3])
            )
        assert cut > 20
        assert len(answered) + cut == 20 * 13
        for number, lines in answered:
            assert f'"{number}"' in lines
        proxy.latency = 0
        assert len(proxy._links) <= 1
        for number, cookie in cookies.items():
            lines, _ = await play(cookie, "get owner")
            assert lines == [f'"{number}"']
        await quiet()
        await sessions.shutdown()

    with Proxy(redis_server.port) as proxy:
        start = time.monotonic()
        asyncio.run(scenario(proxy))
        assert time.monotonic() - start < 100


@pytest.mark.promise("12")
def test_a_logout_that_is_cancelled_is_carried_out(redis_server, prefix):
    async def scenario(proxy):
        sessions = AsyncSessions(slow_store(proxy, prefix), secret=SECRET, deadline=timedelta(seconds=20))
        for after in (0, DELAY, 2 * DELAY, 4 * DELAY):
            session = sessions.open(b"")
            await sessions.load(session)
            session["a"] = 1
            session.sign_in("ada")
            cookie = (await sessions.close(session)).set_cookie.split(";")[0].encode()
            proxy.latency = DELAY
            leaving = sessions.open(cookie)
            await sessions.load(leaving)
            leaving.sign_out()
            await by_cancel(sessions.close(leaving), after)
            proxy.latency = 0
            for _ in range(1_000):
                again = sessions.open(cookie)
                await sessions.load(again)
                if again.is_new:
                    break
                await asyncio.sleep(0.01)
            assert again.is_new
        await sessions.shutdown()

    with Proxy(redis_server.port) as proxy:
        asyncio.run(scenario(proxy))
