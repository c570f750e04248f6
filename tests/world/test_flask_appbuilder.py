"""Flask-AppBuilder, on which Superset and Airflow stand: its own pages, with the sessions as the only change."""

from __future__ import annotations

import flask
import flask_appbuilder
import flask_login
import flask_wtf
import pytest
from flask.sessions import SecureCookieSessionInterface
from flask_appbuilder.security.sqla.manager import SecurityManager
from flask_appbuilder.utils.legacy import get_sqla_class

from coatcheck.frameworks.flask import session
from tests.world.flask_logins import PASSWORD, Browser, FlaskLogins

SQLA = get_sqla_class()


class TestFlaskAppBuilder(FlaskLogins):
    login_path = "/login/"
    security_manager = SecurityManager

    def build(self, app):
        app.config.update(
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{self.database}",
            FAB_PASSWORD_HASH_METHOD="pbkdf2:sha256:1",  # no test waits for a hash
            FAB_ROLES={"Looker": [["UserDBModelView|ResetMyPasswordView", "can_userinfo|can_this_form_.*"]]},
        )
        flask_wtf.CSRFProtect(app)
        db = SQLA(app)

        @app.route("/who")
        def who():
            user = flask_login.current_user
            return user.username if user.is_authenticated else "nobody"

        with app.app_context():
            security = self.security = flask_appbuilder.AppBuilder(
                app, db.session, security_manager_class=self.security_manager
            ).sm
            self.ids = {
                name: security.add_user(
                    name, name, "L", f"{name}@site.example", security.find_role(role), PASSWORD
                ).get_id()
                for name, role in (("ada", "Admin"), ("grace", "Looker"))
            }

    def user_id(self, name):
        return self.ids[name]

    def logout(self, browser):
        assert browser.get("/logout/").url.path == "/"

    def change_password(self, browser, password):
        page = browser.submit("/resetmypassword/form", password=password, conf_password=password)
        assert "Password Changed" in page.text

    def test_the_login_leads_back_to_the_page_that_was_asked_for(self):
        browser = self.visitor()
        page = browser.get("/users/list/")
        assert page.url.path == "/login/"
        assert "Access is Denied" in page.text
        page = browser.submit(str(page.url.raw_path, "ascii"), username="ada", password=PASSWORD)
        assert page.url.path == "/users/list/"
        assert "grace@site.example" in page.text

    def test_each_user_sees_what_the_role_allows_and_a_change_counts_at_once(self):
        browser = self.logged_in("grace")
        assert browser.get("/users/userinfo/").url.path == "/users/userinfo/"
        assert "ada@site.example" not in browser.get("/users/list/").text
        with self.app.app_context():
            grace = self.security.find_user("grace")
            grace.roles = [self.security.find_role("Admin")]
            self.security.update_user(grace)
        assert "ada@site.example" in browser.get("/users/list/").text

    def test_a_new_password_is_set_on_its_own_page(self):
        browser = self.logged_in("grace")
        self.change_password(browser, "another")
        assert self.who(browser) == "grace"
        self.logout(browser)
        self.login(browser, "grace")
        assert self.who(browser) == "nobody"
        self.login(browser, "grace", "another")
        assert self.who(browser) == "grace"

    def test_a_form_of_another_site_changes_no_password(self):
        browser = self.logged_in("grace")
        answer = browser.post("/resetmypassword/form", password="stolen", conf_password="stolen")
        assert answer.status_code == 400
        self.logout(browser)
        self.login(browser, "grace")
        assert self.who(browser) == "grace"

    def test_a_user_who_is_deactivated_is_logged_out(self):
        browser = self.logged_in("grace")
        with self.app.app_context():
            grace = self.security.find_user("grace")
            grace.active = False
            self.security.update_user(grace)
        assert self.who(browser) == "nobody"


class TestItsSecurityManager:
    """One of a few lines, as the page on Flask-AppBuilder has it, ends sessions where a password is set."""

    @pytest.fixture
    def program(self, tmp_path):
        program = TestFlaskAppBuilder()

        class Manager(SecurityManager):
            def reset_password(self, userid, password):
                super().reset_password(userid, password)
                program.sessions.revoke_user(str(userid), keep=session)

        program.security_manager = Manager
        program.prepare(tmp_path)
        return program

    def test_only_the_browser_that_set_a_new_password_stays_logged_in(self, program):
        browsers = [program.logged_in(name) for name in ("grace", "grace", "ada")]
        program.change_password(browsers[0], "another")
        assert [program.who(browser) for browser in browsers] == ["grace", "nobody", "ada"]

    def test_an_administrator_who_sets_it_ends_all_of_them(self, program):
        browser, admin = program.logged_in("grace"), program.logged_in("ada")
        path = f"/resetpassword/form?pk={program.ids['grace']}"
        assert "Password Changed" in admin.submit(path, password="another", conf_password="another").text
        assert (program.who(browser), program.who(admin)) == ("nobody", "ada")


def test_with_flasks_own_cookie_a_copy_is_still_logged_in_after_the_logout(tmp_path):
    """The page states it as a fact."""
    program = TestFlaskAppBuilder()
    program.database = str(tmp_path / "program.db")
    program.app = flask.Flask("program")
    program.app.config["SECRET_KEY"] = "the same for all the tests of it"
    assert type(program.app.session_interface) is SecureCookieSessionInterface
    program.build(program.app)
    browser = Browser(program.app)
    program.login(browser)
    thief = browser.twin()
    program.logout(browser)
    assert (program.who(browser), program.who(thief)) == ("nobody", "ada")
    assert "grace@site.example" in thief.get("/users/list/").text
