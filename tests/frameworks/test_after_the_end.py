"""A session that is changed when its request has ended: every such change is stored, or refused in words that help."""

import asyncio
import threading
from contextlib import suppress

import flask
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import RequestOver, StoreUnavailable
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.frameworks.wsgi import SessionMiddleware as WSGIMiddleware
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.visitor import SECRET

CHANGES = {
    "an assignment": lambda session: session.update(late=1),
    "an assignment through setdefault": lambda session: session.setdefault("late", []),
    "a removal": lambda session: session.pop("kept"),
    "del": lambda session: session.__delitem__("kept"),
    "a sign-in": lambda session: session.sign_in("ada"),
    "a sign-out": lambda session: session.sign_out(),
    "clear": lambda session: session.clear(),
    "rotate": lambda session: session.rotate(),
    "a flash": lambda session: session.flash("bye"),
    "a new CSRF token": lambda session: session.new_csrf_token(),
    "a first CSRF token": lambda session: session.csrf_token(),
    "permanent": lambda session: setattr(session, "permanent", True),
    "limits of its own": lambda session: session.set_lifetime(persistent=True),
}


def the_sync_sessions(**options):
    return Sessions(MemoryStore(), secret=SECRET, insecure_http=True, **options)


def visit(sessions, session):
    """Open the session again that another request has left."""
    (pair,) = sessions.cookie_of(session).items()
    return sessions.open("=".join(pair))


def refused(change, session):
    """Whether a change is refused, with the cure in the message."""
    with pytest.raises(RequestOver, match=r"has ended, .*sessions\.edit\(handle\)"):
        change(session)


# The managers alone


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_the_last_close_every_change_is_refused_and_nothing_of_it_is_stored(change):
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["kept"] = 1
        sessions.close(session, last=True)
        refused(change, session)
        again = visit(sessions, session)
        assert (dict(again), again.user, again.permanent) == ({"kept": 1}, None, False)


@pytest.mark.parametrize("stored", [{}, {"user_id": "ada"}], ids=["anonymous", "signed in"])
def test_a_late_sign_in_or_sign_out_by_the_identity_field_is_refused_in_the_same_words(stored):
    with the_sync_sessions(identity="user_id") as sessions:
        session = sessions.open(b"")
        session.update(stored, kept=1)
        sessions.close(session, last=True)
        refused(lambda session: session.update(user_id="bob"), session)
        if stored:
            refused(lambda session: session.pop("user_id"), session)
        else:
            assert session.pop("user_id", None) is None
        assert dict(visit(sessions, session)) == {**stored, "kept": 1}


def test_the_cure_in_the_message_works_with_an_async_manager_too():
    async def edited():
        async with AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True) as sessions:
            session = sessions.open(b"")
            await sessions.load(session)
            session["kept"] = 1
            await sessions.close(session, last=True)
            with pytest.raises(RequestOver, match=r"`async with` where the manager is AsyncSessions"):
                session["late"] = 1
            async with sessions.edit(session.handle) as outside:
                outside["late"] = 1
            (pair,) = sessions.cookie_of(session).items()
            again = sessions.open("=".join(pair))
            await sessions.load(again)
            return dict(again)

    assert asyncio.run(edited()) == {"kept": 1, "late": 1}


@pytest.mark.parametrize("before", ["untouched", "begun", "read", "changed", "failing"])
def test_it_does_not_matter_what_the_request_did_before(before):
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        if before == "begun":
            sessions.note_failure(session)
            repr(session)
        if before == "read":
            session.get("a")
        if before == "changed":
            session["kept"] = 1
        if before == "failing":
            session["kept"] = 1
            sessions.fail(session)
        sessions.close(session)
        sessions.close(session, last=True)
        refused(CHANGES["an assignment"], session)


def test_between_the_head_and_the_end_a_change_is_stored():
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["kept"] = 1
        sessions.close(session)
        session["late"] = 1
        sessions.close(session, last=True)
        assert dict(visit(sessions, session)) == {"kept": 1, "late": 1}


def test_a_session_can_be_read_taken_from_and_looked_up_after_its_end():
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["kept"], session["basket"] = 1, ["apple"]
        sessions.close(session, last=True)
        assert (session["kept"], session["basket"], len(session)) == (1, ["apple"], 2)
        assert session.handle is not None
        assert sessions.is_live(session)
        assert sessions.take(session, "kept") == {"kept": 1}
        assert dict(visit(sessions, session)) == {"basket": ["apple"]}


def test_the_advice_works():
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["kept"] = 1
        sessions.close(session, last=True)
        with sessions.edit(session.handle) as edited:
            edited["late"] = 1
        assert dict(visit(sessions, session)) == {"kept": 1, "late": 1}


@pytest.mark.parametrize("failing", [False, True])
def test_a_session_is_over_when_its_edit_block_is_left(failing):
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["kept"] = 1
        sessions.close(session, last=True)
        with suppress(ZeroDivisionError), sessions.edit(session.handle) as edited:
            edited["late"] = 1 // (not failing)
        refused(CHANGES["an assignment"], edited)


def test_a_last_close_that_fails_leaves_the_session_to_the_error_page():
    with the_sync_sessions() as sessions:
        session = sessions.open(b"")
        session["nested"] = []
        session["nested"].append(object())
        with pytest.raises(TypeError):
            sessions.close(session, last=True)
        session["nested"] = "that could not be stored"
        sessions.close(session, last=True)
        assert dict(visit(sessions, session)) == {"nested": "that could not be stored"}


def test_a_thread_that_writes_while_the_last_close_waits_for_the_store_is_told():
    class Slow(MemoryStore):
        def write(self, *args):
            refused(CHANGES["an assignment"], session)
            asked.append("write")
            return super().write(*args)

    asked = []
    sessions = Sessions(Slow(), secret=SECRET)
    session = sessions.open(b"")
    session["kept"] = 1
    sessions.close(session, last=True)
    assert asked == ["write"]


def test_an_async_session_is_over_likewise():
    async def scene():
        async with AsyncSessions(AsyncMemoryStore(), secret=SECRET) as sessions:
            for used in (False, True):
                session = sessions.open(b"")
                await sessions.load(session)
                if used:
                    session["kept"] = 1
                await sessions.close(session, last=True)
                refused(CHANGES["an assignment"], session)
            async with sessions.edit(session.handle) as edited:
                pass
            refused(CHANGES["an assignment"], edited)

    asyncio.run(scene())


# WSGI


def wsgi_client(sessions, body):
    """A client of an application whose view is given the session, and makes the body."""
    kept = []

    def app(environ, start_response):
        session = environ["coatcheck.session"]
        kept.append(session)
        session["kept"] = 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body(session)

    return Client(WSGIMiddleware(app, sessions)), kept


class Closing:
    """A body of one chunk, with something to do when it is closed."""

    def __init__(self, late):
        self.late = late

    def __iter__(self):
        return iter([b"body"])

    def close(self):
        self.late()


@pytest.mark.parametrize("kind", ["list", "generator", "closing"])
def test_a_thread_that_outlives_a_wsgi_request_is_told(kind):
    bodies = {
        "list": lambda _: [b"body"],
        "generator": lambda _: (chunk for chunk in [b"body"]),
        "closing": lambda _: Closing(lambda: None),
    }
    with the_sync_sessions() as sessions:
        client, kept = wsgi_client(sessions, bodies[kind])
        response = client.get("/")
        assert response.get_data() == b"body"
        response.close()
        told = []

        def late():
            refused(CHANGES["an assignment"], kept[0])
            told.append(True)

        thread = threading.Thread(target=late)
        thread.start()
        thread.join()
        assert told
        assert dict(visit(sessions, kept[0])) == {"kept": 1}


def test_a_wsgi_body_stores_while_it_is_sent_and_as_it_is_closed():
    def body(session):
        def chunks():
            session["sent"] = 1
            yield b"body"
            session["later"] = 2

        inner = Closing(lambda: session.update(closed=3))
        inner.__class__ = type("Body", (Closing,), {"__iter__": lambda _: chunks()})
        return inner

    with the_sync_sessions() as sessions:
        client, kept = wsgi_client(sessions, body)
        response = client.get("/")
        assert response.get_data() == b"body"
        response.close()
        assert dict(visit(sessions, kept[0])) == {"kept": 1, "sent": 1, "later": 2, "closed": 3}


def test_a_wsgi_request_that_was_answered_503_is_over():
    def fail(_):
        raise StoreUnavailable("the view met it")

    with the_sync_sessions() as sessions:
        client, kept = wsgi_client(sessions, fail)
        assert client.get("/").status_code == 503
        refused(CHANGES["an assignment"], kept[0])


# ASGI


def starlette_client(sessions, endpoint):
    routes = [
        Route("/", endpoint),
        Route("/look", lambda request: PlainTextResponse(repr(dict(request.session)))),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, sessions=sessions)]))


@pytest.mark.parametrize("streams", [False, True])
def test_a_background_task_of_a_response_stores(streams):
    def endpoint(request):
        request.session["kept"] = 1
        task = BackgroundTask(lambda: request.session.update(task=2))
        if streams:
            return StreamingResponse(iter([b"a", b"b"]), background=task)
        return PlainTextResponse("a", background=task)

    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    with starlette_client(sessions, endpoint) as client:
        client.get("/")
        assert client.get("/look").text == "{'kept': 1, 'task': 2}"


@pytest.mark.parametrize("failing", [False, True])
def test_a_task_that_outlives_an_asgi_request_is_told(failing):
    kept = []

    def endpoint(request):
        kept.append(request.session)
        request.session["kept"] = 1
        if failing:
            raise ZeroDivisionError
        return PlainTextResponse("a")

    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    with starlette_client(sessions, endpoint) as client:
        if failing:
            with pytest.raises(ZeroDivisionError):
                client.get("/")
        else:
            client.get("/")
        refused(CHANGES["an assignment"], kept[0])


# Flask


def flask_app(sessions):
    app = flask.Flask(__name__)
    SessionInterface(sessions).init_app(app)
    app.testing = True
    app.add_url_rule("/look", view_func=lambda: dict(flask.session))
    return app


def test_what_flask_runs_before_the_response_leaves_is_stored():
    with the_sync_sessions() as sessions:
        app = flask_app(sessions)

        @app.after_request
        def after(response):
            flask.session.setdefault("after", 1)
            return response

        @app.route("/")
        def view():
            @flask.after_this_request
            def after_this(response):
                flask.session["this"] = 2
                return response

            flask.session["kept"] = 3
            return "body"

        client = app.test_client()
        client.get("/")
        assert client.get("/look").json == {"after": 1, "kept": 3, "this": 2}


def _in_teardown(app, late):
    app.teardown_request(lambda _: late())


def _in_teardown_of_the_context(app, late):
    app.teardown_appcontext(lambda _: late())


def _on_close(app, late):
    @app.after_request
    def after(response):
        response.call_on_close(flask.copy_current_request_context(late))
        return response


def _when_finished(app, late):
    flask.request_finished.connect(lambda *_, **__: late(), app, weak=False)


LATE = {
    "teardown_request": _in_teardown,
    "teardown_appcontext": _in_teardown_of_the_context,
    "call_on_close": _on_close,
    "request_finished": _when_finished,
}


@pytest.mark.parametrize("hook", LATE.values(), ids=LATE)
def test_what_flask_runs_after_the_response_is_told(hook):
    told, kept = [], []

    def late():
        while kept:  # outside of the request's own context, `flask.session` names none
            with pytest.raises(RequestOver) as caught:
                kept.pop()["late"] = 1
            told.append(caught.value)

    with the_sync_sessions() as sessions:
        app = flask_app(sessions)
        hook(app, late)

        @app.route("/")
        def view():
            flask.session["kept"] = 1
            kept.append(flask.session._get_current_object())
            return "body"

        client = app.test_client()
        client.get("/").close()
        assert len(told) == 1
        assert client.get("/look").json == {"kept": 1}


def test_a_flask_stream_stores_until_it_is_closed():
    kept = []
    with the_sync_sessions() as sessions:
        app = flask_app(sessions)

        @app.route("/")
        def view():
            session = flask.session._get_current_object()
            kept.append(session)
            session["kept"] = 1

            def chunks():
                yield b"body"
                session["later"] = 2

            return flask.Response(chunks())

        client = app.test_client()
        response = client.get("/")
        assert response.get_data() == b"body"
        response.close()
        assert client.get("/look").json == {"kept": 1, "later": 2}
        refused(CHANGES["an assignment"], kept[0])


def test_the_session_of_a_flask_test_client_can_be_read_after_the_request():
    with the_sync_sessions() as sessions:
        app = flask_app(sessions)

        @app.route("/")
        def view():
            flask.session["basket"] = ["apple"]
            return "body"

        with app.test_client() as client:
            client.get("/")
            assert flask.session["basket"] == ["apple"]
            refused(CHANGES["an assignment"], flask.session)
            with client.session_transaction() as session:
                session["between"] = 1
            refused(CHANGES["an assignment"], session)
            assert client.get("/look").json == {"basket": ["apple"], "between": 1}
