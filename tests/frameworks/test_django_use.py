"""Django: logins, the admin, messages, lifetimes, checks, and the test client."""

from tests.frameworks.django_site import MIDDLEWARE, OURS  # first, since it configures Django

# isort: split

import re
from datetime import timedelta
from http.cookies import SimpleCookie
from io import StringIO

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.auth import alogin, get_user_model, login, logout, update_session_auth_hash
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.http import HttpResponse, JsonResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment
from django.urls import path
from django.utils import timezone
from django.utils.safestring import mark_safe

from coatcheck import Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.frameworks.django import SessionStore, aget_session, get_session, sessions
from coatcheck.frameworks.django.admin import SessionsOfUser
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.clock import ManualClock
from coatcheck.testing.failing import FailingStore

SECRET = "c0d9Zt0hQx1rJYm7pKf2vN8sWb4uLgE6oAiXyTzCqRk"
views = {}
site = admin.AdminSite()


class Users(SessionsOfUser, UserAdmin):
    pass


site.register(get_user_model(), Users)


def call(request, name):
    return views[name](request) or HttpResponse("done")


async def acall(request, name):
    return await views[name](request) or HttpResponse("done")


urlpatterns = [path("admin/", site.urls), path("async/<name>", acall), path("<name>", call)]


@pytest.fixture(scope="module", autouse=True)
def database():
    call_command("migrate", stdout=StringIO(), run_syncdb=True)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    return FailingStore(MemoryStore())


@pytest.fixture(autouse=True)
def manager(store, clock):
    manager = Sessions(store, secret=SECRET, identity="_auth_user_id", insecure_http=True, clock=clock)
    manager = manager.with_settings(cookie=type(manager.settings.cookie)(name="sessionid"))
    setup_test_environment()
    with override_settings(
        COATCHECK=manager,
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
        SESSION_EXPIRE_AT_BROWSER_CLOSE=False,
    ):
        yield manager
    teardown_test_environment()
    get_user_model().objects.all().delete()


@pytest.fixture
def user():
    return get_user_model().objects.create_user(
        "ada", "ada@example.org", "pass", is_staff=True, is_superuser=True
    )


def visit(name, view, client):
    views[name] = view
    return client.get(f"/{name}")


def test_login_signs_in_and_logout_ends(user, manager):
    client = Client(headers={"user-agent": "Nice browser"})
    visit("in", lambda request: login(request, user), client)
    (info,) = manager.of_user(str(user.pk))
    assert info.client == "Nice browser"
    copied = client.cookies["sessionid"].value
    shown = visit("me", lambda request: HttpResponse(request.user.username), client)
    assert shown.content == b"ada"
    visit("out", logout, client)
    assert manager.of_user(str(user.pk)) == []
    thief = Client()
    thief.cookies["sessionid"] = copied
    assert visit("me", lambda request: HttpResponse(request.user.username), thief).content == b""


def test_a_login_changes_the_secret_and_keeps_what_the_visitor_had(user):
    client = Client()
    visit("put", lambda request: request.session.update({"cart": [1]}), client)
    before = client.cookies["sessionid"].value
    visit("in", lambda request: login(request, user), client)
    assert client.cookies["sessionid"].value != before
    assert client.session["cart"] == [1]


def test_revoking_a_user_and_changing_a_password_log_out(user, manager):
    here, there = Client(), Client()
    for client in (here, there):
        client.force_login(user)

    def change(request):
        request.user.set_password("other")
        request.user.save()
        update_session_auth_hash(request, request.user)

    visit("change", change, here)
    me = lambda request: HttpResponse(request.user.username)
    assert visit("me", me, here).content == b"ada"
    assert visit("me", me, there).content == b""
    assert manager.revoke_user(str(user.pk)) >= 1
    assert visit("me", me, here).content == b""


def test_the_public_name_opens_nothing_and_holds_no_token(user):
    client = Client()
    visit("in", lambda request: login(request, user), client)
    key = client.session.session_key
    token = client.cookies["sessionid"].value
    assert (len(key), type(key)) == (40, str)
    assert token not in f"{key}{key!r}"
    teardown_test_environment()
    try:
        stranger = Client(SERVER_NAME="localhost")
        stranger.cookies["sessionid"] = key
        assert visit("me", lambda request: HttpResponse(request.user.username), stranger).content == b""
        assert "_auth_user_id" not in SessionStore(key)
        assert SessionStore().exists(key)
    finally:
        setup_test_environment()


def test_a_new_visitor_can_get_a_name(manager):
    def view(request):
        assert request.session.session_key is None
        request.session.create()
        return HttpResponse(request.session.session_key)

    client = Client()
    name = visit("name", view, client).content.decode()
    assert manager.find(name[:32]) is not None
    assert (
        visit("name", lambda request: HttpResponse(request.session.session_key), client).content.decode()
        == name
    )


def test_a_test_prepares_a_session_and_looks_into_it_afterwards():
    client = Client()
    session = client.session
    session["cart"] = [1]
    session.save()
    views["add"] = lambda request: request.session["cart"].append(2)
    client.get("/add")
    assert client.session["cart"] == [1, 2]


def test_set_expiry_is_enforced_by_the_record(clock):
    for value, lives in ((300, 299), (timedelta(minutes=5), 299)):
        client = Client()
        visit(
            "put",
            lambda request, value=value: (
                request.session.update({"a": 1}) or request.session.set_expiry(value)
            ),
            client,
        )
        clock.advance(lives)
        twin = Client()
        twin.cookies = SimpleCookie(client.cookies.output(header=""))
        clock.advance(2)
        assert visit("get", lambda request: HttpResponse(request.session.get("a")), twin).content == b"None"
    client = Client()
    visit("close", lambda request: request.session.update({"a": 1}) or request.session.set_expiry(0), client)
    assert not client.cookies["sessionid"]["max-age"]
    views["date"] = lambda request: request.session.set_expiry(timezone.now() + timedelta(days=9999))
    assert client.get("/date").cookies["sessionid"]["max-age"]


def test_sessions_outlive_the_browser_unless_the_setting_says_otherwise():
    for closes in (False, True):
        with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=closes):
            for begin in (
                lambda request: request.session.update({"a": 1}),
                lambda request: request.session.create(),
                lambda request: messages.info(request, "x"),
            ):
                cookie = visit("begin", begin, Client()).cookies["sessionid"]
                assert bool(cookie["max-age"]) is not closes
                assert cookie["httponly"]


def test_each_message_is_shown_once_with_its_level_and_tags(manager):
    client = Client()

    def leave(request):
        messages.error(request, "wrong", extra_tags="big")
        messages.add_message(request, 35, mark_safe("<b>own</b>"))
        get_session(request).flash("from Flask", "message")
        get_session(request).flash("from Pyramid", "success")

    def show(request):
        waiting = messages.get_messages(request)
        assert (len(waiting), bool(waiting)) == (4, True)
        return JsonResponse([[m.level, str(m.message), m.tags] for m in waiting], safe=False)

    visit("leave", leave, client)
    visit("count", lambda request: HttpResponse(len(messages.get_messages(request))), client)
    assert visit("show", show, client).json() == [
        [messages.INFO, "from Flask", "message info"],
        [messages.SUCCESS, "from Pyramid", "success"],
        [messages.ERROR, "wrong", "big error"],
        [35, "<b>own</b>", ""],
    ]
    assert (
        visit("none", lambda request: HttpResponse(len(messages.get_messages(request))), client).content
        == b"0"
    )


def test_a_message_is_shown_by_other_frameworks_as_what_it_is():
    client = Client()
    visit(
        "leave", lambda request: messages.success(request, mark_safe("<i>saved</i>"), extra_tags="t"), client
    )
    (flash,) = client.session.session.peek_flashes()
    assert (flash.category, flash.message, flash.markup, flash.tags) == ("success", "<i>saved</i>", True, "t")


def test_a_message_that_its_own_response_shows_is_not_left():
    def view(request):
        messages.info(request, "now")
        shown = [str(message) for message in messages.get_messages(request)]
        messages.info(request, "later")
        return JsonResponse(shown, safe=False)

    client = Client()
    assert visit("both", view, client).json() == ["now"]
    shown = visit(
        "rest", lambda r: JsonResponse([str(m) for m in messages.get_messages(r)], safe=False), client
    )
    assert shown.json() == ["later"]


@pytest.mark.parametrize("known", [True, False])
def test_who_signed_in_at_another_framework_is_the_user_here(user, manager, known):
    client = Client()
    session = manager.open(b"")
    session.sign_in(str(user.pk) if known else "nobody")
    manager.save(session)
    client.cookies["sessionid"] = manager.cookie_of(session)["sessionid"]
    view = lambda request: HttpResponse(request.user.username)
    assert visit("me", view, client).content == b""
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], f"{OURS}.auth.AuthenticationMiddleware"]):
        client = Client()
        client.cookies["sessionid"] = manager.cookie_of(session)["sessionid"]
        assert visit("me", view, client).content == (b"ada" if known else b"")

        async def aview(request):
            return HttpResponse((await request.auser()).username)

        views["ame"] = aview
        assert client.get("/async/ame").content == (b"ada" if known else b"")
        visit("put", lambda request: request.session.update({"a": 1}), client)
        (info,) = manager.of_user(session.user)
        assert manager.find(info.handle).user == session.user


def test_staff_see_the_devices_of_a_user_and_end_them(user, manager):
    other = get_user_model().objects.create_user("bob", password="pass")
    device = Client(headers={"user-agent": "<Phone>"})
    visit("in", lambda request: login(request, other), device)
    staff = Client()
    staff.force_login(user)
    page = staff.get(f"/admin/auth/user/{other.pk}/change/").content.decode()
    assert "&lt;Phone&gt;" in page
    (target,) = re.findall(r'formaction="\.\.(/sessions/\w+/end/)"', page)
    assert device.post(f"/admin/auth/user/{other.pk}{target}").status_code == 302
    assert staff.get(f"/admin/auth/user/{other.pk}{target}").status_code == 405
    assert staff.post(f"/admin/auth/user/{user.pk}{target}").status_code == 302
    assert len(manager.of_user(str(other.pk))) == 1
    done = staff.post(f"/admin/auth/user/{other.pk}{target}", follow=True)
    assert done.redirect_chain[-1][1] == 302
    assert manager.of_user(str(other.pk)) == []
    visit("in", lambda request: login(request, other), device)
    staff.post("/admin/auth/user/", {"action": "end_sessions", "_selected_action": [other.pk]})
    assert manager.of_user(str(other.pk)) == []


def test_an_async_view_reads_what_was_loaded_and_never_blocks_its_loop(user):
    async def view(request):
        await alogin(request, user)
        session = await aget_session(request)
        await request.session.aset("a", 1)
        with pytest.raises(SynchronousOnlyOperation):
            request.session.save()
        return HttpResponse(session.is_new)

    async def visits():
        client = AsyncClient()
        views["in"] = view
        response = await client.get("/async/in")
        assert response.content == b"True"

        async def read(request):
            assert get_session(request).user == str(user.pk)
            return HttpResponse(request.session["a"])

        views["read"] = read
        assert (await client.get("/async/read")).content == b"1"

    async_to_sync(visits)()


def test_an_outage_is_a_503_also_where_another_middleware_met_it(store):
    client = Client()
    visit("put", lambda request: request.session.update({"a": 1}), client)

    def meets(get_response):
        def middleware(request):
            request.session.get("a")
            return get_response(request)

        return middleware

    views["plain"] = lambda request: None
    from tests.frameworks import django_site

    django_site.meets = meets
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], "tests.frameworks.django_site.meets"]):
        again = Client(raise_request_exception=False)
        again.cookies = client.cookies
        store.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
        response = again.get("/plain")
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert not response.cookies


def test_every_request_slides_where_the_setting_says_so(clock, manager):
    client = Client()
    visit("put", lambda request: request.session.update({"a": 1}), client)
    name = client.session.session_key
    before = manager.find(name[:32]).last_used_at
    clock.advance(3 * 86400)
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        response = visit("plain", lambda request: None, client)
        assert "Cookie" in response.headers["Vary"]
        assert "sessionid" not in visit("plain", lambda request: None, Client()).cookies
    assert manager.find(name[:32]).last_used_at > before


def test_clearsessions_removes_expired_sessions(clock, store):
    visit("put", lambda request: request.session.update({"a": 1}), Client())
    clock.advance(91 * 86400)
    call_command("clearsessions")
    assert sessions().sweep() == 0


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, {"coatcheck.E001"}),
        ({"COATCHECK": {}}, {"coatcheck.E002"}),
        ({"COATCHECK": {"url": "memory://", "identity": None}}, {"coatcheck.W001"}),
        ({"SESSION_COOKIE_SECURE": False}, {"coatcheck.W002"}),
        ({"SESSION_COOKIE_HTTPONLY": False}, {"coatcheck.W003"}),
    ],
)
def test_check_says_what_is_wrong(changed, expected):
    from coatcheck.frameworks.django.apps import _check

    given = {"COATCHECK": {"url": "memory://"}, "DEBUG": False, "SESSION_COOKIE_SECURE": True, **changed}
    with override_settings(**given):
        assert {message.id for message in _check()} == expected


@pytest.mark.parametrize(("debug", "secure"), [(True, False), (False, True)])
def test_a_site_that_says_nothing_is_secure_but_under_debug(debug, secure):
    teardown_test_environment()
    try:
        with override_settings(COATCHECK={"url": "memory://"}, DEBUG=debug):
            assert sessions().settings.template.secure is secure
    finally:
        setup_test_environment()


def test_a_login_that_django_refuses_stays_refused_where_other_frameworks_sign_in_too(user, manager):
    me = lambda request: HttpResponse(request.user.username)
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], f"{OURS}.auth.AuthenticationMiddleware"]):
        client = Client()
        client.force_login(user)
        assert visit("me", me, client).content == b"ada"
        session = client.session
        session["_auth_user_backend"] = "removed.Backend"
        session.save()
        assert visit("me", me, client).content == b""
        client = Client()
        client.force_login(user)
        user.set_password("other")
        user.save()
        assert visit("me", me, client).content == b""


def test_staff_who_may_not_change_a_user_end_none_of_his_sessions(user, manager):
    get_user_model().objects.create_user("eve", password="pass", is_staff=True)
    client = Client()
    client.force_login(user)
    (info,) = manager.of_user(str(user.pk))
    staff = Client()
    staff.login(username="eve", password="pass")
    address = f"/admin/auth/user/{user.pk}/sessions/{info.handle}/end/"
    assert staff.post(address).status_code == 403
    assert len(manager.of_user(str(user.pk))) == 1


def test_a_message_that_comes_between_two_looks_is_left_for_the_next_response():
    def view(request):
        shown = [str(message) for message in messages.get_messages(request)]
        get_session(request).flash("later", "info")
        return JsonResponse([*shown, *map(str, messages.get_messages(request))], safe=False)

    client = Client()
    visit("leave", lambda request: messages.info(request, "now"), client)
    assert visit("twice", view, client).json() == ["now", "now"]
    assert visit("twice", view, client).json() == ["later", "later"]
