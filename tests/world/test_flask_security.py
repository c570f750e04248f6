"""Flask-Security's own pages: register, log in, log out."""

from __future__ import annotations

import flask
import flask_security
import flask_sqlalchemy
import flask_wtf
from flask_security.models import fsqla_v3

from tests.world.flask_logins import PASSWORD, FlaskLogins, hidden_fields


class TestFlaskSecurity(FlaskLogins):
    name_field = "email"

    def build(self, app):
        app.config.update(
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{self.database}",
            SECURITY_PASSWORD_SALT="1",
            SECURITY_PASSWORD_HASH="plaintext",  # no test waits for a hash
            SECURITY_PASSWORD_SCHEMES=["plaintext"],
            SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
            SECURITY_REGISTERABLE=True,
            SECURITY_SEND_REGISTER_EMAIL=False,
            SECURITY_USE_REGISTER_V2=True,
            SECURITY_AUTO_LOGIN_AFTER_REGISTER=True,
        )
        flask_wtf.CSRFProtect(app)
        db = flask_sqlalchemy.SQLAlchemy(app)
        fsqla_v3.FsModels.set_db_info(db)

        class Role(db.Model, fsqla_v3.FsRoleMixin):
            pass

        class User(db.Model, fsqla_v3.FsUserMixin):
            pass

        datastore = flask_security.SQLAlchemyUserDatastore(db, User, Role)
        flask_security.Security(app, datastore)

        @app.route("/")
        def home():
            return flask.render_template_string(
                '<form method="post" action="/logout">'
                '<input type="hidden" name="csrf_token" value="{{ csrf_token() }}"></form>'
            )

        @app.route("/who")
        def who():
            user = flask_security.current_user
            return user.email.partition("@")[0] if user.is_authenticated else "nobody"

        with app.app_context():
            db.create_all()
            self.ids = {
                name: datastore.create_user(
                    email=f"{name}@site.example", password=flask_security.hash_password(PASSWORD)
                ).fs_uniquifier
                for name in ("ada", "grace")
            }
            db.session.commit()

    def user_id(self, name):
        return self.ids[name]

    def login(self, browser, name="ada", password=PASSWORD):
        return super().login(browser, f"{name}@site.example", password)

    def logout(self, browser):
        page = browser.post("/logout", **hidden_fields(browser.get("/").text))
        assert (page.status_code, page.url.path) == (200, "/")

    def test_a_new_user_registers_and_the_basket_stays(self):
        browser = self.visitor()
        attacker = browser.twin()
        page = browser.submit(
            "/register", email="linus@site.example", password=PASSWORD, password_confirm=PASSWORD
        )
        assert page.url.path == "/", page.text
        assert (self.who(browser), self.who(attacker)) == ("linus", "nobody")
        assert browser.get("/basket").json() == ["pear"]

    def test_a_page_for_users_leads_back_after_the_login(self):
        browser = self.visitor()
        assert browser.get("/verify").url.path == "/login"
        self.login(browser)
        assert browser.get("/verify").url.path == "/verify"
