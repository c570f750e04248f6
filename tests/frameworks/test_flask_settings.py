"""Flask's own settings of sessions, and several applications with one interface."""

import threading
from contextlib import suppress
from datetime import timedelta

import flask
import pytest

from coatcheck import ConfigurationError, CookieSettings, Sessions
from coatcheck.frameworks import flask as module
from coatcheck.frameworks.flask import SessionInterface
from tests.behaviours.site import DAY, SECRET
from tests.frameworks.flask_apps import new_app, ours, put, route


def permanent():
    flask.session.permanent = True
    flask.session["a"] = 1
    return str(flask.session.permanent)


def test_a_permanent_session_lives_as_long_as_flask_was_told(sessions, clock):
    app = new_app(sessions, PERMANENT_SESSION_LIFETIME=timedelta(days=7))
    route(app, permanent, rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    client = app.test_client()
    assert f"Max-Age={90 * DAY:.0f}" in ours(client.get("/put"))[0]
    for _ in range(10):  # each use begins the seven days anew, as with Flask
        clock.advance(7 * DAY - 1)
        assert client.get("/").text == "1"
    clock.advance(7 * DAY)
    assert client.get("/").text == "None"


def test_without_refreshing_at_each_request_the_lifetime_is_the_whole_life(sessions, clock):
    app = new_app(sessions, PERMANENT_SESSION_LIFETIME=7 * 86400, SESSION_REFRESH_EACH_REQUEST=False)
    route(app, permanent, rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    client = app.test_client()
    assert f"Max-Age={7 * DAY:.0f}" in ours(client.get("/put"))[0]
    for _ in range(7):
        clock.advance(DAY - 0.01)
        assert client.get("/").text == "1"
    clock.advance(1)
    assert client.get("/").text == "None"


def test_without_refreshing_at_each_request_our_own_limit_is_the_whole_life(sessions):
    app = new_app(sessions, SESSION_REFRESH_EACH_REQUEST=False)
    route(app, permanent)
    assert f"Max-Age={30 * DAY:.0f}" in ours(app.test_client().get("/"))[0]


def test_a_lifetime_beyond_our_absolute_limit_moves_that_limit(sessions, clock):
    app = new_app(sessions, PERMANENT_SESSION_LIFETIME=timedelta(days=200))
    route(app, permanent)
    assert f"Max-Age={200 * DAY:.0f}" in ours(app.test_client().get("/"))[0]


def test_flasks_cookie_settings_count_where_they_are_set(sessions):
    app = new_app(
        sessions,
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_DOMAIN="localhost",
        SESSION_COOKIE_PATH="/shop",
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PARTITIONED=True,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
    )
    route(app, put())
    (line,) = ours(app.test_client().get("/"), "sid")
    parts = line.split("; ")[1:]
    assert parts == ["Path=/shop", "Domain=localhost", "Secure", "HttpOnly", "SameSite=Strict", "Partitioned"]


def test_the_cookie_belongs_to_the_root_of_the_application(sessions):
    def path_of(**config):
        app = new_app(sessions, **config)
        route(app, permanent)
        return app.test_client().get("/").headers["Set-Cookie"].partition("Path=")[2].partition(";")[0]

    assert path_of(APPLICATION_ROOT="/shop") == "/shop"
    assert path_of(APPLICATION_ROOT="/shop", SESSION_COOKIE_PATH="/shop/till") == "/shop/till"


def test_flasks_defaults_do_not_count(sessions):
    defaults = {name: value for name, value in flask.Flask.default_config.items() if "SESSION" in name}
    app = new_app(sessions, **defaults)
    route(app, permanent)
    (line,) = ours(app.test_client().get("/"))
    assert line.endswith(f"; Max-Age={90 * DAY:.0f}; Path=/; Secure; HttpOnly; SameSite=Lax")


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"cookie": CookieSettings(name="mine")}, {"SESSION_COOKIE_NAME": "theirs"}),
        ({"cookie": CookieSettings(domain="a.example")}, {"SESSION_COOKIE_DOMAIN": "b.example"}),
        ({"cookie": CookieSettings(path="/a")}, {"SESSION_COOKIE_PATH": "/b"}),
        ({"cookie": CookieSettings(samesite="Strict")}, {"SESSION_COOKIE_SAMESITE": "None"}),
        ({"remember_idle": timedelta(days=1)}, {"PERMANENT_SESSION_LIFETIME": timedelta(days=2)}),
        ({"insecure_http": True}, {"SESSION_COOKIE_SECURE": True}),
        ({}, {"SESSION_COOKIE_HTTPONLY": False}),
        ({}, {"SESSION_COOKIE_NAME": "not a token"}),
        ({}, {"SESSION_COOKIE_SAMESITE": "Sometimes"}),
        ({}, {"PERMANENT_SESSION_LIFETIME": timedelta(days=500)}),
    ],
)
def test_a_setting_of_flasks_that_contradicts_ours_fails_when_the_app_is_built(store, options, config):
    with pytest.raises(ConfigurationError):
        new_app(Sessions(store, secret=SECRET, **options), **config)


def test_the_same_setting_on_both_sides_is_no_contradiction(store):
    options = {"cookie": CookieSettings(name="sid"), "remember_idle": timedelta(days=2)}
    app = new_app(
        Sessions(store, secret=SECRET, **options),
        SESSION_COOKIE_NAME="sid",
        PERMANENT_SESSION_LIFETIME=timedelta(days=2),
    )
    route(app, put())
    assert len(ours(app.test_client().get("/"), "sid")) == 1


@pytest.mark.promise("25")
def test_an_interface_that_was_only_assigned_works_and_its_settings_fail_at_the_first_request(sessions):
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(sessions)
    app.config["PREFERRED_URL_SCHEME"] = "https"
    route(app, put())
    assert len(ours(app.test_client().get("/"))) == 1
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(sessions)
    app.config["SESSION_COOKIE_HTTPONLY"] = False
    assert app.test_client().get("/").status_code == 500
    app.testing = True
    with pytest.raises(ConfigurationError, match="SESSION_COOKIE_HTTPONLY"):
        app.test_client().get("/")


def test_two_apps_share_one_interface_each_with_its_own_settings(sessions):
    interface = SessionInterface(sessions)
    names = {}
    for name in ("one", "two"):
        app = names[name] = flask.Flask(name)
        app.config.update({"PREFERRED_URL_SCHEME": "https", "SESSION_COOKIE_NAME": name})
        interface.init_app(app)
        route(app, put(value=name), rule="/put")
        route(app, lambda: str(flask.session.get("a")))
    clients = {name: app.test_client() for name, app in names.items()}
    for name, client in clients.items():
        assert len(ours(client.get("/put"), name)) == 1
    assert [client.get("/").text for client in clients.values()] == ["one", "two"]
    assert sessions.count() == 2
    # A token of one is none for the other, whatever it is called.
    token = clients["one"].get_cookie("one").value
    clients["two"].set_cookie("two", token, path="/")
    assert clients["two"].get("/").text == "None"


def test_two_apps_with_the_same_settings_have_the_same_session(sessions):
    interface, jar = SessionInterface(sessions), None
    for name in ("one", "two"):
        app = flask.Flask(name)
        app.config["PREFERRED_URL_SCHEME"] = "https"
        interface.init_app(app)
        route(app, put(name=name), rule="/put")
        route(app, lambda: sorted(flask.session))
        client = app.test_client()
        if jar is not None:
            client.set_cookie("__Host-session", jar)
        client.get("/put")
        jar = client.get_cookie("__Host-session").value
    assert client.get("/").json == ["one", "two"]


@pytest.mark.parametrize("served", [False, True])
def test_a_setting_that_is_changed_later_counts_from_the_next_request_on(sessions, served):
    app = new_app(sessions)
    route(app, permanent)
    if served:
        assert "SameSite=Lax" in ours(app.test_client().get("/"))[0]
    app.config.update(SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_NAME="sid")
    app.permanent_session_lifetime = timedelta(days=200)
    (line,) = ours(app.test_client().get("/"), "sid")
    assert f"Max-Age={200 * DAY:.0f}" in line
    assert line.endswith("; SameSite=Strict")


@pytest.mark.promise("25")
@pytest.mark.parametrize("served", [False, True])
def test_a_later_setting_that_contradicts_ours_is_refused_at_the_next_request(sessions, served):
    app = new_app(sessions, TESTING=True)
    route(app, put())
    if served:
        assert app.test_client().get("/").status_code == 200
    app.config["SESSION_COOKIE_HTTPONLY"] = False
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="SESSION_COOKIE_HTTPONLY"):
            app.test_client().get("/")
    app.config["SESSION_COOKIE_HTTPONLY"] = True
    assert app.test_client().get("/").status_code == 200


def test_the_manager_is_the_same_while_no_setting_changes(sessions):
    app = new_app(sessions, SESSION_COOKIE_NAME="sid")
    seen = []
    route(app, lambda: seen.append(flask.session.sessions) or "")
    for _ in range(2):
        app.test_client().get("/")
    app.config["TEMPLATES_AUTO_RELOAD"] = True
    app.test_client().get("/")
    assert len({id(manager) for manager in seen}) == 1


def test_parallel_first_requests_set_the_app_up_once(sessions, monkeypatch):
    app = flask.Flask(__name__)
    app.session_interface = SessionInterface(sessions)
    route(app, lambda: str(flask.session.is_new))
    both, merged, calls = threading.Barrier(2), module.merged, []

    def slowly(*arguments):
        calls.append(arguments)
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.2)  # it would be reached by both, if they were let in
        return merged(*arguments)

    monkeypatch.setattr(module, "merged", slowly)
    texts = []
    threads = [
        threading.Thread(target=lambda: texts.append(app.test_client().get("/").text)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["True", "True"]
    assert len(calls) == 1
