"""Whole requests: a Tornado application over real HTTP, real Redis and Memcached behind it."""

import pickle
import time
from http.cookies import SimpleCookie

import pytest
from tornado.web import RequestHandler, create_signed_value, decode_signed_value

from coatcheck.compat.pycket import _records
from coatcheck.compat.pycket.session import SessionManager
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import SECRET, Site, handler, site
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

DAY = 86400


@pytest.fixture(params=["redis", "memcached", "0.1"])
def settings(request, redis_port, memcached_port):
    """Each generation on each of its engines."""
    if request.param == "0.1":
        return {"pycket_redis": {"host": HOST, "port": redis_port}}
    return settings_for(request.param, redis_port if request.param == "redis" else memcached_port)


def with_cookies(settings, **cookies):
    return (
        {**settings, "pycket_cookies": cookies}
        if "pycket_redis" in settings
        else {**settings, "cookies": cookies}
    )


def site_of(settings, **acts):
    return site(settings, "0.1" if "pycket_redis" in settings else "0.3", **acts)


def cookies_of(answer):
    return [SimpleCookie(line)["PYCKET_ID"] for line in answer.headers.get_list("set-cookie")]


def cookie_of(answer):
    (cookie,) = cookies_of(answer)
    return cookie


def id_of(cookie):
    return decode_signed_value(SECRET, "PYCKET_ID", cookie.value).decode()


def signed(session_id, *, days_ago=0, secret=SECRET):
    then = time.time() - days_ago * DAY
    return create_signed_value(secret, "PYCKET_ID", session_id, clock=lambda: then).decode()


def put(self):
    self.session["foo"] = 1


def look(self):
    return dict(self.session.items())


class TestCookie:
    def test_it_is_http_only_and_lax_and_of_the_browser_session(self, settings):
        """[3.2 cookie] [FIX 3.2 HttpOnly + SameSite on real handlers] [3.1 no expires unless given]"""
        with site_of(settings, put=put) as running:
            cookie = cookie_of(running.visitor().get("/put"))
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
        assert (cookie["expires"], cookie["max-age"], cookie["domain"], cookie["secure"]) == ("",) * 4
        assert len(id_of(cookie)) == 36

    def test_what_the_application_says_of_it_counts(self, settings):
        """[3.1 cookies: keyword arguments of set_secure_cookie]"""
        chosen = {"HttpOnly": False, "samesite": "Strict", "expires_days": 2, "path": "/x", "secure": True}
        with site_of(with_cookies(settings, **chosen), put=put) as running:
            cookie = cookie_of(running.visitor().get("/put"))
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/x", "", "Strict")
        assert cookie["expires"]
        assert cookie["secure"]

    def test_a_request_that_does_not_touch_the_session_or_only_reads_sets_none(self, settings):
        """[3.2 a read by a visitor without a cookie sets one: FREE, better not]"""
        with site_of(settings, plain=lambda self: 1, look=look) as running:
            assert cookies_of(running.visitor().get("/plain")) == []
            assert cookies_of(running.visitor().get("/look")) == []

    def test_the_first_request_may_do_as_much_as_it_likes_under_one_id(self, settings):
        """[FIX 3.2 the worst bug] [FIX 4 three Set-Cookie lines]"""

        def first(self):
            self.session["a"] = 1
            self.notifications["note"] = "hi"
            self.session["b"] = self.session.get("a") + 1
            return look(self), self.notifications.get("note"), self.notifications.get("note")

        with site_of(settings, first=first, look=look) as running:
            visitor = running.visitor()
            answer = visitor.get("/first")
            assert answer.text == "({'a': 1, 'b': 2}, 'hi', None)"
            assert len(cookies_of(answer)) == 1
            assert visitor.get("/look").text == "{'a': 1, 'b': 2}"

    def test_a_signed_id_that_nobody_knows_is_adopted(self, settings):
        """[3.2 an expired/unknown but validly signed id is adopted again]"""
        with site_of(settings, put=put, look=look) as running:
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

    def test_after_a_change_of_the_key_every_visitor_is_new_and_nobody_gets_a_500(self, settings):
        """[FIX no 500 after a key change]"""
        with site_of(settings, put=put, look=look) as running:
            visitor = running.visitor(cookies={"PYCKET_ID": signed("victim", secret="the old key")})
            assert visitor.get("/look").text == "{}"
            assert id_of(cookie_of(visitor.get("/put"))) != "victim"

    def test_a_cookie_of_120_days_is_good_for_120_days(self, settings):
        """[FIX 3.2 Tornado accepts a signed value for 31 days only: max_age_days]"""
        for cookies, days_ago, is_known in (
            ({"expires_days": 120}, 40, True),
            ({"expires_days": 120}, 121, False),
            ({}, 40, False),
        ):
            with site_of(with_cookies(settings, **cookies), put=put) as running:
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


class TestTogether:
    """What two processes do at once. The second site stands for the other process."""

    def test_parallel_changes_of_different_names_all_stay(self, settings):
        """[FIX no data lost by parallel requests]"""

        def slow(self):
            before = self.session.get("count")
            visitor.get("/put_b")
            self.session["a"] = 1
            return before

        def put_b(self):
            self.session["b"] = 2

        with (
            site_of(settings, put_b=put_b) as other,
            site_of(settings, slow=slow, put=put, look=look) as running,
        ):
            visitor = running.visitor()
            visitor.get("/put")
            visitor = other.visitor(cookies=visitor.cookies)
            running.visitor(cookies=visitor.cookies).get("/slow")
            assert running.visitor(cookies=visitor.cookies).get("/look").text == "{'foo': 1, 'b': 2, 'a': 1}"

    def test_a_late_write_does_not_log_in_again(self, settings):
        """[FIX logging out really ends the session: the old one wrote back the whole dict it had read]"""

        def slow(self):
            assert self.session["user"] == "ada"
            leaving.get("/log_out")
            self.session["page"] = 2

        def log_in(self):
            self.session["user"] = "ada"

        def log_out(self):
            self.session.delete("user")

        acts = {"slow": slow, "log_in": log_in, "log_out": log_out, "look": look}
        with site_of(settings, **acts) as running, site_of(settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/log_in")
            leaving = other.visitor(cookies=visitor.cookies)
            visitor.get("/slow")
            assert visitor.get("/look").text == "{'page': 2}"

    def test_a_late_write_does_not_bring_back_a_destroyed_session(self, settings, caplog):
        """[FIX logging out really ends the session]"""

        def slow(self):
            self.session.get("foo")
            leaving.get("/leave")
            self.session["page"] = 2

        acts = {"slow": slow, "put": put, "leave": lambda self: self.session.destroy(), "look": look}
        with site_of(settings, **acts) as running, site_of(settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/put")
            leaving = other.visitor(cookies=visitor.cookies)
            with caplog.at_level("INFO", logger="coatcheck.compat.pycket"):
                assert visitor.get("/slow").status_code == 200
            assert "ended while it was being changed" in caplog.text
            assert visitor.get("/look").text == "{}"

    def test_a_notification_is_got_by_one_of_two_requests(self, settings):
        """[FIX 3.3 not atomic: two requests at once can both get the notification]"""
        got = []

        def slow(self):
            assert "note" in self.notifications
            got.append(faster.get("/take").text)
            return self.notifications.get("note")

        def tell(self):
            self.notifications["note"] = "hi"

        acts = {"slow": slow, "tell": tell, "take": lambda self: self.notifications.get("note")}
        with site_of(settings, **acts) as running, site_of(settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/tell")
            faster = other.visitor(cookies=visitor.cookies)
            got.append(visitor.get("/slow").text)
        assert got == ["'hi'", "None"]

    def test_a_notification_that_comes_while_another_is_taken_is_not_lost(self, settings):
        """[FIX no lost notification]"""

        def slow(self):
            assert "one" in self.notifications
            faster.get("/tell_two")
            return self.notifications.get("one")

        def tell_one(self):
            self.notifications["one"] = 1

        def tell_two(self):
            self.notifications["two"] = 2

        acts = {
            "slow": slow,
            "tell_one": tell_one,
            "tell_two": tell_two,
            "take": lambda self: (self.notifications.get("one"), self.notifications.get("two")),
        }
        with site_of(settings, **acts) as running, site_of(settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/tell_one")
            faster = other.visitor(cookies=visitor.cookies)
            assert visitor.get("/slow").text == "1"
            assert visitor.get("/take").text == "(None, 2)"


class TestEnding:
    def test_logging_out_clears_the_cookie_and_the_record_and_the_old_cookie_opens_nothing(self, settings):
        """[FIX logging out really ends the session]"""

        def log_in(self):
            self.session["user"] = "ada"
            self.notifications["note"] = "hi"

        def leave(self):
            self.session.destroy()

        acts = {"log_in": log_in, "leave": leave, "look": look}
        with site_of(with_cookies(settings, path="/"), **acts) as running:
            visitor = running.visitor()
            stolen = visitor.get("/log_in").cookies
            gone = cookie_of(visitor.get("/leave"))
            assert gone.value == ""
            assert gone["expires"]
            assert not visitor.cookies
            assert running.visitor(cookies=stolen).get("/look").text == "{}"

    def test_what_is_put_in_after_logging_out_gets_a_new_id_and_one_cookie(self, settings):
        def leave(self):
            self.session.destroy()
            self.notifications["bye"] = "see you"

        acts = {"put": put, "leave": leave, "bye": lambda self: self.notifications.get("bye"), "look": look}
        with site_of(settings, **acts) as running:
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

    def test_signing_in_can_change_the_id(self, settings):
        """[3.2 no rotation: offer it]"""

        def sign_in(self):
            self.session["user"] = "ada"
            self.session.rotate()

        with site_of(settings, put=put, sign_in=sign_in, look=look) as running:
            visitor = running.visitor()
            planted = visitor.get("/put").cookies
            new = id_of(cookie_of(visitor.get("/sign_in")))
            assert new not in str(planted)
            assert visitor.get("/look").text == "{'foo': 1, 'user': 'ada'}"
            assert running.visitor(cookies=planted).get("/look").text == "{}"


class TestWhenThingsBreak:
    def test_what_was_set_before_an_exception_is_kept_as_it_was(self, settings):
        """[3.2 immediately persisted; a crash cannot tell]"""

        def fail(self):
            self.session["foo"] = 1
            raise RuntimeError

        with site_of(settings, fail=fail, look=look) as running:
            visitor = running.visitor()
            assert visitor.get("/fail").status_code == 500
            assert visitor.get("/look").text == "{'foo': 1}"

    @pytest.mark.parametrize("engine", ["redis", "memcached"])
    def test_a_write_that_failed_is_a_500_without_a_cookie(self, engine, redis_proxy, memcached_proxy):
        """[FIX 3.4 the store's outage]"""
        proxy = redis_proxy if engine == "redis" else memcached_proxy

        def put_into_nothing(self):
            self.session["foo"] = 1
            proxy.down()

        with site(settings_for(engine, proxy.port), put=put, fail=put_into_nothing, look=look) as running:
            running.visitor().get("/put")
            answer = running.visitor().get("/fail")
            assert answer.status_code == 500
            assert cookies_of(answer) == []
            assert running.visitor(cookies={"PYCKET_ID": signed("known")}).get("/look").status_code == 500
            proxy.up()
            assert running.visitor().get("/put").status_code == 200

    def test_a_value_that_is_refused_is_a_500_and_the_rest_of_the_request_is_kept(self, settings):
        """[FIX 3.4 builtins only]"""

        def refused(self):
            self.session["foo"] = 1
            self.session["bad"] = object()

        with site_of(settings, refused=refused, look=look) as running:
            visitor = running.visitor()
            assert visitor.get("/refused").status_code == 500
            assert visitor.get("/look").text == "{'foo': 1}"

    @pytest.mark.parametrize("raw", [b"garbage", b"", pickle.dumps([1]), pickle.dumps(SessionManager)])
    def test_a_record_that_cannot_be_read_is_left_alone(self, redis_settings, dbs, caplog, raw):
        """[FIX 3.4 pickle.loads of the store's content]"""
        dbs(0).set("unreadable", raw, ex=500)
        with site(redis_settings, put=put, look=look) as running:
            visitor = running.visitor(headers={"Cookie": "PYCKET_ID=" + signed("unreadable", days_ago=4)})
            answer = visitor.get("/look")
            assert answer.text == "{}"
            assert cookies_of(answer) == []
            assert "can't be read" in caplog.text
            assert id_of(cookie_of(visitor.get("/put"))) != "unreadable"
        assert dbs(0)["unreadable"] == raw

    def test_notifications_that_cannot_be_read_are_replaced(self, redis_settings, dbs, caplog):
        def tell(self):
            self.notifications["note"] = "hi"

        dbs(1).set("broken", b"garbage", ex=500)
        with site(redis_settings, tell=tell, take=lambda self: self.notifications.get("note")) as running:
            visitor = running.visitor(cookies={"PYCKET_ID": signed("broken")})
            assert visitor.get("/take").text == "None"
            assert cookies_of(visitor.get("/tell")) == []
            assert visitor.get("/take").text == "'hi'"
        assert "counts as empty" in caplog.text

    def test_a_session_too_large_for_memcached_is_told(self, memcached_settings, caplog):
        """[FIX the old client dropped it in silence]"""

        def much(self):
            self.session["much"] = "x" * (2 << 20)

        with site(memcached_settings, much=much) as running:
            assert running.visitor().get("/much").status_code == 500

    def test_nothing_is_kept_in_memory_after_a_request(self, redis_settings):
        with site(redis_settings, put=put, look=look) as running:
            visitor = running.visitor()
            visitor.get("/put")
            visitor.get("/look")
        assert _records._turns == {}

    def test_without_a_secret_tornado_says_so(self, redis_settings):
        """[3.1 cookie_secret must be set (Tornado)]"""

        class Plain(RequestHandler):
            def get(self):
                with pytest.raises(Exception, match="cookie_secret"):
                    SessionManager(self).get("a")

        with Site([("/", Plain)], cookie_secret=None, pycket=redis_settings) as running:
            assert running.visitor().get("/").status_code == 200
