"""Two processes of one site while its ring of secrets is being changed: each has another newest secret."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coatcheck import Sessions
from coatcheck.model.ports import Entry
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import CountingStore, ManualClock

pytestmark = pytest.mark.promise("14", "F-21")

OLD, NEW = "o1d-xZ7-fJ2kQ9wLr4TnVb8sHd3YpMc6Ge1u", "n3w-QQk3J9vQ0zL8mN2bX5cR7tY1wE4uI6oP"


def cookie_of(outcome):
    return None if outcome.set_cookie is None else outcome.set_cookie.partition(";")[0].encode()


def test_two_rings_that_rotate_one_session_at_once_log_nobody_out():
    clock, store = ManualClock(), MemoryStore()
    options = {"insecure_http": True, "rotate_every": timedelta(minutes=10), "clock": clock}
    before = Sessions(store, secret=[OLD, NEW], **options)
    after = Sessions(store, secret=[NEW, OLD], **options)
    session = before.open(b"")
    session["a"] = 1
    cookie = cookie_of(before.close(session))
    for change in (False, True):
        clock.advance(601)
        parallel = [(manager, manager.open(cookie)) for manager in (before, after)]
        for number, (_, session) in enumerate(parallel):
            assert session["a"] == 1
            if change:
                session[f"b{number}"] = 1
        sent = [cookie_of(manager.close(session)) for manager, session in parallel]
        assert sent[0] is not None
        for new in filter(None, sent):
            for manager in (before, after):
                session = manager.open(new)
                assert session["a"] == 1, "a cookie that opens nothing went out"
                manager.close(session)
        cookie = sent[0]
    assert before.open(cookie)["b1"] == 1


class SeparateIndex(CountingStore):
    """A store whose index of users is written apart, as in a cluster."""

    index = "beside"

    def __init__(self):
        super().__init__(MemoryStore())
        self.noted = []

    def note(self, entries, now, deadline):
        self.noted += entries


def test_an_index_of_its_own_keeps_a_session_for_as_long_as_it_may_live():
    clock, store = ManualClock(), SeparateIndex()
    sessions = Sessions(store, secret=NEW, clock=clock)
    session = sessions.open(b"")
    session.sign_in("ada")
    sessions.close(session)
    signed_in = clock.now_ms
    longest = int(timedelta(days=90).total_seconds() * 1000)
    key = bytes.fromhex(session.handle)
    assert store.noted == [Entry("ada", key, signed_in, signed_in + longest)]
