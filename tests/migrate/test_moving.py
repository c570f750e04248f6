"""A visitor of another library arrives: with everything, once, and for good."""

import asyncio
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from coatcheck import (
    AsyncSessions,
    ConfigurationError,
    CookieSettings,
    Flash,
    ForeignSessionWarning,
    Session,
    Sessions,
    StoreUnavailable,
)
from coatcheck.migrate import AsyncMigrating, Migrating, Old
from coatcheck.session import state_of
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.stores.redis import from_url
from coatcheck.testing import AsyncFailingStore, FailingStore, StoreWrapper
from tests.awake import awake
from tests.migrate.house import OLD, House, Library
from tests.migrate.libraries import environment
from tests.visitor import OLD_SECRET, SECRET, stored_in

pytestmark = pytest.mark.promise("6", "13", "15")
EVERYTHING = {"user": "ada", "cart": [1, 2]}


def test_the_first_request_has_everything_and_gets_a_cookie_of_ours(house):
    (fields, user), cookies = house.visit(work=lambda session: (dict(session), session.user))
    assert (fields, user) == (EVERYTHING, "ada")
    assert house.name.encode() in cookies
    assert house.library.sessions == {}
    assert house.told("migrated") == ["from the old library"]
    assert house.visit(cookies) == (EVERYTHING, cookies)
    assert house.library.asked == ["read", "remove"]


def test_the_user_is_in_the_list_of_sessions(house):
    house.visit()
    (info,) = house.sessions.of_user("ada")
    assert info.permanent
    assert info.signed_in_at == now_of(house)


def test_requests_at_once_end_in_one_session(house):
    sessions = house.sessions
    parallel = [sessions.open(OLD) for _ in range(3)]
    for number, session in enumerate(parallel):
        session[f"set by {number}"] = number
    after = {house.after(OLD, sessions.close(session, last=True)) for session in parallel}
    (cookies,) = after
    fields, _ = house.visit(cookies)
    assert fields == {**EVERYTHING, "set by 0": 0, "set by 1": 1, "set by 2": 2}
    assert len(house.told("migrated")) == 1


def test_a_lost_response_logs_nobody_out(house):
    for _ in range(3):
        fields, cookies = house.visit(OLD)
        assert fields == EVERYTHING
    assert house.visit(cookies) == (EVERYTHING, cookies)


def test_once_the_new_cookie_was_seen_the_old_one_is_worth_nothing_soon(house):
    _, cookies = house.visit()
    house.visit(cookies)
    house.later(house.sessions.settings.rotation_grace + timedelta(seconds=1))
    assert house.visit(OLD) == ({}, OLD)
    assert house.visit(cookies) == (EVERYTHING, cookies)


@pytest.mark.promise("12")
@pytest.mark.parametrize("old", ["removed", "kept", "a cookie"])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=1)])
def test_after_a_logout_the_old_cookie_opens_nothing(a_house, old, later):
    house = a_house(keep_old=old == "kept")
    house.library.removes = old != "a cookie"
    _, cookies = house.visit()
    _, cookies = house.visit(cookies, lambda session: session.sign_out())
    assert cookies == OLD
    house.later(later)
    assert house.visit(cookies) == ({}, OLD)
    assert (house.library.sessions == {}) is (old != "a cookie")


def test_right_after_a_logout_the_next_form_works_though_the_browser_still_has_the_old_cookie(house):
    _, cookies = house.visit()
    _, cookies = house.visit(cookies, lambda session: session.sign_out())
    _, cookies = house.visit(cookies, lambda session: session.update(csrf="for the sign-in"))
    assert house.visit(cookies)[0] == {"csrf": "for the sign-in"}


@pytest.mark.promise("12")
def test_nor_where_the_old_library_writes_its_record_once_more(house):
    """A request of an old server was under way."""
    old = house.library.sessions["ada"]
    _, cookies = house.visit()
    house.visit(cookies, lambda session: session.sign_out())
    house.library.sessions["ada"] = old
    house.later(timedelta(days=300))
    assert house.visit(OLD) == ({}, OLD)


@pytest.mark.promise("12")
def test_nor_when_the_secret_has_been_replaced_meanwhile(a_house):
    house = a_house(keep_old=True)
    _, cookies = house.visit()
    house.visit(cookies, lambda session: session.sign_out())
    house.later(timedelta(days=1))
    assert a_house(house.library, keep_old=True, **with_secret(house, OLD_SECRET)).visit() == ({}, OLD)


def test_with_keep_old_the_new_cookie_needs_a_name_of_its_own(a_house):
    same = {"cookie": CookieSettings(name="old"), "insecure_http": True}
    with pytest.raises(ConfigurationError, match="another name than the old one, 'old'"):
        a_house(keep_old=True, **same)
    sessions = a_house(keep_old=True).sessions
    manager = getattr(sessions, "manager", sessions)
    with pytest.raises(ConfigurationError, match="CookieSettings"):
        manager.with_settings(**same)
    assert a_house(**same).visit()[0]["user"] == "ada"


@pytest.mark.promise("12", "17")
def test_nor_after_an_administrator_ended_it(house):
    handle, _ = house.visit(work=lambda session: session.handle)
    assert house.sessions.revoke(handle)
    for later in range(3):
        house.later(timedelta(days=later))
        assert house.visit() == ({}, OLD)


def test_two_visitors_with_equal_signed_cookies_share_no_session(a_house):
    """The same was put into both in the same second, before anybody signed in."""
    library = Library(same=Old({"cart": [1]}))
    library.removes = False
    house, same = a_house(library), b"old=id-of-same"
    _, ada = house.visit(same, lambda session: session.update(street="the way home"))
    fields, eve = house.visit(same)
    assert fields == {"cart": [1]}
    assert house.visit(ada)[0] == {"cart": [1], "street": "the way home"}
    house.visit(ada, lambda session: session.clear())
    assert house.visit(eve)[0] == {"cart": [1]}
    assert house.visit(same)[0] == {}


@pytest.mark.promise("12", "17")
def test_no_handle_ends_a_mark_and_makes_the_old_cookie_good_again(a_house):
    """The handle may come from a form. With the old cookie, its key is known."""
    house = a_house(keep_old=True)
    house.library.removes = False
    _, cookies = house.visit()
    house.visit(cookies, lambda session: session.sign_out())
    house.library.sessions["eve"] = Old({"user": "eve"})
    house.sessions.revoke_user("eve")
    house.later(timedelta(days=1))
    handles = [key.hex() for key in stored_in(house.sessions.store)]
    assert [house.sessions.revoke(handle) for handle in handles] == [False, False]
    house.later(timedelta(days=1))
    assert house.visit(OLD)[0] == house.visit(b"old=id-of-eve")[0] == {}


@pytest.mark.promise("12")
@pytest.mark.parametrize("end", [Session.sign_out, Session.clear])
def test_a_logout_ends_every_old_session_that_the_request_shows(a_house, end):
    first, second = Library(), Library(eve=Old({"user": "eve"}))
    second.cookie, second.name = "older", "the older library"
    first.sessions["again"] = Old({"user": "ada"})
    house = a_house([first, second])
    everything = OLD + b"; old=id-of-again; older=id-of-eve"
    _, cookies = house.visit(everything)
    house.visit(cookies, end)
    for later in range(3):
        house.later(timedelta(days=later))
        assert house.visit(everything)[0] == {}


@pytest.mark.promise("12")
def test_a_logout_while_the_first_request_is_all_there_was_ends_it_too(house):
    _, cookies = house.visit(OLD, lambda session: session.sign_out())
    assert house.visit(cookies)[0] == {}
    house.later(timedelta(days=1))
    assert house.visit(OLD)[0] == {}


@pytest.mark.promise("12")
def test_nor_where_the_old_record_could_not_be_removed(house):
    house.library.broken = {"remove"}
    _, cookies = house.visit()
    assert house.told("unavailable") == [
        "a session of the old library was not removed after its move: ConnectionError"
    ]
    house.visit(cookies, lambda session: session.sign_out())
    house.later(timedelta(hours=1))
    assert house.visit(OLD) == ({}, OLD)


@pytest.mark.promise("12")
def test_a_cookie_of_ours_that_is_dead_never_moves_the_old_session(house):
    other = House("sync", store=MemoryStore())
    _, theirs = other.visit(b"", lambda session: session.update(a=1))
    assert house.visit(OLD + b"; " + theirs)[0] == {}
    assert house.library.asked == []


@pytest.mark.promise("12")
def test_a_former_cookie_of_ours_counts_as_one_of_ours(a_house):
    before = CookieSettings(name="before")
    other = House("sync", store=MemoryStore(), cookie=before)
    _, theirs = other.visit(b"", lambda session: session.update(a=1))
    house = a_house(cookie=CookieSettings(name="shop", former=(before,)))
    assert house.visit(OLD + b"; " + theirs)[0] == {}
    assert house.library.asked == []


def test_an_old_session_of_the_name_of_our_cookie_moves_too(a_house):
    library = Library()
    library.cookie = "coatcheck"
    house = a_house(library, insecure_http=True)
    assert house.visit(b"coatcheck=id-of-ada")[0] == EVERYTHING


def test_who_has_no_old_session_is_a_new_visitor(house):
    for cookies in (b"", b"old=", b"old=nonsense", b"old=id-of-nobody", b"other=id-of-ada", b"old=\xff\x00"):
        assert house.visit(cookies) == ({}, cookies)
    assert house.told("migrated") == []


def test_of_several_cookies_of_the_old_name_the_one_that_opens_something_counts(house):
    assert house.visit(b"old=nonsense; old=id-of-nobody; old=id-of-ada")[0] == EVERYTHING


def test_of_several_libraries_each_is_asked(a_house):
    first, second = Library(eve=Old({"user": "eve"})), Library()
    first.cookie, first.name = "older", "the older library"
    house = a_house([first, second])
    assert house.visit()[0] == EVERYTHING
    assert house.visit(b"older=id-of-eve")[0] == {"user": "eve"}
    assert house.told("migrated") == ["from the old library", "from the older library"]


def with_secret(house, secret):
    """The options of another process of the same site, with other secrets."""
    sessions = getattr(house.sessions, "manager", house.sessions)
    return {"secret": secret, "clock": house.clock, "store": sessions.store}


def test_the_same_id_in_two_libraries_is_two_sessions(a_house):
    first, second = Library(), Library(ada=Old({"user": "eve"}))
    second.cookie, second.name = "older", "the older library"
    house = a_house([first, second])
    assert house.visit()[0] == EVERYTHING
    assert house.visit(b"older=id-of-ada")[0] == {"user": "eve"}


def test_the_secret_may_be_replaced_meanwhile(a_house):
    house = a_house()
    house.visit()
    again = a_house(house.library, **with_secret(house, [OLD_SECRET, SECRET]))
    fields, cookies = again.visit(OLD)  # the response was lost
    assert fields == EVERYTHING
    assert again.visit(cookies)[0] == EVERYTHING


def test_a_parallel_request_may_be_served_with_the_secrets_in_another_order():
    house = House("sync", secret=[SECRET, OLD_SECRET])
    other = House("sync", house.library, **with_secret(house, [OLD_SECRET, SECRET]))
    house.library.before = other.visit
    assert house.visit()[0] == EVERYTHING


@pytest.mark.promise("6", "13")
def test_a_request_that_finds_the_old_session_just_gone_looks_again(house_of_threads):
    """A parallel one has moved it since this one looked."""
    house = house_of_threads
    others = []
    house.library.before = lambda: others.append(house.visit())
    fields, cookies = house.visit()
    assert (fields, cookies) == (EVERYTHING, others[0][1])


@pytest.mark.promise("6", "13")
def test_of_many_first_requests_in_threads_none_is_logged_out(house_of_threads):
    for number in range(20):
        house = House("sync", Library(**{str(number): Old({"user": "ada"})}))
        house.library.pause = 0.002
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: house.visit(b"old=id-of-%d" % number), range(12)))  # noqa: B023
        assert {fields.get("user") for fields, _ in found} == {"ada"}
        assert len({cookies for _, cookies in found}) == 1
        assert len(house.told("migrated")) == 1


def test_an_empty_old_session_is_none(a_house):
    house = a_house(Library(ada=Old({})))
    assert house.visit() == ({}, OLD)
    assert house.told("migrated") == []


@pytest.mark.promise("22")
def test_a_cookie_that_the_source_chokes_on_is_no_cookie(house):
    house.library.broken = {"id_in"}
    assert house.visit() == ({}, OLD)


def test_cookies_that_are_no_sessions_hide_none(house):
    junk = b"; ".join(b"old=junk-%d" % number for number in range(10))
    assert house.visit(junk + b"; " + OLD)[0] == EVERYTHING


# What is carried over


def now_of(house):
    return datetime.fromtimestamp(house.clock(), UTC)


class Own:
    pass


def test_what_can_not_be_carried_is_named_and_the_rest_is_carried(a_house):
    fields = {"user": "ada", "own": Own(), "deep": [{"x": Own()}], 7: "seven", "\0x": 1, "kept": {"a": (1,)}}
    house = a_house(Library(ada=Old(fields, lost=["garbled"])))
    assert house.visit()[0] == {"user": "ada", "kept": {"a": (1,)}}
    (reason,) = house.told("migrated")
    lost = r"\x00x, a field with a int as its name, deep, garbled, own"
    assert reason == f"from the old library; not carried over: {lost}"


def test_of_too_much_the_largest_fields_stay_behind(a_house):
    fields = {"user": "ada", "large": "x" * 900, "larger": "x" * 3_000, "small": 1}
    house = a_house(Library(ada=Old(fields)), max_bytes=2_048)
    assert house.visit()[0] == {"user": "ada", "large": "x" * 900, "small": 1}
    assert house.told("migrated") == ["from the old library; not carried over: larger"]


def test_the_field_that_names_the_user_stays_behind_last(a_house):
    fields = {"user": {"id": "ada", "about": "x" * 900}, **{f"field{n}": "y" * 100 for n in range(20)}}
    house = a_house(Library(ada=Old(fields)), max_bytes=2_048, identity=("user", lambda user: user["id"]))
    user, _ = house.visit(work=lambda session: session.user)
    assert user == "ada"


@pytest.mark.parametrize("length", [*range(150, 255, 7), 255, 256])
def test_a_record_of_any_user_fits(length):
    fields = {"user": "ü" * length, **{f"field{n}": "y" * n for n in range(100)}}
    house = House("sync", Library(ada=Old(fields)), max_bytes=2_048)
    (found, user), _ = house.visit(work=lambda session: (dict(session), session.user))
    assert found["user"] == fields["user"]
    assert user == (fields["user"] if length <= 255 else None)


def test_names_are_told_as_one_line_and_not_without_end(a_house):
    names = [f"own {number}" for number in range(1_000)] + ["a\nfake", "b" * 500]
    house = a_house(Library(ada=Old({"user": "ada"}, lost=names)))
    house.visit()
    (reason,) = house.told("migrated")
    assert "\n" not in reason
    assert reason.endswith(", and 982 more")
    assert len(reason) < 1_000


def test_messages_that_wait_are_shown_once_and_in_order(a_house):
    flashes = [Flash("info", "one"), Flash("error", "two"), Flash("info", Own())]
    house = a_house(Library(ada=Old({"user": "ada"}, flashes=flashes)))
    _, cookies = house.visit()
    taken, _ = house.visit(cookies, house.sessions.take_flashes)
    assert taken == [("info", "one"), ("error", "two")]
    assert house.visit(cookies, house.sessions.take_flashes)[0] == []
    assert house.told("migrated") == ["from the old library; not carried over: a message"]


def test_a_message_that_is_too_large_is_named_as_one(a_house):
    flashes = [Flash("info", "x" * 3_000)]
    house = a_house(Library(ada=Old({"user": "ada"}, flashes=flashes)), max_bytes=2_048)
    assert house.visit()[0] == {"user": "ada"}
    assert house.told("migrated") == ["from the old library; not carried over: a message"]


def test_a_user_that_nobody_can_read_is_named_and_the_session_is_nobodys(a_house):
    house = a_house(Library(ada=Old({"user": ["ada"], "a": 1})))
    (fields, user), _ = house.visit(work=lambda session: (dict(session), session.user))
    assert (fields, user) == ({"user": ["ada"], "a": 1}, None)
    assert house.told("migrated") == ["from the old library; not carried over: the user in user"]


@pytest.mark.promise("16")
@pytest.mark.parametrize(
    ("old", "idle", "absolute"),
    [
        ({}, timedelta(hours=24), timedelta(days=30)),
        ({"permanent": True}, timedelta(days=30), timedelta(days=90)),
        ({"idle": timedelta(minutes=5)}, timedelta(minutes=5), timedelta(days=30)),
        ({"rest": timedelta(hours=30)}, timedelta(hours=24), timedelta(hours=30)),
        ({"rest": timedelta(minutes=9), "permanent": True}, timedelta(minutes=9), timedelta(minutes=9)),
        ({"rest": timedelta(days=900)}, timedelta(hours=24), timedelta(days=30)),
        ({"rest": timedelta.max}, timedelta(hours=24), timedelta(days=30)),
        ({"idle": timedelta.max}, timedelta(days=30), timedelta(days=30)),
        ({"longest_idle": timedelta(hours=1), "permanent": True}, timedelta(hours=1), timedelta(days=90)),
        ({"longest_idle": timedelta(days=60), "permanent": True}, timedelta(days=30), timedelta(days=90)),
        ({"rest": timedelta(days=60), "idle": timedelta(days=60)}, timedelta(days=30), timedelta(days=30)),
        (
            {"rest": timedelta(days=365), "idle": timedelta(days=365), "permanent": True, "exceeds": True},
            timedelta(days=365),
            timedelta(days=365),
        ),
        ({"idle": timedelta(days=365), "exceeds": True}, timedelta(days=365), timedelta(days=365)),
        ({"idle": timedelta(hours=2), "exceeds": True}, timedelta(hours=2), timedelta(days=30)),
        ({"idle": timedelta.max, "exceeds": True}, timedelta(days=400), timedelta(days=400)),
    ],
)
def test_lifetimes_are_carried_over(a_house, old, idle, absolute):
    house = a_house(Library(ada=Old({"user": "ada"}, **old)))
    _, cookies = house.visit()
    begun = now_of(house)

    def ends(session):
        return session.expires_at

    assert house.visit(cookies, ends)[0] == begun + idle
    uses = min(absolute // (idle / 2), 100)
    for _ in range(uses - 1):
        house.later(idle / 2)
        assert house.visit(cookies)[0] == {"user": "ada"}
    house.later(min(begun + absolute - now_of(house), idle))
    assert house.visit(cookies)[0] == {}


def test_a_rest_of_nearly_nothing_is_not_taken_for_no_limit(a_house):
    house = a_house(Library(ada=Old({"user": "ada"}, rest=timedelta(microseconds=1))))
    _, cookies = house.visit()
    house.later(timedelta(seconds=1))
    assert house.visit(cookies)[0] == {}


# Ending


@pytest.mark.promise("17")
def test_ending_a_users_sessions_ends_those_that_have_not_come_yet(house):
    assert house.sessions.revoke_user("ada") == 0
    house.later(timedelta(days=1))
    assert house.visit() == ({}, OLD)
    assert house.sessions.of_user("ada") == []
    assert house.told("migrated") == []
    assert house.told("revoked")[-1].startswith("a session of the old library: all sessions of the user")
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    assert house.visit(cookies, lambda session: session.user)[0] == "ada"


@pytest.mark.promise("17")
def test_also_where_an_epoch_ends_them(a_house):
    house = a_house(revocation="epoch")
    _, cookies = house.visit()
    assert house.visit(cookies)[0] == EVERYTHING
    house.sessions.revoke_user("ada")
    assert [house.visit(each)[0] for each in (cookies, OLD)] == [{}, {}]


@pytest.mark.promise("17")
def test_and_a_second_time(house):
    house.sessions.revoke_user("ada")
    house.later(timedelta(days=29))
    house.sessions.revoke_user("ada")
    house.later(timedelta(days=2))
    assert house.visit()[0] == {}


def test_other_users_are_not_touched(house):
    house.sessions.revoke_user("eve")
    assert house.visit()[0] == EVERYTHING


def test_the_limit_of_sessions_per_user_counts(a_house):
    house = a_house(max_sessions_per_user=1)
    _, before = house.visit(b"", lambda session: session.sign_in("ada"))
    house.later(timedelta(seconds=1))
    house.visit()
    assert house.visit(before, lambda session: session.user)[0] is None
    assert len(house.sessions.of_user("ada")) == 1


# When things break


@pytest.mark.promise("20")
def test_an_old_store_that_fails_is_an_outage_and_nothing_is_lost(house):
    house.library.broken = {"read"}
    with pytest.raises(StoreUnavailable, match="the old library can't be read: ConnectionError") as raised:
        house.visit()
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
    assert house.told("unavailable")
    house.library.broken = set()
    assert house.visit()[0] == EVERYTHING


@pytest.mark.promise("20")
def test_under_the_anonymous_policy_the_visitor_is_nobody_meanwhile(a_house):
    house = a_house(outage="anonymous")
    house.library.broken = {"read"}
    assert house.visit() == ({}, OLD)
    house.library.broken = set()
    assert house.visit()[0] == EVERYTHING


def test_an_old_store_that_hangs_is_an_outage_and_takes_no_thread_of_the_application():
    house, goes_on = House("async", deadline=timedelta(seconds=0.2)), threading.Event()
    house.library.before, began = goes_on.wait, awake()
    before = set(threading.enumerate())
    try:
        with pytest.raises(StoreUnavailable, match="the old library can't be read: TimeoutError"):
            house.visit()
        assert awake() - began < 5
        running = [thread.name for thread in set(threading.enumerate()) - before]
        assert [name for name in running if name.startswith("coatcheck-aside")]
        assert not [name for name in running if name.startswith("asyncio")]
    finally:
        goes_on.set()
        house.close()


def test_nor_does_it_keep_the_process_from_its_end():
    """A server that was stopped would otherwise have to be killed."""
    program = (
        "import threading\n"
        "from datetime import timedelta\n"
        "from tests.migrate.house import House\n"
        "house = House('async', deadline=timedelta(seconds=0.2))\n"
        "house.library.before = threading.Event().wait\n"
        "try:\n"
        "    house.visit()\n"
        "finally:\n"
        "    house.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "StoreUnavailable: the sessions of the old library can't be read" in done.stderr


def test_what_waits_for_a_thread_is_dropped_when_its_request_is_over():
    house, goes_on = House("async", deadline=timedelta(seconds=0.2)), threading.Event()
    read, house.library.read = house.library.read, lambda *asked: goes_on.wait() and read(*asked)
    sessions = house.sessions.manager

    async def visits():
        opened = [sessions.open(OLD) for _ in range(20)]
        await asyncio.gather(*map(sessions.preload, opened))
        goes_on.set()

    house.sessions.runner.run(visits())
    threads = [thread for thread in threading.enumerate() if thread.name == "coatcheck-aside"]
    house.close()
    for thread in threads:
        thread.join(30)
    assert not [thread for thread in threads if thread.is_alive()]
    assert 0 < len(house.library.asked) <= 8


def test_a_forked_process_reads_the_old_sessions_in_threads_of_its_own(monkeypatch):
    house, readers = House("async"), []
    read = house.library.read
    house.library.read = lambda *asked: readers.append(threading.current_thread()) or read(*asked)
    unknown = OLD + b"0"
    for _ in range(9):  # more than there are threads
        house.visit(unknown)
    before = set(readers)
    monkeypatch.setattr("os.getpid", lambda: -1)
    house.visit(unknown)
    assert before
    assert readers[-1] not in before
    house.close()


@pytest.mark.promise("20")
def test_a_logout_is_not_answered_while_the_old_session_beside_it_can_not_be_ended(kind):
    store = (FailingStore if kind == "sync" else AsyncFailingStore)(
        MemoryStore() if kind == "sync" else AsyncMemoryStore()
    )
    house = House(kind, store=store)
    _, cookies = house.visit(b"", lambda session: session.sign_in("ada"))
    session = house.sessions.open(OLD + b"; " + cookies)
    session.sign_out()
    store.fail("write", error=StoreUnavailable("it is down"))
    with pytest.raises(StoreUnavailable):
        house.sessions.close(session)
    assert [reason.partition(":")[0] for reason in house.told("unavailable")] == ["apply"]
    assert state_of(session).met is not None  # a 500 that the handler answers is a 503
    store.recover()
    house.sessions.close(session, last=True)
    assert house.visit()[0] == {}
    house.close()


class Stumbling(StoreWrapper):
    """Fails once, at its n-th call; with `done`, after the call was carried out."""

    def __init__(self, store, number, done):
        super().__init__(store)
        self.number, self.done, self.calls = number, done, []

    def around(self, call, send):
        self.calls.append(call.method)
        if len(self.calls) != self.number:
            return send()
        if self.done:
            send()
        raise StoreUnavailable("it stumbled", ambiguous=True)


@pytest.mark.promise("12", "17", "20")
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("removes", [False, True])
@pytest.mark.parametrize("number", range(1, 15))
@pytest.mark.servers
def test_wherever_our_store_stumbles_the_next_request_has_everything(
    number, removes, done, redis_server, prefix
):
    store = Stumbling(from_url(redis_server.url, prefix=prefix), number, done)
    house = House("sync", store=store, max_sessions_per_user=3, clock=time.time)
    house.library.removes = removes
    with suppress(StoreUnavailable):
        house.visit()
    if number == 14:
        assert len(store.calls) < number  # there is no later call
    store.number = 0
    fields, cookies = house.visit()
    assert fields == EVERYTHING
    assert [info.user for info in house.sessions.of_user("ada")] == ["ada"]
    assert house.sessions.revoke_user("ada") == 1
    for each in (OLD, cookies):
        assert house.visit(each)[0] == {}


@pytest.mark.promise("17")
@pytest.mark.servers
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("number", range(1, 13))
def test_wherever_our_store_stumbles_an_ended_user_stays_ended(number, done, redis_server, prefix):
    store = Stumbling(from_url(redis_server.url, prefix=prefix), 0, done)
    house = House("sync", store=store, clock=time.time)
    house.sessions.revoke_user("ada")
    store.calls.clear()
    store.number = number
    cookies = OLD
    with suppress(StoreUnavailable):
        _, cookies = house.visit()
    if number == 12:
        assert len(store.calls) < number  # there is no later call
    store.number = 0
    for each in (OLD, cookies, OLD):
        assert house.visit(each)[0] == {}


class Interrupting(StoreWrapper):
    """Lets something happen before its n-th call."""

    def __init__(self, store):
        super().__init__(store)
        self.number, self.what = 0, None

    def around(self, call, send):
        self.number -= 1
        if not self.number:
            self.what()
        return send()


@pytest.mark.promise("17")
@pytest.mark.servers
@pytest.mark.parametrize("number", range(1, 15))
def test_whenever_a_user_is_ended_during_the_first_request_his_session_does_not_open_again(
    number, redis_server, prefix
):
    store = Interrupting(from_url(redis_server.url, prefix=prefix))
    house = House("sync", store=store, clock=time.time)
    other = House("sync", house.library, store=store.store, clock=time.time)  # another process
    parallel = []

    def end():
        other.sessions.revoke_user("ada")
        parallel.append(other.visit()[0])

    store.what, store.number = end, number
    _, cookies = house.visit()
    if store.number > 0:
        end()
    assert parallel == [{}]
    for each in (OLD, cookies):
        assert house.visit(each)[0] == {}


@pytest.mark.promise("17")
@pytest.mark.servers
def test_listing_a_users_sessions_during_the_first_request_hides_none(redis_server, prefix):
    for number in range(1, 14):
        store = Interrupting(from_url(redis_server.url, prefix=f"{prefix}{number}:"))
        house = House("sync", store=store, clock=time.time)
        store.what, store.number = partial(house.sessions.of_user, "ada"), number
        _, cookies = house.visit()
        store.number = 0
        assert [info.user for info in house.sessions.of_user("ada")] == ["ada"]
        assert house.sessions.revoke_user("ada") == 1
        assert house.visit(cookies)[0] == {}


@pytest.mark.promise("10")
def test_an_old_record_that_can_not_be_read_is_told_and_left_alone(a_house):
    house = a_house(Library(ada="garbage"))
    assert house.visit() == ({}, OLD)
    assert house.told("unreadable") == ["a session of the old library: it is no pickle"]
    assert house.library.sessions == {"ada": "garbage"}


def test_a_manager_of_the_other_kind_and_no_source_are_refused():
    with pytest.raises(ConfigurationError, match="synchronous"):
        AsyncMigrating(Sessions(MemoryStore(), secret=SECRET), from_=Library())
    with pytest.raises(ConfigurationError, match="async store"):
        Migrating(AsyncSessions(AsyncMemoryStore(), secret=SECRET), from_=Library())
    with pytest.raises(ConfigurationError, match="from_ takes the sessions of another library"):
        Migrating(Sessions(MemoryStore(), secret=SECRET), from_=[])


@pytest.mark.parametrize("wrong", [None, "redis://localhost", Library, object(), [Library(), 3]])
def test_what_is_no_source_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="from_ takes the sessions of another library"):
        Migrating(Sessions(MemoryStore(), secret=SECRET), from_=wrong)


def test_a_manager_that_moves_already_is_refused(house_of_threads):
    with pytest.raises(ConfigurationError, match="all sources"):
        Migrating(house_of_threads.sessions, from_=Library())


def test_a_manager_that_moves_inside_one_that_does_not_is_named_once(house_of_threads):
    inner = house_of_threads.sessions
    outer = Sessions(inner.store, secret=SECRET, identity="user").open(OLD)
    with pytest.warns(ForeignSessionWarning, match="no old session is carried over"):
        assert inner.agrees_with(outer)
    assert inner.agrees_with(outer)
    assert House("sync").sessions.agrees_with(inner.open(OLD))


@pytest.mark.parametrize("wrong", ["kept", "in a cookie"])
def test_memcached_which_may_lose_a_mark_is_refused_where_nothing_else_ends_an_old_session(wrong):
    library = Library()
    library.removes = wrong != "in a cookie"
    sessions = Sessions.from_url("memcached://localhost:1", secret=SECRET)
    with pytest.raises(ConfigurationError, match="Memcached may lose the mark"):
        Migrating(sessions, from_=library, keep_old=wrong == "kept")
    Migrating(sessions, from_=Library())


def test_without_identity_ending_a_user_is_refused(a_house):
    house = a_house(identity=None)
    with pytest.raises(ConfigurationError, match="name the field"):
        house.sessions.revoke_user("ada")
    assert house.visit()[0] == EVERYTHING


@pytest.mark.promise("18")
@pytest.mark.servers
def test_no_value_and_no_id_is_in_a_frame_or_a_message_of_ours(redis_server, prefix, monkeypatch):
    monkeypatch.setattr(Library, "id_in", lambda _, value: value)
    secret, old_id, failures = "4111-1111-1111", "the-id-of-the-old-session", 0
    for number in range(1, 12):
        store = Stumbling(from_url(redis_server.url, prefix=f"{prefix}{number}:"), number, done=False)
        house = House("sync", Library(**{old_id: Old({"user": "ada", "card": secret})}), store=store)
        session = house.sessions.open(f"old={old_id}".encode())
        try:
            house.sessions.load(session)
        except StoreUnavailable as error:
            failures += 1
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            ours = [frame.locals for frame in told.stack if "src/coatcheck" in frame.filename]
            assert len(ours) > 3
            assert not [frame for frame in ours if secret in str(frame) or old_id in str(frame)]
    assert failures > 3


def test_its_settings_can_be_changed_as_of_any_manager(house):
    other = getattr(house.sessions, "manager", house.sessions).with_settings(idle_timeout=timedelta(hours=1))
    assert type(other) in {Migrating, AsyncMigrating}
    assert other._requests._sources == [house.library]


def test_a_task_that_loads_late_leaves_alone_what_another_task_of_the_request_has_begun():
    house = House("async")
    sessions = house.sessions.manager
    asked, has_ended = threading.Event(), threading.Event()

    def wait():
        asked.set()
        assert has_ended.wait(30)

    house.library.before = wait

    async def request():
        session = sessions.open(OLD)
        late = asyncio.create_task(sessions.load(session))
        assert await asyncio.to_thread(asked.wait, 30)
        await sessions.load(session)
        session.sign_out()
        await sessions.save(session)
        session["begun"] = 1
        await sessions.save(session)
        has_ended.set()
        await late
        session["late"] = 2
        await sessions.close(session, last=True)
        return dict(session), session.is_new

    assert house.sessions.runner.run(request()) == ({"begun": 1, "late": 2}, False)
    assert len(house.told("created")) == 1
    house.close()
