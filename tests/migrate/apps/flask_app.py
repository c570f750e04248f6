"""One Flask application on each library of sessions. `flask_app.py serve <port>` serves it; `flask_app.py visit <cookies>
<path>…` asks it, and prints what a browser then has.

LIBRARY says which: "flask-session", "cookie", or "coatcheck", which carries over those of MOVES_FROM. OPTIONS are settings
of the old library, in JSON.
"""

import datetime as dt
import json
import os
import sys

import flask

from tests.migrate.apps.browser import Browser

OPTIONS = json.loads(os.environ.get("OPTIONS", "{}"))
FIELDS = {
    "user_id": 7,
    "cart": [1, {"a": 2}],
    "text": "tea für zwei",
    "pair": (1, 2),
    "when": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
}


class Own:
    """An object of the application's own, which only pickles can hold."""

    def __init__(self, number):
        self.number = number


app = flask.Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]


@app.get("/in/<user>")
def sign_in(user):
    flask.session.permanent = True
    flask.session.update(FIELDS, user_id=user)
    flask.flash("hello", "error")
    if "own" in flask.request.args:
        flask.session["own"] = Own(3)
    return "in"


@app.get("/put/<name>/<value>")
def put(name, value):
    flask.session[name] = value
    return "put"


@app.get("/me")
def me():
    return json.dumps({name: flask.session[name] for name in flask.session if name[0] != "_"}, default=str)


@app.get("/messages")
def messages():
    return json.dumps(flask.get_flashed_messages(with_categories=True))


@app.get("/out")
def sign_out():
    flask.session.clear()
    response = flask.make_response("out")
    if "DELETES" in os.environ:  # as the page says, for old servers that still run
        response.delete_cookie("session")
    return response


def redis_client():
    import redis

    return redis.from_url(os.environ["OLD_REDIS"])


def flask_session():
    import flask_session

    if "OLD_REDIS" in os.environ:
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis_client())
    else:
        from flask_sqlalchemy import SQLAlchemy

        app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["OLD_DATABASE"]
        database = SQLAlchemy(app)
        app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=database)
    app.config.update(OPTIONS)
    flask_session.Session(app)
    if "OLD_REDIS" not in os.environ:
        with app.app_context():
            database.create_all()


def source():
    from coatcheck.migrate import FlaskCookie, FlaskSessionRecords

    if os.environ["MOVES_FROM"] == "cookie":
        return FlaskCookie(app.secret_key)
    signed_with = app.secret_key if OPTIONS.get("SESSION_USE_SIGNER") else None
    if "OLD_REDIS" in os.environ:
        return FlaskSessionRecords(redis_client(), signed_with=signed_with)
    from sqlalchemy import create_engine

    return FlaskSessionRecords(create_engine(os.environ["OLD_DATABASE"]), signed_with=signed_with)


def coatcheck():
    from coatcheck import Sessions
    from coatcheck.frameworks.flask import SessionInterface
    from coatcheck.migrate import Migrating

    sessions = Sessions.from_url(
        os.environ["NEW"], secret=os.environ["SESSION_SECRET"], identity="user_id", insecure_http=True
    )
    events = []
    sessions = Migrating(
        sessions.with_settings(on_event=events.append), from_=source(), keep_old="KEEP_OLD" in os.environ
    )
    SessionInterface(sessions).init_app(app)

    @app.get("/events")
    def told():
        return json.dumps([(event.kind, event.user, event.reason) for event in events])


{"flask-session": flask_session, "cookie": lambda: None, "coatcheck": coatcheck}[os.environ["LIBRARY"]]()

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "serve":
        import waitress

        waitress.serve(app, host="127.0.0.1", port=int(arguments[0]), threads=16)
    else:
        browser = Browser(app, cookies=arguments[0])
        bodies = [browser.get(path) for path in arguments[1:]]
        print(json.dumps({"cookies": browser.header(), "bodies": bodies}))
