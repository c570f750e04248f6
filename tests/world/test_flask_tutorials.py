"""The logins of Flask's own documentation: the blog of its tutorial, and its quickstart."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing

import flask
from werkzeug.security import check_password_hash

from tests.world.flask_logins import PASSWORD, FlaskLogins, hashed


def a_blog(app: flask.Flask, database: str) -> None:
    """The tutorial's chapter on users: ``session.clear()``, and the user's id in the session."""
    bp = flask.Blueprint("auth", __name__, url_prefix="/auth")

    def get_db():
        if "db" not in flask.g:
            flask.g.db = sqlite3.connect(database)
            flask.g.db.row_factory = sqlite3.Row
        return flask.g.db

    @app.teardown_appcontext
    def close_db(error=None):
        db = flask.g.pop("db", None)
        if db is not None:
            db.close()

    @bp.route("/register", methods=("GET", "POST"))
    def register():
        if flask.request.method == "POST":
            db = get_db()
            try:
                db.execute(
                    "INSERT INTO user (username, password) VALUES (?, ?)",
                    (flask.request.form["username"], hashed(flask.request.form["password"])),
                )
                db.commit()
            except db.IntegrityError:
                flask.flash("This name is taken.")
            else:
                return flask.redirect(flask.url_for("auth.login"))
        return flask.render_template_string("<form method=post></form>")

    @bp.route("/login", methods=("GET", "POST"))
    def login():
        if flask.request.method == "POST":
            user = (
                get_db()
                .execute("SELECT * FROM user WHERE username = ?", (flask.request.form["username"],))
                .fetchone()
            )
            if user is not None and check_password_hash(user["password"], flask.request.form["password"]):
                flask.session.clear()
                flask.session["user_id"] = user["id"]
                return flask.redirect(flask.url_for("index"))
            flask.flash("Wrong name or password.")
        return flask.render_template_string("<form method=post></form>")

    @bp.before_app_request
    def load_logged_in_user():
        user_id = flask.session.get("user_id")
        flask.g.user = (
            None
            if user_id is None
            else get_db().execute("SELECT * FROM user WHERE id = ?", (user_id,)).fetchone()
        )

    @bp.route("/logout")
    def logout():
        flask.session.clear()
        return flask.redirect(flask.url_for("index"))

    def login_required(view):
        @functools.wraps(view)
        def wrapped_view(**kwargs):
            if flask.g.user is None:
                return flask.redirect(flask.url_for("auth.login"))
            return view(**kwargs)

        return wrapped_view

    @app.route("/")
    def index():
        return "posts"

    @app.route("/create")
    @login_required
    def create():
        return "a new post"

    @app.route("/who")
    def who():
        return "nobody" if flask.g.user is None else flask.g.user["username"]

    app.register_blueprint(bp)
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE user (id INTEGER PRIMARY KEY, username TEXT UNIQUE, password TEXT)")


class TestTheTutorialsBlog(FlaskLogins):
    csrf = None
    basket_after_login = None  # it clears the session at the login
    listed = False  # nothing names the user to us
    login_path = "/auth/login"

    def build(self, app):
        a_blog(app, self.database)
        for name in ("ada", "grace"):
            self.browser().submit("/auth/register", username=name, password=PASSWORD)

    def logout(self, browser):
        assert browser.get("/auth/logout").text == "posts"

    def test_a_page_for_users_sends_everyone_else_to_the_login(self):
        browser = self.visitor()
        assert browser.get("/create").url.path == "/auth/login"
        self.login(browser)
        assert browser.get("/create").text == "a new post"


class TestTheTutorialsBlogWithIdentity(TestTheTutorialsBlog):
    identity = "user_id"
    listed = True

    def user_id(self, name):
        return {"ada": "1", "grace": "2"}[name]


class TestTheQuickstart(FlaskLogins):
    """``session["username"] = …`` and ``session.pop("username", None)``."""

    identity = "username"
    csrf = None

    def build(self, app):
        @app.route("/who")
        def who():
            return flask.session.get("username", "nobody")

        @app.route("/login", methods=["GET", "POST"])
        def login():
            if flask.request.method == "POST" and flask.request.form["password"] == PASSWORD:
                flask.session["username"] = flask.request.form["username"]
                return flask.redirect(flask.url_for("who"))
            return "<form method=post></form>"

        @app.route("/logout")
        def logout():
            flask.session.pop("username", None)
            return flask.redirect(flask.url_for("who"))
