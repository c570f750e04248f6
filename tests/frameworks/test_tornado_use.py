"""Tornado: its idioms, and the traps that lie in the order in which it does things."""

import pytest
from tornado.web import Finish, HTTPError, RequestHandler, authenticated, stream_request_body

from coatcheck import Sessions
from coatcheck.frameworks.tornado import NotificationMixin, SessionMixin, TornadoSession, get_session
from coatcheck.stores.memory import MemoryStore
from tests.behaviours.app import LOOKS, ways_to_look
from tests.behaviours.site import SECRET
from tests.frameworks.tornado_apps import Count, Shop
from tests.loops import on_each_loop

SYNCHRONOUS = Sessions(MemoryStore(), secret=SECRET)


@on_each_loop
async def test_a_handler_counts_its_visitors_visits():
    async with Shop(count=Count) as shop:
        assert [(await shop.get("count")).body for _ in range(3)] == [b"1", b"2", b"3"]


@on_each_loop
async def test_a_handler_without_the_mixin_awaits_its_session():
    class Plain(RequestHandler):
        async def get(self):
            session = await get_session(self)
            session["n"] = session.get("n", 0) + 1
            self.finish(str(session["n"]))

    async with Shop(plain=Plain) as shop:
        assert [(await shop.get("plain")).body for _ in range(2)] == [b"1", b"2"]


@on_each_loop
async def test_a_subclass_and_prepare_find_the_session_loaded_and_it_is_loaded_once():
    class Base(SessionMixin, RequestHandler):
        def prepare(self):
            self.seen = self.session.get("a")

    class Page(Base):
        def get(self):
            self.write(str(self.seen))

    async with Shop(page=Page) as shop:
        await shop.visitor(a=1)
        shop.counting.reset()
        assert (await shop.get("page")).body == b"1"
        assert [call for call in shop.counting.sequence if call == "load"] == ["load"]


@on_each_loop
async def test_the_current_user_is_the_sessions():
    class Me(RequestHandler, SessionMixin):
        def get_current_user(self):
            return self.session.user

        @authenticated
        def get(self):
            self.write(self.current_user)

    async with Shop(me=Me, settings={"login_url": "/in"}) as shop:
        assert (await shop.get("me")).code == 302
        await shop.visitor(user="ada")
        assert (await shop.get("me")).body == b"ada"


@on_each_loop
async def test_a_redirect_has_the_cookie_of_its_sign_in():
    class Enter(RequestHandler, SessionMixin):
        def get(self):
            self.session.sign_in("ada")
            self.redirect("/")

    async with Shop(enter=Enter) as shop:
        response = await shop.get("enter")
        assert (response.code, len(response.headers.get_list("Set-Cookie"))) == (302, 1)
        (device,) = await shop.sessions.of_user("ada")
        assert device.user == "ada"


@on_each_loop
async def test_other_cookies_and_headers_of_the_handler_stay():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.set_cookie("theme", "dark")
            self.set_cookie("coatcheck", "theirs")
            self.set_header("Vary", "Accept")
            self.session["a"] = 1

    async with Shop(page=Page) as shop:
        response = await shop.get("page")
        lines = sorted(response.headers.get_list("Set-Cookie"))
        assert [line.split("=")[0] for line in lines] == ["coatcheck", "theme"]
        assert "theirs" not in lines[0]
        assert response.headers["Vary"] == "Accept, Cookie"


@on_each_loop
async def test_an_etag_that_still_holds_is_a_304_with_the_cookie():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["n"] = self.session.get("n", 0) + 1
            self.session.rotate()
            self.write("the same")

    async with Shop(page=Page) as shop:
        etag = (await shop.get("page")).headers["Etag"]
        response = await shop.get("page", headers={"If-None-Match": etag})
        assert (response.code, response.body) == (304, b"")
        assert len(response.headers.get_list("Set-Cookie")) == 1
        assert await shop.fields() == {"n": 2}


@on_each_loop
async def test_errors_that_stand_for_a_response_store_and_others_do_not():
    class Page(RequestHandler, SessionMixin):
        def get(self):
            self.session["a"] = self.get_argument("how")
            raise {"refusal": HTTPError(403), "finish": Finish("fin"), "fault": RuntimeError()}[
                self.get_argument("how")
            ]

    async with Shop(page=Page) as shop:
        await shop.visitor(a="")
        for how, code, kept in (
            ("refusal", 403, "refusal"),
            ("finish", 200, "finish"),
            ("fault", 500, "finish"),
        ):
            assert (await shop.get(f"page?how={how}")).code == code
            assert await shop.fields() == {"a": kept}


@pytest.mark.parametrize(("wrong", "kind"), [(None, "NoneType"), (SYNCHRONOUS, "Sessions")])
@on_each_loop
async def test_a_manager_that_is_missing_or_of_the_other_kind_is_named_and_the_request_is_answered(
    wrong, kind, caplog
):
    class Page(RequestHandler):
        async def get(self):
            await get_session(self)

    @stream_request_body
    class Upload(RequestHandler, SessionMixin):
        def data_received(self, chunk):
            """Nothing is kept."""

    async with Shop(page=Page, count=Count, upload=Upload, settings={"sessions": wrong}) as shop:
        for name, options in (("page", {}), ("count", {}), ("upload", {"method": "POST", "body": "x"})):
            caplog.clear()
            assert (await shop.get(name, **options)).code == 500
            assert f"Not {kind}: Application(…, sessions=AsyncSessions(…))." in caplog.text


@on_each_loop
async def test_a_notification_is_read_once_by_name():
    class Note(RequestHandler, NotificationMixin):
        def get(self):
            for value in self.get_arguments("set"):
                self.notifications.set("notice", value)
            self.notifications.set("other", 1)

    class Read(NotificationMixin, RequestHandler):
        async def get(self):
            self.write(str(await self.notifications.get("notice", "none")))

    async with Shop(note=Note, read=Read) as shop:
        await shop.get("note?set=first&set=last")
        assert [(await shop.get("read")).body for _ in range(2)] == [b"last", b"none"]
        (other,) = await shop.sessions.take_flashes(shop.sessions.open(shop.cookie))
        assert (other.category, other.message) == ("other", 1)


def test_a_session_of_tornados_can_be_looked_at_in_the_known_ways_only():
    waits = {"load", "save", "reload", "take", "take_flashes", "is_live"}
    assert ways_to_look(TornadoSession) == {*LOOKS, *waits}
