"""Authlib's demo for Flask."""

from __future__ import annotations

from authlib.integrations.flask_client import OAuth, OAuthError
from flask import Flask, jsonify, redirect, session, url_for

from coatcheck.frameworks.flask import SessionInterface
from tests.world.authlib_logins import AuthlibLogins


class TestFlask(AuthlibLogins):
    WSGI = True

    def app(self, managers):
        app = Flask(__name__)
        SessionInterface(managers.sync).init_app(app)
        oauth = self.registered(OAuth(app))

        @app.route("/")
        def homepage():
            return jsonify(session.get("user"))

        @app.route("/login")
        def login():
            redirect_uri = url_for("auth", _external=True)
            return oauth.google.authorize_redirect(redirect_uri)

        @app.route("/auth")
        def auth():
            try:
                token = oauth.google.authorize_access_token()
            except OAuthError as error:
                return error.error
            user = token.get("userinfo")
            if user:
                session["user"] = user
            return redirect("/")

        @app.route("/logout")
        def logout():
            session.pop("user", None)
            return redirect("/")

        @app.route("/basket/<good>")
        def basket(good):
            session.setdefault("basket", []).append(good)
            return jsonify(session["basket"])

        return app
