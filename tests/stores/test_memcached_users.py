"""A user's sessions on Memcached: they are not listed, and they are all ended by his epoch."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.memcached_bench import (
    DAY,
    SECRET,
    apply,
    create,
    destroy,
    load,
    managed,
    now,
    opened,
    signed_in,
    update,
)
from coatcheck import Sessions
from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Life
from coatcheck.model.record import APPLIED, TOMBSTONE_LIFE, Create, Record, Refused, SignIn, Tombstone
from coatcheck.stores import _memcached_flows as flows
from coatcheck.stores._memcached_items import Epoch, Items
from coatcheck.stores.memcached import MemcachedStore
from tests.servers.memcached import memcached, prefix  # noqa: F401 - a fixture
from tests.visitor import Visitor

pytestmark = [pytest.mark.servers, pytest.mark.promise("17")]


@pytest.fixture(params=["sync", "async"])
def colour(request):
    return request.param


@pytest.fixture
def its():
    """The prefix of this test."""
    return prefix()


@pytest.fixture
def store(colour, memcached, its):  # noqa: F811
    with opened(colour, memcached.address, prefix=its) as store:
        yield store


@pytest.fixture
def sessions(colour, memcached, its):  # noqa: F811
    with managed(colour, memcached.address, store_options={"prefix": its}) as sessions:
        yield sessions


@pytest.fixture
def epochs(memcached, its):  # noqa: F811
    """The epochs that lie on the server, past the store."""

    class Epochs:
        names = Items(its, 1 << 20)

        def of(self, user):
            return Epoch.decode(memcached.read(self.names.of_user(user)))

        def lose(self, user):
            memcached.remove(self.names.of_user(user))

        def plant(self, user, data):
            memcached.write(self.names.of_user(user), data)

    return Epochs()


def end_all(store, user="ada", *, at=None, keep=None):
    at = at or now()
    store.revoke_all(user, at, at + 90 * DAY, keep)


# What is not there is refused, and told what has it


def test_listing_counting_and_changing_all_of_a_user_are_refused_by_name(sessions):
    for call in (
        lambda: sessions.of_user("ada"),
        sessions.count,
        lambda: sessions.update_user("ada", {"role": "admin"}),
    ):
        with pytest.raises(ConfigurationError, match=r"Memcached.*SQLite, Redis, PostgreSQL"):
            call()


def test_the_store_itself_answers_no_list_rather_than_an_empty_one(store):
    for call in (lambda: store.lives_of("ada", now()), lambda: store.count(now())):
        with pytest.raises(Exception, match="Memcached"):
            call()
    assert store.sweep(now(), 10) == 0


# Ending all


def test_every_session_that_was_answered_ends_and_later_ones_stand(sessions):
    before = [Visitor(sessions).signed_in("ada") for _ in range(3)]
    other = Visitor(sessions).signed_in("grace")
    assert sessions.revoke_user("ada") == 0
    after = Visitor(sessions).signed_in("ada")
    assert [visitor.handle for visitor in before] == [None] * 3
    assert (after.handle is not None, other.handle is not None) == (True, True)
    sessions.revoke_user("ada")
    assert after.handle is None


def test_a_password_reset_ends_all_and_signs_in_within_one_request(sessions):
    thief = Visitor(sessions).signed_in("ada")
    owner = Visitor(sessions).signed_in("ada")
    for _ in range(5):
        with owner.request() as session:
            sessions.revoke_user("ada")
            session.sign_in("ada")
        with owner.request() as session:
            assert session.user == "ada"
    assert thief.handle is None


def test_a_session_that_is_kept_stays_and_is_ended_by_the_next_one(sessions):
    others = [Visitor(sessions).signed_in("ada") for _ in range(2)]
    kept = Visitor(sessions).signed_in("ada")
    for _ in range(2):
        sessions.revoke_user("ada", keep=kept.handle)
        assert [visitor.handle for visitor in others] == [None] * 2
        assert kept.handle is not None
    with kept.request() as session:
        session["cart"] = "apples"
    assert kept.read() == {"cart": "apples"}
    sessions.revoke_user("ada")
    assert kept.handle is None


def test_what_is_kept_may_sign_in_again(sessions):
    kept = Visitor(sessions).signed_in("ada")
    sessions.revoke_user("ada", keep=kept.handle)
    kept.signed_in("ada")
    assert kept.handle is not None
    sessions.revoke_user("ada", keep="0" * 32)
    assert kept.handle is None


def test_keeping_a_session_that_had_ended_does_not_bring_it_back(sessions):
    ended, other = Visitor(sessions).signed_in("ada"), Visitor(sessions).signed_in("grace")
    with ended.request() as session:
        handle = session.handle
    sessions.revoke_user("ada")
    for keep in (handle, other.handle, "no handle", "f" * 32):
        sessions.revoke_user("ada", keep=keep)
        assert ended.handle is None
    # Nor does it when its user signs in elsewhere.
    Visitor(sessions).signed_in("ada")
    assert ended.handle is None


def test_a_late_request_of_an_ended_session_writes_nothing_and_gets_no_cookie(sessions):
    visitor = Visitor(sessions).signed_in("ada", theme="dark")
    with visitor.request() as session:
        assert session["theme"] == "dark"
        sessions.revoke_user("ada")
        session["theme"] = "light"
    assert visitor.set_cookie is None
    with visitor.request() as session:
        assert session.user is None
        session["theme"] = "later"
    assert visitor.set_cookie is None  # it is late for a while: the visitor may have signed in elsewhere


def test_a_user_who_never_signed_in_can_be_ended(sessions, epochs):
    sessions.revoke_user("nobody")
    epoch = epochs.of("nobody")
    assert epoch.ended == epoch.newest == epoch.revoked
    visitor = Visitor(sessions).signed_in("nobody")
    assert visitor.handle is not None


def test_no_change_is_applied_to_an_ended_session(store):
    record = create(store, signed_in("ada"))
    end_all(store)
    for parts in ({"set": {"late": b"1"}}, {"take": ("cart",)}, {"sign_in": SignIn("ada")}, {"clear": True}):
        assert apply(store, update(record, **parts)) is Refused.GONE
    found = load(store, record)
    assert isinstance(found, Tombstone)
    assert load(store, record, at=now() + TOMBSTONE_LIFE + 1) is None


def test_logging_out_of_an_ended_session_is_no_error_and_leaves_nothing(store, memcached, its):  # noqa: F811
    record = create(store, signed_in("ada", fields={"name": b"found again"}))
    end_all(store)
    assert apply(store, destroy(record)) == APPLIED
    assert b"found again" not in memcached.read(Items(its, 1 << 20).of_record(record.key))


# One millisecond


def test_sign_ins_of_the_millisecond_in_which_all_are_ended_end_too(store):
    at = now()
    before = [create(store, signed_in("ada", signed_in=at)) for _ in range(2)]
    end_all(store, at=at)
    after = create(store, signed_in("ada", signed_in=at))
    assert [isinstance(load(store, record), Record) for record in before] == [False, False]
    found = load(store, after)
    assert isinstance(found, Record)
    assert found.signed_in == at + 1
    end_all(store, at=at)
    assert not isinstance(load(store, after), Record)


@pytest.mark.promise("F-17")
def test_clocks_that_disagree_neither_keep_nor_lose_a_session(store):
    ahead = create(store, signed_in("ada", signed_in=now() + 60_000))
    end_all(store, at=now() - 60_000)
    assert not isinstance(load(store, ahead), Record)
    behind = create(store, signed_in("ada", signed_in=now() - 30_000))
    assert isinstance(load(store, behind), Record)


def test_an_epoch_never_moves_back(store, epochs):
    create(store, signed_in("ada"))
    end_all(store)
    before = epochs.of("ada")
    end_all(store, at=now() - DAY)
    create(store, signed_in("ada", signed_in=now() - DAY))
    after = epochs.of("ada")
    assert after.ended >= before.ended
    assert after.newest > before.newest
    assert after.revoked == before.revoked


# Losing the epoch


def test_a_lost_epoch_ends_the_sessions_and_the_next_sign_in_begins_another(store, epochs):
    first = create(store, signed_in("ada"))
    epochs.lose("ada")
    assert not isinstance(load(store, first), Record)
    assert apply(store, update(first, set={"late": b"1"})) is Refused.GONE
    second = create(store, signed_in("ada", signed_in=now() + 1))
    assert isinstance(load(store, second), Record)
    assert not isinstance(load(store, first), Record)


def test_a_session_that_was_ended_before_the_epoch_was_lost_stays_ended(store, epochs):
    record = create(store, signed_in("ada"))
    end_all(store)
    epochs.lose("ada")
    end_all(store, at=now() + 1)
    create(store, signed_in("ada", signed_in=now() + 2))
    create(store, signed_in("ada", signed_in=now() + 3))
    assert not isinstance(load(store, record), Record)


@pytest.mark.parametrize("data", [b"", b"junk", bytes(100)])
def test_an_epoch_that_can_not_be_read_is_a_lost_one(store, epochs, data):
    record = create(store, signed_in("ada"))
    epochs.plant("ada", data)
    assert not isinstance(load(store, record), Record)
    again = create(store, signed_in("ada", signed_in=now() + 1))
    assert isinstance(load(store, again), Record)


def test_anonymous_sessions_need_no_epoch(store, epochs):
    record = create(store)
    assert load(store, record) == record
    assert epochs.of("ada") is None


def test_an_epoch_lasts_as_long_as_any_session_of_its_user(store, epochs):
    at = now()
    create(store, signed_in("ada", signed_in=at))
    store.enroll("ada", Life(bytes(16), at), at + 365 * DAY)  # of a record that is not there: nothing to note
    assert epochs.of("ada").expires == at + 90 * DAY
    later = create(store, signed_in("ada", signed_in=at + 5_000))
    assert epochs.of("ada").expires == at + 5_000 + 90 * DAY
    store.enroll("ada", Life(later.key, at), at + DAY)
    assert epochs.of("ada").expires == at + 5_000 + 90 * DAY
    end_all(store)
    assert epochs.of("ada").expires == at + 5_000 + 90 * DAY


# Races


def test_a_sign_in_counts_only_once_it_is_noted_and_its_late_companions_are_late(store):
    record = create(store)
    change = update(record, sign_in=SignIn("ada"))
    assert apply(store, change) == APPLIED
    # Not answered yet: a request with the old cookie must not be taken for a stranger's, who gets a new one.
    assert load(store, record) == Tombstone(record.key, change.at + TOMBSTONE_LIFE)
    store.enroll("ada", Life(record.key, change.at), change.at + 90 * DAY)
    assert isinstance(load(store, record), Record)


def test_a_sign_in_under_way_while_all_are_ended_stands(store):
    create(store, signed_in("ada"))
    record = signed_in("ada")
    assert apply(store, Create(record)) == APPLIED
    end_all(store, at=now() + 1_000)
    store.enroll("ada", Life(record.key, record.signed_in), record.signed_in + 90 * DAY)
    assert isinstance(load(store, record), Record)
    end_all(store)
    assert not isinstance(load(store, record), Record)


def test_a_session_that_ended_before_its_sign_in_was_noted_notes_nothing(store, epochs):
    record = signed_in("ada")
    assert apply(store, Create(record)) == APPLIED
    assert apply(store, destroy(record)) == APPLIED
    store.enroll("ada", Life(record.key, record.signed_in), record.signed_in + DAY)
    assert epochs.of("ada") is None


def test_nobody_whose_sign_in_was_answered_before_outlives_the_end_of_all(memcached, its):  # noqa: F811
    """Four threads sign in without a rest, each in a store of its own; four times all are ended meanwhile."""
    answered, done = [], threading.Event()

    def sign_in():
        with opened("sync", memcached.address, prefix=its) as mine:
            while not done.is_set():
                answered.append(create(mine, signed_in("ada")))

    with opened("sync", memcached.address, prefix=its) as store, ThreadPoolExecutor(4) as pool:
        working = [pool.submit(sign_in) for _ in range(4)]
        for _ in range(4):
            wanted = len(answered) + 20
            while len(answered) < wanted and not any(worker.done() for worker in working):
                done.wait(0.005)
            before = list(answered)
            end_all(store)
            states = store.load([record.key for record in before], now())
            assert not any(isinstance(state, Record) for state in states)
        done.set()
        for worker in working:
            worker.result()
        # Those that were answered after the last end all stand.
        last = create(store, signed_in("ada"))
        assert isinstance(load(store, last), Record)


def steps_of(store, flow, until):
    """Drive a flow of the store by hand up to the first wish of that kind; what is left to do is returned."""
    wish = next(flow)
    while not isinstance(wish, until):
        wish = flow.send(store._do(wish, time.monotonic() + 60))
    return wish


@pytest.mark.parametrize("first", ["enroll", "revoke"])
def test_noting_and_ending_at_once_see_each_other(memcached, its, first):  # noqa: F811
    """Each read the epoch before the other wrote it."""
    with opened("sync", memcached.address, prefix=its) as store:
        create(store, signed_in("ada"))
        record = signed_in("ada", signed_in=now() + 1)
        assert apply(store, Create(record)) == APPLIED
        names, at = Items(its, 1 << 20), now()
        noting = flows.enroll(names, "ada", Life(record.key, record.signed_in), at + 90 * DAY)
        ending = flows.revoke_all(names, "ada", at, at + 90 * DAY, None)
        parked = {"enroll": noting, "revoke": ending}
        put = {name: steps_of(store, flow, flows.Put) for name, flow in parked.items()}
        second = "revoke" if first == "enroll" else "enroll"
        for name in (first, second):
            flow = parked[name]
            wish = put[name]
            try:
                while True:
                    wish = flow.send(store._do(wish, time.monotonic() + 60))
            except StopIteration:
                pass
        # The one that came second was told so, and began anew.
        assert isinstance(load(store, record), Record) == (second == "enroll")


def test_a_manager_on_memcached_is_built_without_a_connection():
    with Sessions(MemcachedStore("127.0.0.1:1"), secret=SECRET) as sessions:
        assert sessions.store.capabilities.revokes_all
