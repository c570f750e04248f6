"""Error trackers send the local variables of a traceback, each by its repr: no repr of ours shows what is secret."""

import asyncio
import dataclasses
import importlib
import inspect
import pkgutil
import re
import socket
import sqlite3
import threading
import traceback
from contextlib import closing, contextmanager
from datetime import timedelta

import msgspec
import pytest

import coatcheck
from coatcheck import AsyncSessions, NotStorable, Sessions, StoreError
from coatcheck.core.calls import Done, Held
from coatcheck.core.lifecycle import Outcome
from coatcheck.core.state import Read, Wanted
from coatcheck.model.ports import Found, Write
from coatcheck.model.record import APPLIED, Record
from coatcheck.responder import Responder
from coatcheck.session import Flash
from coatcheck.silent import frameless
from tests.frameworks import django_site, pyramid_apps  # noqa: F401 - Django's settings, and Pyramid without its warnings
from tests.servers.process import HOST, free_port
from tests.visitor import SECRET

# Every repr

MAY_SHOW = {
    "names, numbers, times, and public names of sessions": """
        core.calls.CheckIndex core.calls.Count core.calls.Load core.calls.Ping core.calls.Remove core.calls.SessionsOf
        core.calls.Sweep core.epochs.Epoch events.Event manager.SessionInfo model.lifetimes.Lifetimes model.ports.Entry
        model.record.Destroy model.record.Holder model.record.SignIn model.record.Tombstone model.record.Unreadable
        urls._Kind stores.sql.table.Tables stores.sqlite.files.Files
    """,
    "others of ours, which show nothing": """
        core.calls.Apply core.calls.Aside core.calls.Done core.calls.Forget core.calls.Held core.calls.Note core.calls.Writes
        core.lifecycle.Verdict model.ports.Conflict model.record.Create model.record.Settled compat.pycket.driver.Swapped
        testing.failing._Fault testing.wrappers.Call
    """,
    "servers, which have a password only in a URL": """
        addresses.Place stores.memcached.servers.Server stores.redis.clusters.Server stores.redis.clusters._Redirection
        compat.pycket._memcached._Server
    """,
    "settings, whose secret has no repr": "config.CookieSettings config.Settings",
    "fixed text": "responder.Refusal",
    "the base of a class that shows nothing": "model.fields._Flash",
    "goods, steps and scenes of the demo": """
        demo.basket.Line demo.express.Order demo.express.OrderLine demo.goods.Good demo.steps.Request demo.steps.Step
        demo.express_docs.Described demo.scenes.plays.Scene demo.scenes.plays.Seen demo.scenes.stage.Answer
        demo.scenes.theatre.Played
    """,
}


def classes():
    """Every class of ours that a module names."""
    for found in pkgutil.walk_packages(coatcheck.__path__, "coatcheck."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if inspect.isclass(value) and value.__module__ == found.name:
                    yield value


def shows_its_parts(kind):
    """Whether instances have the repr of a struct, dataclass, attrs class or tuple with names, which shows every part."""
    method = kind.__repr__
    if method is msgspec.Struct.__repr__ or hasattr(kind, "__attrs_attrs__"):
        return True
    if dataclasses.is_dataclass(kind):
        return kind.__dataclass_params__.repr
    # A method of Python's own has no code.
    return issubclass(kind, tuple) and "silent" not in getattr(
        getattr(method, "__code__", None), "co_names", ()
    )


@pytest.mark.promise("18")
def test_no_class_shows_its_parts_but_those_that_hold_nothing_secret():
    may = {name for names in MAY_SHOW.values() for name in names.split()}
    shown = {
        f"{kind.__module__}.{kind.__qualname__}".removeprefix("coatcheck.")
        for kind in classes()
        if shows_its_parts(kind)
    }
    assert shown == may


@pytest.mark.promise("18")
def test_the_silent_repr_of_a_tuple_with_names_is_the_name_of_its_class():
    silent = [kind for kind in classes() if issubclass(kind, tuple) and not shows_its_parts(kind)]
    assert Read in silent
    for kind in silent:
        assert repr(tuple.__new__(kind, ())) == f"<{kind.__name__}>"


KEY = bytes(16)
RECORD = Record(KEY, b"hunter2", 0, 0, 0, 0, b"hunt", fields={"a": b"hunter2"})
FOUND = Found(b"hunter2", b"hunter2")
HOLDING = [
    Outcome("__Host-session=hunter2"),
    Read("hunter2", b"hunter2", b"hunter2"),
    Wanted({"a": b"hunter2"}, {}, frozenset()),
    Flash("info", "hunter2"),
    FOUND,
    Write(key=KEY, expected=None, data=b"hunter2", expires=1),
    RECORD,
    Held(FOUND, RECORD),
    Done(APPLIED, Held(FOUND, RECORD)),
]


@pytest.mark.promise("18")
@pytest.mark.parametrize("held", HOLDING, ids=lambda held: type(held).__name__)
def test_what_holds_a_value_shows_none(held):
    assert "hunter2" not in f"{held!r} {held}"


# The locals of a failing call

PASSWORD = "correct-horse"


class Hangs:
    """A server that takes what it is sent, and says nothing until the connection is closed, or hangs up at once."""

    def __init__(self, *, hangs_up):
        self.hangs_up = hangs_up
        self.open = []
        self.listening = socket.create_server((HOST, 0))
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            if self.hangs_up:
                connection.recv(65536)
                connection.close()
            else:
                self.open.append(connection)

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()
        for connection in self.open:
            connection.close()


@contextmanager
def nobody():
    yield free_port()


@contextmanager
def server(*, hangs_up):
    made = Hangs(hangs_up=hangs_up)
    try:
        yield made.port
    finally:
        made.close()


SERVERS = {
    "not there": nobody,
    "hangs": lambda: server(hangs_up=False),
    "hangs up": lambda: server(hangs_up=True),
}
URLS = {
    "redis": "redis://ada:{password}@{at}/0",
    "cluster": "redis+cluster://ada:{password}@{at}",
    "sentinel": "redis+sentinel://ada:{password}@{at}/main/0",
    "memcached": "memcached://{at}",
    "postgresql": "postgresql://ada:{password}@{at}/db",
    "mysql": "mysql://ada:{password}@{at}/db",
}
OPTIONS = {"secret": SECRET, "deadline": timedelta(milliseconds=100)}


def shown_by(error):
    """All that an error tracker is sent, but for the frames of this test."""
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    part, kept = whole, []
    while part is not None:
        kept += [frame for frame in part.stack if frame.filename != __file__]
        kept += part.format_exception_only()
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "\n".join(
        str((one.filename, one.name, one.locals)) if hasattr(one, "locals") else one for one in kept
    )


def a_token():
    sessions = Sessions.from_url("memory://", secret=SECRET)
    session = sessions.open(b"")
    session["a"] = 1
    return re.search(r"=([\w-]{86})", sessions.close(session).set_cookie)[1]


TOKEN = a_token()
SECRETS = [SECRET, TOKEN, PASSWORD, "hunter2"]


def put(session):
    session["a"] = "hunter2"
    session["b"] = {"deep": ["hunter2"]}
    session.flash("hunter2")


def sync_calls(url, spoil=lambda: None):
    """Each error of a manager whose store fails."""
    sessions = Sessions.from_url(url, **OPTIONS)
    spoil()

    def write():
        session = sessions.open(b"")
        put(session)
        sessions.close(session)

    calls = (
        write,
        lambda: sessions.open(f"__Host-session={TOKEN}").get("a"),
        lambda: sessions.revoke_user("ada"),
        sessions.ping,
    )
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        yield caught.value
    sessions.shutdown()


def async_calls(url, spoil=lambda: None):
    async def all_of_them():
        sessions = AsyncSessions.from_url(url, **OPTIONS)
        spoil()

        async def write():
            session = sessions.open(b"")
            await sessions.load(session)
            put(session)
            await sessions.close(session)

        calls = (
            write,
            lambda: sessions.load(sessions.open(f"__Host-session={TOKEN}")),
            lambda: sessions.revoke_user("ada"),
            sessions.ping,
        )
        met = []
        for call in calls:
            with pytest.raises(StoreError) as caught:
                await call()
            met.append(caught.value)
        await sessions.shutdown()
        return met

    return asyncio.run(all_of_them())


@pytest.mark.promise("18")
@pytest.mark.parametrize("calls", [sync_calls, async_calls], ids=["sync", "async"])
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_the_locals_of_a_failing_call_show_neither_values_nor_passwords(url, kind, calls):
    with SERVERS[kind]() as port:
        for error in calls(url.format(password=PASSWORD, at=f"{HOST}:{port}")):
            shown = shown_by(error)
            assert "coatcheck" in shown
            assert [secret for secret in SECRETS if secret in shown] == []


def drop_tables(file):
    with closing(sqlite3.connect(file)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f'DROP TABLE "{name}"')
        database.commit()


@pytest.mark.promise("18")
@pytest.mark.parametrize("calls", [sync_calls, async_calls], ids=["sync", "async"])
def test_the_locals_of_a_failing_sqlite_show_neither(tmp_path, calls):
    file = tmp_path / "sessions.db"
    for error in calls(f"sqlite:///{file}", lambda: drop_tables(file)):
        assert [secret for secret in SECRETS if secret in shown_by(error)] == []


@pytest.mark.promise("18")
def test_the_locals_of_a_refused_write_to_sqlite_show_neither(tmp_path):
    file = tmp_path / "sessions.db"
    with Sessions.from_url(f"sqlite:///{file}", secret=SECRET) as sessions:
        with closing(sqlite3.connect(file)) as database:
            database.execute(
                'CREATE TRIGGER refuse BEFORE INSERT ON "coatcheck:sessions"'
                " BEGIN SELECT raise(ABORT, 'no'); END"
            )
        session = sessions.open(b"")
        session["a"] = "hunter2"
        with pytest.raises(StoreError) as caught:
            sessions.close(session)
    assert [secret for secret in SECRETS if secret in shown_by(caught.value)] == []


@pytest.mark.promise("18")
def test_the_locals_of_a_value_that_cant_be_stored_show_no_other_value():
    with Sessions.from_url("memory://", secret=SECRET) as sessions:
        session = sessions.open(f"__Host-session={TOKEN}")
        session["a"] = "hunter2"
        session["nested"] = []
        session["nested"].append(object())
        with pytest.raises(NotStorable) as caught:
            sessions.close(session)
    assert [secret for secret in SECRETS if secret in shown_by(caught.value)] == []


def met(call):
    """What a call raises."""
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def test_the_frames_of_a_drivers_error_go_and_those_of_the_application_stay():
    own = met(lambda: {}["of the application"])
    cause = met(lambda: int("the cause"))
    error = ZeroDivisionError("it failed")
    error.__cause__, cause.__context__ = cause, own
    assert "of the application" in "".join(traceback.format_exception(error))
    assert frameless(error) is error
    assert error.__traceback__ is None is cause.__traceback__
    assert cause.__context__ is own
    assert own.__traceback__ is not None
    assert "of the application" not in "".join(traceback.format_exception(error))


def test_causes_that_go_round_in_a_circle_end():
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    assert frameless(one) is one
    with Sessions.from_url("memory://", secret=SECRET) as sessions:
        assert Responder(sessions, sessions.open(b"")).failure_behind(one) is None
