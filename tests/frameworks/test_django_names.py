"""Django: public names, and the session store as code uses it by itself."""

from tests.frameworks.django_use import (  # first, since it configures Django
    a_site,
    me,
    new_user,
    views,
    visit,
)

# isort: split


import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import login
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpResponse
from django.test import Client
from django.test.utils import setup_test_environment, teardown_test_environment

from coatcheck.frameworks.django import SessionStore


@pytest.fixture(autouse=True)
def manager(store, clock):
    with a_site(store, clock) as manager:
        yield manager


@pytest.fixture
def user():
    return new_user("ada", is_staff=True, is_superuser=True)


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
        assert visit("me", me, stranger).content == b""
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


def test_a_test_opens_by_its_name_a_session_that_a_view_began():
    client, browser = Client(), Client()
    visit("put", lambda request: request.session.update({"a": 1}), client)
    name = client.session.session_key
    browser.cookies["sessionid"] = name
    assert SessionStore(name)["a"] == browser.session["a"] == 1
    shown = visit("name", lambda request: HttpResponse(request.session.session_key), browser)
    assert shown.content.decode() == name


def test_a_name_exists_until_a_new_one_takes_its_place():
    store = SessionStore()
    store.create()
    name = store.session_key
    assert store.exists(name)
    store.cycle_key()
    assert not store.exists(name)
    assert store.exists(store.session_key)


def test_several_sessions_that_come_together_give_way_to_one():
    kept = []
    for _ in range(2):
        client = Client()
        visit("put", lambda request: request.session.update({"a": 1}), client)
        kept.append(client.cookies["sessionid"].value)

    def view(request):
        request.session.cycle_key()
        request.session["b"] = 2

    views["cycle"] = view
    answer = Client().get("/cycle", HTTP_COOKIE="; ".join(f"sessionid={token}" for token in kept))
    assert SessionStore(answer.cookies["sessionid"].value)["b"] == 2
    assert [SessionStore(token).get("a") for token in kept] == [None, None]


def test_save_says_where_there_is_a_session_already_or_none_any_more():
    store = SessionStore()
    store.save(must_create=True)
    with pytest.raises(CreateError):
        store.save(must_create=True)
    SessionStore().delete(store.session_key)
    store["a"] = 1
    with pytest.raises(UpdateError):
        store.save()


def test_a_store_made_on_an_event_loop_is_read_by_the_awaited_methods_alone(manager):
    session = manager.open(b"")
    session["a"] = 1
    manager.save(session)
    cookie = manager.cookie_of(session)["sessionid"]

    async def read():
        store = SessionStore(cookie)
        with pytest.raises(SynchronousOnlyOperation):
            store["a"]
        return await store.aget("a")

    assert async_to_sync(read)() == 1


def test_what_is_stored_is_loaded_by_itself_and_in_an_awaited_look():
    def view(request):
        request.session["a"] = 1
        request.session.save()
        return HttpResponse(str(request.session.load()))

    client = Client()
    assert visit("put", view, client).content == b"{'a': 1}"
    assert SessionStore().load() == {}
    assert async_to_sync(SessionStore(client.cookies["sessionid"].value).ahas_key)("a")


def test_a_cookie_of_our_name_that_a_view_sets_does_not_change_ours():
    def view(request):
        request.session["a"] = 1
        response = HttpResponse()
        response.set_cookie("sessionid", "other", domain="other.example")
        return response

    client = Client()
    assert visit("put", view, client).cookies["sessionid"]["domain"] == ""
    assert client.session["a"] == 1
