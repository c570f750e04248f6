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


def refused_login():
    """The application goes on after the error."""
    unsaved = User(None)
    with pytest.raises(TypeError, match="commit it first") as refused:
        flask_login.login_user(unsaved, remember=True)
    return str(refused.value)


class Bench:
    """An application with Flask-Login, and its visitors."""

    def __init__(self, outage="closed", **config):
        self.clock = ManualClock()
        self.counting = CountingStore(MemoryStore())
        self.failing = FailingStore(self.counting)
        self.pausing = PausingStore(self.failing)
        self.events = []
        self.sessions = Sessions(
            self.pausing, secret=SECRET, clock=self.clock, on_event=self.events.append, outage=outage
        )
        app = self.app = flask.Flask(__name__)
        app.config.update(SECRET_KEY="signs only the cookie that remembers", **config)
        SessionInterface(self.sessions).init_app(app)
        # After ours, as it often is: it is found all the same.
        manager = flask_login.LoginManager(app)
        manager.user_loader(User)
        with app.test_request_context():
            without_turns(flask.session.sessions)
        words = {
            "login": lambda name: flask_login.login_user(User(name)),
            "login_remember": lambda name: flask_login.login_user(User(name), remember=True),
            "login_for": lambda name: flask_login.login_user(User(name), True, timedelta(days=3)),
            "logout": flask_login.logout_user,
            "login_without_id": refused_login,
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


# Anonymous visitors


PROTECTIONS = pytest.mark.parametrize("protection", ["basic", "strong", None])


@PROTECTIONS
@pytest.mark.promise("V")
def test_looking_at_current_user_leaves_an_anonymous_visitors_session_alone(protection):
    bench = Bench(SESSION_PROTECTION=protection)
    browser = bench.browser("set basket pear")
    cookies = dict(browser.cookies)
    for _ in range(3):
        reply = browser.play("current", "get basket")
        assert (reply.results, reply.cookies(NAME)) == ([None, "pear"], [])
    assert browser.cookies == cookies
    assert bench.sessions.count() == 1
    bench.counting.reset()
    browser.play("current", "get basket")
    assert bench.counting.sequence == ["load"]


@PROTECTIONS
def test_the_basket_of_an_anonymous_visitor_is_there_after_the_login(protection):
    bench = Bench(SESSION_PROTECTION=protection)
    browser = bench.browser("set basket pear")
    browser.play("current")
    planted = browser.twin()
    browser.play("current", "login ada")
    assert browser.play("current", "user", "get basket", "fresh").results == ["ada", "ada", "pear", True]
    assert planted.play("current", "get basket").results == [None, None]


def test_a_logout_of_nobody_leaves_the_basket(bench):
    browser = bench.browser("set basket pear")
    assert browser.play("current", "logout").all("set-cookie") == []
    assert browser.play("get basket").result == "pear"


@PROTECTIONS
def test_a_user_who_signed_in_without_flask_login_stays_signed_in(protection):
    bench = Bench(SESSION_PROTECTION=protection)
    browser = bench.browser("sign_in ada")
    assert browser.play("current", "user").results == [None, "ada"]
    assert browser.play("user").result == "ada"
    browser.play("logout")
    assert bench.sessions.of_user("ada") == []


# Signing in and out without a signal


@pytest.mark.promise("V")
def test_flask_logins_test_client_signs_in(bench):
    app = bench.app
    app.config["PREFERRED_URL_SCHEME"] = "https"
    app.test_client_class = flask_login.FlaskLoginClient
    client = app.test_client(user=User("ada"))
    assert [info.user for info in bench.sessions.of_user("ada")] == ["ada"]
    asked = {"query_string": {"step": ["current", "user"]}}
    assert client.get("/play", **asked).text == '"ada"\n"ada"'
    client.get("/play", query_string={"step": "logout"})
    assert bench.sessions.count() == 0
    assert client.get("/play", **asked).text == "null\nnull"


@pytest.mark.promise("12")
def test_removing_flask_logins_field_ends_the_session(bench):
    browser = bench.browser("login ada")
    thief = browser.twin()
    browser.play("pop _user_id")
    assert (bench.user_of(browser), bench.user_of(thief)) == (None, None)
    assert bench.sessions.count() == 0


def test_an_identity_field_of_the_applications_own_stays_beside_flask_login():
    sessions = Sessions(MemoryStore(), secret=SECRET, identity="id")
    app = flask.Flask(__name__)
    SessionInterface(sessions).init_app(app)
    flask_login.LoginManager(app)
    with app.test_request_context():
        assert flask.session.sessions.settings.identity == "id"


# A user without an id


@pytest.mark.promise("V")
def test_a_user_without_an_id_is_not_logged_in_and_nothing_is_half_done(bench):
    browser = bench.browser("set basket pear")
    reply = browser.play("login_without_id", "names", "current", "user")
    assert reply.results[1:] == [["basket"], None, None]
    assert "get_id() returned 'None'" in reply.results[0]
    assert reply.all("set-cookie") == []
    assert bench.sessions.of_user("None") == []


def test_a_user_stays_logged_in_where_another_without_an_id_is_refused(bench, monkeypatch):
    browser = bench.browser("login ada")
    for of_no_user in (None, ""):
        monkeypatch.setattr(User, "get_id", lambda user, of_no_user=of_no_user: user.id or of_no_user)
        reply = browser.play("login_without_id", "current", "user", "fresh")
        assert reply.results[1:] == ["ada", "ada", True]
        assert f"returned {of_no_user!r}" in reply.results[0]
    assert bench.user_of(browser) == "ada"


def test_without_flask_login_the_name_of_its_field_means_nothing(bench):
    app = flask.Flask(__name__)
    SessionInterface(bench.sessions).init_app(app)
    with app.test_request_context():
        flask.session["_user_id"] = None
        assert flask.session["_user_id"] is None


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


@pytest.mark.promise("12")
def test_a_late_request_does_not_send_the_cookie_that_remembers_again():
    bench = Bench(REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
    browser = bench.browser("login_remember ada")
    late = browser.request("current")
    browser.play("logout")
    reply = bench.send(late)
    assert (reply.result, reply.all("set-cookie")) == ("ada", [])


@pytest.mark.promise("12")
def test_logging_out_ends_every_session_that_the_browser_sends(bench):
    browsers = [bench.browser(f"login {name}") for name in ("ada", "grace")]
    jar = "; ".join(f"{NAME}={browser.cookies[NAME]}" for browser in browsers)
    request = browsers[0].request("logout")
    assert bench.send(type(request)(request.steps, jar.encode())).status == 200
    assert bench.sessions.count() == 0


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


@pytest.mark.promise("20")
def test_while_the_store_is_down_no_logout_claims_to_have_worked():
    for outage in ("closed", "anonymous"):
        bench = Bench(outage=outage)
        browser = bench.browser("login_remember ada")
        bench.failing.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
        reply = browser.play("logout")
        assert (reply.status, reply.all("set-cookie")) == (503, [])


def test_an_app_that_changed_to_another_session_interface_is_left_alone(bench):
    bench.browser("login grace")
    bench.app.session_interface = flask.sessions.SecureCookieSessionInterface()
    with bench.app.test_request_context():
        assert flask_login.login_user(User("ada"))
        flask_login.confirm_login()
        flask_login.logout_user()
    assert bench.sessions.of_user("ada") == []
