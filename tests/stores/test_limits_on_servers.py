"""`max_sessions_per_user` on stores that several machines reach: however many sign in at once, so many stand."""

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, Sessions
from tests.servers.fixtures_redis import new_prefix
from tests.stores.sql.servers import (
    SERVERS,
    databases_that_end,  # noqa: F401 - a fixture
)
from tests.visitor import SECRET

pytestmark = [pytest.mark.servers, pytest.mark.promise("17")]
AT_ONCE, LIMIT = 20, 3
_numbers = itertools.count()


@pytest.fixture(params=["redis", *SERVERS])
def options(request, redis_server):
    """The arguments of a manager with the limit, on a store with nothing in it."""
    made = {"secret": SECRET, "max_sessions_per_user": LIMIT, "deadline": timedelta(seconds=30)}
    if request.param == "redis":
        return {"url": redis_server.url, "prefix": new_prefix(), **made}
    made |= {"url": SERVERS[request.param]().url(), "prefix": f"limit{os.getpid()}n{next(_numbers)}:"}
    with Sessions.from_url(**made) as sessions:
        sessions.store.create_tables()
    return made


def test_of_threads_that_sign_in_at_once_so_many_stand_as_may(options):
    with Sessions.from_url(**options) as sessions, ThreadPoolExecutor(AT_ONCE) as threads:

        def sign_in(_):
            session = sessions.open(b"")
            session.sign_in("ada")
            assert sessions.close(session).set_cookie is not None
            return session

        signed_in = list(threads.map(sign_in, range(AT_ONCE)))
        standing = {info.handle for info in sessions.of_user("ada")}
        assert len(standing) == LIMIT
        assert standing <= {session.handle for session in signed_in}
        last = sign_in(None)
        assert last.handle in {info.handle for info in sessions.of_user("ada")}
        assert len(sessions.of_user("ada")) == LIMIT


def test_of_tasks_that_sign_in_at_once_so_many_stand_as_may(options):
    async def scenario():
        async with AsyncSessions.from_url(**options) as sessions:

            async def sign_in():
                session = sessions.open(b"")
                await sessions.load(session)
                session.sign_in("ada")
                assert (await sessions.close(session)).set_cookie is not None
                return session.handle

            signed_in = set(await asyncio.gather(*(sign_in() for _ in range(AT_ONCE))))
            standing = {info.handle for info in await sessions.of_user("ada")}
            assert len(standing) == LIMIT
            assert standing <= signed_in
            last = await sign_in()
            assert last in {info.handle for info in await sessions.of_user("ada")}

    asyncio.run(scenario())
