"""Threads that share one session."""

from __future__ import annotations

import threading

import pytest

from coatcheck.model import codec
from coatcheck.session import state_of
from tests.session.scene import stored
from tests.visitor import CountedStore, Visitor, make_sessions


def in_threads(work, count=8):
    """Run `work(number)` in threads that begin together."""
    barrier = threading.Barrier(count)
    failures = []

    def run(number):
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


class SlowStore(CountedStore):
    """Lets other threads run while it loads."""

    def load(self, keys, now, deadline):
        found = super().load(keys, now, deadline)
        threading.Event().wait(0.02)
        return found


@pytest.mark.promise("6")
def test_threads_that_share_a_session_load_it_once_and_get_the_same_objects():
    visitor = stored(Visitor(make_sessions(SlowStore())), cart=[])
    seen = []
    with visitor.request() as session:
        in_threads(lambda number: seen.append(session["cart"]))
        assert len({id(cart) for cart in seen}) == 1
        assert visitor.sessions.store.calls == ["load"]
        in_threads(session["cart"].append)
    assert sorted(visitor.read()["cart"]) == list(range(8))


def test_threads_that_begin_at_once_get_one_state(sessions):
    session = sessions.open("")
    state = state_of(session)
    assert session._begin(session) is state  # the thread that came second


@pytest.mark.promise("6")
def test_what_threads_put_in_is_all_stored():
    visitor = stored(Visitor(make_sessions(SlowStore())), a=1)
    with visitor.request() as session:
        in_threads(lambda number: session.update({f"n{number}": number}))
        in_threads(session.flash)
    with visitor.request() as session:
        assert dict(session) == {"a": 1, **{f"n{number}": number for number in range(8)}}
        assert sorted(flash.message for flash in session.peek_flashes()) == list(range(8))


@pytest.mark.promise("6")
def test_a_field_that_one_thread_removes_while_another_reads_it_stays_removed(visitor, monkeypatch):
    with stored(visitor, cart=[1]).request() as session:
        session.get("other")

        def decode_late(data, decode=codec.decode):
            del session["cart"]  # the other thread, in the middle of this one's reading
            return decode(data)

        monkeypatch.setattr("coatcheck.core.state.codec.decode", decode_late)
        session.get("cart")
        monkeypatch.undo()
        assert "cart" not in session
    assert visitor.read() == {}


def test_two_threads_that_read_a_field_at_the_same_moment_get_the_same_object(visitor, monkeypatch):
    with stored(visitor, cart=[1]).request() as session:
        session.get("other")
        seen = []

        def decode_late(data, decode=codec.decode):
            value = decode(data)
            monkeypatch.undo()
            seen.append(session["cart"])  # the other thread, in the middle of this one's reading
            return value

        monkeypatch.setattr("coatcheck.core.state.codec.decode", decode_late)
        assert session["cart"] is seen[0]
