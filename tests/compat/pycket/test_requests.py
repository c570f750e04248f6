"""Whole requests over real HTTP: cookies, and the end of a session."""

import time

import pytest
from tornado.web import create_signed_value

from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import (
    SECRET,
    Site,
    cookie_of,
    cookies_of,
    handler,
    id_of,
    look,
    put,
    signed,
    site,
    site_of,
    with_cookies,
)

pytestmark = pytest.mark.servers


DAY = 86400


class TestCookie:
    def test_it_is_http_only_and_lax_and_of_the_browser_session(self, each_settings):
        """[3.2 cookie] [FIX 3.2 HttpOnly + SameSite on real handlers] [3.1 no expires unless given]"""
        with site_of(each_settings, put=put) as running:
            cookie = cookie_of(running.visitor().get("/put"))
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
        assert (cookie["expires"], cookie["max-age"], cookie["domain"], cookie["secure"]) == ("",) * 4
        assert len(id_of(cookie)) == 36

    def test_what_the_application_says_of_it_counts(self, each_settings):
        """[3.1 cookies: keyword arguments of set_secure_cookie]"""
        chosen = {"HttpOnly": False, "samesite": "Strict", "expires_days": 2, "path": "/x", "secure": True}
        with site_of(with_cookies(each_settings, **chosen), put=put) as running:
            cookie = cookie_of(running.visitor().get("/put"))
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/x", "", "Strict")
        assert cookie["expires"]
        assert cookie["secure"]

    def test_a_request_that_does_not_touch_the_session_or_only_reads_sets_none(self, each_settings):
        """[3.2 a read by a visitor without a cookie sets one: FREE, better not]"""
        with site_of(each_settings, plain=lambda self: 1, look=look) as running:
            assert cookies_of(running.visitor().get("/plain")) == []
            assert cookies_of(running.visitor().get("/look")) == []

    def test_the_first_request_may_do_as_much_as_it_likes_under_one_id(self, each_settings):
        """[FIX 3.2 the worst bug] [FIX 4 three Set-Cookie lines]"""

        def first(self):
            self.session["a"] = 1
            self.notifications["note"] = "hi"
            self.session["b"] = self.session.get("a") + 1
            return look(self), self.notifications.get("note"), self.notifications.get("note")

        with site_of(each_settings, first=first, look=look) as running:
            visitor = running.visitor()
            answer = visitor.get("/first")
            assert answer.text == "({'a': 1, 'b': 2}, 'hi', None)"
            assert len(cookies_of(answer)) == 1
            assert visitor.get("/look").text == "{'a': 1, 'b': 2}"

    def test_a_signed_id_that_nobody_knows_is_adopted(self, each_settings):
        """[3.2 an expired/unknown but validly signed id is adopted again]"""
        with site_of(each_settings, put=put, look=look) as running:
            visitor = running.visitor(cookies={"PYCKET_ID": signed("an-old-id")})
            assert cookies_of(visitor.get("/put")) == []
            assert visitor.get("/look").text == "{'foo': 1}"

    @pytest.mark.parametrize(
        "value", ["an-id", "2|1:0|10:1|9:PYCKET_ID|4:YQ==|bad", "", '"', "a|1|b", "%00", "2|x"]
    )
    def test_a_cookie_that_is_not_ours_is_none(self, redis_settings, value):
        """[3.2 unsigned/tampered cookie: new id]"""
        with site_of(redis_settings, put=put, look=look) as running:
            visitor = running.visitor(headers={"Cookie": f"PYCKET_ID={value}"})
            assert visitor.get("/look").text == "{}"
            assert id_of(cookie_of(visitor.get("/put"))) != "an-id"

    def test_after_a_change_of_the_key_every_visitor_is_new_and_nobody_gets_a_500(self, each_settings):
        """[FIX no 500 after a key change]"""
        with site_of(each_settings, put=put, look=look) as running:
            visitor = running.visitor(cookies={"PYCKET_ID": signed("victim", secret="the old key")})
            assert visitor.get("/look").text == "{}"
            assert id_of(cookie_of(visitor.get("/put"))) != "victim"

    def test_a_cookie_of_120_days_is_good_for_120_days(self, each_settings):
        """[FIX 3.2 Tornado accepts a signed value for 31 days only: max_age_days]"""
        for cookies, days_ago, is_known in (
            ({"expires_days": 120}, 40, True),
            ({"expires_days": 120}, 121, False),
            ({}, 40, False),
        ):
            with site_of(with_cookies(each_settings, **cookies), put=put) as running:
                visitor = running.visitor(cookies={"PYCKET_ID": signed("same", days_ago=days_ago)})
                assert (id_of(cookie_of(visitor.get("/put"))) == "same") is is_known

    @pytest.mark.parametrize(
        ("days", "days_ago", "renewed"), [(120, 11, 0), (120, 13, 1), (None, 2, 0), (None, 4, 1)]
    )
    def test_he_who_keeps_coming_keeps_his_cookie(self, redis_settings, days, days_ago, renewed):
        """[FIX 3.2 set once and never renewed]"""
        with site_of(
            with_cookies(redis_settings, expires_days=days), look=look, plain=lambda self: 1
        ) as running:
            visitor = running.visitor(headers={"Cookie": "PYCKET_ID=" + signed("same", days_ago=days_ago)})
            answers = cookies_of(visitor.get("/look"))
            assert [id_of(cookie) for cookie in answers] == ["same"] * renewed
            assert cookies_of(visitor.get("/plain")) == []

    def test_a_cookie_of_tornado_before_3_2_is_read(self, redis_settings):
        """[3.2 cookies of old servers are read]"""
        then = time.time() - 4 * DAY
        old = create_signed_value(SECRET, "PYCKET_ID", "same", version=1, clock=lambda: then).decode()
        with site_of(redis_settings, put=put) as running:
            answer = running.visitor(headers={"Cookie": f'PYCKET_ID="{old}"'}).get("/put")
            assert id_of(cookie_of(answer)) == "same"

    def test_handlers_that_override_the_functions_of_the_cookie_go_on(self, redis_settings):
        """[3.2 handler.get_secure_cookie(name)] [7.4 take no other arguments]"""

        class Own(handler(look)):
            def get(self):
                self.session["foo"] = 1
                self.write(repr(look(self)))

            def get_secure_cookie(self, name):
                return None

            def set_secure_cookie(self, name, value, expires, expires_days):
                self.set_cookie("OTHER", value)

        settings = {**redis_settings, "cookies": {"expires_days": 120}}
        with Site([("/", Own)], pycket=settings) as running:
            answer = running.visitor().get("/")
            assert answer.text == "{'foo': 1}"
            assert len(answer.cookies["OTHER"]) == 36


class TestEnding:
    def test_logging_out_clears_the_cookie_and_the_record_and_the_old_cookie_opens_nothing(
        self, each_settings
    ):
        """[FIX logging out really ends the session]"""

        def log_in(self):
            self.session["user"] = "ada"
            self.notifications["note"] = "hi"

        def leave(self):
            self.session.destroy()

        acts = {"log_in": log_in, "leave": leave, "look": look}
        with site_of(with_cookies(each_settings, path="/"), **acts) as running:
            visitor = running.visitor()
            stolen = visitor.get("/log_in").cookies
            gone = cookie_of(visitor.get("/leave"))
            assert gone.value == ""
            assert gone["expires"]
            assert not visitor.cookies
            assert running.visitor(cookies=stolen).get("/look").text == "{}"

    def test_what_is_put_in_after_logging_out_gets_a_new_id_and_one_cookie(self, each_settings):
        def leave(self):
            self.session.destroy()
            self.notifications["bye"] = "see you"

        acts = {"put": put, "leave": leave, "bye": lambda self: self.notifications.get("bye"), "look": look}
        with site_of(each_settings, **acts) as running:
            visitor = running.visitor()
            old = id_of(cookie_of(visitor.get("/put")))
            assert id_of(cookie_of(visitor.get("/leave"))) != old
            assert visitor.get("/bye").text == "'see you'"
            assert visitor.get("/look").text == "{}"

    @pytest.mark.parametrize("engine", ["redis", "memcached"])
    def test_what_was_put_in_before_logging_out_is_gone_too_and_was_never_written(
        self, engine, redis_proxy, memcached_proxy
    ):
        def leave(self):
            self.session["a"] = 1
            self.session.destroy()

        proxy = redis_proxy if engine == "redis" else memcached_proxy
        with site(settings_for(engine, proxy.port), put=put, leave=leave, look=look) as running:
            running.visitor().get("/put")
            running.visitor(cookies={"PYCKET_ID": signed("warm")}).get("/leave")
            visitor = running.visitor()
            kept = visitor.get("/put").cookies
            with proxy.counting() as counted:
                visitor.get("/leave")
            assert counted.round_trips == 3  # read, and two records deleted
            assert running.visitor(cookies=kept).get("/look").text == "{}"

    def test_signing_in_can_change_the_id(self, each_settings):
        """[3.2 no rotation: offer it]"""

        def sign_in(self):
            self.session["user"] = "ada"
            self.session.rotate()

        with site_of(each_settings, put=put, sign_in=sign_in, look=look) as running:
            visitor = running.visitor()
            planted = visitor.get("/put").cookies
            new = id_of(cookie_of(visitor.get("/sign_in")))
            assert new not in str(planted)
            assert visitor.get("/look").text == "{'foo': 1, 'user': 'ada'}"
            assert running.visitor(cookies=planted).get("/look").text == "{}"
