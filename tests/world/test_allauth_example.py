"""django-allauth's example project, from its source package: only local_settings.py, which it reads itself, is ours."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.world.serving import ROOT, gunicorn_with

SOURCES = Path(sys.prefix) / "sources"
LOCAL_SETTINGS = """
from example.settings import BASE_DIR, INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ("coatcheck.frameworks.django", *INSTALLED_APPS)
MIDDLEWARE = ("coatcheck.frameworks.django.SessionMiddleware", *MIDDLEWARE[1:])
SESSION_ENGINE = "coatcheck.frameworks.django"
COATCHECK = {"url": f"sqlite:///{BASE_DIR}/sessions.db"}

EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = BASE_DIR / "mails"
"""
ADA, PASSWORD, OTHER = "ada@example.com", "a lock without its key", "another lock entirely"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = tmp_path_factory.mktemp("allauth") / "project"
    (source,) = SOURCES.glob("django_allauth-*")
    shutil.copytree(source / "examples" / "regular-django", project)
    (project / "example" / "local_settings.py").write_text(LOCAL_SETTINGS)
    return project


@pytest.fixture(scope="module")
def address(project):
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=project, env=env, check=True, capture_output=True)
    options = ("--chdir", project, "--workers", "2")
    with gunicorn_with("example.wsgi:application", project, env, *options) as url:
        yield url


class Visitor:
    """A browser that fills in forms and follows redirects."""

    def __init__(self, address):
        self.client = httpx.Client(base_url=address, follow_redirects=True, timeout=60)

    def fill(self, form, **fields):
        page = self.client.get(form)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
        answer = self.client.post(page.url, data={"csrfmiddlewaretoken": token, **fields})
        assert answer.status_code == 200, answer.text
        return answer

    def log_in(self, password=PASSWORD):
        return self.fill("/accounts/login/", login=ADA, password=password)

    @property
    def is_in(self):
        answer = self.client.get("/accounts/password/change/")
        assert answer.status_code == 200
        return answer.url.path == "/accounts/password/change/"

    @property
    def cookie(self):
        return self.client.cookies["sessionid"]


@pytest.fixture
def visitor(address):
    visitor = Visitor(address)
    yield visitor
    visitor.client.close()


def thief_of(address, cookie):
    thief = Visitor(address)
    thief.client.cookies.set("sessionid", cookie)
    return thief


def code_of(project):
    """The code in the newest mail."""
    newest = max((project / "mails").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return re.search(r"(?m)^([A-Z0-9]{3,}-[A-Z0-9]{3,})$", newest.read_text())[1]


def test_its_checks_find_nothing_about_sessions(project, address):
    check = [sys.executable, "manage.py", "check", "--tag", "security"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
    told = subprocess.run(check, cwd=project, env=env, check=True, capture_output=True, text=True)
    assert "no issues" in told.stdout


def test_a_visitor_signs_up_logs_out_and_in_and_old_cookies_are_dead(project, address, visitor):
    visitor.fill("/accounts/signup/", email=ADA, password1=PASSWORD, password2=PASSWORD)
    assert not visitor.is_in
    visitor.fill("/accounts/confirm-email/", code=code_of(project))
    assert visitor.is_in
    copied = visitor.cookie
    assert thief_of(address, copied).is_in

    visitor.fill("/accounts/logout/")
    assert not visitor.is_in
    assert not thief_of(address, copied).is_in

    visitor.log_in()
    other = Visitor(address)
    other.log_in()
    page = visitor.client.get("/accounts/sessions/").text
    assert page.count("<tr>") == 1 + 2
    visitor.fill("/accounts/sessions/")
    assert (visitor.is_in, other.is_in) == (True, False)

    other.log_in()
    visitor.fill("/accounts/password/change/", oldpassword=PASSWORD, password1=OTHER, password2=OTHER)
    assert (visitor.is_in, other.is_in) == (True, False)
    visitor.fill("/accounts/logout/")
    visitor.log_in(OTHER)
    assert visitor.is_in
