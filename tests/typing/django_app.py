"""A Django site as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse

from coatcheck import Flash, SessionInfo, Sessions
from coatcheck.frameworks.django import DjangoSession, SessionStore, get_session, sessions
from coatcheck.frameworks.django.admin import SessionsOfUser


class MyUserAdmin(SessionsOfUser, UserAdmin[User]):
    pass


def add(request: HttpRequest, item: str) -> HttpResponse:
    assert_type(request.session, SessionBase)
    request.session.setdefault("basket", []).append(item)
    request.session["seen"] = request.session.get("seen", 0) + 1
    request.session.set_expiry(300)
    assert_type(request.session.session_key, str | None)
    return HttpResponse(request.session["basket"])


async def add_later(request: HttpRequest, item: str) -> HttpResponse:
    await request.session.aset("item", item)
    await request.session.asave()
    await request.session.aflush()
    return HttpResponse(await request.session.aget("item"))


def devices(request: HttpRequest) -> list[SessionInfo]:
    session = get_session(request)
    assert_type(session, DjangoSession)
    assert_type(session.user, str | None)
    assert_type(session.save(), bool)
    assert_type(session.reload(), bool)
    assert_type(session.take("a", "b"), dict[str, Any])
    assert_type(session.take_flashes(), list[Flash])
    assert_type(sessions(), Sessions)
    return sessions().of_user(str(request.user.pk), current=session)


def by_hand(cookie: str) -> str | None:
    store = SessionStore(cookie)
    assert_type(store.session, DjangoSession)
    assert_type(store.exists("name"), bool)
    return store.session_key
