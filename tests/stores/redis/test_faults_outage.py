"""A Redis server that stands still for some seconds, under a site that is in use."""

import statistics
import time
from datetime import timedelta

import pytest

from tests.servers.redis import single
from tests.stores.redis.load import Load
from tests.stores.redis.site import RedisSite

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-02", "20")]


def stand_still(framework, prefix, seconds, deadline):
    """Stop the server for so long under load, and see that this is all that happens."""
    settings = {"deadline": timedelta(seconds=deadline)}
    with single() as server, RedisSite(framework, server.url, prefix, settings=settings) as site:
        load = Load([site], ends=False)
        with load:
            load.all_served()
            stopped = time.monotonic()
            server.pause()
            time.sleep(seconds)
            load.all_refused(10)
            resumed = time.monotonic()
            server.resume()
            load.all_served()
            time.sleep(0.5)
        # Nobody is logged out, no cookie came with an error, and whatever was acknowledged is there.
        verdict = load.verdict()
        assert verdict.violations == []
        assert verdict.lost == []
        # Once the breaker is open, nobody waits but those whom it lets try.
        open_since = [reply for reply in load.between(stopped + 3 * deadline, resumed) if reply.status == 503]
        assert statistics.median(reply.seconds for reply in open_since) < deadline / 2


@pytest.mark.parametrize("framework", ["wsgi", "asgi"])
def test_while_the_server_stands_still_requests_fail_fast_and_nobody_is_logged_out(framework, prefix):
    stand_still(framework, prefix, 3, 0.5)


@pytest.mark.soak
@pytest.mark.parametrize("framework", ["wsgi", "flask", "asgi"])
def test_while_the_server_stands_still_for_ten_seconds_nobody_is_logged_out(framework, prefix):
    stand_still(framework, prefix, 10, 1.0)
