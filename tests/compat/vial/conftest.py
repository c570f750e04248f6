import pytest

from coatcheck.compat.vial import Vial
from tests.compat.one_redis import database, one_redis, raw
from tests.servers.process import HOST

__all__ = ["database", "one_redis", "raw"]


@pytest.fixture
def vial(one_redis, database):
    return Vial(HOST, one_redis.port, database)


def saved(vial, kind="Session", *, settings=None, **fields):
    session = getattr(vial, kind)(**(settings or {}))
    session.update(fields)
    assert session.save()
    return session
