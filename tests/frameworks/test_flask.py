"""Flask: the shared list, and what flask.session is."""

from contextlib import suppress

import flask
import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from coatcheck import Session
from coatcheck.frameworks.flask import FlaskSession, SessionInterface
from tests.behaviours import HttpBehaviours, WsgiClient, perform
from tests.behaviours.app import LOOKS, ways_to_look
from tests.behaviours.served import OnWaitress
from tests.frameworks.flask_apps import put, route


def leave(place):
    flask.abort(flask.redirect(place, 303))


def build(sessions):
    app = flask.Flask(__name__)
    SessionInterface(sessions).init_app(app)

    @app.route("/play")
    def play():
        answer = perform(flask.request.query_string.decode(), flask.session, sessions, leave)
        body = flask.stream_with_context(answer.body) if not isinstance(answer.body, list) else answer.body
        return flask.Response(body, answer.status, answer.headers)

    return WsgiClient(app)


class TestInMemory(HttpBehaviours):
    no_looks = frozenset({"fail", "modified"})

    def build(self, sessions):
        return build(sessions)


class TestServed(OnWaitress, TestInMemory):
    trusts_proxy = False
    deployed = ProxyFix


def test_flask_session_is_a_session_of_ours_also_through_the_proxy(app, client, sessions):
    def view():
        session = flask.session
        assert isinstance(session, Session)
        session.sign_in("ada")
        sessions.save(session)
        assert sessions.is_live(session)
        assert sessions.of_user("ada", current=session)[0].current
        assert sessions.revoke_user("ada", keep=session) == 0
        session["list"] = []
        session["list"].append(1)
        session.modified = True  # what Flask's documentation tells people to do
        session.save()
        assert session.is_live()
        assert (session.modified, session.new, session.take("list")) == (True, False, {"list": [1]})
        return session.user

    route(app, view)
    assert client.get("/").text == "ada"


def test_modified_says_whether_the_request_has_set_something_also_after_its_response(app, client):
    route(app, put(), rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    with client:
        for path, modified in (("/", False), ("/put", True), ("/", False)):
            client.get(path)
            assert flask.session.modified is modified


@pytest.mark.promise("1")
def test_a_view_that_never_uses_the_session_costs_nothing(app, client, store):
    route(app, put(), rule="/put")
    route(app, lambda: "plain")
    client.get("/put")
    store.store.reset()
    response = client.get("/")
    assert not {"Vary", "Set-Cookie", "Cache-Control"} & set(response.headers.keys())
    assert client.get("/nowhere").status_code == 404
    assert store.store.sequence == []


@pytest.mark.promise("H")
def test_every_way_to_look_at_flasks_session_makes_the_response_depend_on_the_cookie(app, client):
    looks = {
        **LOOKS,
        "new": lambda session: session.new,
        "save": lambda session: session.save(),
        "take": lambda session: session.take("absent"),
        "take_flashes": lambda session: session.take_flashes(),
        "is_live": lambda session: session.is_live(),
        "reload": lambda session: session.reload(),
    }
    # `fail` is what the interface calls when a view has failed, and `modified` tells of this request alone.
    assert ways_to_look(FlaskSession) - {"fail", "modified"} == set(looks)
    looks |= {
        "_flashes in": lambda session: "_flashes" in session,
        "get _flashes": lambda session: session.get("_flashes"),
        "pop _flashes": lambda session: session.pop("_flashes", None),
        "set _flashes": lambda session: session.update(_flashes=[]),
        "delete _flashes": lambda session: session.__delitem__("_flashes"),
        "get_flashed_messages": lambda session: flask.get_flashed_messages(),
        "flask.flash": lambda session: flask.flash("x"),
    }

    def view():
        with suppress(KeyError):
            looks[flask.request.args["way"]](flask.session)
        return "looked"

    route(app, view)
    route(app, put(), rule="/put")
    for way in looks:
        for visitor in (app.test_client(), client):
            if visitor is client:
                client.get("/put")
            response = visitor.get("/", query_string={"way": way})
            assert response.text == "looked", way
            assert "Cookie" in response.vary, way


def test_the_user_agent_is_in_the_users_list_of_devices(app, client, sessions):
    route(app, lambda: flask.session.sign_in("ada") or "in")
    client.get("/", headers={"User-Agent": "Nice browser"})
    assert [info.client for info in sessions.of_user("ada")] == ["Nice browser"]
