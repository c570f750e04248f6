"""What Pyramid's users have around their views: transactions, retries, the debug toolbar, logins as its tutorials show them."""

import json
import re
import warnings

import pytest
import transaction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Pyramid imports pkg_resources
    from pyramid.authentication import SessionAuthenticationHelper
    from pyramid.config import Configurator
    from pyramid.csrf import get_csrf_token, new_csrf_token
    from pyramid.httpexceptions import HTTPSeeOther
    from pyramid.request import Request, RequestLocalCache
    from pyramid.security import forget, remember
    from pyramid_retry import RetryableException

from coatcheck import Sessions
from coatcheck.stores.memory import MemoryStore
from tests.behaviours.site import SECRET

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class Browser:
    """A visitor with a jar of cookies."""

    def __init__(self, app):
        self.app = app
        self.cookies = {}

    def ask(self, path, fields=None):
        options = {"POST": fields} if fields is not None else {}
        request = Request.blank(
            path, base_url="https://localhost", cookies=self.cookies, remote_addr="127.0.0.1", **options
        )
        response = request.get_response(self.app)
        self.set_cookies = response.headers.getall("Set-Cookie")
        for line in self.set_cookies:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return response


@pytest.fixture
def sessions():
    return Sessions(MemoryStore(), secret=SECRET)


@pytest.fixture
def config(sessions):
    return Configurator(settings={"coatcheck.sessions": sessions})


def browser_of(config, **views):
    """The application with a view at the path of each name; what a view returns is its JSON."""
    for name, view in views.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, renderer="json")
    return Browser(config.make_wsgi_app())


def show(request):
    return dict(request.session)


# Transactions and retries


@pytest.fixture(params=["before", "after"])
def with_transactions(config, request):
    """pyramid_tm and pyramid_retry, included before Coatcheck or after it."""
    names = ["pyramid_tm", "pyramid_retry"]
    config.get_settings().update({"tm.commit_veto": "pyramid_tm.default_commit_veto", "retry.attempts": 3})
    names.insert(0 if request.param == "after" else 2, "coatcheck.frameworks.pyramid")
    for name in names:
        config.include(name)
    return config


class Resource:
    """What joins a transaction, and sees how it ends."""

    def __init__(self, *, breaks=False):
        self.breaks = breaks
        self.ended = None
        self.transaction_manager = transaction.manager

    def abort(self, _):
        self.ended = "aborted"

    def tpc_begin(self, _):
        if self.breaks:
            raise ZeroDivisionError

    commit = tpc_vote = tpc_abort = lambda self, _: None

    def tpc_finish(self, _):
        self.ended = "committed"

    def sortKey(self):
        return ""


def joined(request, **options):
    resource = Resource(**options)
    request.tm.get().join(resource)
    return resource


def test_a_commit_goes_with_the_session_and_a_vetoed_response_is_stored_like_any_other(with_transactions):
    resources = []

    def good(request):
        resources.append(joined(request))
        request.session["good"] = 1
        return {}

    def vetoed(request):
        resources.append(joined(request))
        request.session["vetoed"] = 1
        request.response.status = 409
        return {}

    browser = browser_of(with_transactions, good=good, vetoed=vetoed, show=show)
    assert [browser.ask(path).status_int for path in ("/good", "/vetoed")] == [200, 409]
    assert [resource.ended for resource in resources] == ["committed", "aborted"]
    assert browser.ask("/show").json == {"good": 1, "vetoed": 1}


def test_a_commit_that_fails_takes_the_changes_of_the_session_with_it(with_transactions, sessions):
    def view(request):
        joined(request, breaks=True)
        request.session["a"] = 1
        return {}

    browser = browser_of(with_transactions, view=view)
    with pytest.raises(ZeroDivisionError):
        browser.ask("/view")
    assert sessions.count() == 0


def test_of_a_request_that_is_tried_again_only_the_last_attempt_is_stored(with_transactions, sessions):
    attempts = []

    def view(request):
        session = request.session
        attempts.append((dict(session), session.peek_flash()))
        session["tries"] = session.get("tries", 0) + 1
        session.flash(f"attempt {len(attempts)}")
        if len(attempts) < 3:
            raise RetryableException
        return {}

    browser = browser_of(with_transactions, view=view, show=show)
    assert browser.ask("/view").status_int == 200
    assert (len(browser.set_cookies), sessions.count()) == (1, 1)
    assert attempts == [({}, [])] * 3
    assert browser.ask("/show").json == {"tries": 1}


def test_a_request_that_never_succeeds_stores_nothing(with_transactions, sessions):
    def view(request):
        request.session["a"] = 1
        raise RetryableException

    browser = browser_of(with_transactions, view=view)
    with pytest.raises(RetryableException):
        browser.ask("/view")
    assert sessions.count() == 0


# The debug toolbar


@pytest.mark.parametrize("first", [True, False])
def test_the_debug_toolbar_shows_the_session_and_changes_nothing(config, sessions, first):
    names = ["pyramid_debugtoolbar", "coatcheck.frameworks.pyramid"]
    for name in names if first else names[::-1]:
        config.include(name)

    def page(request):
        request.session["visits"] = request.session.get("visits", 0) + 1
        return {"visits": request.session["visits"]}

    def plain(request):
        return {}

    def html(info):
        return lambda value, system: f"<html><body>{json.dumps(value)}</body></html>"

    config.add_renderer("json", html)
    browser = browser_of(config, page=page, plain=plain)
    for count in (1, 2):
        answer = browser.ask("/page")
        assert f'{{"visits": {count}}}' in answer.text
        assert "pDebug" in answer.text  # the toolbar is there
    (toolbar,) = re.findall(r'href="(https://localhost/_debug_toolbar/\w+)"', answer.text)
    assert "visits" in browser.ask(toolbar).text
    assert sessions.count() == 1
    stranger = Browser(browser.app)
    assert "pDebug" in stranger.ask("/plain").text
    assert (stranger.set_cookies, sessions.count()) == ([], 1)


# Logins


USERS = {1: "editor", 2: "basic"}


class SecurityPolicy:
    """As Pyramid's tutorials write it, on the helper that keeps the user's id in the session."""

    def __init__(self):
        self.helper = SessionAuthenticationHelper()
        self.cache = RequestLocalCache(self.load)

    def load(self, request):
        return USERS.get(self.helper.authenticated_userid(request))

    def identity(self, request):
        return self.cache.get_or_create(request)

    def authenticated_userid(self, request):
        return self.helper.authenticated_userid(request) if self.identity(request) else None

    def permits(self, request, context, permission):
        return self.identity(request) == "editor"

    def remember(self, request, userid, **kw):
        return self.helper.remember(request, userid, **kw)

    def forget(self, request, **kw):
        return self.helper.forget(request, **kw)


@pytest.fixture
def wiki(config):
    config.get_settings()["coatcheck.identity"] = "auth.userid"
    config.include("coatcheck.frameworks.pyramid")
    config.set_default_csrf_options(require_csrf=True, check_origin=False)
    config.set_security_policy(SecurityPolicy())

    def login(request):
        if request.method == "POST":
            ids = [number for number, name in USERS.items() if name == request.params["login"]]
            if ids:
                new_csrf_token(request)
                return HTTPSeeOther(request.params["next"], headers=remember(request, ids[0]))
            request.response.status = 400
            request.session.flash("Failed login")
        return {"token": get_csrf_token(request), "messages": request.session.pop_flash()}

    def logout(request):
        new_csrf_token(request)
        return HTTPSeeOther("/login", headers=forget(request))

    def page(request):
        return {"who": request.identity, "id": request.authenticated_userid, "token": get_csrf_token(request)}

    def refused(error, request):
        if not request.is_authenticated:
            return HTTPSeeOther(request.route_url("login", _query={"next": request.url}))
        request.response.status = 403
        return {}

    config.add_forbidden_view(refused, renderer="json")
    config.add_route("edit", "/edit")
    config.add_view(page, route_name="edit", permission="edit", renderer="json")
    return browser_of(config, login=login, logout=logout, page=page)


def sign_in(browser, name):
    token = browser.ask("/login").json["token"]
    return browser.ask("/login", {"login": name, "next": "/edit", "csrf_token": token})


def test_a_wikis_login_leads_where_the_visitor_wanted_to_go(wiki, sessions):
    refused = wiki.ask("/edit")
    assert (refused.status_int, refused.location) == (
        303,
        "https://localhost/login?next=https%3A%2F%2Flocalhost%2Fedit",
    )
    wiki.ask("/login")
    before = dict(wiki.cookies)
    answer = sign_in(wiki, "editor")
    assert (answer.status_int, answer.location) == (303, "https://localhost/edit")
    assert wiki.cookies != before
    assert wiki.ask("/edit").json.items() >= {"who": "editor", "id": 1}.items()
    assert len(sessions.of_user("1")) == 1


def test_a_wrong_name_is_told_and_signs_nobody_in(wiki, sessions):
    answer = sign_in(wiki, "stranger")
    assert (answer.status_int, answer.json["messages"]) == (400, ["Failed login"])
    assert wiki.ask("/page").json["who"] is None


def test_a_user_without_the_permission_is_refused(wiki):
    sign_in(wiki, "basic")
    assert wiki.ask("/edit").status_int == 403


def test_a_copied_cookie_is_dead_after_the_wikis_logout(wiki, sessions):
    sign_in(wiki, "editor")
    thief = Browser(wiki.app)
    thief.cookies = dict(wiki.cookies)
    token = wiki.ask("/page").json["token"]
    assert wiki.ask("/logout", {"csrf_token": token}).status_int == 303
    assert [browser.ask("/page").json["who"] for browser in (wiki, thief)] == [None, None]
    assert sessions.of_user("1") == []


def test_a_users_sessions_end_elsewhere(wiki, sessions):
    sign_in(wiki, "editor")
    assert sessions.revoke_user("1") == 1
    assert wiki.ask("/page").json["who"] is None
