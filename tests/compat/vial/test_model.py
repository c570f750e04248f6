"""A session of vial beside a plain dict: whatever is done to both, in whatever order, they say the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.compat.vial import Vial
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

names = st.sampled_from(["a", "b", "c"])
texts = st.text(max_size=5)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), names, texts),
        st.tuples(st.just("set_none"), names),
        st.tuples(st.just("delete"), names),
        st.tuples(st.just("pop"), names),
        st.tuples(st.just("race"), names, texts),
        st.tuples(
            st.sampled_from(["clear", "popitem", "save", "rotate", "reload", "expunge", "end", "look"])
        ),
    ),
    max_size=20,
)


class Beside:
    def __init__(self, vial):
        self.vial = vial
        self.session = vial.Session(key_length=32)
        # What the session shows, what Redis has (None: there is no record), and what differs on purpose.
        self.view, self.stored, self.pending = {}, None, {}

    def set(self, name, text):
        self.session[name] = self.view[name] = self.pending[name] = text

    def set_none(self, name):
        self.session[name] = None
        self.view.pop(name, None)
        self.pending[name] = None

    def delete(self, name):
        del self.session[name]
        self.set_none(name)

    def pop(self, name):
        assert self.session.pop(name, "none") == self.view.get(name, "none")
        if name in self.view:
            self.set_none(name)

    def clear(self):
        self.session.clear()
        self.pending |= dict.fromkeys(self.view)
        self.view = {}

    def popitem(self):
        if len(self.session):
            name, _ = self.session.popitem()
            assert name not in self.session
            self.set_none(name.decode())

    def save(self):
        assert self.session.save()
        self.stored = (self.stored or {}) | self.pending
        self.stored = {name: text for name, text in self.stored.items() if text is not None}
        self.pending = {}
        self.view = dict(self.stored)

    def rotate(self):
        before = self.session.id
        self.session.rotate()
        self.save()
        assert self.session.id != before

    def reload(self):
        if self.stored is not None:
            self.session = self.vial.Session(self.session.id, key_length=32)
            assert not self.session.is_new
            self.view, self.pending = dict(self.stored), {}

    def expunge(self):
        self.session.expunge()
        self.view, self.pending = dict(self.stored or {}), {}

    def race(self, name, text):
        """Another request changes a field, and ours is saved after it."""
        if self.stored is not None:
            other = self.vial.Session(self.session.id)
            other[name] = text
            assert other.save()
            self.stored[name] = text
            self.save()
            self.reload()

    def end(self):
        assert self.session.delete() == (self.stored is not None)
        self.view, self.stored, self.pending = {}, None, {}

    def look(self):
        pass

    def agree(self):
        shown = {name.decode(): self.session[name] for name in self.session if not name.startswith(b"_")}
        assert shown == self.view
        assert len(self.session) == len(set(self.session))
        for name in ("a", "b", "c", "missing"):
            assert (name in self.session) == (name in self.view)
            assert self.session.get(name) == self.view.get(name)


@given(operations)
@settings(max_examples=100, deadline=None)
def test_a_session_says_what_a_dict_says(one_redis, shared_database, steps):
    beside = Beside(Vial(HOST, one_redis.port, shared_database))
    for operation, *arguments in steps:
        getattr(beside, operation)(*arguments)
        beside.agree()
    if beside.stored is not None:
        raw = beside.vial._connection.hgetall(beside.session._key)
        texts = {name.decode(): text.decode() for name, text in raw.items() if not name.startswith(b"_")}
        assert texts == beside.stored
        assert beside.vial._connection.ttl(beside.session._key) > 80_000


@pytest.fixture(scope="module")
def shared_database(one_redis):
    """One for all examples: their sessions don't meet."""
    return one_redis.database()
