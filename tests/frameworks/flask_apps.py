"""Small Flask applications, and what is seen of them."""

import flask

from coatcheck import StoreUnavailable
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.model.format import decode
from coatcheck.stores.memory import MemoryStore
from tests.visitor import stored_in

DOWN = StoreUnavailable("the test says so", ambiguous=False)


def new_app(sessions, **config):
    app = flask.Flask(__name__)
    app.config.update({"PREFERRED_URL_SCHEME": "https", **config})
    SessionInterface(sessions).init_app(app)
    return app


def route(app, view, *, rule="/", **options):
    """Put `view` under `rule`."""
    app.add_url_rule(rule, rule, view, **options)
    return view


def ours(response, name="__Host-session"):
    return [line for line in response.headers.getlist("Set-Cookie") if line.startswith(f"{name}=")]


def put(name="a", value=1, text="put"):
    """A view that puts something into the session."""

    def view():
        flask.session[name] = value
        return text

    return view


def records_of(sessions):
    store = sessions.store
    while not isinstance(store, MemoryStore):
        store = store.store
    return [(key, decode(key, data)) for key, data in stored_in(store).items()]


def fields_of(sessions, key):
    return dict(records_of(sessions))[key].fields


def broken():
    flask.session["a"] = "unwanted"
    raise ZeroDivisionError
