"""The second and third section of the page on troubleshooting: each symptom is provoked, and cured as the page says."""

from __future__ import annotations

import re
import secrets
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from fastapi import BackgroundTasks
from fastapi.testclient import TestClient
from flask import request, session
from starlette.requests import Request

from coatcheck import (
    CoatcheckError,
    CookieSettings,
    Sessions,
    errors,
    merges,
)
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import ManualClock, cookies_for
from tests.docs.pages import DOCS, SECRET
from tests.docs.symptoms import HTTPS, MESSAGES, SYMPTOMS, api, site, symptom

TESTS = "".join(file.read_text() for file in Path(__file__).parent.glob("test_symptoms*.py"))


def test_every_symptom_of_the_page_is_shown_once():
    assert sorted(re.findall(r'^@symptom\("(.*)"\)$', TESTS, re.MULTILINE)) == sorted(SYMPTOMS)


def test_every_message_of_the_page_is_raised():
    quoting = [heading for heading, messages in MESSAGES.items() if messages]
    assert sorted(set(re.findall(r'quoted\(\s*"(.*?)",', TESTS))) == sorted(quoting)


def test_every_public_error_and_warning_has_its_symptom():
    page = (DOCS / "how-to" / "troubleshooting.md").read_text()
    assert [name for name in errors.__all__ if f"`{name}`" not in page] == ["CoatcheckError", "StoreError"]


# Visitors are signed out


def seen_by(other, signed_in_at):
    """What another process says to a visitor who signed in at the first one."""
    client = signed_in_at.test_client()
    client.get("/sign-in")
    browser = other.test_client()
    browser.set_cookie("__Host-session", client.get_cookie("__Host-session").value)
    return browser.get("/").text


@symptom("Everybody is signed out at each restart or deploy")
def test_a_secret_that_is_made_at_the_start():
    store = MemoryStore()
    before, after = (site(store, secret=secrets.token_urlsafe(32)) for _ in range(2))
    assert seen_by(after, before) == "nobody"
    assert seen_by(site(store), site(store)) == "ada"


@symptom("A visitor is signed in at one request and not at the next")
def test_a_memory_for_each_process():
    assert seen_by(site(), site()) == "nobody"
    store = MemoryStore()
    assert seen_by(site(store), site(store)) == "ada"


@symptom("Everybody is signed out at the same time")
def test_a_secret_that_was_replaced():
    store, new = MemoryStore(), secrets.token_urlsafe(32)
    assert seen_by(site(store, secret=new), site(store)) == "nobody"
    assert seen_by(site(store, secret=[new, SECRET]), site(store)) == "ada"


@symptom("A visitor is signed out after a day")
def test_the_limit_of_a_day():
    clock = ManualClock()
    app = site(clock=clock)
    plain, remembered = app.test_client(), app.test_client()
    plain.get("/sign-in")
    remembered.get("/sign-in?remember=on")
    clock.advance(timedelta(days=2))
    assert (plain.get("/").text, remembered.get("/").text) == ("nobody", "ada")


@symptom("A visitor is signed out when the browser is closed")
def test_a_cookie_that_ends_with_the_browser():
    client = site().test_client()
    assert "Max-Age" not in client.get("/sign-in").headers["Set-Cookie"]
    assert "Max-Age=7776000" in client.get("/sign-in?remember=on").headers["Set-Cookie"]


@symptom("A visitor is signed out by another application on the same host")
def test_two_applications_with_one_name():
    # A real browser shows it in test_several_apps.py.
    shop, blog = site(), site(secret=SECRET[::-1])
    client = shop.test_client()
    client.get("/sign-in")
    browser = blog.test_client()
    browser.set_cookie("__Host-session", client.get_cookie("__Host-session").value)
    assert browser.get("/set?a=1").headers["Set-Cookie"].startswith("__Host-session=")
    named = site(secret=SECRET[::-1], cookie=CookieSettings(name="__Host-blog"))
    assert named.test_client().get("/set?a=1").headers["Set-Cookie"].startswith("__Host-blog=")


@symptom("`revoke_user` ends sessions of another site")
def test_two_sites_with_one_prefix(tmp_path):
    def sites(*prefixes):
        url = f"sqlite:///{tmp_path / 'all.db'}"
        return [
            Sessions.from_url(url, secret=secrets.token_urlsafe(32), prefix=prefix) for prefix in prefixes
        ]

    for prefixes, ended in ((("same:", "same:"), 1), (("shop:", "blog:"), 0)):
        shop, blog = sites(*prefixes)
        cookies_for(shop, user="1")
        assert blog.revoke_user("1") == ended
        shop.shutdown()
        blog.shutdown()


@symptom("The basket is gone after signing in")
def test_fields_at_a_sign_in():
    client = site().test_client()
    client.get("/set?basket=scarf&theme=dark")
    client.get("/sign-in?as=ada")
    assert client.get("/fields").json == {"basket": "scarf", "theme": "dark"}
    client.get("/sign-in?as=bob&keep=theme")
    assert client.get("/fields").json == {"theme": "dark"}


# A change is lost


@symptom("A change in a thread or task that outlives its request is lost")
def test_a_thread_that_outlives_its_request():
    app = site()
    over, threads = threading.Event(), []

    def work(visitors, handle):
        over.wait()
        visitors["basket"].append("mac")
        with suppress(CoatcheckError):
            visitors["late"] = True
        with app.sessions.edit(handle) as edited:
            edited["report"] = "ready"

    @app.get("/begin")
    def begin():
        session["basket"] = ["scarf"]
        session.save()
        threads.append(threading.Thread(target=work, args=(session._get_current_object(), session.handle)))
        threads[0].start()
        return "begun"

    client = app.test_client()
    client.get("/begin").get_data()
    over.set()
    threads[0].join()
    assert client.get("/fields").json == {"basket": ["scarf"], "report": "ready"}


def test_a_background_task_of_the_framework_belongs_to_the_request():
    async def begin(request: Request, tasks: BackgroundTasks):
        request.session["began"] = True
        tasks.add_task(request.session.update, report="ready")

    app = api(begin, "/begin")

    @app.get("/fields")
    async def fields(request: Request):
        return dict(request.session)

    with TestClient(app, base_url=HTTPS) as client:
        client.get("/begin")
        assert client.get("/fields").json() == {"began": True, "report": "ready"}


@symptom("A change is lost if the handler raises")
def test_a_handler_that_raises():
    app = site()

    @app.get("/raise")
    def raises():
        session["tried"] = 1
        if "save" in request.args:
            session.save()
        raise ValueError

    client = app.test_client()
    assert client.get("/raise").status_code == 500
    assert client.get("/fields").json == {}
    assert client.get("/raise?save").status_code == 500
    assert client.get("/fields").json == {"tried": 1}


@symptom("One of two changes at the same moment is lost")
def test_two_tabs():
    sessions = Sessions(MemoryStore(), secret=SECRET, merge={"visits": merges.add})
    fields = {"assigned": ["hat"], "edited": ["hat"], "visits": 1}
    ((name, value),) = cookies_for(sessions, fields).items()
    tab, other = (sessions.open(f"{name}={value}") for _ in range(2))
    for opened, good in ((tab, "scarf"), (other, "mac")):
        opened["assigned"] = [*opened["assigned"], good]
        opened["edited"].append(good)
        opened["visits"] += 1
    sessions.close(tab)
    sessions.close(other)
    stored = dict(sessions.open(f"{name}={value}"))
    assert stored == {"assigned": ["hat", "mac"], "edited": ["hat", "scarf", "mac"], "visits": 3}


@symptom("The store fills with sessions of nobody")
def test_a_token_for_each_robot():
    app = site()

    @app.get("/layout")
    def layout():
        return session.csrf_token()

    robot = app.test_client(use_cookies=False)
    for path, stored in (("/", 0), ("/fields", 0), ("/layout", 3)):
        for _ in range(3):
            robot.get(path)
        assert app.sessions.count() == stored
