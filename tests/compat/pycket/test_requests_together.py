"""Requests of one visitor at the same time, over real HTTP."""

import pytest

from tests.compat.pycket.site import look, put, site_of

pytestmark = pytest.mark.servers


class TestTogether:
    """What two processes do at once. The second site stands for the other process."""

    def test_parallel_changes_of_different_names_all_stay(self, each_settings):
        """[FIX no data lost by parallel requests]"""

        def slow(self):
            before = self.session.get("count")
            visitor.get("/put_b")
            self.session["a"] = 1
            return before

        def put_b(self):
            self.session["b"] = 2

        with (
            site_of(each_settings, put_b=put_b) as other,
            site_of(each_settings, slow=slow, put=put, look=look) as running,
        ):
            visitor = running.visitor()
            visitor.get("/put")
            visitor = other.visitor(cookies=visitor.cookies)
            running.visitor(cookies=visitor.cookies).get("/slow")
            assert running.visitor(cookies=visitor.cookies).get("/look").text == "{'foo': 1, 'b': 2, 'a': 1}"

    def test_a_late_write_does_not_log_in_again(self, each_settings):
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
        with site_of(each_settings, **acts) as running, site_of(each_settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/log_in")
            leaving = other.visitor(cookies=visitor.cookies)
            visitor.get("/slow")
            assert visitor.get("/look").text == "{'page': 2}"

    def test_a_late_write_does_not_bring_back_a_destroyed_session(self, each_settings, caplog):
        """[FIX logging out really ends the session]"""

        def slow(self):
            self.session.get("foo")
            leaving.get("/leave")
            self.session["page"] = 2

        acts = {"slow": slow, "put": put, "leave": lambda self: self.session.destroy(), "look": look}
        with site_of(each_settings, **acts) as running, site_of(each_settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/put")
            leaving = other.visitor(cookies=visitor.cookies)
            with caplog.at_level("INFO", logger="coatcheck.compat.pycket"):
                assert visitor.get("/slow").status_code == 200
            assert "ended while it was being changed" in caplog.text
            assert visitor.get("/look").text == "{}"

    def test_a_notification_is_got_by_one_of_two_requests(self, each_settings):
        """[FIX 3.3 not atomic: two requests at once can both get the notification]"""
        got = []

        def slow(self):
            assert "note" in self.notifications
            got.append(faster.get("/take").text)
            return self.notifications.get("note")

        def tell(self):
            self.notifications["note"] = "hi"

        acts = {"slow": slow, "tell": tell, "take": lambda self: self.notifications.get("note")}
        with site_of(each_settings, **acts) as running, site_of(each_settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/tell")
            faster = other.visitor(cookies=visitor.cookies)
            got.append(visitor.get("/slow").text)
        assert got == ["'hi'", "None"]

    def test_a_notification_that_comes_while_another_is_taken_is_not_lost(self, each_settings):
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
        with site_of(each_settings, **acts) as running, site_of(each_settings, **acts) as other:
            visitor = running.visitor()
            visitor.get("/tell_one")
            faster = other.visitor(cookies=visitor.cookies)
            assert visitor.get("/slow").text == "1"
            assert visitor.get("/take").text == "(None, 2)"
