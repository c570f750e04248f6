"""The script in the server is the twin of `settle` and `encode`."""

import pytest

from coatcheck.stores._redis_words import Words
from coatcheck.stores.redis import from_url
from coatcheck.testing.equivalence import check_apply
from tests.servers.process import HOST
from tests.stores.redis_single import PATIENT, command, new_prefix

pytestmark = pytest.mark.servers


@pytest.fixture
def in_the_server(redis_port):
    """What the store makes of a change, and what lies there then."""
    prefix = new_prefix()
    store = from_url(f"redis://{HOST}:{redis_port}", prefix=prefix, **PATIENT)
    # Records that are over in a millisecond must still lie there when they are looked at.
    store._words = Words(prefix, shortest_life=60_000)

    def apply(key, data, change):
        name = store._words.name(key)
        if data is None:
            command(store, "DEL", name)
        else:
            command(store, "SET", name, data, "PX", 60_000)
        (answer,) = store.apply([change])
        left = command(store, "PTTL", name)
        assert left > 0 or left == -2
        return answer, command(store, "GET", name)

    yield apply
    store.close()


def test_the_script_is_equal_to_settle(in_the_server):
    check_apply(in_the_server, examples=1_500)


@pytest.mark.soak
def test_the_script_is_equal_to_settle_for_long(in_the_server):
    check_apply(in_the_server, examples=200_000)
