"""Whole requests over real HTTP, in which something breaks."""

import pickle

import pytest
from tornado.web import RequestHandler

from coatcheck.compat.pycket import _records
from coatcheck.compat.pycket.session import SessionManager
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import Site, cookie_of, cookies_of, id_of, look, put, signed, site, site_of

pytestmark = pytest.mark.servers


class TestWhenThingsBreak:
    def test_what_was_set_before_an_exception_is_kept_as_it_was(self, each_settings):
        """[3.2 immediately persisted; a crash cannot tell]"""

        def fail(self):
            self.session["foo"] = 1
            raise RuntimeError

        with site_of(each_settings, fail=fail, look=look) as running:
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

    def test_a_value_that_is_refused_is_a_500_and_the_rest_of_the_request_is_kept(self, each_settings):
        """[FIX 3.4 builtins only]"""

        def refused(self):
            self.session["foo"] = 1
            self.session["bad"] = object()

        with site_of(each_settings, refused=refused, look=look) as running:
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
