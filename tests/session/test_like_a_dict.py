"""A state machine: over many requests, a session is a dict."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coatcheck import Session
from tests.model.values import form
from tests.session.scene import change
from tests.visitor import Visitor, make_sessions

HOUR = 3600

NAMES = st.sampled_from(["a", "b"])

VALUES = st.one_of(
    st.sampled_from([0, 1, True, 1.0, "", None]),
    st.lists(st.integers(0, 2), max_size=2),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(st.sampled_from(["k", "l"]), st.lists(st.integers(0, 1), max_size=1), max_size=2),
    st.sets(st.integers(0, 2), max_size=2),
    st.tuples(st.lists(st.integers(0, 1), max_size=1)),
)


class OneVisitor(RuleBasedStateMachine):
    """A visitor's session beside a plain dict: whatever he does, they agree, and the store is asked no more than
    the design allows. Times are seconds since the start.
    """

    def __init__(self):
        super().__init__()
        self.sessions = make_sessions(
            idle_timeout=timedelta(hours=1),
            absolute_timeout=timedelta(hours=5),
            remember_idle=timedelta(hours=10),
            remember_absolute=timedelta(hours=20),
        )
        self.clock = self.sessions.settings.clock
        self.calls = self.sessions.store.calls
        self.visitor = Visitor(self.sessions)
        self.now = 0
        self.live = 0  # the number of the record that he holds, 0 for none
        self.records = 0  # how many there were
        self.in_cookie = 0  # the number of the record that the browser's cookie names
        self.stored = {}
        self.user = None
        self.permanent = False
        self.start = self.used = 0
        self.session = None

    # Requests

    def idle(self):
        return 10 * HOUR if self.permanent else HOUR

    def absolute(self):
        return 20 * HOUR if self.permanent else 5 * HOUR

    @initialize()
    def first(self):
        self.begin()

    def begin(self):
        if self.live and self.now >= min(self.used + self.idle(), self.start + self.absolute()):
            self.live = 0
        if not self.live:
            self.stored, self.user, self.permanent = {}, None, False
        self.calls.clear()
        self.session = self.sessions.open(self.visitor.cookie)
        self.presented = self.in_cookie
        self.work = self.fresh_copy()
        self.wish = self.signing = None
        self.cleared = self.due_clear = False
        self.ended = self.due_cookie = 0  # the numbers of records
        self.held = []
        self.writes = 0
        self.agree()

    def fresh_copy(self):
        # Field by field: two fields that share an object within a request don't beyond it.
        return {name: copy.deepcopy(value) for name, value in self.stored.items()}

    def agree(self):
        session = self.session
        assert form(dict(sorted(session.items()))) == form(dict(sorted(self.work.items())))
        assert (len(session), set(session)) == (len(self.work), set(self.work))
        assert session.user == (self.signing or self.user)
        assert session.is_new is (self.live == 0)
        assert session.permanent is (self.permanent if self.wish is None else self.wish)

    def carry_out(self):
        """What storing the intentions does, in the model."""
        changed = {name: form(value) for name, value in self.work.items()} != {
            name: form(value) for name, value in self.stored.items()
        }
        wish = None if self.wish == self.permanent else self.wish
        if self.live:
            write = changed or (self.cleared and self.stored) or self.signing or wish is not None
        else:
            write = self.work or self.signing
        self.writes += bool(write or self.ended)
        if self.ended:
            self.due_clear = self.due_clear or self.ended == self.presented
            self.due_cookie = 0 if self.due_cookie == self.ended else self.due_cookie
            self.ended = 0
        if not write:
            return
        if not self.live or self.signing or wish is not None:
            self.live = self.live or self.new_record()
            self.due_cookie = self.live
        if self.signing:
            # Two sign-ins never look the same: the second of one millisecond counts as one later.
            again = 0 if self.user is None else self.start + 0.001
            self.user, self.start = self.signing, max(self.now, again)
        self.used = self.now
        self.permanent = self.permanent if wish is None else wish
        self.wish, self.signing, self.cleared = None, None, False
        self.stored = self.work
        self.stored = self.fresh_copy()

    def new_record(self):
        self.records += 1
        self.start = self.now
        return self.records

    def respond(self, outcome):
        self.visitor.receive(outcome)
        assert self.calls.count("load") == bool(self.presented)
        assert self.calls.count("write") == self.writes
        if self.due_cookie:
            assert self.visitor.cookie.startswith("__Host-session=")
            assert ("Max-Age" in self.visitor.set_cookie) is self.permanent
            self.in_cookie = self.due_cookie
        elif self.due_clear:
            assert self.visitor.set_cookie == self.sessions.settings.template.clear()
            self.in_cookie = 0
        else:
            assert self.visitor.set_cookie is None

    @rule()
    def answer_and_ask_again(self):
        self.answer(0)

    @rule(seconds=st.sampled_from([1, 359, 360, HOUR - 1, HOUR, 4 * HOUR, 10 * HOUR]))
    def answer_and_wait(self, seconds):
        self.answer(seconds)

    @rule(hours=st.integers(1, 12))
    def come_back_every_half_hour(self, hours):
        for _ in range(2 * hours):
            self.answer(HOUR // 2)

    def answer(self, seconds):
        before = self.writes
        self.carry_out()
        if self.live and self.writes == before and self.now - self.used >= min(self.idle() // 10, HOUR):
            self.used = self.now
            self.writes += 1
        self.respond(self.sessions.close(self.session))
        self.clock.advance(seconds)
        self.now += seconds
        self.begin()

    @rule()
    def fail(self):
        self.work, self.wish, self.signing, self.cleared = self.fresh_copy(), None, None, False
        self.carry_out()
        self.sessions.fail(self.session)
        self.respond(self.sessions.close(self.session))
        self.begin()

    @rule()
    def save(self):
        self.sessions.save(self.session)
        self.carry_out()
        self.agree()

    # What a handler does

    @rule(name=NAMES, value=VALUES)
    def put(self, name, value):
        self.session[name] = copy.deepcopy(value)
        self.work[name] = value
        self.agree()

    @rule(name=NAMES, value=VALUES)
    def setdefault(self, name, value):
        mine = copy.deepcopy(value)
        assert form(self.session.setdefault(name, mine)) == form(self.work.setdefault(name, value))
        self.agree()

    @rule(values=st.dictionaries(NAMES, VALUES, max_size=3), operator=st.booleans())
    def update(self, values, operator):
        if operator:
            self.session |= copy.deepcopy(values)
            self.work |= values
        else:
            self.session.update(copy.deepcopy(values))
            self.work.update(values)
        self.agree()

    @rule(name=NAMES, other=NAMES)
    def share(self, name, other):
        if name in self.work:
            self.session[other] = self.session[name]
            self.work[other] = self.work[name]
        self.agree()

    @rule(name=NAMES)
    def pop(self, name):
        assert form(self.session.pop(name, "nothing")) == form(self.work.pop(name, "nothing"))
        self.agree()

    @precondition(lambda self: self.work)
    @rule(one=st.booleans())
    def remove(self, one):
        name = list(self.session)[0 if one else -1]
        if one:
            del self.session[name]
            del self.work[name]
        else:
            assert self.session.popitem()[0] == name
            del self.work[name]
        with pytest.raises(KeyError):
            del self.session[name]
        self.agree()

    @precondition(lambda self: self.work)
    @rule(item=st.integers(0, 2), answered=st.booleans())
    def change_inside(self, item, answered):
        for name, value in self.work.items():
            self.held.append((self.session[name], value))
            change(self.session[name], item)
            change(value, item)
        self.agree()
        if answered:
            self.answer(0)

    @precondition(lambda self: self.held)
    @rule(item=st.integers(0, 2))
    def change_what_was_held(self, item):
        """What a handler's local variables still hold, also beyond a save."""
        for mine, model in self.held:
            change(mine, item)
            change(model, item)
        self.agree()

    @rule(names=st.lists(NAMES, max_size=3))
    def take(self, names):
        expected = {name: self.work[name] for name in names if name in self.work}
        base = {} if self.cleared or not self.live else self.stored
        taken = self.sessions.take(self.session, *names)
        assert form(dict(sorted(taken.items()))) == form(dict(sorted(expected.items())))
        if any(name in base for name in expected):
            self.writes += 1
            self.used = self.now
        for name in expected:
            del self.work[name]
            base.pop(name, None)
        self.agree()

    @rule(wish=st.booleans())
    def set_permanent(self, wish):
        if self.live and not wish and self.now >= self.start + 5 * HOUR:
            return  # past the limit of those that are not permanent, it would end there and then
        self.session.permanent = wish
        self.wish = wish
        self.agree()

    @rule(user=st.sampled_from(["ada", "grace"]))
    def sign_in(self, user):
        before = self.signing or self.user
        self.session.sign_in(user)
        if before not in (None, user):
            self.work = {}
            self.cleared = self.cleared or bool(self.stored)
            if self.live and self.permanent and self.wish is None:
                self.wish = False  # the other user's choice
        self.signing = user
        self.agree()

    @rule(end=st.sampled_from([Session.sign_out, Session.destroy, Session.clear]))
    def sign_out(self, end):
        end(self.session)
        self.ended = self.live or self.ended
        self.work, self.stored, self.live = {}, {}, 0
        self.user, self.permanent, self.wish, self.signing, self.cleared = None, False, None, None, False
        self.agree()


def test_a_session_is_a_dict_over_many_requests():
    run_state_machine_as_test(
        OneVisitor, settings=hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
    )
