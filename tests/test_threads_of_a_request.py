"""Several threads of one request that store at the same time: they take turns."""

import threading
from functools import partial

import pytest

from coatcheck import Sessions
from coatcheck.core import lifecycle
from coatcheck.session import state_of
from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing import PausingStore, Race
from tests.visitor import SECRET

pytestmark = pytest.mark.promise("V")

PATIENCE = 60


class Turn:
    """A session's turn that says when somebody comes for it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.came = threading.Semaphore(0)

    def __enter__(self):
        self.came.release()
        self.lock.acquire()

    def __exit__(self, *_):
        self.lock.release()

    def wait_for(self, number):
        for _ in range(number):
            assert self.came.acquire(timeout=PATIENCE), "nobody took a turn"


def cookie_of(outcome):
    return outcome.set_cookie.partition(";")[0]


def known_visitor(sessions):
    session = sessions.open("")
    session["z"] = 0
    session.flash("hello")
    return cookie_of(sessions.close(session))


SECOND = {
    "save": lambda sessions, session: sessions.save(session),
    "close": lambda sessions, session: sessions.close(session),
    "fail": lambda sessions, session: sessions.fail(session) or sessions.close(session),
    "take": lambda sessions, session: sessions.take(session, "b"),
    "take_flashes": lambda sessions, session: sessions.take_flashes(session),
}


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("known", [True, False], ids=["known visitor", "new visitor"])
def test_two_threads_that_store_at_once_begin_one_session_and_lose_nothing(known, second, point):
    store = PausingStore(MemoryStore())
    sessions = Sessions(store, secret=SECRET)
    cookies = known_visitor(sessions) if known else ""
    session = sessions.open(cookies)
    session["a"] = 1
    turn = state_of(session).turn = Turn()
    with Race() as race, store.hold("write", point) as gate:
        first = race.start("first", partial(sessions.save, session))
        gate.wait()
        session["b"] = 2
        session.flash("late")
        other = race.start("second", lambda: SECOND[second](sessions, session))
        turn.wait_for(2)
        gate.open()
        first.result()
        result = other.result()
    if second == "take":
        assert result == {"b": 2}
    if second == "take_flashes":
        # Those of one millisecond come in any order.
        assert sorted(flash.message for flash in result) == (["hello", "late"] if known else ["late"])
    outcome = result if second in ("close", "fail") else sessions.close(session)
    cookies = cookies or cookie_of(outcome)
    expected = {"a": 1} if second in ("fail", "take") else {"a": 1, "b": 2}
    assert dict(sessions.open(cookies)) == expected | ({"z": 0} if known else {})
    assert sessions.count() == 1


def test_a_thread_that_reads_waits_for_no_turn():
    store = PausingStore(MemoryStore())
    sessions = Sessions(store, secret=SECRET)
    session = sessions.open(known_visitor(sessions))
    session["a"] = 1
    with Race() as race, store.hold("write") as gate:
        race.start("writer", partial(sessions.save, session))
        gate.wait()
        reader = race.start("reader", lambda: (dict(session), session.handle, sessions.is_live(session)))
        assert reader.result()[0] == {"z": 0, "a": 1}
        gate.open()


@pytest.mark.promise("F-24")
def test_whoever_listens_to_what_happens_may_store_in_the_middle_of_it():
    told = []

    def listen(event):
        told.append(event.kind)
        if len(told) == 1:
            sessions.take_flashes(session)
            sessions.is_live(session)

    sessions = Sessions(MemoryStore(), secret=SECRET, on_event=listen)
    session = sessions.open("")
    session["a"] = 1
    with Race() as race:
        saving = race.start("saves", partial(sessions.save, session))
        saving.result()  # Stuck, if it waited for itself
    assert told == ["created"]
    assert dict(sessions.open(cookie_of(sessions.close(session)))) == {"a": 1}


@pytest.mark.promise("4")
@pytest.mark.parametrize("known", [True, False], ids=["known visitor", "new visitor"])
def test_what_a_listener_saves_that_is_told_of_its_own_change_is_not_stored_twice(known):
    def listen(event):
        told.append(event.kind)
        sessions.save(session)

    told = []
    store = MemoryStore()
    quiet = Sessions(store, secret=SECRET)
    cookies = known_visitor(quiet) if known else ""
    sessions = Sessions(store, secret=SECRET, on_event=listen)
    session = sessions.open(cookies)
    session.setdefault("basket", []).append("scarf")
    if known:
        other = quiet.open(cookies)
        other.setdefault("basket", []).append("hat")
        quiet.close(other)
    cookies = cookies or cookie_of(sessions.close(session))
    sessions.close(session)
    assert told == ["merged" if known else "created"]
    assert quiet.open(cookies)["basket"] == (["hat", "scarf"] if known else ["scarf"])
    assert sessions.count() == 1


@pytest.mark.promise("12")
def test_a_thread_that_ends_the_session_at_the_moment_of_its_change_leaves_only_the_ending(monkeypatch):
    sessions = Sessions(MemoryStore(), secret=SECRET)
    cookies = known_visitor(sessions)
    session = sessions.open(cookies)
    session["z"] = 1
    change = lifecycle._update

    def ended_just_now(*arguments):
        session.destroy()
        return change(*arguments)

    monkeypatch.setattr(lifecycle, "_update", ended_just_now)
    assert "Max-Age=0" in sessions.close(session).set_cookie
    assert sessions.count() == 0


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_many_threads_that_save_at_once_begin_one_session(kind, tmp_path):
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "sessions.db")
    with Sessions(store, secret=SECRET) as sessions:
        for number in range(30):
            session = sessions.open("")
            start = threading.Barrier(4)

            def work(name, session=session, start=start):
                start.wait(PATIENCE)
                session[name] = 1
                sessions.save(session)

            with Race() as race:
                for name in "abcd":
                    race.start(name, partial(work, name))
            cookies = cookie_of(sessions.close(session))
            assert dict(sessions.open(cookies)) == dict.fromkeys("abcd", 1)
            assert sessions.count() == number + 1


@pytest.mark.promise("9")
@pytest.mark.parametrize(
    "change", [lambda session: None, lambda session: session.update(b=2)], ids=["read", "changed"]
)
def test_a_request_is_closed_behind_what_its_threads_store_and_at_the_time_of_its_turn(change):
    asked = []

    def clock():
        asked.append(1_000.0)
        return asked[-1]

    sessions = Sessions(MemoryStore(), secret=SECRET, clock=clock)
    first = sessions.open(b"")
    first["a"] = 1
    session = sessions.open(cookie_of(sessions.close(first)))
    assert session["a"] == 1
    change(session)
    state_of(session).turn = turn = Turn()
    closing = threading.Thread(target=sessions.close, args=(session,))
    with turn.lock:
        asked.clear()
        closing.start()
        turn.wait_for(1)
        assert (closing.is_alive(), asked) == (True, [])
    closing.join(PATIENCE)
    assert asked
