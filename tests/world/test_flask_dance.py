"""Flask-Dance's logins, with a provider of our own on loopback: OAuth 2 with Flask-Login, and OAuth 1.0a alone."""

from __future__ import annotations

import re
import secrets
import threading
from contextlib import contextmanager
from urllib.parse import unquote, urlencode

import flask
import flask_login
import pytest
from flask_dance.consumer import OAuth1ConsumerBlueprint, OAuth2ConsumerBlueprint, oauth_authorized
from werkzeug.serving import make_server

from tests.world.flask_logins import FlaskLogins

IDS = {"ada": "1", "grace": "2"}


class Provider:
    """A provider of both protocols (RFC 6749, RFC 5849). `user` is who agrees to every login; None: nobody does."""

    def __init__(self) -> None:
        self.user: str | None = None
        self.users: dict[str, str] = {}
        self.callbacks: dict[str, str] = {}
        self.app = app = flask.Flask("provider")

        def grant() -> str:
            code = secrets.token_urlsafe()
            self.users[code] = self.user
            return code

        @app.get("/oauth2/authorize")
        def authorize():
            asked = flask.request.args
            assert asked["response_type"] == "code"
            answer = {"error": "access_denied"} if self.user is None else {"code": grant()}
            return flask.redirect(f"{asked['redirect_uri']}?{urlencode({**answer, 'state': asked['state']})}")

        @app.post("/oauth2/token")
        def token():
            user = self.users.pop(flask.request.form["code"])
            self.users[access := secrets.token_urlsafe()] = user
            return {"access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": ["profile"]}

        @app.get("/user")
        def user():
            access = flask.request.headers["Authorization"].removeprefix("Bearer ")
            return {"login": self.users[access]}

        @app.post("/oauth1/request_token")
        def request_token():
            asked = signed_fields()
            self.callbacks[token := secrets.token_urlsafe()] = asked["oauth_callback"]
            return urlencode(
                {"oauth_token": token, "oauth_token_secret": "s", "oauth_callback_confirmed": "true"}
            )

        @app.get("/oauth1/authorize")
        def authorize_token():
            token = flask.request.args["oauth_token"]
            answer = (
                {"denied": token} if self.user is None else {"oauth_token": token, "oauth_verifier": grant()}
            )
            return flask.redirect(f"{self.callbacks[token]}?{urlencode(answer)}")

        @app.post("/oauth1/access_token")
        def access_token():
            asked = signed_fields()
            assert asked["oauth_token"] in self.callbacks
            name = self.users.pop(asked["oauth_verifier"])
            answer = {"oauth_token": secrets.token_urlsafe(), "oauth_token_secret": "s", "user_id": IDS[name]}
            return urlencode(answer)

        def signed_fields() -> dict[str, str]:
            header = flask.request.headers["Authorization"]
            fields = {name: unquote(value) for name, value in re.findall(r'(oauth_\w+)="([^"]*)"', header)}
            assert fields["oauth_signature"]
            return fields


@contextmanager
def served(app: flask.Flask):
    """A server of `app` on loopback; the value is its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Dances(FlaskLogins):
    csrf = None

    @pytest.fixture(autouse=True)
    def _provider(self, monkeypatch):
        monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the provider has no https
        self.provider = Provider()
        with served(self.provider.app) as self.url:
            yield

    @pytest.fixture(autouse=True)
    def _site(self, _provider, tmp_path):
        self.prepare(tmp_path)

    def user_id(self, name):
        return IDS[name]

    def login(self, browser, name="ada", password=None):
        self.provider.user = name if password is None else None
        return browser.get(self.login_path)


class TestOAuth2(Dances):
    """Its documentation's pattern for many users: Flask-Login's user is looked up when the provider has answered."""

    login_path = "/shop-id"

    def build(self, app):
        names = {number: name for name, number in IDS.items()}
        blueprint = OAuth2ConsumerBlueprint(
            "shop-id",
            __name__,
            client_id="shop",
            client_secret="secret",
            scope=["profile"],
            base_url=self.url,
            token_url=f"{self.url}/oauth2/token",
            authorization_url=f"{self.url}/oauth2/authorize",
            redirect_to="who",
            use_pkce=True,
        )
        app.register_blueprint(blueprint)
        manager = flask_login.LoginManager(app)

        class User(flask_login.UserMixin):
            def __init__(self, number):
                self.id = number

        @manager.user_loader
        def load_user(user_id):
            return User(user_id) if user_id in names else None

        @oauth_authorized.connect_via(blueprint)
        def logged_in(blueprint, token):
            answer = blueprint.session.get("/user")
            flask_login.login_user(User(IDS[answer.json()["login"]]))

        @app.route("/who")
        def who():
            user = flask_login.current_user
            return names[user.id] if user.is_authenticated else "nobody"

        @app.route("/api")
        def api():
            return blueprint.session.get("/user").json()

        @app.route("/logout")
        @flask_login.login_required
        def logout():
            flask_login.logout_user()
            return flask.redirect("/who")

    def test_the_token_is_in_the_session_until_the_logout(self):
        browser = self.logged_in()
        assert browser.get("/api").json() == {"login": "ada"}
        keys = {name for info in self.sessions.of_user("1") for name in self.fields_of(info.handle)}
        assert "shop-id_oauth_token" in keys
        self.logout(browser)
        assert self.sessions.count() == 0

    def fields_of(self, handle):
        with self.sessions.edit(handle) as session:
            return list(session)


class TestOAuth1(Dances):
    """The token lies in the session; `identity` reads the user's id out of it."""

    identity = ("shop-id_oauth_token", lambda token: token["user_id"])
    login_path = "/shop-id"

    def build(self, app):
        names = {number: name for name, number in IDS.items()}
        blueprint = OAuth1ConsumerBlueprint(
            "shop-id",
            __name__,
            client_key="shop",
            client_secret="secret",
            base_url=self.url,
            request_token_url=f"{self.url}/oauth1/request_token",
            access_token_url=f"{self.url}/oauth1/access_token",
            authorization_url=f"{self.url}/oauth1/authorize",
            redirect_to="who",
        )
        app.register_blueprint(blueprint)

        @app.route("/who")
        def who():
            return names[blueprint.token["user_id"]] if blueprint.session.authorized else "nobody"

        @app.route("/logout")
        def logout():
            del blueprint.token
            return flask.redirect("/who")
