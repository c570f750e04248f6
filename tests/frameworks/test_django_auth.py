"""Django: who is signed in, here and at other frameworks, and the admin's page of a user."""

from tests.frameworks.django_use import (  # first, since it configures Django
    MIDDLEWARE,
    OURS,
    a_site,
    me,
    new_user,
    views,
    visit,
)

# isort: split

import re

import pytest
from django.contrib.auth import get_user_model, load_backend, login, logout, update_session_auth_hash
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.test import Client
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment
from django.utils import timezone

from coatcheck.frameworks.django import SessionStore


@pytest.fixture(autouse=True)
def manager(store, clock):
    with a_site(store, clock) as manager:
        yield manager


@pytest.fixture
def user():
    return new_user("ada", is_staff=True, is_superuser=True)


def test_login_signs_in_and_logout_ends(user, manager):
    client = Client(headers={"user-agent": "Nice browser"})
    visit("in", lambda request: login(request, user), client)
    (info,) = manager.of_user(str(user.pk))
    assert info.client == "Nice browser"
    copied = client.cookies["sessionid"].value
    shown = visit("me", me, client)
    assert shown.content == b"ada"
    visit("out", logout, client)
    assert manager.of_user(str(user.pk)) == []
    thief = Client()
    thief.cookies["sessionid"] = copied
    assert visit("me", me, thief).content == b""


def test_a_login_changes_the_secret_and_keeps_what_the_visitor_had(user):
    client = Client()
    visit("put", lambda request: request.session.update({"cart": [1]}), client)
    before = client.cookies["sessionid"].value
    visit("in", lambda request: login(request, user), client)
    assert client.cookies["sessionid"].value != before
    assert client.session["cart"] == [1]


def test_a_session_that_is_created_after_a_login_is_that_of_the_login(user):
    client = Client()
    visit("put", lambda request: request.session.update({"cart": [1]}), client)
    visit("in", lambda request: login(request, user) or request.session.create(), client)
    assert client.session["cart"] == [1]
    assert visit("me", me, client).content == b"ada"
    visit("new", lambda request: request.session.create(), client)
    assert visit("me", me, client).content == b""


def test_revoking_a_user_and_changing_a_password_log_out(user, manager):
    here, there = Client(), Client()
    for client in (here, there):
        client.force_login(user)

    def change(request):
        request.user.set_password("other")
        request.user.save()
        update_session_auth_hash(request, request.user)

    visit("change", change, here)
    assert visit("me", me, here).content == b"ada"
    assert visit("me", me, there).content == b""
    assert manager.revoke_user(str(user.pk)) >= 1
    assert visit("me", me, here).content == b""


BACKENDS = ["django.contrib.auth.backends.ModelBackend", f"{OURS}.auth.Backend"]


async def ame(request):
    return HttpResponse((await request.auser()).username)


def signed_in_elsewhere(manager, name):
    """A client of this site whose user another framework on the same sessions signed in."""
    client, session = Client(), manager.open(b"")
    session["cart"] = [1]
    session.sign_in(name)
    manager.save(session)
    client.cookies["sessionid"] = manager.cookie_of(session)["sessionid"]
    return client


@pytest.mark.parametrize("path", ["/me", "/async/me"])
def test_who_signed_in_at_another_framework_is_the_user_here_where_the_backend_is_in_use(user, manager, path):
    views["me"] = ame if "async" in path else me
    client = signed_in_elsewhere(manager, str(user.pk))
    assert client.get(path).content == b""
    assert "_auth_user_id" not in client.session
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        assert client.get(path).content == b"ada"
        assert client.get(path).content == b"ada"
        (info,) = manager.of_user(str(user.pk))
        assert manager.find(info.handle)["cart"] == [1]
        user.set_password("other")
        user.save()
        assert client.get(path).content == b""
        assert manager.of_user(str(user.pk)) == []
    del views["me"]


@pytest.mark.parametrize("name", ["nobody", "0{}", " {}", "{}0"])
def test_a_name_that_is_no_users_is_nobody_and_stays_signed_in_elsewhere(user, manager, name):
    name = name.format(user.pk)
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = signed_in_elsewhere(manager, name)
        assert visit("me", me, client).content == b""
        assert len(manager.of_user(name)) == 1


def test_a_login_of_another_framework_of_no_user_has_no_hash(user, manager):
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        view = lambda request: HttpResponse(request.session.get("_auth_user_hash", "none"))
        assert visit("hash", view, signed_in_elsewhere(manager, f"9{user.pk}")).content == b"none"


def test_the_backend_gives_no_user_of_another_key_than_was_asked_for(user):
    backend = load_backend(BACKENDS[1])
    assert backend.get_user(str(user.pk)) == backend.get_user(user.pk) == user
    assert backend.get_user(f" {user.pk}") is None  # as a database of another collation finds "ada" for "ADA"


def test_an_inactive_user_is_refused_also_where_another_framework_signed_in(user, manager):
    user.is_active = False
    user.save()
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        assert visit("me", me, signed_in_elsewhere(manager, str(user.pk))).content == b""


def test_a_logout_here_ends_what_another_framework_began(user, manager):
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = signed_in_elsewhere(manager, str(user.pk))
        visit("out", logout, client)
        assert visit("me", me, client).content == b""
        assert manager.of_user(str(user.pk)) == []


def test_a_login_here_over_that_of_another_framework_drops_the_other_users_fields(user, manager):
    other = get_user_model().objects.create_user("bob", password="pass")
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = signed_in_elsewhere(manager, str(other.pk))
        visit("in", lambda request: login(request, user, BACKENDS[0]), client)
        assert visit("me", me, client).content == b"ada"
        assert client.session.get("cart") is None
        assert manager.of_user(str(other.pk)) == []


@pytest.mark.parametrize("name", ["_auth_user_backend", "_auth_user_hash"])
def test_half_a_login_of_djangos_is_not_taken_for_one_of_another_framework(user, name):
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = Client()
        client.force_login(user)
        session = client.session
        del session[name]
        session.save()
        assert visit("me", me, client).content == b""


def test_a_removed_login_of_djangos_is_not_taken_for_one_of_another_framework(user):
    def view(request):
        del request.session["_auth_user_id"]
        return HttpResponse(request.user.username)

    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = Client()
        client.force_login(user)
        assert visit("remove", view, client).content == b""
        assert visit("me", me, client).content == b""


def test_the_backend_signs_nobody_in_by_a_password(user):
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS[1:]):
        assert not Client().login(username="ada", password="pass")


def _form(user):
    """What the admin's page of a user posts."""
    joined = timezone.localtime(user.date_joined)
    times = {"date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}"}
    flags = {name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)}
    return {"username": user.username, **times, **flags}


def test_staff_see_the_devices_of_a_user_and_end_them(user, manager):
    other = get_user_model().objects.create_user("bob", password="pass")
    device = Client(headers={"user-agent": "<Phone>"})
    visit("in", lambda request: login(request, other), device)
    staff = Client()
    staff.force_login(user)
    page = staff.get(f"/admin/auth/user/{other.pk}/change/").content.decode()
    assert "&lt;Phone&gt;" in page
    (handle,) = re.findall(r'name="_end_session" value="(\w+)"', page)
    form = page[page.index('id="user_form"') :]
    (first,) = re.findall(r'type="submit"[^>]* name="(\w+)"|<button(?! type="button")', form)[:1]
    assert first == "_save"  # what Enter in a field presses (HTML, "implicit submission")
    end = {**_form(other), "_end_session": [handle, "0" * 32]}
    assert device.post(f"/admin/auth/user/{other.pk}/change/", end).status_code == 302
    assert (
        staff.post(f"/admin/auth/user/{user.pk}/change/", {**_form(user), "_end_session": handle}).status_code
        == 302
    )
    assert len(manager.of_user(str(other.pk))) == 1
    assert staff.post(f"/admin/auth/user/{other.pk}/change/", end).status_code == 302
    assert manager.of_user(str(other.pk)) == []
    visit("in", lambda request: login(request, other), device)
    staff.post("/admin/auth/user/", {"action": "end_sessions", "_selected_action": [other.pk]})
    assert manager.of_user(str(other.pk)) == []


def test_a_login_that_django_refuses_stays_refused_where_other_frameworks_sign_in_too(user):
    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = Client()
        client.force_login(user)
        session = client.session
        session["_auth_user_backend"] = "removed.Backend"
        session.save()
        assert visit("me", me, client).content == b""
        client = Client()
        client.force_login(user)
        user.set_password("other")
        user.save()
        assert visit("me", me, client).content == b""


def test_staff_who_may_not_change_a_user_see_and_end_none_of_his_sessions(user, manager):
    get_user_model().objects.create_user("eve", password="pass", is_staff=True)
    client = Client()
    client.force_login(user)
    (info,) = manager.of_user(str(user.pk))
    staff = Client()
    staff.login(username="eve", password="pass")
    address = f"/admin/auth/user/{user.pk}/change/"
    for permissions in ([], ["view_user"]):
        seer = get_user_model().objects.get(username="eve")
        seer.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert staff.post(address, {**_form(user), "_end_session": info.handle}).status_code == 403
        assert info.handle not in staff.get(address).content.decode()
        assert len(manager.of_user(str(user.pk))) == 1


def test_a_login_renews_the_csrf_token_that_sessions_keep(user):
    """With CSRF_USE_SESSIONS: the token of before is refused, that of the new page is accepted."""

    def form(request):
        return HttpResponse(get_token(request))

    csrf = [*MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    with override_settings(CSRF_USE_SESSIONS=True, MIDDLEWARE=csrf):
        client = Client(enforce_csrf_checks=True)
        before = visit("form", form, client).content.decode()
        views["post"] = lambda request: login(request, user)
        assert client.post("/post", {}).status_code == 403
        assert client.post("/post", {"csrfmiddlewaretoken": before}).status_code == 200
        views["post"] = me
        assert client.post("/post", {"csrfmiddlewaretoken": before}).status_code == 403
        after = visit("form", form, client).content.decode()
        assert client.post("/post", {"csrfmiddlewaretoken": after}).content == b"ada"


def test_a_public_name_is_anonymous_as_a_cookie_of_a_socket_too(user, manager):
    """As Channels opens a session: by the cookie of the handshake, without the middleware."""
    client = Client()
    client.force_login(user)
    name, token = client.session.session_key, manager.cookie_of(client.session.session)["sessionid"]
    teardown_test_environment()
    try:
        stranger = Client(SERVER_NAME="localhost")
        stranger.cookies["sessionid"] = name
        assert visit("me", me, stranger).content == b""
        assert SessionStore(name).get("_auth_user_id") is None
        assert SessionStore(name[:32]).get("_auth_user_id") is None
        assert SessionStore(token).get("_auth_user_id") == str(user.pk)
        assert token not in f"{name} {name!r} %s" % SessionStore(token).session_key
    finally:
        setup_test_environment()


def test_no_visitor_but_staff_sees_or_ends_sessions_in_the_admin(user, manager):
    client = Client()
    client.force_login(user)
    (info,) = manager.of_user(str(user.pk))
    new_user("mallory")
    other = Client()
    for visitor in (Client(), other):
        address = f"/admin/auth/user/{user.pk}/change/"
        assert "/login/" in visitor.get(address).url
        assert "/login/" in visitor.post(address, {**_form(user), "_end_session": info.handle}).url
        assert "/login/" in visitor.post("/admin/auth/user/", {"action": "end_sessions"}).url
        other.login(username="mallory", password="pass")
    assert len(manager.of_user(str(user.pk))) == 1


def test_a_login_of_another_framework_that_is_removed_here_is_a_logout(user, manager):
    def view(request):
        del request.session["_auth_user_id"]

    with override_settings(AUTHENTICATION_BACKENDS=BACKENDS):
        client = signed_in_elsewhere(manager, str(user.pk))
        assert visit("remove", view, client).content == b"done"
        assert visit("me", me, client).content == b""
        assert manager.of_user(str(user.pk)) == []


def test_a_middleware_that_is_listed_twice_keeps_a_login(user):
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], *MIDDLEWARE]):
        client = Client()
        answer = visit("in", lambda request: login(request, user, BACKENDS[0]), client)
        assert answer["Vary"] == "Cookie"
        assert visit("me", me, client).content == b"ada"
