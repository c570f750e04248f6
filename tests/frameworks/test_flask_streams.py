"""Streams in Flask, and a store that fails."""

import io

import flask
import pytest

from coatcheck import StoreError, StoreUnavailable
from coatcheck.frameworks.flask import SessionInterface
from tests.behaviours import Request, WsgiClient
from tests.frameworks.flask_apps import DOWN, new_app, ours, put, records_of, route


@pytest.mark.promise("F-20")
def test_a_stream_with_context_reads_and_writes_the_session(app, client):
    def view():
        flask.session["a"] = [0]

        def body():
            yield str(flask.session["a"])
            flask.session["a"].append(1)
            yield str(flask.session["a"])

        return flask.Response(flask.stream_with_context(body()))

    route(app, view)
    route(app, lambda: flask.session["a"], rule="/a")
    response = client.get("/")
    assert response.text == "[0][0, 1]"
    assert client.get("/a").json == [0, 1]


@pytest.mark.promise("23")
def test_an_error_page_that_streams_can_end_the_session(app, client, sessions):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(app, put(), rule="/put")

    @app.errorhandler(500)
    def sorry(_):
        session = flask.session._get_current_object()

        def body():
            yield "sorry"
            session.sign_out()

        return flask.Response(body(), 500)

    def view():
        raise ZeroDivisionError

    route(app, view)
    client.get("/put")
    assert sessions.count() == 1
    assert client.get("/").text == "sorry"
    assert sessions.count() == 0


class Watched:
    """A body that tells what was done with it."""

    def __init__(self, chunks, *, session):
        self.chunks = iter(chunks)
        self.session = session
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.session["chunks"] = self.session.get("chunks", 0) + 1
        return next(self.chunks)

    def close(self):
        self.closed += 1


@pytest.mark.promise("F-20")
def test_a_client_that_hangs_up_during_the_stream_leaves_no_context_and_what_was_done_is_stored(
    app, sessions
):
    bodies = []

    def view():
        session = flask.session._get_current_object()
        session["chunks"] = 0
        bodies.append(Watched([b"1", b"2", b"3"], session=session))
        return flask.Response(flask.stream_with_context(bodies[-1]))

    route(app, view, rule="/play")
    environ = {}
    client = WsgiClient(lambda given, start: environ.update(given, start=start) or [])
    client.send(Request(), lambda _: None)
    heads = []
    body = app(environ, lambda *head: heads.append(head))
    assert next(body) == b"1"
    body.close()
    assert not flask.has_request_context()
    assert not flask.has_app_context()
    assert bodies[0].closed >= 1
    ((_, record),) = records_of(sessions)
    assert record.fields["chunks"] == b"\x01"


def test_a_head_request_for_a_stream_leaves_no_context_and_closes_the_body(app, client, sessions):
    bodies = []

    def view():
        flask.session["a"] = 1
        bodies.append(Watched([b"1"], session=flask.session))
        return flask.Response(flask.stream_with_context(bodies[-1]))

    route(app, view)
    response = client.head("/")
    assert len(ours(response)) == 1
    assert not flask.has_request_context()
    assert not flask.has_app_context()
    assert bodies[0].closed <= 1
    assert sessions.count() == 1


def test_a_stream_that_never_began_is_closed_too(app, client, store):
    bodies = []

    def view():
        flask.session["a"] = 1
        bodies.append(Watched([b"1"], session=flask.session))
        return flask.Response(bodies[-1])

    route(app, view)
    store.fail("write", error=DOWN)
    assert client.get("/").status_code == 503
    assert bodies[0].closed == 1


def test_a_503_in_place_of_a_file_runs_what_was_to_run_at_its_end(app, client, store):
    ended = []

    def view():
        flask.session["a"] = 1
        response = flask.send_file(io.BytesIO(b"data"), "text/plain")
        response.call_on_close(lambda: ended.append("ended"))
        return response

    route(app, view)
    store.fail("write", error=DOWN)
    response = client.get("/")
    response.close()
    assert (response.status_code, ended) == (503, ["ended"])


@pytest.mark.promise("20")
def test_an_outage_is_a_503_also_where_the_app_would_answer_everything_itself(app, client, store):
    handled = []

    @app.errorhandler(Exception)
    def everything(error):
        handled.append(error)
        return "sorry", 500

    @app.errorhandler(500)
    def page(error):
        handled.append(error)
        return "sorry", 500

    route(app, put(), rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    client.get("/put")
    store.fail("load", error=DOWN)
    response = client.get("/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    store.recover()
    store.fail("write", error=DOWN)
    assert client.get("/put").status_code == 200  # nothing to write
    assert app.test_client().get("/put").status_code == 503
    assert handled == []


@pytest.mark.promise("20")
@pytest.mark.parametrize("kind", [StoreError, StoreUnavailable])
def test_an_app_can_answer_an_outage_in_its_own_way(sessions, store, kind):
    for late in (False, True):
        app = flask.Flask(__name__)
        app.config["PREFERRED_URL_SCHEME"] = "https"
        if late:
            SessionInterface(sessions).init_app(app)
        app.register_error_handler(kind, lambda error: ("my own page", 503))
        if not late:
            SessionInterface(sessions).init_app(app)
        route(app, put(), rule="/put")
        route(app, lambda: str(flask.session.get("a")))
        client = app.test_client()
        client.get("/put")
        store.fail("load", error=DOWN)
        assert client.get("/").text == "my own page"
        store.recover()


@pytest.mark.promise("20")
def test_in_testing_mode_an_outage_is_still_a_503(sessions, store):
    app = new_app(sessions, TESTING=True)
    route(app, put(), rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    client = app.test_client()
    client.get("/put")
    store.fail("load", error=DOWN)
    assert client.get("/").status_code == 503


def test_an_after_request_that_looks_at_the_session_does_not_turn_an_outage_into_a_500(app, client, store):
    looked = []

    @app.after_request
    def after(response):
        looked.append("a" in flask.session)
        flask.session["b"] = 1
        return response

    route(app, put(), rule="/put")
    route(app, lambda: str(flask.session.get("a")))
    route(app, lambda: "plain", rule="/plain")
    client.get("/put")
    store.fail("load", error=DOWN)
    for path in ("/", "/plain"):
        response = client.get(path)
        assert (response.status_code, ours(response)) == (503, []), path
        assert response.headers["Retry-After"] == "1"
    store.recover()
    assert client.get("/").text == "1"
