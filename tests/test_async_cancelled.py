"""A request that is cancelled: what it wanted is stored whole or not at all, and ending a session is carried out."""

import asyncio
import logging
from contextlib import suppress

import pytest

from coatcheck import AsyncSessions
from coatcheck.core.swap import held_of
from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import Tombstone
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AsyncFailingStore, AsyncPausingStore, AwaitableStore
from tests.cancelling import BY_ANY_WAY
from tests.loops import on_each_loop, quiet
from tests.visits import SECRET, cookie_of, look, visit

pytestmark = pytest.mark.promise("F-05")


@pytest.mark.promise("12")
@pytest.mark.parametrize("how", ["close", "fail", "both"])
@pytest.mark.parametrize("point", ["before", "after"])
@BY_ANY_WAY
@on_each_loop
async def test_a_sign_out_is_carried_out_although_its_request_is_cancelled(cancelled, point, how):
    bare = AsyncMemoryStore()
    store = AsyncPausingStore(bare)
    sessions = AsyncSessions(store, secret=SECRET)
    cookies = await visit(sessions, a=1, user="ada")
    session = await look(sessions, cookies)
    session.sign_out()
    session["bye"] = 1

    async def end():
        """As a middleware does."""
        if how == "fail":
            await sessions.fail(session)
            return
        try:
            await sessions.close(session)
        except asyncio.CancelledError:
            if how == "both":
                await sessions.fail(session)
            raise

    with store.hold("write", point) as gate:
        ending = asyncio.create_task(cancelled(end()))
        for _ in range(20):
            await asyncio.sleep(0)
        gate.open()
        await ending
        await sessions.shutdown()
    assert (await look(AsyncSessions(bare, secret=SECRET), cookies)).is_new
    assert await sessions.of_user("ada") == []


@pytest.mark.promise("12")
@BY_ANY_WAY
@on_each_loop
async def test_a_sign_out_that_is_cancelled_before_its_batch_left_is_carried_out(cancelled):
    pausing = AsyncPausingStore(AwaitableStore(MemoryStore()))
    sessions = AsyncSessions(pausing, secret=SECRET)
    sessions._runner._desks.here().changes._in_flight = 1
    cookies, others = await visit(sessions, a=1), await visit(sessions, a=1)
    session = await look(sessions, cookies)
    session.sign_out()
    with pausing.hold("write") as gate:
        first = asyncio.create_task(visit(sessions, others, b=1))
        await gate.wait()
        await asyncio.create_task(cancelled(sessions.close(session)))
        assert not (await look(sessions, cookies)).is_new  # it has not left yet
        gate.open()
        await first
        await sessions.shutdown()
    key = sessions.settings.ring.verify(cookies.partition(b"=")[2]).key
    (found,) = pausing.store._store.load([key], 0, 0)
    assert isinstance(held_of(key, found).state, Tombstone)


@pytest.mark.promise("17")
@on_each_loop
async def test_revoking_a_user_goes_on_although_its_caller_is_cancelled():
    store = AsyncPausingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    for _ in range(250):  # more than one batch
        await visit(sessions, user="ada")
    with store.hold("write", "after") as gate:
        revoking = asyncio.create_task(sessions.revoke_user("ada"))
        await gate.wait()
        revoking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await revoking
        gate.open()
        await sessions.shutdown()
    assert await sessions.of_user("ada") == []


@on_each_loop
async def test_a_sign_out_that_fails_when_nobody_waits_for_it_any_more_is_logged(caplog):
    failing = AsyncFailingStore(AsyncMemoryStore())
    store = AsyncPausingStore(failing)
    sessions = AsyncSessions(store, secret=SECRET)
    session = await look(sessions, await visit(sessions, a=1))
    session.sign_out()
    failing.fail("write", error=StoreUnavailable("the test says so", ambiguous=False))
    with store.hold("write") as gate:
        closing = asyncio.create_task(sessions.close(session))
        await gate.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        gate.open()
        await sessions.shutdown()
    outage, told = [record for record in caplog.records if record.name == "coatcheck"]
    assert outage.message == "The session store fails: the test says so"
    assert told.levelno == logging.ERROR
    assert "cancelled" in told.message
    assert "the test says so" in caplog.text


@on_each_loop
async def test_a_sign_out_that_fails_while_it_is_waited_for_is_raised_and_logged_as_an_outage_only(caplog):
    store = AsyncFailingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    session = await look(sessions, await visit(sessions, a=1))
    session.sign_out()
    store.fail("write", error=StoreUnavailable("the test says so", ambiguous=False))
    with pytest.raises(StoreUnavailable):
        await sessions.close(session)
    await quiet()
    assert [record.message for record in caplog.records] == ["The session store fails: the test says so"]


@pytest.mark.parametrize("verb", ["set", "rotate", "sign_in", "sign_out"])
@on_each_loop
async def test_a_request_that_is_cancelled_anywhere_leaves_a_whole_session_of_before_or_after(verb):
    for turns in range(12):
        store = AwaitableStore(MemoryStore())
        sessions = AsyncSessions(store, secret=SECRET)
        before = await visit(sessions, a=1, b=1)
        outcomes = []

        async def request(sessions=sessions, before=before, outcomes=outcomes):
            session = await look(sessions, before)
            match verb:
                case "set":
                    session.update(a=2, b=2)
                case "sign_in":
                    session.sign_in("ada")
                case _:
                    getattr(session, verb)()
            try:
                outcomes.append(await sessions.close(session))
            except BaseException:
                await sessions.fail(session)
                raise

        task = asyncio.create_task(request())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await quiet()
        fields = dict(await look(sessions, before))
        assert fields in ({"a": 1, "b": 1}, {"a": 2, "b": 2}, {})
        if outcomes and outcomes[0].set_cookie is not None:
            after = await look(sessions, cookie_of(outcomes[0]))
            assert after.is_new == (verb == "sign_out")
            assert fields == {}
        await sessions.shutdown()


# Several tasks of one request, and what goes on without its caller


@pytest.mark.parametrize("known", [True, False], ids=["known visitor", "new visitor"])
@pytest.mark.parametrize("opened", [(0, 1), (1, 0)], ids=str)
@on_each_loop
async def test_two_tasks_of_one_request_that_save_at_once_begin_one_session_and_lose_nothing(known, opened):
    store = AsyncPausingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    cookies = await visit(sessions, z=0) if known else b""
    session = await look(sessions, cookies)
    gates = [store.hold("write", "after"), store.hold("write", "after")]
    saving = []
    for name in ("a", "b"):
        session[name] = 1
        saving.append(asyncio.create_task(sessions.save(session)))
        for _ in range(20):
            await asyncio.sleep(0)
    session["c"] = 1
    for number in opened:
        gates[number].open()
        for _ in range(20):
            await asyncio.sleep(0)
    await asyncio.gather(*saving)
    outcome = await sessions.close(session)
    if not known:
        cookies = cookie_of(outcome)
    assert dict(await look(sessions, cookies)) == {"a": 1, "b": 1, "c": 1} | ({"z": 0} if known else {})
    assert await sessions.count() == 1


@pytest.mark.parametrize("verb", ["rotate", "sign_in", "put"])
@pytest.mark.parametrize("point", ["before", "after"])
@BY_ANY_WAY
@on_each_loop
async def test_a_request_that_gives_up_waiting_for_a_save_and_goes_on_still_gets_its_cookie(
    cancelled, point, verb
):
    store = AsyncPausingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    session = await look(sessions, b"" if verb == "put" else await visit(sessions, a=1))
    match verb:
        case "put":
            session["a"] = 1
        case "sign_in":
            session.sign_in("ada")
        case _:
            session.rotate()
    with store.hold("write", point) as gate:
        await asyncio.create_task(cancelled(sessions.save(session)))
        session["later"] = 1
        closing = asyncio.create_task(sessions.close(session))
        await gate.wait()
        gate.open()
        outcome = await closing
    assert dict(await look(sessions, cookie_of(outcome))) == {"a": 1, "later": 1}
    assert await sessions.count() == 1
