"""Flask-Login on our sessions: logging in and out, being remembered, changing users."""

from datetime import timedelta

import flask
import flask_login
import pytest

from coatcheck import Sessions, StoreUnavailable
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import CountingStore, FailingStore, ManualClock, PausingStore, Race
from tests.behaviours import Browser, WsgiClient, perform
from tests.behaviours.site import HOUR, SECRET, without_turns

NAME = "__Host-session"
REMEMBER = "remember_token"


class User(flask_login.UserMixin):
    def __init__(self, name):
        self.id = name


class Bench:
    """An application with Flask-Login, and its visitors."""

    def __init__(self, **config):
        self.clock = ManualClock()
        self.counting = CountingStore(MemoryStore())
        self.failing = FailingStore(self.counting)
        self.pausing = PausingStore(self.failing)
        self.events = []
        self.sessions = without_turns(
            Sessions(self.pausing, secret=SECRET, clock=self.clock, on_event=self.events.append)
        )
        app = self.app = flask.Flask(__name__)
        app.config.update(SECRET_KEY="signs only the cookie that remembers", **config)
        SessionInterface(self.sessions).init_app(app)
        # After ours, as it often is: it is found all the same.
        manager = flask_login.LoginManager(app)
        manager.user_loader(User)
        words = {
            "login": lambda name: flask_login.login_user(User(name)),
            "login_remember": lambda name: flask_login.login_user(User(name), remember=True),
            "login_for": lambda name: flask_login.login_user(User(name), True, timedelta(days=3)),
            "logout": flask_login.logout_user,
            "confirm": flask_login.confirm_login,
            "current": lambda: getattr(flask_login.current_user, "id", None),
            "fresh": flask_login.login_fresh,
        }

        @app.route("/play")
        def play():
            results = []
            for step in flask.request.args.getlist("step"):
                word, *arguments = step.split(" ")
                if word in words:
                    results.append(words[word](*arguments))
                else:
                    answer = perform(f"step={step}", flask.session, flask.session.sessions)
                    results.append(flask.json.loads(answer.body[0]))
            return "\n".join(map(flask.json.dumps, results))

        client = WsgiClient(app)
        self.send = lambda request: client.send(request, lambda _: None)

    def browser(self, *steps):
        browser = Browser(self.send)
        if steps:
            assert browser.play(*steps).status == 200
        return browser

    def user_of(self, browser):
        return browser.twin().play("current").result


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.promise("13")
def test_logging_in_changes_the_secret_and_enters_the_session_in_the_users_list(bench):
    browser = bench.browser("set cart full")
    old = browser.twin()
    reply = browser.play("login ada")
    assert len(reply.cookies(NAME)) == 1
    assert browser.cookies[NAME] != old.cookies[NAME]
    assert browser.play("current", "user", "fresh", "get cart").results == ["ada", "ada", True, "full"]
    assert bench.user_of(old) is None
    handle = browser.play("handle").result
    assert [info.handle for info in bench.sessions.of_user("ada")] == [handle]
    assert "signed_in" in [event.kind for event in bench.events]


@pytest.mark.promise("13")
def test_logging_in_again_changes_the_secret_again(bench):
    browser = bench.browser("login ada")
    old = browser.twin()
    browser.play("login ada")
    assert (bench.user_of(browser), bench.user_of(old)) == ("ada", None)
    assert len(bench.sessions.of_user("ada")) == 1


@pytest.mark.promise("12")
def test_logging_out_ends_the_session(bench):
    browser = bench.browser("set cart full", "login ada")
    old = browser.twin()
    reply = browser.play("logout", "current")
    assert reply.result is None
    assert "Max-Age=0" in reply.cookies(NAME)[0]
    assert browser.cookies == {}
    assert bench.user_of(old) is None
    assert old.play("get cart").result is None
    assert bench.sessions.of_user("ada") == []
    assert bench.sessions.count() == 0


def test_a_message_left_while_logging_out_is_shown_to_the_next_visitor_of_the_browser(bench):
    browser = bench.browser("login ada")
    reply = browser.play("logout", "flash bye")
    assert len(reply.cookies(NAME)) == 1
    assert browser.play("current", "peek").results == [None, ["bye"]]


@pytest.mark.promise("V")
def test_another_user_finds_nothing_of_the_one_before(bench):
    browser = bench.browser("login ada", "set cart full", "flash secret")
    browser.play("login grace")
    assert browser.play("current", "user", "get cart", "peek").results == ["grace", "grace", None, []]
    assert bench.sessions.of_user("ada") == []
    assert len(bench.sessions.of_user("grace")) == 1


@pytest.mark.promise("17")
def test_revoking_a_user_logs_all_of_his_browsers_out(bench):
    browsers = [bench.browser("login ada") for _ in range(3)]
    keep = browsers[0].play("handle").result
    assert bench.sessions.revoke_user("ada", keep=keep) == 2
    assert [bench.user_of(browser) for browser in browsers] == ["ada", None, None]


def test_an_inactive_user_is_not_signed_in(bench, monkeypatch):
    monkeypatch.setattr(User, "is_active", False)
    browser = bench.browser("set a 1")
    assert browser.play("login ada", "user").results == [False, None]
    assert bench.sessions.of_user("ada") == []


def test_the_id_that_flask_login_keeps_is_the_one_in_our_index(bench, monkeypatch):
    # An application may have another method name for it, and ids that are no str.
    monkeypatch.setattr(User, "number", lambda user: 7, raising=False)
    bench.app.login_manager.id_attribute = "number"
    browser = bench.browser("login ada")
    assert browser.play("user", "get _user_id").results == ["7", 7]


# Being remembered


def test_one_who_is_remembered_is_signed_in_by_his_cookie_when_his_session_is_gone(bench):
    browser = bench.browser("login_remember ada")
    assert {NAME, REMEMBER} <= browser.cookies.keys()
    del browser.cookies[NAME]
    reply = browser.play("current", "user", "fresh")
    assert reply.results == ["ada", "ada", False]
    assert len(reply.cookies(NAME)) == 1
    assert len(bench.sessions.of_user("ada")) == 2
    assert browser.play("user").result == "ada"
    assert len(bench.sessions.of_user("ada")) == 2  # the session is used, not begun anew


@pytest.mark.promise("13")
def test_who_shows_his_password_again_gets_a_new_secret(bench):
    browser = bench.browser("login_remember ada")
    del browser.cookies[NAME]
    browser.play("current")
    old = browser.twin()
    del old.cookies[REMEMBER]
    assert len(browser.play("confirm").cookies(NAME)) == 1
    assert browser.play("current", "fresh").results == ["ada", True]
    assert bench.user_of(old) is None


def test_logging_out_clears_the_cookie_that_remembers_too(bench):
    for login in ("login_remember ada", "login_for ada"):
        browser = bench.browser(login)
        reply = browser.play("logout")
        assert len(reply.cookies(REMEMBER)) == 1
        assert browser.cookies == {}
        assert browser.play("current").result is None
    assert bench.sessions.count() == 0


@pytest.mark.promise("12")
def test_a_late_request_of_one_who_is_remembered_does_not_undo_his_log_out(bench):
    browser = bench.browser("login_remember ada")
    late = browser.request("current", "set a late")
    browser.play("logout")
    reply = bench.send(late)
    assert reply.status == 200
    assert reply.cookies(NAME) == []
    assert bench.sessions.count() == 0
    browser.receive(reply)
    assert bench.user_of(browser) is None
    bench.clock.advance(31)  # later, the cookie that remembers is as good as Flask-Login says it is
    assert len(bench.send(late).cookies(NAME)) == 1


@pytest.mark.promise("13")
def test_a_late_request_does_not_undo_a_log_in(bench):
    browser = bench.browser("set a 1")
    request = browser.request("set b late", "logout")
    with Race() as race, bench.pausing.hold("write") as gate:
        late = race.start("late", lambda: bench.send(browser.request("current", "set b late")))
        gate.wait()
        browser.play("login_remember ada")
        gate.open()
        browser.receive(late.result())
    browser.receive(bench.send(request))
    assert bench.user_of(browser) == "ada"


# Flask-Login's protection of sessions


def test_another_user_agent_makes_a_session_stale_and_with_strong_protection_ends_it(monkeypatch):
    for mode, left in (("basic", "ada"), ("strong", None)):
        bench = Bench(SESSION_PROTECTION=mode)
        browser = bench.browser("login_remember ada")
        del browser.cookies[REMEMBER]
        request = browser.request("current", "fresh")
        reply = bench.send(type(request)(request.steps, request.cookies, agent="Another/1.0"))
        assert reply.results == [left, False]
        assert [info.user for info in bench.sessions.of_user("ada")] == ([left] if left else [])


# Cost and failures


def test_a_request_of_one_who_is_logged_in_loads_once_and_writes_nothing(bench):
    browser = bench.browser("login ada")
    bench.clock.advance(HOUR / 2)
    bench.counting.reset()
    assert browser.play("current").result == "ada"
    assert bench.counting.sequence == ["load"]


def test_logging_in_is_one_write(bench):
    browser = bench.browser("set a 1")
    bench.counting.reset()
    browser.play("login ada", "set b 1", "flash hello")
    assert bench.counting.sequence == ["load", "write"]


@pytest.mark.promise("20")
def test_an_outage_is_a_503_although_flask_login_looks_at_every_session(bench):
    browser = bench.browser("login ada")
    bench.failing.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
    for steps in (("current",), ()):
        reply = browser.play(*steps)
        assert (reply.status, reply.all("set-cookie")) == (503, [])
    bench.failing.recover()
    bench.failing.fail("write", error=StoreUnavailable("the test says so", ambiguous=False))
    for steps in (("logout",), ("login ada",)):
        reply = browser.play(*steps)
        assert (reply.status, reply.cookies(NAME)) == (503, [])
    bench.failing.recover()
    assert bench.user_of(browser) == "ada"


def test_an_app_that_changed_to_another_session_interface_is_left_alone(bench):
    bench.browser("login grace")
    bench.app.session_interface = flask.sessions.SecureCookieSessionInterface()
    with bench.app.test_request_context():
        assert flask_login.login_user(User("ada"))
        flask_login.confirm_login()
        flask_login.logout_user()
    assert bench.sessions.of_user("ada") == []
