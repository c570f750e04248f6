"""The page on several applications: what a real browser does with their cookies, and parts of a site that differ."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from datetime import timedelta

import pytest
from flask import Flask, session

from coatcheck import CookieSettings, Sessions, merges
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing import ManualClock
from tests.demo.browsing import chromium
from tests.docs.pages import SECRET
from tests.docs.serving import wsgi_port

__all__ = ["chromium"]  # the fixture that comes from elsewhere


def browsing(test):
    """A test with a real browser, which sends Secure cookies to localhost over plain http."""
    for mark in (
        pytest.mark.browser,
        pytest.mark.xdist_group("browser"),
        pytest.mark.filterwarnings("ignore::coatcheck.InsecureTransportWarning"),
    ):
        test = mark(test)
    return test


@pytest.fixture
def serve(tmp_path):
    """Serves an application with these settings; the port."""
    with ExitStack() as served:

        def serve(url="memory://", *, secret=None, **settings):
            app = Flask("site")
            sessions = Sessions.from_url(url, secret=secret or secrets.token_urlsafe(32), **settings)
            served.callback(sessions.shutdown)
            SessionInterface(sessions).init_app(app)
            app.get("/")(lambda: session.user or "nobody")

            @app.get("/sign-in")
            def sign_in():
                session.sign_in("1")
                return "signed in"

            return served.enter_context(wsgi_port(app))

        yield serve


@pytest.fixture
def open_page(chromium):
    context = chromium.new_context()
    page = context.new_page()

    def open_page(address):
        page.goto(f"http://{address}")
        return page.locator("body").inner_text()

    open_page.cookies = lambda: {cookie["name"] for cookie in context.cookies()}
    yield open_page
    context.close()


@browsing
@pytest.mark.parametrize("insecure_http", [False, True])
def test_two_ports_with_one_name_sign_out_of_each_other(serve, open_page, insecure_http):
    one, two = (f"localhost:{serve(insecure_http=insecure_http)}" for _ in range(2))
    open_page(f"{one}/sign-in")
    assert (open_page(two), open_page(one)) == ("nobody", "1")
    open_page(f"{two}/sign-in")
    assert (open_page(two), open_page(one)) == ("1", "nobody")


@browsing
@pytest.mark.parametrize(
    ("names", "insecure_http"), [(("__Host-shop", "__Host-blog"), False), (("shop", "blog"), True)]
)
def test_a_name_for_each_keeps_both(serve, open_page, names, insecure_http):
    ports = [serve(cookie=CookieSettings(name=name), insecure_http=insecure_http) for name in names]
    for port in ports:
        open_page(f"localhost:{port}/sign-in")
    assert [open_page(f"localhost:{port}") for port in ports] == ["1", "1"]
    assert open_page.cookies() == set(names)


COMMON = CookieSettings(domain="example.localhost")


@browsing
@pytest.mark.parametrize(
    ("www", "pay", "seen", "cookies"),
    [
        (CookieSettings(), CookieSettings(), "nobody", {"__Host-session"}),
        (COMMON, COMMON, "1", {"__Secure-session"}),
        (COMMON, CookieSettings(), "nobody", {"__Secure-session", "__Host-session"}),
    ],
)
def test_subdomains_share_a_session_as_the_table_says(serve, open_page, tmp_path, www, pay, seen, cookies):
    site = {"url": f"sqlite:///{tmp_path}/site.db", "secret": SECRET}
    at_www = f"www.example.localhost:{serve(**site, cookie=www)}"
    at_pay = f"pay.example.localhost:{serve(**site, cookie=pay)}"
    open_page(f"{at_www}/sign-in")
    assert open_page(at_pay) == seen
    if seen == "nobody":
        open_page(f"{at_pay}/sign-in")
        assert open_page(at_www) == "1"
    assert open_page.cookies() == cookies


@browsing
def test_a_subdomain_with_the_same_domain_and_name_replaces_the_cookie(serve, open_page):
    real = f"www.example.localhost:{serve(cookie=COMMON)}"
    staging = f"staging.example.localhost:{serve(cookie=COMMON)}"
    open_page(f"{real}/sign-in")
    open_page(f"{staging}/sign-in")
    assert open_page(real) == "nobody"


@pytest.fixture
def part(tmp_path):
    """One part of a site, on the store that all parts share, unless told otherwise."""
    opened = []

    def part(prefix="coatcheck:", **settings):
        store = SQLiteStore(tmp_path / "site.db", prefix=prefix)
        opened.append(Sessions(store, **{"secret": SECRET, **settings}))
        return opened[-1]

    yield part
    for sessions in opened:
        sessions.shutdown()


def visit(sessions, cookie=b"", **fields):
    """A request that sets fields; the cookie that the browser has afterwards, and the user it saw."""
    session = sessions.open(cookie)
    session.update(fields)
    sent = sessions.close(session).set_cookie
    return (sent.partition(";")[0] if sent else cookie), session.user


def signed_in(sessions):
    session = sessions.open(b"")
    session.sign_in("1")
    return sessions.close(session).set_cookie.partition(";")[0]


@pytest.mark.parametrize("other", [{"secret": SECRET[::-1]}, {"prefix": "other:"}])
def test_parts_that_differ_in_secret_or_prefix_sign_out_of_each_other(part, other):
    old, new = part(), part(**other)
    cookie = signed_in(old)
    assert visit(new, cookie) == (cookie, None)
    assert visit(old, cookie) == (cookie, "1")
    replaced, _ = visit(new, cookie, theme="dark")
    assert replaced != cookie
    assert visit(old, replaced)[1] is None


def test_parts_that_differ_in_a_limit_apply_the_one_of_the_part_that_used_the_session_last(part):
    clock = ManualClock()
    hours = {hours: part(idle_timeout=timedelta(hours=hours), clock=clock) for hours in (1, 10)}
    for last, first in ((1, 10), (10, 1)):
        cookie = signed_in(hours[first])
        clock.advance(timedelta(minutes=59))
        visit(hours[last], cookie, theme="dark")
        clock.advance(timedelta(hours=2))
        assert visit(hours[10], cookie)[1] == ("1" if last == 10 else None)


def test_parts_that_differ_in_identity_enter_users_in_one_of_them_only(part):
    with_it, without = part(identity="user_id"), part()
    visit(with_it, user_id="1")
    assert len(without.of_user("1")) == 1
    visit(without, user_id="1")
    assert len(without.of_user("1")) == 1


def test_parts_that_differ_in_merge_combine_in_one_of_them_only(part):
    for other, total in (({"merge": {"visits": merges.add}}, 3), ({}, 2)):
        with_it, second = part(merge={"visits": merges.add}), part(**other)
        cookie, _ = visit(with_it, visits=1)
        tab, late = with_it.open(cookie), second.open(cookie)
        tab["visits"] += 1
        late["visits"] += 1
        with_it.close(tab)
        second.close(late)
        assert with_it.open(cookie)["visits"] == total
