"""Sessions on Memcached: what a request costs, how a user's sessions end, and what is refused by name."""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.core.epochs import epoch_key
from coatcheck.errors import ConfigurationError, StoreUnavailable, TooLarge
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from coatcheck.testing import ManualClock
from tests import loops
from tests.servers.memcached import prefix
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.memcached.scene import managed
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers
PATIENT = {"secret": SECRET, "deadline": timedelta(seconds=60)}


@pytest.fixture
def its():
    return prefix()


@pytest.fixture
def sessions(mode, memcached, its):
    with managed(mode, memcached.address, prefix=its) as sessions:
        yield sessions


@pytest.fixture
def epochs(memcached, its):
    """The epochs that lie on the server, past the store."""

    class Epochs:
        def name(self, user):
            return f"{its}{epoch_key(user).hex()}".encode()

        def of(self, user):
            return memcached.read(self.name(user))

        def lose(self, user):
            memcached.remove(self.name(user))

    return Epochs()


# Cost


@pytest.mark.promise("2", "3")
def test_a_request_costs_the_round_trips_that_the_page_names(mode, memcached, its):
    with (
        Proxy(memcached.port) as proxy,
        managed(mode, f"{HOST}:{proxy.port}", prefix=its, insecure_http=True) as sessions,
    ):
        visitor, carts = Visitor(sessions), itertools.count()

        def trips(work):
            with proxy.counting() as counted:
                work()
            return counted.round_trips

        def change():
            with visitor.request() as session:
                session["cart"] = [next(carts)]
                session["theme"] = f"theme {next(carts)}"

        def sign_out():
            with visitor.request() as session:
                session.sign_out()

        assert trips(visitor.read) == 0
        assert trips(change) == 1
        assert trips(visitor.read) == 1
        assert trips(change) == 1 + 1
        assert trips(visitor.signed_in) == 1 + 1 + 2
        assert trips(visitor.read) == 2
        assert trips(change) == 2 + 1
        assert trips(sign_out) <= 2 + 1


# Writers


@pytest.mark.promise("6", "M")
def test_forty_threads_that_each_append_to_one_list_leave_all(memcached, its):
    stores = [MemcachedStore(memcached.address, prefix=its) for _ in range(2)]
    managers = [Sessions(store, **PATIENT) for store in stores]
    first = Visitor(managers[0])
    with first.request() as session:
        session["basket"] = []

    def append(number):
        with Visitor(managers[number % 2], first.cookie).request() as session:
            session["basket"].append(number)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(append, range(40)))
    assert sorted(first.read()["basket"]) == list(range(40))
    for manager in managers:
        manager.shutdown()


@pytest.mark.promise("6", "M")
@loops.on_each_loop
async def test_a_hundred_tasks_that_each_append_to_one_list_leave_all(memcached):
    its = prefix()
    managers = [
        AsyncSessions(AsyncMemcachedStore(memcached.address, prefix=its), **PATIENT) for _ in range(2)
    ]

    async def request(manager, cookie, handler):
        session = manager.open(cookie.encode())
        await manager.preload(session)
        handler(session)
        return (await manager.close(session)).set_cookie

    cookie = (await request(managers[0], "", lambda session: session.update(basket=[]))).partition(";")[0]
    await asyncio.gather(
        *(
            request(
                managers[number % 2], cookie, lambda session, number=number: session["basket"].append(number)
            )
            for number in range(100)
        )
    )
    seen = []
    await request(managers[1], cookie, lambda session: seen.extend(session["basket"]))
    assert sorted(seen) == list(range(100))
    for manager in managers:
        await manager.shutdown()


# Users


@pytest.mark.promise("17")
def test_every_session_that_was_answered_ends_and_later_ones_stand(sessions):
    before = [Visitor(sessions).signed_in("ada") for _ in range(3)]
    other = Visitor(sessions).signed_in("grace")
    assert sessions.revoke_user("ada") == 0
    after = Visitor(sessions).signed_in("ada")
    assert [visitor.handle for visitor in before] == [None] * 3
    assert (after.handle is not None, other.handle is not None) == (True, True)
    sessions.revoke_user("ada")
    assert after.handle is None


@pytest.mark.promise("17", "V")
def test_a_password_reset_ends_all_and_signs_in_within_one_request(sessions):
    thief = Visitor(sessions).signed_in("ada")
    owner = Visitor(sessions).signed_in("ada")
    for _ in range(5):
        with owner.request() as session:
            sessions.revoke_user("ada")
            session.sign_in("ada")
        with owner.request() as session:
            assert session.user == "ada"
    assert thief.handle is None


@pytest.mark.promise("17")
def test_a_session_that_is_kept_stays_and_is_ended_by_the_next_one(sessions):
    others = [Visitor(sessions).signed_in("ada") for _ in range(2)]
    kept = Visitor(sessions).signed_in("ada")
    for _ in range(2):
        sessions.revoke_user("ada", keep=kept.handle)
        assert [visitor.handle for visitor in others] == [None] * 2
        assert kept.handle is not None
    with kept.request() as session:
        session["cart"] = "apples"
    assert kept.read() == {"cart": "apples"}
    sessions.revoke_user("ada")
    assert kept.handle is None


@pytest.mark.promise("12", "17")
def test_a_late_request_of_an_ended_session_writes_nothing_and_gets_no_cookie(sessions):
    visitor = Visitor(sessions).signed_in("ada", theme="dark")
    with visitor.request() as session:
        assert session["theme"] == "dark"
        sessions.revoke_user("ada")
        session["theme"] = "light"
    with visitor.request() as session:
        assert session.user is None
        session["theme"] = "later"
    assert visitor.set_cookie is None  # it is late for a while: the visitor may have signed in elsewhere


@pytest.mark.promise("17", "F-17")
@pytest.mark.parametrize("apart", [300, -300])
def test_clocks_that_disagree_neither_keep_nor_lose_a_session(mode, memcached, its, apart):
    one_clock, other_clock = ManualClock(), ManualClock()
    other_clock.advance(apart)
    with (
        managed(mode, memcached.address, prefix=its, clock=one_clock) as one,
        managed(mode, memcached.address, prefix=its, clock=other_clock) as other,
    ):
        first = Visitor(one).signed_in("ada")
        assert Visitor(other, first.cookie).handle is not None
        other.revoke_user("ada")
        assert (first.handle, Visitor(other, first.cookie).handle) == (None, None)
        for sessions in (one, other):
            again = Visitor(sessions).signed_in("ada")
            assert None not in (Visitor(one, again.cookie).handle, Visitor(other, again.cookie).handle)


@pytest.mark.promise("17", "F-12")
def test_a_lost_epoch_ends_the_sessions_and_the_next_sign_in_begins_another(sessions, epochs):
    first = Visitor(sessions).signed_in("ada")
    epochs.lose("ada")
    assert first.handle is None
    second = Visitor(sessions).signed_in("ada")
    assert second.handle is not None
    assert first.handle is None


@pytest.mark.promise("5", "17")
def test_anonymous_sessions_need_no_epoch(sessions, epochs):
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["cart"] = "apples"
    assert visitor.read() == {"cart": "apples"}
    assert epochs.of("ada") is None


@pytest.mark.promise("F-12", "20")
def test_a_session_whose_epoch_is_out_of_reach_is_neither_good_nor_ended(mode, a_memcached):
    servers = [a_memcached(), a_memcached()]
    addresses, its = [server.address for server in servers], prefix()
    with managed(mode, addresses, prefix=its) as sessions:
        visitors = {str(number): Visitor(sessions).signed_in(str(number)) for number in range(30)}
        shares = MemcachedStore(addresses, prefix=its).shares

        def place(key):
            return next(iter(shares([key])))

        keys = {user: bytes.fromhex(visitor.handle) for user, visitor in visitors.items()}
        split = [user for user in visitors if place(keys[user]) == 1 and place(epoch_key(user)) == 0]
        whole = [user for user in visitors if place(keys[user]) == place(epoch_key(user)) == 1]
        assert split
        assert whole
        servers[0].kill()
        for user in whole[:3]:
            assert visitors[user].handle is not None
        for user in split[:3]:
            with pytest.raises(StoreUnavailable), visitors[user].request() as session:
                session["cart"]
            # Nor is it said to have ended: the cookie stays, so that signing out can be tried again.
            cookie = visitors[user].cookie
            with pytest.raises(StoreUnavailable), visitors[user].request() as session:
                session.sign_out()
            assert visitors[user].cookie == cookie


@pytest.mark.parametrize("purpose", ["of_user", "count", "update_user"])
def test_what_needs_a_list_is_refused_by_name(sessions, purpose):
    calls = {
        "of_user": lambda: sessions.of_user("ada"),
        "count": sessions.count,
        "update_user": lambda: sessions.update_user("ada", {"role": "admin"}),
    }
    with pytest.raises(ConfigurationError, match=r"Memcached"):
        calls[purpose]()


# Sizes


@pytest.mark.promise("21")
def test_a_request_that_makes_its_record_too_large_fails_and_changes_nothing(mode, memcached, its):
    with managed(mode, memcached.address, prefix=its, max_bytes=4 << 20, insecure_http=True) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["cart"] = "apples"
        with pytest.raises(TooLarge), visitor.request() as session:
            session["cart"] = "x" * (1 << 20)
        assert visitor.read() == {"cart": "apples"}
