"""A user with more and more sessions: one more signs in, they are listed, all are ended. In this process.

The peers that run here have no list of a user's sessions. Beside Coatcheck stands what their users write instead: it
goes through all sessions. No other user has one, which is its best case.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Protocol

from benchmarks.load import Bench, Effort, Series
from benchmarks.sites import OURS, django_postgres
from benchmarks.work import SECRET
from coatcheck import Sessions
from tests.servers.process import HOST

__all__ = ["users"]

_STORES = ("Redis", "SQLite", "PostgreSQL")


class _Library(Protocol):
    site: str

    def sign_in(self, user: str, number: int = 1) -> None:
        """Store so many new sessions of the user."""

    def of_user(self, user: str) -> object: ...

    def revoke_user(self, user: str) -> object: ...


class _Ours:
    def __init__(self, sessions: Sessions, store: str) -> None:
        self.site = f"WSGI/{OURS}/{store}"
        self.of_user, self.revoke_user = sessions.of_user, sessions.revoke_user
        self._sessions = sessions

    def sign_in(self, user: str, number: int = 1) -> None:
        for _ in range(number):
            session = self._sessions.open(b"")
            session.sign_in(user)
            self._sessions.close(session)


class _FlaskSession:
    site = "Flask/Flask-Session/Redis"

    def __init__(self, bench: Bench) -> None:
        import flask
        import redis
        from flask_session.redis import RedisSessionInterface

        self._client = redis.Redis(HOST, bench.stores.redis, db=1)
        self._interface = RedisSessionInterface(flask.Flask("benchmark"), self._client)

    def sign_in(self, user: str, number: int = 1) -> None:
        for _ in range(number):
            name = f"session:{secrets.token_urlsafe(32)}"
            session: Any = {"_permanent": True, "_user_id": user}
            self._interface._upsert_session(timedelta(days=31), session, name)

    def of_user(self, user: str) -> list[bytes]:
        found, names = [], list(self._client.scan_iter("session:*", count=1_000))
        for start in range(0, len(names), 1_000):
            some = names[start : start + 1_000]
            for name, data in zip(some, self._client.mget(some), strict=True):
                if data and self._interface.serializer.decode(data).get("_user_id") == user:
                    found.append(name)
        return found

    def revoke_user(self, user: str) -> None:
        if names := self.of_user(user):
            self._client.delete(*names)


class _Django:
    site = "Django/Django's db sessions/PostgreSQL"

    def __init__(self, bench: Bench) -> None:
        import django
        from django.conf import settings
        from django.core.management import call_command

        if not settings.configured:
            settings.configure(SECRET_KEY=SECRET, LOGGING_CONFIG=None, **django_postgres(bench.stores))
            django.setup()
        call_command("migrate", verbosity=0)

    def sign_in(self, user: str, number: int = 1) -> None:
        from django.contrib.sessions.backends.db import SessionStore
        from django.contrib.sessions.models import Session

        if number == 1:
            session = SessionStore()
            session["_auth_user_id"] = user
            session.create()
            return
        store = SessionStore()
        same = {"session_data": store.encode({"_auth_user_id": user}), "expire_date": store.get_expiry_date()}
        Session.objects.bulk_create(
            [Session(session_key=secrets.token_hex(16), **same) for _ in range(number)], batch_size=1_000
        )

    def _rows(self, user: str) -> list[Any]:
        from django.contrib.sessions.models import Session
        from django.utils import timezone

        rows = Session.objects.filter(expire_date__gt=timezone.now())
        return [row for row in rows if row.get_decoded().get("_auth_user_id") == user]

    def of_user(self, user: str) -> list[Any]:
        return self._rows(user)

    def revoke_user(self, user: str) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.filter(pk__in=[row.pk for row in self._rows(user)]).delete()


def users(effort: Effort, numbers: Sequence[int]) -> Iterator[Series]:
    """The readings: ms of each call, with the stores on this process's core and on another."""
    with Bench(effort, "Redis", "PostgreSQL") as bench, ExitStack() as stack:
        libraries: list[_Library] = [_FlaskSession(bench), _Django(bench)]
        for store in _STORES:
            opened = Sessions.from_url(bench.stores.url(store), secret=SECRET, insecure_http=True)
            libraries.append(_Ours(stack.enter_context(opened), store))
        for cores in effort.cores:
            with bench.pinned(cores):
                for library in libraries:
                    for number in numbers:
                        yield from _of_a_user(library, number, cores, effort.rounds)


def _of_a_user(library: _Library, number: int, cores: int, rounds: int) -> Iterator[Series]:
    user = f"user-{number}"
    calls: dict[str, Callable[[], object]] = {
        "sign_in": lambda: library.sign_in(user),
        "of_user": lambda: library.of_user(user),
        "revoke_user": lambda: library.revoke_user(user),
    }
    for call in calls.values():  # it connects
        call()
    series = {work: Series("users", library.site, work, cores, number) for work in calls}
    for _ in range(rounds):
        taken: dict[str, list[float]] = {}
        for _ in range(9 if number < 1_000 else 1):  # a short call varies more
            library.sign_in(user, number - 1)
            for work, call in calls.items():
                start = time.perf_counter()
                call()
                taken.setdefault(work, []).append((time.perf_counter() - start) * 1000)
        for work, some in taken.items():
            series[work].add(ms=statistics.median(some))
    yield from series.values()
