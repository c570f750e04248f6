"""Sessions that end while requests are under way ([FIX])."""

import pytest

from coatcheck.compat.gimlet.session import Session
from tests.compat.gimlet.browser import set_cookies
from tests.compat.gimlet.conftest import Visitor, put


class TestEnding:
    def test_fix_invalidate_really_ends_the_session(self, visitor, backend):
        """1.5 security: the old cookies still opened it."""
        visitor.visit(put(user="frodo"))
        visitor.visit(lambda session: session.set("p", 1, permanent=True))
        thief = visitor.copy()
        assert thief.visit(dict) == {"user": "frodo", "p": 1}
        visitor.visit(Session.invalidate)
        assert backend == {}
        assert thief.visit(dict) == {}
        assert visitor.visit(dict) == {}
        assert visitor.cookies != thief.cookies

    def test_fix_what_was_under_way_does_not_bring_an_ended_session_back(self, stored):
        visitor = Visitor(backend=stored)
        visitor.visit(put(user="frodo"))
        thief = visitor.copy()
        late = visitor.arrive()
        late["seen"] = 1
        visitor.visit(Session.invalidate)
        response = thief.leave(late)
        assert set_cookies(response) == {}
        assert thief.visit(dict) == {}

    def test_what_was_under_way_does_not_bring_an_ended_session_back_in_a_dict(self, visitor, backend):
        visitor.visit(put(a=1))
        late = visitor.arrive()
        late["b"] = 2
        visitor.copy().visit(Session.invalidate)
        visitor.leave(late)
        assert backend == {}

    def test_a_channel_from_before_invalidate_is_empty_and_its_record_is_not_read(self, visitor, monkeypatch):
        visitor.visit(put(a=1))
        session, asked = visitor.arrive(), []
        old = session.channels["nonperm"]
        session.invalidate()
        monkeypatch.setattr("coatcheck.compat.gimlet.session.read_records", lambda *_: asked.append(1) or {})
        assert len(old) == 0
        assert asked == []

    def test_a_change_that_can_not_be_stored_is_an_error(self):
        class Full(dict):
            def __setitem__(self, key, value):
                raise OSError("full")

        full = Visitor(backend=Full())
        with pytest.raises(OSError, match="full"):
            full.visit(put(a=1))
        assert full.cookies == {}

    def test_what_is_put_in_after_invalidate_goes_to_the_new_session(self, visitor, backend):
        visitor.visit(put(user="frodo"))
        old = visitor.copy()

        def sign_out(session):
            session.invalidate()
            session.flash("bye")

        visitor.visit(sign_out)
        assert visitor.visit(Session.pop_flash) == ["bye"]
        assert old.visit(dict) == {}
