"""Django: lifetimes, messages, checks, async views, and the test client."""

from tests.frameworks.django_use import (  # first, since it configures Django
    MIDDLEWARE,
    a_site,
    new_user,
    views,
    visit,
)

# isort: split

import asyncio
from datetime import timedelta
from http.cookies import SimpleCookie

import pytest
from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth import alogin, login
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.management import call_command
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment
from django.utils import timezone
from django.utils.safestring import mark_safe

from coatcheck import CookieSettings, Sessions
from coatcheck.errors import ConfigurationError, StoreUnavailable
from coatcheck.frameworks.django import SessionMiddleware, SessionStore, get_session, sessions
from coatcheck.frameworks.django.engine import DjangoSession
from coatcheck.responder import Responder
from tests.behaviours.site import SECRET
from tests.migrate.house import OLD, Library


@pytest.fixture(autouse=True)
def manager(store, clock):
    with a_site(store, clock) as manager:
        yield manager


@pytest.fixture
def user():
    return new_user("ada", is_staff=True, is_superuser=True)


def test_set_expiry_is_enforced_by_the_record(clock):
    for value, lives in ((300, 299), (300.0, 299), (timedelta(minutes=5), 299)):
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


@pytest.mark.parametrize("ended", [False, True], ids=["new", "just-ended"])
def test_the_expiry_that_is_set_before_a_login_stays(clock, manager, user, ended):
    def sign_in(request):
        request.session.set_expiry(value)
        login(request, user)

    for value in (0, 300):
        client = Client()
        if ended:
            visit("put", lambda request: request.session.update({"a": 1}), client)
            SessionStore().delete(client.session.session_key)
        response = visit("in", sign_in, client)
        assert bool(response.cookies["sessionid"]["max-age"]) is bool(value)
        assert client.session.session.user == str(user.pk)
    clock.advance(301)
    assert client.session.session.user is None


@pytest.mark.parametrize("past", [-1, timedelta(seconds=-1)])
def test_an_expiry_in_the_past_ends_the_session(past):
    client = Client()
    visit("put", lambda request: request.session.update({"a": 1}), client)
    visit("end", lambda request: request.session.set_expiry(past), client)
    assert "a" not in client.session


def test_a_flash_before_the_login_of_a_new_visitor_stays(user):
    client = Client()
    visit("in", lambda request: get_session(request).flash("hello") or login(request, user), client)
    assert [flash.message for flash in client.session.session.peek_flashes()] == ["hello"]


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


def test_an_async_view_reads_what_was_loaded_and_never_blocks_its_loop(user):
    async def view(request):
        await alogin(request, user)
        session = get_session(request)
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


def test_what_a_stream_has_changed_is_stored_when_its_reader_goes():
    async def begin(request):
        await request.session.aset("page", 0)

    async def stream(request):
        async def pages():
            for number in (1, 2, 3):
                await request.session.aset("page", number)
                yield b"page"

        return StreamingHttpResponse(pages())

    async def look(request):
        return HttpResponse(await request.session.aget("page"))

    async def visits():
        views.update(begin=begin, stream=stream, look=look)
        client = AsyncClient()
        await client.get("/async/begin")
        response = await client.get("/async/stream")
        pages = response._iterator  # as it is ended when a server lets go of the response
        assert await anext(pages) == await anext(pages) == b"page"
        await pages.aclose()
        # The loop ends the iterators within that one, each in a task of its own.
        async with asyncio.timeout(60):
            while (await client.get("/async/look")).content != b"2":  # noqa: ASYNC110 - what tells of it is no event
                await asyncio.sleep(0.01)

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


def test_clearsessions_removes_expired_sessions_alone(clock, tmp_path):
    url, cookie = f"sqlite:///{tmp_path / 'sessions.db'}", CookieSettings(name="sessionid")
    with (
        Sessions.from_url(url, secret=SECRET, clock=clock, insecure_http=True, cookie=cookie) as manager,
        override_settings(COATCHECK=manager),
    ):
        for command, left in ((None, 1), ("clearsessions", 0)):
            visit("put", lambda request: request.session.update({"a": 1}), Client())
            clock.advance(91 * 86400)
            client = Client()
            visit("put", lambda request: request.session.update({"a": 1}), client)
            if command is not None:
                call_command(command)
            assert manager.sweep() == left
            assert client.session["a"] == 1
            clock.advance(91 * 86400)
            manager.sweep()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, {"coatcheck.E001"}),
        ({"MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"]}, {"coatcheck.E002"}),
        ({"SESSION_COOKIE_AGE": "300"}, {"coatcheck.E002"}),
        ({"COATCHECK": {}}, {"coatcheck.E002"}),
        ({"COATCHECK": "memory://"}, {"coatcheck.E002"}),
        ({"COATCHECK": {"url": "memory://", "idle": 3}}, {"coatcheck.E002"}),
        ({"COATCHECK": {"url": "memory://", "identity": None}}, {"coatcheck.W001"}),
        ({"SESSION_COOKIE_HTTPONLY": False}, {"coatcheck.E002"}),
        ({"SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": False}, {"coatcheck.E002"}),
        ({"SESSION_COOKIE_NAME": "__Host-session", "SESSION_COOKIE_DOMAIN": "x.org"}, {"coatcheck.E002"}),
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


def test_a_message_that_comes_between_two_looks_is_left_for_the_next_response():
    def view(request):
        shown = [str(message) for message in messages.get_messages(request)]
        get_session(request).flash("later", "info")
        return JsonResponse([*shown, *map(str, messages.get_messages(request))], safe=False)

    client = Client()
    visit("leave", lambda request: messages.info(request, "now"), client)
    assert visit("twice", view, client).json() == ["now", "now"]
    assert visit("twice", view, client).json() == ["later", "later"]


def test_an_async_view_may_look_for_messages_where_none_waits():
    async def view(request):
        return HttpResponse("".join(map(str, messages.get_messages(request))) + "!")

    views["look"] = view
    assert async_to_sync(AsyncClient().get)("/async/look").content == b"!"


def test_whether_a_session_is_empty_is_a_look_at_it_and_asks_no_store(manager):
    def view(request):
        return HttpResponse("empty" if request.session.is_empty() else "there")

    client = Client()
    visit("put", lambda request: request.session.update({"a": 1}), client)
    for each, expected in ((Client(), b"empty"), (client, b"there")):
        response = visit("empty", view, each)
        assert (response.content, response["Vary"]) == (expected, "Cookie")

    async def on_a_loop():
        return SessionStore().is_empty()

    assert async_to_sync(on_a_loop)()


def test_nor_does_a_look_move_a_session_of_an_old_library():
    library = Library()
    with override_settings(COATCHECK={"url": "memory://", "from_": library}):
        session = sessions().open(OLD, session_type=DjangoSession)
        assert not SessionStore(responder=Responder(sessions(), session)).is_empty()
        assert library.asked == []
        assert session["user"] == "ada"


def test_what_keeps_old_sessions_is_refused_without_any():
    with (
        override_settings(COATCHECK={"url": "memory://", "keep_old": True}),
        pytest.raises(ConfigurationError, match="keep_old"),
    ):
        sessions()


def test_the_age_that_a_site_sets_is_also_that_of_a_session_that_ends_with_the_browser():
    url = {"url": "memory://"}
    with override_settings(COATCHECK=url, SESSION_COOKIE_AGE=300):
        assert sessions().settings.idle_timeout == timedelta(seconds=300)
        assert SessionStore().get_expiry_age() == 300
    with override_settings(COATCHECK=url, SESSION_COOKIE_AGE=60 * 86400):
        assert sessions().settings.absolute_timeout == timedelta(days=60)
    with override_settings(COATCHECK=url):
        assert sessions().settings.idle_timeout == timedelta(days=1)


def test_the_middleware_refuses_another_engine():
    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"),
        pytest.raises(ImproperlyConfigured, match="set SESSION_ENGINE"),
    ):
        SessionMiddleware(lambda request: None)


def test_the_engine_refuses_the_middleware_of_django():
    of_django = "django.contrib.sessions.middleware.SessionMiddleware"
    with (
        override_settings(COATCHECK={"url": "memory://"}, MIDDLEWARE=[of_django]),
        pytest.raises(ImproperlyConfigured, match=r"coatcheck\.frameworks\.django\.SessionMiddleware"),
    ):
        Client().get("/")


def test_a_server_that_began_before_a_test_has_the_sessions_of_the_test(user):
    show = lambda request: HttpResponse(request.session.get("_auth_user_id"))
    client = Client()
    visit("show", show, client)
    with override_settings(COATCHECK={"url": "memory://"}):
        client.force_login(user)
        assert visit("show", show, client).content == str(user.pk).encode()


@pytest.mark.parametrize("changed", [{"DEBUG": True}, {"SESSION_COOKIE_AGE": 60}])
def test_a_test_that_overrides_a_setting_keeps_its_sessions_in_memory(user, changed):
    show = lambda request: HttpResponse(request.session.get("_auth_user_id"))
    with override_settings(COATCHECK={"url": "memory://"}):
        client = Client()
        client.force_login(user)
        with override_settings(**changed):
            assert visit("show", show, client).content == str(user.pk).encode()
            client.session.flush()
            client.force_login(user)
        assert visit("show", show, client).content == str(user.pk).encode()
    with override_settings(COATCHECK={"url": "memory://"}):
        assert client.session.get("_auth_user_id") is None
