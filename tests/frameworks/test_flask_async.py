"""Flask's async views (``flask[async]``): they run in an event loop of their own, on the request's one session."""

import asyncio
import threading

import flask
import pytest

from coatcheck.testing import Race
from tests.behaviours import HttpBehaviours, WsgiClient, perform
from tests.frameworks.flask_apps import DOWN, new_app, ours, put, route


class TestTheSharedList(HttpBehaviours):
    no_looks = frozenset({"fail", "modified"})

    def build(self, sessions):
        app = new_app(sessions)

        @app.route("/play")
        async def play():
            await asyncio.sleep(0)
            answer = perform(flask.request.query_string.decode(), flask.session, sessions)
            streams = not isinstance(answer.body, list)
            body = flask.stream_with_context(answer.body) if streams else answer.body
            return flask.Response(body, answer.status, answer.headers)

        return WsgiClient(app)


def test_an_async_view_its_tasks_and_what_runs_around_it_share_one_session(app, client, store):
    @app.before_request
    async def before():
        await asyncio.sleep(0)
        flask.session["before"] = True

    @app.after_request
    async def after(response):
        await asyncio.sleep(0)
        flask.session["after"] = flask.session["view"]
        return response

    async def view():
        async def add(number):
            await asyncio.sleep(0)
            flask.session.setdefault("numbers", []).append(number)
            # What waits blocks, as everything does that waits in a synchronous application.
            await asyncio.to_thread(flask.session.save)

        flask.session["view"] = 1
        await asyncio.gather(*map(add, range(4)))
        flask.flash("hello")
        flask.session.sign_in("ada")
        return "in"

    route(app, view)
    route(app, lambda: {**flask.session, "user": flask.session.user, "new": flask.session.new}, rule="/show")
    response = client.get("/")
    assert len(ours(response)) == 1
    shown = client.get("/show").json
    assert sorted(shown.pop("numbers")) == [0, 1, 2, 3]
    assert shown == {"before": True, "view": 1, "after": 1, "user": "ada", "new": False}


def test_async_views_of_several_visitors_at_once_keep_their_sessions_apart(app):
    all_are_here = threading.Barrier(4)

    async def view(name):
        flask.session["name"] = name
        await asyncio.to_thread(all_are_here.wait, 20)
        return flask.session["name"]

    app.add_url_rule("/<name>", view_func=view)
    route(app, lambda: flask.session["name"], rule="/show/name")
    visitors = {name: app.test_client() for name in "abcd"}
    with Race(timeout=30) as race:
        parties = {
            name: race.start(name, lambda name=name, client=client: client.get(f"/{name}").text)
            for name, client in visitors.items()
        }
    assert {name: party.result() for name, party in parties.items()} == dict(zip("abcd", "abcd", strict=True))
    assert [client.get("/show/name").text for client in visitors.values()] == list("abcd")


@pytest.mark.parametrize("config", [{}, {"TESTING": True}])
def test_an_outage_in_an_async_view_is_a_503_and_an_error_writes_nothing(sessions, store, config):
    app = new_app(sessions, **config)
    handled = []

    async def view():
        await asyncio.sleep(0)
        return str(flask.session.get("a"))

    async def saving():
        flask.session["a"] = 2
        flask.session.save()
        return "saved"

    @app.errorhandler(ZeroDivisionError)
    async def handle(error):
        await asyncio.sleep(0)
        handled.append(error)
        flask.session.fail()
        return "sorry", 500

    async def broken():
        flask.session["a"] = 2
        raise ZeroDivisionError

    route(app, put(), rule="/put")
    route(app, view)
    route(app, saving, rule="/save")
    route(app, broken, rule="/broken")
    client = app.test_client()
    client.get("/put")
    for method, path in (("load", "/"), ("load", "/save"), ("write", "/save")):
        store.fail(method, error=DOWN)
        response = client.get(path)
        assert (response.status_code, response.headers.get("Retry-After"), ours(response)) == (503, "1", [])
        store.recover()
    assert (client.get("/broken").status_code, len(handled)) == (500, 1)
    assert client.get("/").text == "1"
