"""A logout ends the old sessions that the request presents, and costs nothing where there are none."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest

from coatcheck import Session, StoreUnavailable
from coatcheck.migrate import FlaskSessionRecords, Old
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AsyncStoreWrapper, StoreWrapper
from tests.migrate.house import OLD, House, Library
from tests.migrate.test_sources import Client
from tests.visitor import OLD_SECRET

pytestmark = pytest.mark.promise("12")
JUNK = b"; ".join(b"old=id-of-nobody-%d" % number for number in range(4))


class Counting(StoreWrapper):
    """Notes the names of its calls."""

    def __init__(self, store):
        super().__init__(store)
        self.calls = []

    def around(self, call, send):
        self.calls.append(call.method)
        return send()


class AsyncCounting(AsyncStoreWrapper):
    """The same."""

    def __init__(self, store):
        super().__init__(store)
        self.calls = []

    async def around(self, call, send):
        self.calls.append(call.method)
        return await send()


@pytest.fixture
def store(kind):
    return Counting(MemoryStore()) if kind == "sync" else AsyncCounting(AsyncMemoryStore())


@pytest.mark.parametrize("end", [Session.sign_out, Session.clear])
def test_with_keep_old_a_logout_ends_the_old_session_on_old_servers_too(a_house, end):
    house = a_house(keep_old=True)
    _, cookies = house.visit()
    assert list(house.library.sessions) == ["ada"]
    house.visit(cookies, end)
    assert house.library.sessions == {}


def test_also_where_the_first_request_is_the_logout(a_house):
    house = a_house(keep_old=True)
    house.visit(OLD, lambda session: session.sign_out())
    assert house.library.sessions == {}


def test_also_where_our_session_has_ended_before(a_house):
    house = a_house(keep_old=True)
    house.visit(OLD, lambda session: house.sessions.revoke(session.handle))
    house.visit(OLD, lambda session: session.sign_out())
    assert house.library.sessions == {}


def test_also_one_that_was_carried_over_apart_and_whose_cookie_of_ours_was_replaced(a_house):
    """Cookies of two paths, and requests of both at once: the last response's cookie counts."""
    house = a_house(Library(ada=Old({"user": "ada"}), again=Old({"user": "ada"})))
    both = b"old=id-of-again; " + OLD
    house.visit(b"old=id-of-again")
    _, cookies = house.visit()
    house.visit(both + b"; " + cookies, lambda session: session.sign_out())
    assert house.visit(both)[0] == {}
    assert len(house.told("destroyed")) == 2


@pytest.mark.promise("17")
def test_but_none_that_its_old_cookie_does_not_open_any_more(a_house):
    """A copy of an old cookie that was left behind ends no session of its owner."""
    house = a_house(Library(ada=Old({"user": "ada"}), eve=Old({"user": "eve"})))
    _, ada = house.visit()
    house.visit(ada)
    house.later(house.sessions.settings.rotation_grace * 2)
    _, eve = house.visit(b"old=id-of-eve")
    house.visit(OLD + b"; " + eve, lambda session: session.sign_out())
    assert house.visit(ada)[0] == {"user": "ada"}


def test_and_it_is_not_answered_while_an_old_server_would_still_accept_the_cookie(a_house):
    house = a_house(keep_old=True)
    _, cookies = house.visit()
    house.library.broken = {"remove"}
    with pytest.raises(StoreUnavailable, match="the old library"):
        house.visit(cookies, lambda session: session.sign_out())
    assert house.visit(cookies)[0]["user"] == "ada"
    house.library.broken = set()
    _, cookies = house.visit(cookies, lambda session: session.sign_out())
    assert house.library.sessions == {}
    assert house.visit(cookies)[0] == {}


@pytest.mark.promise("5")
@pytest.mark.parametrize("keep_old", [False, True])
def test_a_logout_with_ids_that_open_nothing_stores_nothing(kind, store, keep_old):
    house = House(kind, store=store, keep_old=keep_old)
    house.visit(JUNK, lambda session: session.sign_out())
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    written, store.calls = store.calls.count("write"), []
    assert written == 1
    house.visit(JUNK + b"; " + cookies, lambda session: session.sign_out())
    assert store.calls.count("write") == 1  # the end of the session of ours
    assert "remove" not in house.library.asked
    house.close()


def test_it_asks_once_for_all_of_them_together(kind, store):
    house = House(kind, store=store)
    _, cookies = house.visit()
    house.library.sessions["eve"] = Old({"user": "eve"})
    everything = b"; ".join([cookies, b"old=id-of-eve", JUNK])
    store.calls, house.library.asked = [], []
    session = house.sessions.open(everything)
    session.sign_out()
    house.sessions.save(session)
    session["left"] = 1
    house.sessions.close(session, last=True)
    assert house.library.asked == ["read", "remove", "read", "read"]  # four ids are tried; ada's is marked
    assert house.library.sessions == {}
    assert store.calls.count("load") == 2  # the session, and what lies under all old ids
    house.close()


def test_while_the_old_store_is_away_a_logout_is_not_answered(a_house):
    house = a_house()
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    house.library.broken = {"read"}
    with pytest.raises(StoreUnavailable, match="the old library can't be read"):
        house.visit(OLD + b"; " + cookies, lambda session: session.sign_out())
    house.library.broken = set()
    house.visit(OLD + b"; " + cookies, lambda session: session.sign_out())
    assert house.visit(OLD)[0] == {}


@pytest.mark.promise("18")
def test_a_token_of_ours_under_the_cookies_old_name_is_no_old_id(a_house):
    library = Library()
    library.cookie, library.id_in = "coatcheck", lambda value: value
    house = a_house(library, insecure_http=True)
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    house.visit(cookies, lambda session: session.sign_out())
    assert library.asked == []


@pytest.mark.promise("18")
def test_flask_session_under_the_name_of_our_cookie_is_not_asked_for_a_token_of_ours_either(kind):
    client, asked = Client(), []
    client.get = client.delete = asked.append
    house = House(kind, FlaskSessionRecords(client, cookie="coatcheck"), insecure_http=True)
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    house.visit(cookies, lambda session: session.sign_out())
    assert asked == []
    house.close()


# A handler that raises


@pytest.mark.promise("23")
def test_a_logout_ends_the_old_session_also_where_the_handler_then_raises(a_house):
    house = a_house()
    _, dead = house.visit(b"", lambda session: session.sign_in("ada"))
    house.sessions.revoke_user("ada")
    house.library.sessions = {"ada": Old({"cart": [1]})}
    session = house.sessions.open(OLD + b"; " + dead)
    session.sign_out()
    house.sessions.fail(session)
    assert house.library.sessions == {}
    house.sessions.close(session, last=True)
    assert house.visit(OLD)[0] == {}
    assert house.library.asked == ["read", "remove"]


@pytest.mark.promise("23")
def test_while_the_old_store_is_away_it_is_tried_once_and_the_handlers_error_is_left_alone(a_house, caplog):
    house = a_house()
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    house.library.broken = {"read"}
    session = house.sessions.open(OLD + b"; " + cookies)
    session.sign_out()
    house.sessions.fail(session)
    house.sessions.fail(session)
    house.sessions.close(session, last=True)
    assert house.library.asked == ["read"]
    assert len(house.told("unavailable")) == len(caplog.records) == 1


# Going back, and forward again


def test_a_logout_on_the_old_site_counts_after_a_new_secret_and_an_empty_store(a_house):
    house = a_house(keep_old=True)
    _, cookies = house.visit()
    assert a_house(house.library, secret=OLD_SECRET, keep_old=True).visit(cookies)[0]["user"] == "ada"
    house.library.sessions.clear()  # the logout
    assert a_house(house.library, secret=OLD_SECRET).visit(cookies)[0] == {}


def counted(session, number):
    seen, session["last"] = session.get("last"), number
    return seen


def test_old_servers_and_new_ones_serve_one_visitor_in_turn(a_house):
    """The old server is the library itself."""
    house = a_house(keep_old=True)
    cookies = OLD
    for number in range(3):
        assert house.library.sessions["ada"].fields["user"] == "ada"
        seen, cookies = house.visit(cookies, partial(counted, number=number))
        assert seen == (number - 1 if number else None)
    house.visit(cookies, lambda session: session.sign_out())
    assert house.library.sessions == {}


# All sessions of a user, but for one


@pytest.mark.promise("17")
@pytest.mark.parametrize("revocation", ["index", "epoch"])
def test_the_session_that_is_kept_when_a_users_others_end_opens_by_its_old_cookie_too(a_house, revocation):
    """Its first response may be lost, or a parallel request may come with the old cookie."""
    library = Library(ada=Old({"user": "ada", "on": "the phone"}), again=Old({"user": "ada"}))
    house = a_house(library, revocation=revocation)

    def end_the_others(session):
        house.sessions.revoke_user("ada", keep=session)

    _, cookies = house.visit(OLD, end_the_others)
    assert house.visit(OLD)[0]["on"] == "the phone"
    assert house.visit(cookies)[0]["on"] == "the phone"
    assert house.visit(b"old=id-of-again")[0] == {}
    house.sessions.revoke_user("ada")
    assert [house.visit(each)[0] for each in (OLD, cookies)] == [{}, {}]


@pytest.mark.promise("17")
def test_nobody_ends_a_kept_session_with_a_copy_of_its_old_cookie(a_house):
    house = a_house()
    handle, cookies = house.visit(OLD, lambda session: session.handle)
    house.visit(cookies)
    house.sessions.revoke_user("ada", keep=handle)
    house.later(house.sessions.settings.rotation_grace * 2)
    assert house.visit(OLD)[0] == {}
    assert house.visit(cookies)[0]["user"] == "ada"


@pytest.mark.promise("17")
def test_a_user_ended_again_keeps_only_the_last_one_to_keep(a_house):
    library = Library(ada=Old({"user": "ada"}), again=Old({"user": "ada"}))
    house = a_house(library)
    first, _ = house.visit(OLD, lambda session: session.handle)
    second, _ = house.visit(b"old=id-of-again", lambda session: session.handle)
    house.sessions.revoke_user("ada", keep=first)
    house.sessions.revoke_user("ada", keep=second)
    assert house.visit(OLD)[0] == house.visit(b"old=id-of-again")[0] == {}


# Cancelled requests


class Cancelling(AsyncCounting):
    """Cancels a request at its n-th call, which is carried out."""

    task, number = None, 0

    async def around(self, call, send):
        answer = await super().around(call, send)
        if len(self.calls) == self.number:
            self.task.cancel()
            await asyncio.sleep(0)
        return answer


def cancelled(house, store, number, cookies, work=dict):
    """A request that is cancelled at its n-th call of the store; how many calls there were."""
    sessions = house.sessions.manager

    async def request():
        session = sessions.open(cookies)
        await sessions.load(session)
        work(session)
        await sessions.close(session, last=True)

    async def cancel():
        store.calls, store.number = [], number
        store.task = asyncio.create_task(request())
        with suppress(asyncio.CancelledError):
            await store.task
        store.number = 0

    house.sessions.runner.run(cancel())
    return len(store.calls)


@pytest.mark.promise("6", "20")
@pytest.mark.parametrize("number", range(1, 13))
def test_wherever_the_first_request_is_cancelled_the_next_one_has_everything(number):
    store = Cancelling(AsyncMemoryStore())
    house = House("async", store=store)
    calls = cancelled(house, store, number, OLD)
    if number == 12:
        assert 3 < calls < number  # there is no later call
    fields, cookies = house.visit()
    assert fields == {"user": "ada", "cart": [1, 2]}
    assert [info.user for info in house.sessions.of_user("ada")] == ["ada"]
    house.visit(cookies, lambda session: session.sign_out())
    assert [house.visit(each)[0] for each in (OLD, cookies)] == [{}, {}]
    house.close()


@pytest.mark.parametrize("number", range(1, 6))
def test_wherever_a_logout_is_cancelled_the_next_one_ends_everything(number):
    store = Cancelling(AsyncMemoryStore())
    house = House("async", store=store, keep_old=True)
    _, cookies = house.visit()
    calls = cancelled(house, store, number, cookies, lambda session: session.sign_out())
    if number == 5:
        assert 1 < calls < number
    _, after = house.visit(cookies, lambda session: session.sign_out())
    assert house.library.sessions == {}
    assert [house.visit(each)[0] for each in (OLD, cookies, after)] == [{}, {}, {}]
    house.close()
