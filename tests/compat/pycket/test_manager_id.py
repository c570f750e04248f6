"""The id of a session, and the cookie that carries it, on what stands in for a handler."""

import pytest

from tests.compat.pycket.site import StubHandler, StubVisitor

pytestmark = pytest.mark.servers


class TestId:
    def test_a_stand_in_gets_exactly_the_old_keywords(self, kind):
        """[3.1 exactly these keywords reach set_secure_cookie] [3.2 id is a str] [7.4]"""
        visitor = StubVisitor(kind.settings)
        kind.session(visitor).set("foo", 1)
        ((name, value, expires_days, expires),) = visitor.cookies
        assert (name, expires_days, expires) == ("PYCKET_ID", None, None)
        assert isinstance(value, str)
        assert len(value) == 36

    def test_a_new_visitor_keeps_his_id_for_the_request(self, kind):
        """[FIX 3.2 the worst bug: one id per request, shared by session and notifications] [7.4 remember the id]"""
        visitor = StubVisitor(kind.settings)
        kind.session(visitor).set("foo", 1)
        kind.session(visitor).set("bar", 2)
        kind.notifications(visitor).set("note", "hi")
        assert kind.session(visitor).get("foo") == 1
        assert dict(kind.session(visitor).items()) == {"foo": 1, "bar": 2}
        assert kind.notifications(visitor).get("note") == "hi"
        assert len(visitor.cookies) == 1

    def test_a_new_visitor_who_only_reads_gets_no_cookie(self, kind):
        """[3.2 a read sets a cookie too: FREE]"""
        visitor = StubVisitor(kind.settings)
        session = kind.session(visitor)
        assert session.get("foo") is None
        session.delete("foo")
        assert kind.notifications(visitor).get("foo") is None
        assert visitor.cookies == []

    def test_the_options_of_the_cookie_are_passed_on(self, kind):
        """[3.1 cookies] [7.4 'St. Neversday']"""
        for options in ({"foo": "bar"}, {"expires": "St. Neversday"}, {"expires_days": "St. Neversday"}):
            visitor, taken = StubVisitor(kind.settings), {}
            own = {"pycket_cookies": options} if kind.name == "dataset" else {}
            inner = visitor.settings.get("pycket")
            visitor.settings = {**visitor.settings, **own}
            if inner:
                visitor.settings = {"pycket": {**inner, "cookies": options}}
            visitor.set_secure_cookie = lambda name, value, taken=taken, **given: taken.update(given)
            kind.session(visitor).set("foo", 1)
            assert taken == {"expires": None, "expires_days": None, **options}

    def test_the_settings_stay_as_they_are(self, kind):
        """[FIX 3.1 the cookies' dict is mutated] [FIX 4 redis_settings['db'] is written]"""
        visitor = StubVisitor(kind.settings)
        if kind.name == "dataset":
            visitor.settings["pycket_cookies"] = {}
        else:
            visitor.settings["pycket"]["cookies"] = {}
        before = repr(visitor.settings)
        kind.session(visitor).set("foo", 1)
        kind.notifications(visitor).set("foo", 1)
        assert repr(visitor.settings) == before

    def test_bytes_as_tornado_gives_them_and_text_name_the_same_session(self, kind, handler, session):
        """[3.2 bytes on Python 3; used as is] [FIX 3.4 memcached with bytes ids never worked] [7.6]"""
        session["a"] = 1
        assert kind.session(StubHandler(kind.settings, handler.session_id.encode()))["a"] == 1

    def test_a_new_id_takes_everything_along(self, kind, handler, session, notifications):
        """[3.2 an id is adopted (no rotation): offer rotation]"""
        handler.set_secure_cookie = lambda name, value, **_: setattr(handler, "session_id", value)
        session["user"] = "ada"
        notifications["note"] = "hi"
        old = handler.session_id
        session.rotate()
        assert handler.session_id != old
        assert session["user"] == "ada"
        assert notifications["note"] == "hi"
        for kept in (session, notifications):
            assert kept._driver().load(old).raw is None

    def test_destroying_leaves_nothing_under_the_id(self, kind, handler, session, notifications):
        """[FIX logging out really ends the session]"""
        handler.set_secure_cookie = lambda name, value, **_: setattr(handler, "session_id", value)
        session["user"] = "ada"
        notifications["note"] = "hi"
        old = handler.session_id
        session.destroy()
        assert session.get("user") is None
        session["bye"] = 1
        assert handler.session_id != old
        assert dict(session.items()) == {"bye": 1}
        for ended in (session, notifications):
            assert ended._driver().load(old).raw is None

    def test_rotating_or_destroying_what_is_not_there_makes_nothing(self, kind):
        visitor = StubVisitor(kind.settings)
        session = kind.session(visitor)
        session.rotate()
        session.destroy()
        session.save()
        assert visitor.cookies == []
