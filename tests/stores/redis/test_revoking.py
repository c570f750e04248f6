"""`revoke_user` beside a hundred sign-ins, rotations and writes: once it returned, nothing from before it opens (17)."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.servers.fixtures_redis import IN_A_CLUSTER
from tests.stores.redis.site import RedisSite

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300), pytest.mark.promise("17")]

SESSIONS, PARALLEL, THREADS = 10, 100, 24


class Round:
    """One user, his sessions, and what a hundred requests at once do to them."""

    def __init__(self, site, user, chance):
        self.site, self.user, self.chance = site, user, chance
        self.before = [site.browser(f"sign_in {user}", "set a 1") for _ in range(SESSIONS)]
        self.stolen = [browser.twin() for browser in self.before]
        self.signed_in = []  # who signed in meanwhile, when he asked and when he was told
        self.again = []  # who had been, and did again
        self.started = self.returned = None

    def sign_in(self):
        browser = self.site.browser()
        asked = time.monotonic()
        reply = browser.play(f"sign_in {self.user}", "set a 1")
        assert reply.status == 200
        self.signed_in.append((browser, asked, time.monotonic()))

    def play(self, browser, *steps):
        twin = browser.twin()
        reply = twin.play(*steps)
        assert reply.status == 200, (steps, reply.body)
        self.stolen.append(twin)

    def sign_in_again(self, browser):
        twin = browser.twin()
        asked = time.monotonic()
        assert twin.play(f"sign_in {self.user}").status == 200
        self.again.append((twin, asked, time.monotonic()))

    def revoke(self):
        self.started = time.monotonic()
        self.site.call("revoke_user", self.user)
        self.returned = time.monotonic()
        # At once, while the others are still under way.
        for browser in self.chance.sample(self.before, 3):
            self._is_not_his(browser)

    def _is_not_his(self, browser):
        reply = browser.twin().play("is_new", "user", "get a")
        assert reply.status == 200
        assert reply.results == [True, None, None], reply.results

    def work(self):
        """The hundred, and the one who revokes, in no order."""
        ways = [self.sign_in] * 34
        for number in range(PARALLEL - len(ways)):
            browser = self.before[number % SESSIONS]
            steps = (("rotate",), ("set b 2",), ("rotate", "set a 3"), ("get a",))[number % 4]
            ways.append(lambda browser=browser, steps=steps: self.play(browser, *steps))
        # Two of them sign in once more: whether their new lives stand depends on when they begin.
        ways += [lambda browser=browser: self.sign_in_again(browser) for browser in self.before[:2]]
        self.chance.shuffle(ways)
        ways.insert(self.chance.randrange(len(ways)), self.revoke)
        return ways

    def check(self):
        # A session in which somebody signed in again has a life of its own since then; the others have none.
        alive_again = {
            self.site.key_of(browser)
            for browser, _, _ in self.again
            if browser.cookies and browser.twin().play("is_new").result is False
        }
        for browser in (*self.before, *self.stolen):
            if browser.cookies and self.site.key_of(browser) not in alive_again:
                self._is_not_his(browser)
        alive = len(alive_again)
        for browser, asked, told in (*self.signed_in, *self.again):
            is_new = browser.twin().play("is_new").result if browser.cookies else True
            if told < self.started:
                assert is_new is True
            elif asked > self.returned:
                assert is_new is False
            alive += not is_new and (browser, asked, told) in self.signed_in
        # The index is that of whoever lives.
        assert len(self.site.call("of_user", self.user)) == alive
        self.site.call("revoke_user", self.user)
        assert self.site.call("of_user", self.user) == []


def rounds(framework, target, prefix, number):
    chance = random.Random(number)
    with RedisSite(framework, target.url, prefix) as site, ThreadPoolExecutor(THREADS) as pool:
        for turn in range(number):
            one = Round(site, f"ada{turn}", chance)
            for done in [pool.submit(way) for way in one.work()]:
                done.result(60)
            one.check()


FRAMEWORKS = pytest.mark.parametrize("framework", ["wsgi", "asgi"])


@FRAMEWORKS
def test_beside_a_hundred_requests_nothing_from_before_opens_again(framework, redis_server, prefix):
    rounds(framework, redis_server, prefix, 10)


@IN_A_CLUSTER
@FRAMEWORKS
def test_in_a_cluster_nothing_from_before_opens_again(framework, redis_cluster, prefix):
    rounds(framework, redis_cluster, prefix, 10)


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@FRAMEWORKS
def test_beside_a_hundred_requests_nothing_from_before_opens_again_in_two_hundred_rounds(
    framework, redis_server, prefix
):
    rounds(framework, redis_server, prefix, 200)


@pytest.mark.soak
@IN_A_CLUSTER
@pytest.mark.timeout(3_600)
@FRAMEWORKS
def test_in_a_cluster_nothing_from_before_opens_again_in_two_hundred_rounds(framework, redis_cluster, prefix):
    rounds(framework, redis_cluster, prefix, 200)
