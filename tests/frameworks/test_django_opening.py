"""Django: what a public name, session_key, opens in a request."""

from tests.frameworks.django_use import (
    a_site,
    me,
    new_user,
    views,
    visit,
)  # first, since it configures Django

# isort: split

from contextvars import copy_context

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import login
from django.core import mail
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import setup_test_environment, teardown_test_environment

from coatcheck.frameworks.django import SessionStore
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.clock import ManualClock


@pytest.fixture
def manager():
    """Of a site without Django's test environment, in which a name stands for its cookie."""
    with a_site(MemoryStore(), ManualClock()) as manager:
        teardown_test_environment()
        yield manager
        setup_test_environment()


def signed_in(user):
    client = Client(SERVER_NAME="localhost")
    visit("in", lambda request: login(request, user), client)
    return client


def name_of(client):
    return visit("name", lambda request: JsonResponse(request.session.session_key, safe=False), client).json()


def opened(client, name):
    view = lambda request: JsonResponse(SessionStore(name).get("_auth_user_id"), safe=False)
    return visit("opened", view, client).json()


def test_it_opens_the_sessions_of_the_requests_user_only(manager):
    ada, bob = new_user("ada"), new_user("bob")
    here, there, other = signed_in(ada), signed_in(ada), signed_in(bob)
    for name in map(name_of, (here, there)):
        answers = [opened(client, name) for client in (here, there, other, Client(SERVER_NAME="localhost"))]
        assert answers == [str(ada.pk), str(ada.pk), None, None]


def test_it_opens_nothing_once_its_session_has_another(manager):
    ada = new_user("ada")
    here, there = signed_in(ada), signed_in(ada)
    name = name_of(there)
    visit("renew", lambda request: request.session.cycle_key(), there)
    assert opened(here, name) is None


def test_a_device_that_was_signed_out_can_sign_in_at_once(manager):
    ada = new_user("ada")
    client = signed_in(ada)
    manager.revoke_user(str(ada.pk))
    assert visit("me", me, client).content == b""
    visit("in", lambda request: login(request, ada), client)
    assert visit("me", me, client).content == b"ada"


def test_a_site_that_keeps_its_mail_in_memory_takes_no_name_for_a_cookie(manager, monkeypatch):
    monkeypatch.setattr(mail, "outbox", [], raising=False)  # as the first mail to `locmem` does
    stranger = Client(SERVER_NAME="localhost")
    stranger.cookies["sessionid"] = name_of(signed_in(new_user("ada")))
    assert visit("me", me, stranger).content == b""


def test_a_task_that_outlives_its_request_opens_nothing(manager):
    ada = new_user("ada")
    here, there = signed_in(ada), signed_in(ada)
    name, begun = name_of(there), []
    visit("begin", lambda request: begun.append(copy_context()), here)
    assert begun[0].run(SessionStore, name).get("_auth_user_id") is None


def test_a_name_is_not_looked_for_on_an_event_loop(manager):
    ada = new_user("ada")
    here, there = signed_in(ada), signed_in(ada)
    name = name_of(there)

    async def looks(request):
        for look in (SessionStore, SessionStore().exists, SessionStore().delete):
            with pytest.raises(SynchronousOnlyOperation):
                look(name)
        return JsonResponse([await SessionStore().aexists(name)], safe=False)

    views["looks"] = looks
    client = AsyncClient(SERVER_NAME="localhost")
    client.cookies = here.cookies
    assert async_to_sync(client.get)("/async/looks").json() == [True]


def test_it_is_opened_also_after_the_handler_has_served_another_request_in_between(manager):
    ada, handler = new_user("ada"), WSGIHandler()
    here, there = signed_in(ada), signed_in(ada)
    name = name_of(there)
    views["inner"] = lambda request: JsonResponse(SessionStore(name).get("_auth_user_id"), safe=False)

    def batch(request):
        inner = handler.get_response(RequestFactory(SERVER_NAME="localhost").get("/inner"))
        return JsonResponse([inner.content.decode(), SessionStore(name).get("_auth_user_id")], safe=False)

    assert visit("batch", batch, here).json() == ["null", str(ada.pk)]
    assert SessionStore(name).get("_auth_user_id") is None


def test_a_request_that_is_broken_off_leaves_nothing_for_what_its_thread_does_next(manager):
    ada = new_user("ada")
    here, there = signed_in(ada), signed_in(ada)
    name = name_of(there)

    def view(request):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visit("broken", view, here)
    assert SessionStore(name).get("_auth_user_id") is None
