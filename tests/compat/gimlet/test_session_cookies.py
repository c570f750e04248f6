"""When the session sends a cookie."""

import pytest

from coatcheck.compat.gimlet.session import Session
from tests.compat.gimlet.conftest import Visitor, put


class TestLazyCookies:
    """[FIX] 1.8, within 7.2: no cookie for a request that leaves nothing to come back to."""

    @pytest.mark.parametrize(
        "look",
        [
            lambda session: None,
            lambda session: session.get("a"),
            lambda session: "a" in session,
            list,
            len,
            repr,
            Session.peek_flash,
            Session.pop_flash,
            lambda session: session.is_permanent("a"),
            Session.save,
            Session.clear,
        ],
        ids=range(11),
    )
    @pytest.mark.parametrize("has_backend", [True, False])
    def test_a_new_visitor_who_puts_nothing_in_gets_no_cookie(self, look, has_backend):
        visitor = Visitor(backend={} if has_backend else None)
        visitor.visit(look)
        assert visitor.sent == set()
        assert not visitor.options["backend"]

    @pytest.mark.parametrize("name", ["id", "created_timestamp", "created_time", "created"])
    def test_what_is_handed_out_sticks(self, name):
        """7.2 (c)."""
        visitor = Visitor()
        told = visitor.visit(lambda session: getattr(session, name))
        assert visitor.sent == {"gimlet-n", "gimlet-p"}
        assert visitor.visit(lambda session: getattr(session, name)) == told

    def test_an_untouched_response_has_no_header_of_ours_and_a_used_one_varies(self, visitor):
        visitor.visit()
        assert "Vary" not in visitor.response.headers
        visitor.visit(lambda session: session.get("a"))
        assert visitor.response.headers["Vary"] == "Cookie"
        assert "Cache-Control" not in visitor.response.headers
        visitor.visit(put(a=1))
        assert visitor.response.headers["Cache-Control"] == "no-store"

    def test_a_bad_cookie_is_replaced_though_nothing_is_touched(self, caplog):
        """7.2 (a)."""
        visitor = Visitor({"gimlet-p": "garbage"})
        visitor.visit()
        assert visitor.sent == {"gimlet-n", "gimlet-p"}
        assert "contained bad sig" in caplog.text
        visitor.visit()
        assert visitor.sent == set()

    def test_a_visitor_whose_browser_was_closed_gets_no_new_cookie_before_something_is_put_in(self, visitor):
        visitor.visit(put(a=1))
        del visitor.cookies["gimlet-n"]
        visitor.visit(dict)
        assert visitor.sent == set()
        visitor.visit(put(a=2))
        assert visitor.sent == {"gimlet-n"}
