"""Handlers that await, stream, speak WebSocket or use threads: when what they change is in the store."""

import asyncio
import itertools
import pickle
import threading
from contextlib import suppress

import pytest
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

from coatcheck.compat.pycket.notification import NotificationMixin
from coatcheck.compat.pycket.session import SessionMixin
from coatcheck.errors import CannotSendCookie, StoreTimeout
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import (
    Site,
    StubHandler,
    StubVisitor,
    cookies_of,
    id_of,
    look,
    put,
    signed,
    site,
)

pytestmark = pytest.mark.servers


def test_what_was_set_before_an_await_is_seen_by_requests_that_come_meanwhile(redis_settings):
    """[3.2 visible at once across handlers]"""
    go_on = asyncio.Event()

    async def slow(self):
        self.session["first"] = 1
        await go_on.wait()
        return self.session["second"]

    def second(self):
        seen = look(self)
        self.session["second"] = 2
        go_on.set()
        return seen

    async def both(self):
        first = asyncio.ensure_future(client("/slow"))
        while (seen := await client("/look")) != "{'first': 1}":
            assert seen == "{}"
        return await client("/second"), await first

    async def client(path):
        return await asyncio.to_thread(lambda: visitor.get(path).text)

    with site(redis_settings, slow=slow, second=second, look=look, both=both) as running:
        visitor = running.visitor(cookies={"PYCKET_ID": signed("visible")})
        assert running.visitor().get("/both").text == repr(("{'first': 1}", "2"))


def test_a_new_visitor_may_wait_between_his_changes(redis_settings):
    """[FIX 3.2 one id per first request]"""

    async def slow(self):
        self.session["a"] = 1
        await asyncio.sleep(0)
        self.session["b"] = self.session["a"] + 1
        await asyncio.sleep(0)
        return look(self)

    with site(redis_settings, slow=slow, look=look) as running:
        visitor = running.visitor()
        answer = visitor.get("/slow")
        assert answer.text == "{'a': 1, 'b': 2}"
        assert len(cookies_of(answer)) == 1
        assert visitor.get("/look").text == "{'a': 1, 'b': 2}"


def test_a_write_that_failed_while_the_handler_waited_is_its_error(redis_proxy, caplog):
    async def slow(self):
        self.session["a"] = 1
        redis_proxy.down()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with site(settings_for("redis", redis_proxy.port), slow=slow) as running:
        answer = running.visitor(cookies={"PYCKET_ID": signed("failing")}).get("/slow")
    assert answer.status_code == 500
    assert "could not be stored: ConnectionError" in caplog.text


def test_save_stores_at_once(redis_settings, dbs):
    seen = []

    def saving(self):
        self.session["a"] = 1
        seen.append(dbs(0).get("saved"))
        self.session.save()
        seen.append(pickle.loads(dbs(0).get("saved")))

    with site(redis_settings, saving=saving) as running:
        running.visitor(cookies={"PYCKET_ID": signed("saved")}).get("/saving")
    assert seen == [None, {"a": 1}]


def test_changes_after_the_head_has_left_are_stored_at_once_but_for_a_new_visitors(redis_settings, dbs):
    """[3.2 immediately persisted]"""
    met = []

    class Streaming(RequestHandler, SessionMixin):
        async def get(self):
            self.session["before"] = 1
            if self.get_argument("known", ""):
                await self.flush()
            self.session["after"] = 2
            met.append(
                pickle.loads(dbs(0).get(self.get_argument("id"))) if self.get_argument("known", "") else 0
            )
            self.write("done")

    class Late(RequestHandler, SessionMixin):
        async def get(self):
            await self.flush()
            assert self.session.get("a") is None
            for name, change in (("set", lambda: self.session.set("a", 1)), ("rotate", self.session.rotate)):
                try:
                    change()
                except CannotSendCookie:
                    met.append(name)
            self.write("done")

    with Site([("/", Streaming), ("/late", Late)], pycket=redis_settings) as running:
        visitor = running.visitor(cookies={"PYCKET_ID": signed("streaming")})
        assert visitor.get("/", params={"known": "1", "id": "streaming"}).text == "done"
        assert running.visitor().get("/late").text == "done"
        known = running.visitor(cookies={"PYCKET_ID": signed("streaming")})
        assert known.get("/late").text == "done"
    assert met == [{"before": 1, "after": 2}, "set", "rotate"]


def test_logging_out_after_the_head_has_left_removes_the_record_and_touches_no_cookie(redis_settings, dbs):
    """Tornado's WebSocket handlers raise an error instead."""
    cleared = []

    class Late(RequestHandler, SessionMixin):
        async def get(self):
            self.session["a"] = 1
            await self.flush()
            self.session.destroy()
            self.write("done")

        def clear_cookie(self, name, **_):
            cleared.append(name)

    with Site([("/", Late)], pycket=redis_settings) as running:
        answer = running.visitor(cookies={"PYCKET_ID": signed("late-logout")}).get("/")
        assert answer.text == "done"
    assert dbs(0).get("late-logout") is None
    assert cleared == []


def test_over_a_websocket_each_change_is_stored_before_the_answer(redis_settings, dbs):
    """[3.2 immediately persisted]"""

    class Socket(WebSocketHandler, SessionMixin, NotificationMixin):
        def prepare(self):
            self.session["opened"] = 1

        def on_message(self, message):
            self.session["count"] = self.session.get("count", 0) + 1
            self.session["said"] = message
            self.notifications["note"] = message
            self.write_message(f"{self.session['count']} {self.notifications.get('note')}")

    async def talk(port):
        connection = await websocket_connect(f"ws://127.0.0.1:{port}/")
        try:
            answers = []
            for message in ("a", "b"):
                await connection.write_message(message)
                answers.append(await connection.read_message())
                stored = pickle.loads(dbs(0).get(id_of(cookies_of(_Answer(connection.headers))[0])))
            return answers, stored
        finally:
            connection.close()
            await connection.read_message()

    class _Answer:
        def __init__(self, headers):
            self.headers = self
            self.get_list = headers.get_list

    with Site([("/", Socket)], pycket=redis_settings) as running:
        answers, stored = asyncio.run(talk(running.port))
    assert answers == ["1 a", "2 b"]
    assert stored == {"opened": 1, "count": 2, "said": "b"}


def test_threads_of_one_handler_lose_nothing(redis_settings):
    """[FIX no data lost by parallel requests]"""

    async def threads(self):
        loop = asyncio.get_running_loop()
        session = self.session
        await asyncio.gather(
            *(loop.run_in_executor(None, session.set, f"n{number}", number) for number in range(20))
        )
        return len(session)

    with site(redis_settings, threads=threads, look=look) as running:
        visitor = running.visitor()
        answer = visitor.get("/threads")
        assert answer.text == "20"
        assert len({id_of(cookie) for cookie in cookies_of(answer)}) == 1
        assert len(eval(visitor.get("/look").text)) == 20


def test_threads_of_one_handler_agree_on_the_id_of_a_new_visitor(redis_settings):
    """[FIX 3.2 one id per first request]"""
    visitor, both_ask = StubVisitor(redis_settings), threading.Barrier(2)
    session = visitor.session
    session._visit()

    def ask(name):
        with suppress(threading.BrokenBarrierError):
            both_ask.wait(0.5)  # the second comes only where nobody keeps it from asking as well

    visitor.get_secure_cookie = ask
    threads = [threading.Thread(target=session.set, args=(name, 1)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(session) == ["a", "b"]


def test_a_stand_in_writes_at_once_within_a_loop_too_and_sees_what_a_handler_intends(redis_settings, dbs):
    """[3.2 visible at once across handlers]"""

    def mixed(self):
        self.session["a"] = 1
        stand_in = StubHandler(redis_settings, "mixed")
        seen = stand_in.session.get("a")
        stand_in.session["b"] = 2
        return seen, self.session.get("b")

    with site(redis_settings, mixed=mixed, look=look) as running:
        visitor = running.visitor(cookies={"PYCKET_ID": signed("mixed")})
        assert visitor.get("/mixed").text == "(1, 2)"
        assert visitor.get("/look").text == "{'a': 1, 'b': 2}"


def test_two_managers_of_one_handler_work_on_the_same_session(redis_settings):
    """[README: SessionManager(self) beside the mixin]"""

    def two(self):
        other = type(self.session)(self)
        self.session["a"] = 1
        other["b"] = other["a"] + 1
        return look(self)

    with site(redis_settings, two=two) as running:
        assert running.visitor().get("/two").text == "{'a': 1, 'b': 2}"


def test_losing_every_race_ends_after_a_while(redis_settings, monkeypatch):
    monkeypatch.setattr("coatcheck.compat.pycket._records._PATIENCE", 0)
    handler = StubHandler(redis_settings)
    driver = handler.session.driver
    swap, count = driver.swap, itertools.count()

    def losing(session_id, before, raw):
        driver.set(session_id, {"other": next(count), "note": "hi"})
        return swap(session_id, before, raw)

    monkeypatch.setattr(driver, "swap", losing)
    with pytest.raises(StoreTimeout):
        handler.session["a"] = 1
    notifications = handler.notifications
    notifications.driver = driver
    with pytest.raises(StoreTimeout):
        notifications.get("note")


def test_a_record_that_cannot_be_read_takes_no_later_change_of_the_request_along(redis_settings, dbs):
    """What is intended with the notifications stays under the id of the cookie; the session gets a new one."""

    def both(self):
        self.notifications["note"] = "hi"
        self.session["a"] = 1
        self.session.rotate()
        return look(self)

    dbs(0).set("half", b"garbage", ex=500)
    with site(redis_settings, both=both, look=look, put=put) as running:
        visitor = running.visitor(cookies={"PYCKET_ID": signed("half")})
        answer = visitor.get("/both")
        assert answer.text == "{'a': 1}"
        assert [id_of(cookie) == "half" for cookie in cookies_of(answer)] == [False]
    assert dbs(0)["half"] == b"garbage"
    assert pickle.loads(dbs(1)["half"]) == {"note": "hi"}


def test_a_session_that_cannot_be_read_costs_no_cookie_where_only_a_notification_is_stored(
    redis_settings, dbs
):
    stored = []

    def both(self):
        self.notifications["note"] = "hi"
        seen = look(self)
        send = self.flush
        self.flush = lambda *args, **kwargs: (send(*args, **kwargs), stored.append(dbs(1).get("unread")))[0]
        return seen

    dbs(0).set("unread", b"garbage", ex=500)
    with site(redis_settings, both=both) as running:
        answer = running.visitor(cookies={"PYCKET_ID": signed("unread")}).get("/both")
    assert (answer.text, cookies_of(answer)) == ("{}", [])
    assert [pickle.loads(raw) for raw in stored] == [{"note": "hi"}]  # before the head leaves
