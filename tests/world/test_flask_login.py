"""Flask-Login as its users write it: with Flask-WTF and Flask-SQLAlchemy, Flask-Principal, and Flask-Admin."""

from __future__ import annotations

import flask
import flask_admin
import flask_babel
import flask_login
import flask_principal
import flask_sqlalchemy
import flask_wtf
import sqlalchemy as sa
import wtforms
from flask_admin.contrib.sqla import ModelView
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.security import check_password_hash
from wtforms.validators import DataRequired

from tests.world.flask_logins import COOKIE, PASSWORD, FlaskLogins, hashed

REMEMBER = "remember_token"


class LoginForm(flask_wtf.FlaskForm):
    username = wtforms.StringField("Name", validators=[DataRequired()])
    password = wtforms.PasswordField("Password", validators=[DataRequired()])
    remember_me = wtforms.BooleanField("Remember me")
    submit = wtforms.SubmitField("Sign in")


FORM = """
{% for message in get_flashed_messages() %}<p class="flash">{{ message }}</p>{% endfor %}
<form method="post" novalidate>{{ form.hidden_tag() }}{{ form.username() }}{{ form.password() }}</form>
"""


class Site:
    """The database and the login of a tutorial's application."""

    def __init__(self, app: flask.Flask, database: str, *, csrf_everywhere: bool = True) -> None:
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{database}"
        self.db = db = flask_sqlalchemy.SQLAlchemy(app)
        self.login = flask_login.LoginManager(app)
        self.login.login_view = "login"
        if csrf_everywhere:
            flask_wtf.CSRFProtect(app)

        class User(flask_login.UserMixin, db.Model):
            id: Mapped[int] = mapped_column(primary_key=True)
            username: Mapped[str] = mapped_column(sa.String(64), unique=True)
            password_hash: Mapped[str] = mapped_column(sa.String(256))

            def check_password(self, password):
                return check_password_hash(self.password_hash, password)

        self.User = User

        @self.login.user_loader
        def load_user(user_id):
            return db.session.get(User, int(user_id))

        @app.route("/who")
        def who():
            user = flask_login.current_user
            return user.username if user.is_authenticated else "nobody"

        with app.app_context():
            db.create_all()
            db.session.add_all(
                User(username=name, password_hash=hashed(PASSWORD)) for name in ("ada", "grace")
            )
            db.session.commit()

    def checked(self, form: LoginForm):
        """The user whose name and password the form has, or None."""
        user = self.db.session.scalar(sa.select(self.User).where(self.User.username == form.username.data))
        return user if user is not None and user.check_password(form.password.data) else None


class OfTheDatabase(FlaskLogins):
    """Its users have numbers."""

    def user_id(self, name):
        return {"ada": "1", "grace": "2"}[name]


class WithForms(OfTheDatabase):
    """The chapter on logins of the best-known tutorial: Flask-Login, Flask-WTF and Flask-SQLAlchemy."""

    def build(self, app):
        site = self.site = Site(app, self.database)

        @app.route("/login", methods=["GET", "POST"])
        def login():
            if flask_login.current_user.is_authenticated:
                return flask.redirect(flask.url_for("index"))
            form = LoginForm()
            if form.validate_on_submit():
                user = site.checked(form)
                if user is None:
                    flask.flash("Invalid username or password")
                    return flask.redirect(flask.url_for("login"))
                flask_login.login_user(user, remember=form.remember_me.data)
                return flask.redirect(flask.request.args.get("next") or flask.url_for("index"))
            return flask.render_template_string(FORM, form=form)

        @app.route("/logout")
        def logout():
            flask_login.logout_user()
            return flask.redirect(flask.url_for("login"))

        @app.route("/")
        @app.route("/index")
        @flask_login.login_required
        def index():
            return f"Hi, {flask_login.current_user.username}!"

        @app.route("/secret")
        @flask_login.fresh_login_required
        def secret():
            return "fresh"

        @app.route("/register/<name>")
        def register(name):
            user = site.User(username=name, password_hash=hashed(PASSWORD))
            try:
                flask_login.login_user(user)  # and never committed
            except TypeError as error:
                return str(error)
            return "logged in"

    def test_the_login_page_says_why_and_leads_back(self):
        browser = self.visitor()
        page = browser.get("/index")
        assert page.url.path == "/login"
        assert "Please log in" in page.text
        self.login(browser, password="wrong")
        page = browser.submit("/login?next=/index", username="ada", password=PASSWORD)
        assert (page.url.path, page.text) == ("/index", "Hi, ada!")

    def test_a_new_user_who_was_not_saved_is_not_logged_in(self):
        browser = self.visitor()
        assert "commit it first" in browser.get("/register/linus").text
        assert self.who(browser) == "nobody"
        assert browser.get("/basket").json() == ["pear"]
        assert self.sessions.of_user("None") == []


class TestFlaskLoginWithForms(WithForms):
    def test_remember_me_logs_in_again_but_not_after_a_logout(self):
        browser = self.visitor()
        browser.submit("/login", username="ada", password=PASSWORD, remember_me="y")
        assert browser.get("/secret").text == "fresh"
        browser.client.cookies.delete(COOKIE)  # the browser was closed
        assert self.who(browser) == "ada"
        assert browser.get("/secret").status_code == 401
        assert len(self.sessions.of_user("1")) == 2
        assert REMEMBER in browser.client.cookies
        self.logout(browser)
        assert REMEMBER not in browser.client.cookies
        assert self.who(browser) == "nobody"


class TestStrongProtection(WithForms):
    """``session_protection = "strong"``."""

    def build(self, app):
        super().build(app)
        self.site.login.session_protection = "strong"

    def test_another_browser_with_the_cookie_ends_the_session(self):
        browser = self.logged_in()
        thief = browser.twin()
        thief.client.headers["User-Agent"] = "another"
        assert self.who(thief) == "nobody"
        assert self.who(browser) == "nobody"
        assert self.sessions.of_user("1") == []


class TestFlaskPrincipal(OfTheDatabase):
    """Flask-Principal's identity beside Flask-Login, as its documentation puts them together."""

    csrf = None

    def build(self, app):
        site = Site(app, self.database, csrf_everywhere=False)
        flask_principal.Principal(app)
        ada_only = flask_principal.Permission(flask_principal.UserNeed(1))

        class Form(wtforms.Form):
            username = wtforms.StringField()
            password = wtforms.PasswordField()

        @app.route("/login", methods=["GET", "POST"])
        def login():
            form = Form(flask.request.form)
            if flask.request.method == "POST" and (user := site.checked(form)) is not None:
                flask_login.login_user(user)
                identity = flask_principal.Identity(user.id)
                flask_principal.identity_changed.send(app, identity=identity)
                return flask.redirect("/who")
            return "<form method=post></form>"

        @app.route("/logout")
        @flask_login.login_required
        def logout():
            flask_login.logout_user()
            for key in ("identity.name", "identity.auth_type"):
                flask.session.pop(key, None)
            anonymous = flask_principal.AnonymousIdentity()
            flask_principal.identity_changed.send(app, identity=anonymous)
            return flask.redirect("/who")

        @flask_principal.identity_loaded.connect_via(app)
        def on_identity_loaded(sender, identity):
            user = identity.user = flask_login.current_user
            if hasattr(user, "id"):
                identity.provides.add(flask_principal.UserNeed(user.id))

        @app.route("/ada")
        @ada_only.require(403)
        def ada():
            return "for ada"

    def test_the_identity_is_the_users(self):
        browser = self.visitor()
        assert browser.get("/ada").status_code == 403
        self.login(browser)
        assert browser.get("/ada").text == "for ada"
        self.logout(browser)
        assert browser.get("/ada").status_code == 403
        self.login(browser, "grace")
        assert browser.get("/ada").status_code == 403


class TestFlaskPrincipalAlone(TestFlaskPrincipal):
    """Without Flask-Login, its field names the user."""

    identity = "identity.id"

    def build(self, app):
        flask_principal.Principal(app)
        ids, names = {"ada": 1, "grace": 2}, {1: "ada", 2: "grace", None: "nobody"}
        ada_only = flask_principal.Permission(flask_principal.UserNeed(1))

        @app.route("/login", methods=["GET", "POST"])
        def login():
            form = flask.request.form
            if flask.request.method == "POST" and form["password"] == PASSWORD:
                identity = flask_principal.Identity(ids[form["username"]])
                flask_principal.identity_changed.send(app, identity=identity)
                return flask.redirect("/who")
            return "<form method=post></form>"

        @app.route("/logout")
        def logout():
            for key in ("identity.name", "identity.auth_type"):
                flask.session.pop(key, None)
            anonymous = flask_principal.AnonymousIdentity()
            flask_principal.identity_changed.send(app, identity=anonymous)
            return flask.redirect("/who")

        @flask_principal.identity_loaded.connect_via(app)
        def on_identity_loaded(sender, identity):
            identity.provides.add(flask_principal.UserNeed(identity.id))

        @app.route("/who")
        def who():
            return names[flask.g.identity.id]

        @app.route("/ada")
        @ada_only.require(403)
        def ada():
            return "for ada"


class TestFlaskAdmin(OfTheDatabase):
    """Flask-Admin with views for its users alone, and a login view of its own, as in its examples."""

    login_path = "/admin/login/"

    def build(self, app):
        site = Site(app, self.database)
        flask_babel.Babel(app)  # Flask-AppBuilder brings it, and Flask-Admin then wants it

        class Users(ModelView):
            def is_accessible(self):
                return flask_login.current_user.is_authenticated

            def inaccessible_callback(self, name, **kwargs):
                return flask.redirect(flask.url_for("admin.login_view"))

        class Index(flask_admin.AdminIndexView):
            @flask_admin.expose("/")
            def index(self):
                if not flask_login.current_user.is_authenticated:
                    return flask.redirect(flask.url_for(".login_view"))
                return super().index()

            @flask_admin.expose("/login/", methods=("GET", "POST"))
            def login_view(self):
                form = LoginForm(flask.request.form)
                if flask_admin.helpers.validate_form_on_submit(form):
                    user = site.checked(form)
                    if user is not None:
                        flask_login.login_user(user)
                if flask_login.current_user.is_authenticated:
                    return flask.redirect(flask.url_for(".index"))
                return flask.render_template_string(FORM, form=form)

            @flask_admin.expose("/logout/")
            def logout_view(self):
                flask_login.logout_user()
                return flask.redirect(flask.url_for(".index"))

        admin = flask_admin.Admin(app, "Shop", index_view=Index())
        admin.add_view(Users(site.User, site.db))

    def logout(self, browser):
        assert browser.get("/admin/logout/").url.path == "/admin/login/"

    def test_the_admin_shows_its_tables_to_its_users(self):
        browser = self.visitor()
        assert browser.get("/admin/user/").url.path == "/admin/login/"
        self.login(browser)
        page = browser.get("/admin/user/")
        assert (page.url.path, "grace" in page.text) == ("/admin/user/", True)
        created = browser.submit("/admin/user/new/", username="linus", password_hash="x")
        assert "linus" in created.text
        assert "successfully" in created.text
