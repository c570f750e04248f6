"""The ways of a request in Flask: hooks, errors, files, and what its test client offers."""

import gc
import io
import weakref
from wsgiref.util import FileWrapper

import flask
import pytest

from coatcheck.frameworks.flask import FlaskSession
from tests.frameworks.flask_apps import broken, new_app, ours, put, route


def test_changes_before_and_after_the_view_are_kept(app, client):
    app.before_request(lambda: flask.session.update(before=1))
    route(app, lambda: flask.after_this_request(lambda r: flask.session.update(this=1) or r) and "view")

    @app.after_request
    def after(response):
        flask.session["after"] = 1
        return response

    route(app, lambda: sorted(flask.session), rule="/names")
    assert len(ours(client.get("/"))) == 1
    assert client.get("/names").json == ["after", "before", "this"]


def test_a_before_request_that_answers_by_itself_keeps_its_changes(app, client):
    @app.before_request
    def gate():
        if flask.request.path == "/":
            flask.session["a"] = 1
            return "stopped"
        return None

    route(app, lambda: str(flask.session.get("a")), rule="/get")
    assert client.get("/").text == "stopped"
    assert client.get("/get").text == "1"


@pytest.mark.promise("23")
def test_abort_keeps_the_changes(app, client):
    def view():
        flask.session["a"] = 1
        flask.abort(403)

    route(app, view)
    route(app, lambda: str(flask.session.get("a")), rule="/get")
    response = client.get("/")
    assert (response.status_code, len(ours(response))) == (403, 1)
    assert client.get("/get").text == "1"


def sign_out_and_break():
    flask.session.sign_out()
    raise ZeroDivisionError


@pytest.mark.promise("23")
def test_a_view_that_raises_writes_nothing_with_or_without_propagation(sessions):
    for config in ({}, {"TESTING": True}, {"PROPAGATE_EXCEPTIONS": True}, {"DEBUG": True}):
        app = new_app(sessions, **config)
        route(app, put(), rule="/put")
        route(app, broken)
        route(app, sign_out_and_break, rule="/out")
        route(app, lambda: str(flask.session.get("a")), rule="/get")
        client = app.test_client()
        client.get("/put")
        for path, left in (("/", "1"), ("/out", "None")):
            if config:
                with pytest.raises(ZeroDivisionError):
                    client.get(path)
            else:
                response = client.get(path)
                assert response.status_code == 500
                assert "Cookie" in response.vary
            assert client.get("/get").text == left


@pytest.mark.promise("23")
def test_a_page_for_errors_can_read_the_session_and_what_it_writes_is_not_kept(app, client):
    route(app, put(), rule="/put")
    route(app, broken)
    route(app, lambda: str(flask.session.get("a")), rule="/get")

    @app.errorhandler(500)
    def page(error):
        flask.session["b"] = 1
        return f"sorry, {flask.session.get('a')}", 500

    client.get("/put")
    response = client.get("/")
    assert response.status_code == 500
    assert response.text.startswith("sorry")
    assert client.get("/get").text == "1"


def test_an_app_that_handles_every_exception_answers_and_what_it_answered_is_stored(app, client):
    route(app, broken)
    route(app, lambda: str(flask.session.get("a")), rule="/get")

    @app.errorhandler(Exception)
    def everything(error):
        return "handled", 200

    response = client.get("/")
    assert (response.text, len(ours(response))) == ("handled", 1)
    assert client.get("/get").text == "unwanted"


@pytest.mark.promise("23")
def test_an_apps_own_error_handler_can_drop_what_the_view_had_set_but_not_that_it_ended_the_session(
    app, client, sessions
):
    route(app, put(), rule="/put")
    route(app, broken)
    route(app, sign_out_and_break, rule="/out")
    route(app, lambda: str(flask.session.get("a")), rule="/get")

    @app.errorhandler(ZeroDivisionError)
    def handle(error):
        flask.session.fail()
        flask.session["b"] = 1
        flask.session.fail()
        return "handled", 500

    client.get("/put")
    assert client.get("/").text == "handled"
    assert client.get("/get").text == "1"
    assert "Max-Age=0" in ours(client.get("/out"))[0]
    assert sessions.count() == 0


def test_a_blueprints_error_handler_keeps_what_the_view_had_set(app, client):
    blueprint = flask.Blueprint("part", __name__)

    @blueprint.errorhandler(ZeroDivisionError)
    def handle(error):
        flask.session["b"] = 1
        return "handled", 409

    route(blueprint, broken, rule="/part")
    app.register_blueprint(blueprint)
    route(app, lambda: sorted(flask.session), rule="/names")
    assert client.get("/part").status_code == 409
    assert client.get("/names").json == ["a", "b"]


@pytest.mark.promise("23")
def test_an_after_request_that_raises_writes_nothing(app, client, sessions):
    route(app, put())

    @app.after_request
    def after(response):
        raise ZeroDivisionError

    assert client.get("/").status_code == 500
    assert sessions.count() == 0


def test_an_error_after_the_session_was_stored_does_not_lose_its_cookie(app, client):
    def receiver(sender, **extra):
        raise ZeroDivisionError

    route(app, lambda: flask.session.sign_in("ada") or "in")
    route(app, lambda: str(flask.session.user), rule="/user")
    with flask.request_finished.connected_to(receiver, app):
        response = client.get("/")
    assert response.status_code == 500
    assert len(ours(response)) == 1
    assert client.get("/user").text == "ada"


def test_an_error_under_another_interface_is_none_of_ours(app, client):
    app.session_interface = flask.sessions.SecureCookieSessionInterface()
    app.testing = True
    route(app, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client.get("/")


def test_teardown_functions_can_still_read_the_session(app, client):
    seen = []
    app.teardown_request(lambda error: seen.append((flask.session.get("a"), type(error))))
    route(app, put())
    route(app, broken, rule="/broken")
    client.get("/")
    client.get("/broken")
    assert seen == [(1, type(None)), ("unwanted", ZeroDivisionError)]


def test_sending_a_file_and_not_modified_responses_keep_the_changes(app, client):
    def file():
        flask.session["n"] = flask.session.get("n", 0) + 1
        return flask.send_file(io.BytesIO(b"data"), "text/plain", etag="tag", max_age=60)

    route(app, file)
    route(app, lambda: str(flask.session.get("n")), rule="/n")
    response = client.get("/")
    assert response.data == b"data"
    assert len(ours(response)) == 1
    assert response.cache_control.no_store
    response = client.get("/", headers={"If-None-Match": '"tag"'})
    assert response.status_code == 304
    assert "Cookie" in response.vary
    assert client.get("/n").text == "2"


def test_a_file_reaches_the_server_in_its_own_wrapper(app):
    def view():
        flask.session["a"] = 1
        return flask.send_file(io.BytesIO(b"data"), "text/plain")

    route(app, view)
    with app.test_request_context() as context:
        environ = {**context.request.environ, "wsgi.file_wrapper": FileWrapper}
    body = app.wsgi_app(environ, lambda status, headers: None)
    assert isinstance(body, FileWrapper)


def test_a_session_transaction_of_the_test_client_reads_and_writes(app, client, sessions):
    route(app, lambda: dict(flask.session, user=flask.session.user))
    with client.session_transaction() as session:
        assert isinstance(session, FlaskSession)
        session["a"] = 1
        session.sign_in("ada")
    assert client.get("/").json == {"a": 1, "user": "ada"}
    with client.session_transaction() as session:
        assert (session["a"], session.user) == (1, "ada")
        del session["a"]
        session["_flashes"] = [("message", "hello")]
    assert client.get("/").json == {"user": "ada"}
    with app.test_client().session_transaction():
        pass
    assert sessions.count() == 1


def test_an_error_that_opening_the_session_raises_is_told_as_it_is(app, client, sessions, monkeypatch):
    def broken(*_args, **_options):
        raise ZeroDivisionError

    route(app, lambda: "hello")
    app.testing = True
    assert client.get("/").text == "hello"
    monkeypatch.setattr(sessions, "open", broken)
    with pytest.raises(ZeroDivisionError):
        client.get("/")


def test_a_test_request_context_has_an_empty_session(app, sessions):
    with app.test_request_context():
        flask.session["a"] = 1
        assert flask.session["a"] == 1
        response = app.process_response(flask.Response("x"))
    assert len(ours(response)) == 1
    assert sessions.count() == 1
    with pytest.raises(RuntimeError):
        flask.session["a"]


def test_a_session_of_another_interface_is_left_alone(app, client):
    null = app.session_interface.make_null_session(app)
    response = flask.Response("x")
    app.session_interface.save_session(app, null, response)
    assert "Vary" not in response.headers


@pytest.mark.promise("24")
@pytest.mark.parametrize("answer", ["plain", "stream"])
def test_a_request_leaves_no_cycle_for_the_garbage_collector(app, client, answer):
    gone = []

    def view():
        flask.session["a"] = 1
        gone.append(weakref.ref(flask.session._get_current_object()))
        return "a" if answer == "plain" else iter(["a"])

    route(app, view)
    gc.disable()
    try:
        for _ in range(2):  # Flask's test client keeps the context of the last request
            client.get("/").close()
    finally:
        gc.enable()
    assert gone[0]() is None
