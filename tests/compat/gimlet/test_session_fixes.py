"""What gimlet's session did wrong and this one does right ([FIX])."""

import threading

import pytest

from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import Session
from tests.compat.gimlet.browser import SECRET, Actions, Browser
from tests.compat.gimlet.conftest import Visitor, factory, put
from tests.compat.gimlet.quiet import Request


def test_the_response_may_be_any_that_has_a_list_of_headers():
    class Bare:
        headerlist = []  # noqa: RUF012 - stands for a response

    session = factory()(Request.blank("/"))
    session["a"] = 1
    session.write_callback(session.request, Bare)
    assert [name for name, _ in Bare.headerlist].count("Set-Cookie") == 2


class TestFixes:
    def test_fix_a_third_positional_argument_that_is_no_string_is_the_backend(self, backend):
        """1.2: as gimlet's own documentation calls it."""
        browser = Browser(SessionMiddleware(Actions(), SECRET, backend))
        browser.get("/set/a/b")
        assert list(backend.values()) == [{"a": "b"}]
        assert SessionMiddleware(Actions(), SECRET, None).session_factory.backend is None

    def test_fix_a_refused_set_leaves_the_old_value(self, make):
        """1.5: check first."""
        session = make()
        session["a"] = "old"
        with pytest.raises(ValueError, match="no backend"):
            session.set("a", "new", clientside=False)
        assert session["a"] == "old"

    def test_fix_save_of_a_channel_that_was_not_loaded_loses_nothing(self, visitor, backend):
        """1.5: it overwrote the record with {}."""
        visitor.visit(put(a=1))
        visitor.visit(lambda session: session.set("p", 1, permanent=True))
        before = dict(backend)
        for options in ({}, {"permanent": True}, {"permanent": False}, {"clientside": False}):
            visitor.visit(lambda session, options=options: session.save(**options))
            assert backend == before
        assert visitor.visit(dict) == {"a": 1, "p": 1}

    @pytest.mark.parametrize("permanent", [True, False])
    @pytest.mark.parametrize("clientside", [True, False])
    def test_fix_save_covers_the_place_where_the_changed_key_really_is(self, visitor, permanent, clientside):
        """1.5: it covered the default place only."""
        visitor.visit(lambda session: session.set("a", [1], permanent=permanent, clientside=clientside))

        def change(session):
            session["a"].append(2)
            session.save()

        visitor.visit(change)
        assert visitor.visit(dict) == {"a": [1, 2]}
        visitor.visit(lambda session: (session["a"].append(3), session.changed()))
        assert visitor.visit(dict) == {"a": [1, 2, 3]}

    def test_save_with_options_writes_that_place(self, visitor):
        """[KEEP] 1.5 save."""
        visitor.visit(lambda session: session.set("a", [1], permanent=True))
        visitor.visit(lambda session: (session["a"].append(2), session.save(permanent=True)))
        assert visitor.visit(dict) == {"a": [1, 2]}

    def test_a_change_in_place_without_save_is_lost_with_every_backend(self, visitor):
        """7.7, also with a dict as the backend, which hands out its own objects."""
        visitor.visit(put(a=[1]))
        visitor.visit(lambda session: session["a"].append(2))
        assert visitor.visit(dict) == {"a": [1]}

    def test_fix_a_message_flashed_in_a_later_request_than_the_first_is_not_lost(self):
        """1.6: the list was changed in place, and never marked."""
        for options in ({"backend": {}}, {}):
            visitor = Visitor(**options)
            for message in ("one", "two", "three"):
                visitor.visit(lambda session, message=message: session.flash(message))
            assert visitor.visit(Session.peek_flash) == ["one", "two", "three"]
            assert visitor.visit(Session.pop_flash) == ["one", "two", "three"]
            assert visitor.visit(Session.pop_flash) == []

    def test_flash_queues_are_apart(self, visitor):
        """[TEST] 1.6: under '_f_' + queue."""
        visitor.visit(lambda session: session.flash("x", queue="q"))
        assert visitor.visit(dict) == {"_f_q": ["x"]}
        assert visitor.visit(Session.peek_flash) == []

    def test_the_rest_of_pyramids_session(self, visitor):
        """1.6: new, created, changed()."""
        assert visitor.visit(lambda session: session.new) is True
        visitor.visit(put(a=1))
        assert visitor.visit(lambda session: session.new) is False
        assert visitor.visit(lambda session: session.created == session.created_timestamp)

    def test_fix_an_error_of_the_backend_is_not_masked_by_in(self):
        """1.5: a TypeError while loading became "argument of type 'SessionChannel' is not iterable"."""

        class Broken:
            def __getitem__(self, key):
                raise TypeError("the backend's own")

            def __setitem__(self, key, value):
                pass

        visitor = Visitor(backend=Broken())
        visitor.visit(put(a=1))
        for look in (lambda session: "a" in session, lambda session: "a" in session.channels["perm"]):
            with pytest.raises(TypeError, match="the backend's own"):
                visitor.visit(look)

    def test_repr_shows_keys_and_no_values(self, visitor):
        visitor.visit(put(card="1234-5678"))
        shown = visitor.visit(repr)
        assert "card" in shown
        assert "1234" not in shown

    def test_fix_one_id_for_all_that_one_request_does(self, visitor, backend):
        def use(session):
            ids = {session.id, session.id}
            session["a"] = 1
            session.set("b", 2, permanent=True)
            session["c"] = 3
            return ids | {session.id}

        (told,) = visitor.visit(use)
        assert visitor.visit(lambda session: session.id) == told
        assert len(backend) == 2

    def test_threads_of_one_process_share_a_factory(self, backend):
        made, failed = factory(backend=backend), []

        def come():
            try:
                visitor = Visitor(backend=backend)
                visitor.factory = made
                for number in range(20):
                    visitor.visit(put(a=number))
                    assert visitor.visit(dict) == {"a": number}
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(backend) == 8
