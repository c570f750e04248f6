"""An application that is given a wrong manager (async for sync, or another object) refuses it when it is built."""

import pytest

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.frameworks import asgi, flask, litestar, quart, wsgi
from coatcheck.frameworks import hug as our_hug
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.shim import awaitable
from tests.behaviours.site import SECRET
from tests.compat.hug_store_redis.quietly import hug

STORE = MemoryStore()
SYNCHRONOUS = Sessions(STORE, secret=SECRET)
ASYNCHRONOUS = AsyncSessions(awaitable(STORE), secret=SECRET)


def application(*_):
    """An application, in which nothing happens."""


TAKE = {
    "wsgi": lambda sessions: wsgi.SessionMiddleware(application, sessions),
    "flask": flask.SessionInterface,
    "hug": lambda sessions: our_hug.SessionMiddleware(hug.API("tests_wrong_managers"), sessions),
    "asgi": lambda sessions: asgi.SessionMiddleware(application, sessions),
    "litestar": litestar.SessionPlugin,
    "quart": quart.SessionInterface,
}


@pytest.mark.promise("25")
@pytest.mark.parametrize("name", TAKE)
def test_what_is_no_manager_of_its_kind_is_refused_by_name(name):
    kinds = (SYNCHRONOUS, ASYNCHRONOUS)
    right, wrong = kinds if name in ("wsgi", "flask", "hug") else reversed(kinds)
    for other in (wrong, STORE, "memory://", application):
        with pytest.raises(ConfigurationError, match=f"{type(right).__name__}, not {type(other).__name__}"):
            TAKE[name](other)
    assert TAKE[name](right)
