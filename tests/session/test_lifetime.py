"""Limits of a session's own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coatcheck import Sessions
from coatcheck.stores.memory import MemoryStore
from tests.core.scene import STORES
from tests.visitor import SECRET, Visitor, make_sessions

MINUTE, HOUR, DAY, YEAR = (
    timedelta(**span) for span in ({"minutes": 1}, {"hours": 1}, {"days": 1}, {"days": 365})
)


def alive(visitor, **after):
    """Whether the session of `visitor` is alive after some time, looked at from aside."""
    visitor.sessions.settings.clock.advance(timedelta(**after).total_seconds())
    return visitor.sessions.exists(visitor.known)


@pytest.fixture
def visitor(sessions):
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session["a"] = 1
    visitor.known = visitor.handle
    return visitor


@pytest.mark.promise("16")
def test_a_shorter_idle_limit_acts_at_once_and_slides(visitor):
    with visitor.request() as session:
        session.set_lifetime(idle=10 * MINUTE)
    assert alive(visitor, minutes=9)
    assert visitor.read() == {"a": 1}
    assert alive(visitor, minutes=9)
    assert not alive(visitor, minutes=1)
    assert visitor.read() == {}


@pytest.mark.promise("16")
def test_a_longer_limit_acts_too_and_the_settings_count_again_after_none(visitor):
    with visitor.request() as session:
        session.set_lifetime(idle=YEAR, absolute=YEAR)
        visitor.sessions.save(session)
        assert session.expires_at == session.created_at + YEAR
    assert alive(visitor, days=300)
    with visitor.request() as session:
        session.set_lifetime(idle=None)
    assert alive(visitor, hours=23)
    assert not alive(visitor, hours=1)


@pytest.mark.promise("16")
def test_an_absolute_limit_counts_from_the_beginning_and_no_use_moves_it(visitor):
    with visitor.request() as session:
        session.set_lifetime(absolute=3 * HOUR)
    for _ in range(2):
        assert alive(visitor, hours=1)
        assert visitor.read() == {"a": 1}
    assert not alive(visitor, hours=1)


@pytest.mark.promise("16")
def test_the_limits_of_a_new_session_stand_in_its_first_record(sessions):
    visitor = Visitor(sessions)
    with visitor.request() as session:
        session.set_lifetime(idle=MINUTE, absolute=HOUR)
        session["a"] = 1
    with visitor.request() as session:
        assert session.expires_at - session.created_at == MINUTE


def test_what_is_left_out_stays_as_it_is(visitor):
    with visitor.request() as session:
        session.set_lifetime(idle=HOUR)
    with visitor.request() as session:
        session.set_lifetime(absolute=2 * HOUR)
        session.set_lifetime(persistent=True)
    with visitor.request() as session:
        assert session.permanent
        assert session.expires_at - session.last_used_at == HOUR
    assert alive(visitor, minutes=59)
    assert visitor.read() == {"a": 1}
    assert alive(visitor, minutes=59)
    assert visitor.read() == {"a": 1}
    assert not alive(visitor, minutes=2)


def test_a_persistent_session_has_a_cookie_that_lasts_as_long_and_a_change_sends_it_again(visitor):
    with visitor.request() as session:
        session.set_lifetime(absolute=2 * HOUR, persistent=True)
    assert "Max-Age=7200" in visitor.set_cookie
    with visitor.request() as session:
        session.set_lifetime(absolute=HOUR)
    assert "Max-Age=3600" in visitor.set_cookie
    with visitor.request() as session:
        session.set_lifetime(persistent=False)
    assert "Max-Age" not in visitor.set_cookie
    with visitor.request() as session:
        session.set_lifetime(absolute=2 * HOUR)
    assert visitor.set_cookie is None


def test_the_limits_stay_through_a_sign_in(visitor):
    with visitor.request() as session:
        session.set_lifetime(idle=HOUR)
    with visitor.request() as session:
        session.sign_in("ada")
    with visitor.request() as session:
        assert session.expires_at - session.signed_in_at == HOUR


@pytest.mark.promise("V")
def test_another_user_inherits_neither_limits_nor_permanence_but_what_the_request_itself_chose(visitor):
    with visitor.request() as session:
        session.sign_in("ada")
        session.set_lifetime(idle=YEAR, absolute=YEAR, persistent=True)
    with visitor.request() as session:
        session.sign_in("grace")
    assert "Max-Age" not in visitor.set_cookie
    with visitor.request() as session:
        assert not session.permanent
        assert session.expires_at - session.last_used_at == DAY
        session.set_lifetime(idle=HOUR, persistent=True)
        session.sign_in("ada")
    with visitor.request() as session:
        assert session.permanent
        assert session.expires_at - session.last_used_at == HOUR
        session.sign_in("ada")
    with visitor.request() as session:
        assert session.permanent


def test_the_same_limits_again_write_nothing(visitor):
    with visitor.request() as session:
        session.set_lifetime(idle=HOUR)
    visitor.sessions.store.calls.clear()
    with visitor.request() as session:
        session.set_lifetime(idle=HOUR)
    assert visitor.sessions.store.calls == ["load"]


def test_an_administrator_can_change_them(visitor):
    with visitor.sessions.edit(visitor.known) as session:
        session.set_lifetime(idle=MINUTE)
    assert alive(visitor, seconds=59)
    assert not alive(visitor, seconds=1)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"idle": 60}, TypeError),
        ({"absolute": "1 h"}, TypeError),
        ({"idle": timedelta(0)}, ValueError),
        ({"idle": timedelta(seconds=-1)}, ValueError),
        ({"absolute": timedelta(days=401)}, ValueError),
    ],
)
def test_what_is_no_limit_is_refused_and_nothing_changes(visitor, limits, error):
    with visitor.request() as session:
        with pytest.raises(error, match=next(iter(limits))):
            session.set_lifetime(**limits)
        assert session.expires_at - session.last_used_at == DAY
    visitor.sessions.store.calls.clear()


@pytest.mark.promise("17")
@pytest.mark.parametrize("index", STORES)
@pytest.mark.parametrize("use", ["read", "write"])
def test_a_session_whose_limits_a_deployment_made_longer_is_ended_by_revoke_user(index, use):
    """Its index entry or epoch was made when the limits were shorter: the first use afterwards lets it last longer."""
    store = STORES[index]()
    before = make_sessions(store, remember_absolute=100 * DAY, remember_idle=90 * DAY)
    clock = before.settings.clock
    after = Sessions(store, secret=SECRET, clock=clock, remember_absolute=300 * DAY, remember_idle=200 * DAY)
    visitor = Visitor(before)
    with visitor.request() as session:
        session.permanent = True
        session.sign_in("ada")
    clock.advance(timedelta(days=80).total_seconds())
    visitor.sessions = after
    with visitor.request() as session:
        if use == "write":
            session["a"] = 1
        assert session.user == "ada"
    clock.advance(timedelta(days=50).total_seconds())
    with visitor.request() as session:
        assert session.user == "ada"
    assert after.revoke_user("ada") == (0 if index == "none" else 1)
    with visitor.request() as session:
        assert session.user is None


@pytest.mark.promise("17")
def test_a_record_never_outlives_what_its_index_entry_stands_for():
    """An update that does not enter it anew can't let it live on unseen."""
    store = MemoryStore()
    before = make_sessions(store, absolute_timeout=10 * DAY, remember_absolute=10 * DAY, remember_idle=DAY)
    after = Sessions(
        store, secret=SECRET, clock=before.settings.clock, idle_timeout=200 * DAY, absolute_timeout=300 * DAY
    )
    visitor = Visitor(before)
    with visitor.request() as session:
        session.sign_in("ada")
    assert after.update_user("ada", {"role": "admin"}) == 1
    with visitor.request() as session:
        assert session.expires_at <= session.signed_in_at + 10 * DAY


@pytest.mark.promise("17")
@pytest.mark.parametrize("index", STORES)
def test_limits_that_another_sign_in_overtakes_make_no_session_that_revoke_user_misses(index):
    """The entry that was renewed for them is that of the earlier sign-in, and goes before the later one's session."""
    sessions = make_sessions(STORES[index](), remember_absolute=100 * DAY, remember_idle=100 * DAY)
    clock, visitor = sessions.settings.clock, Visitor(sessions)
    with visitor.request() as session:
        session.permanent = True
        session.sign_in("ada")
    clock.advance(timedelta(days=50).total_seconds())
    found = sessions.find(visitor.handle)
    found.set_lifetime(idle=300 * DAY, absolute=300 * DAY)
    with visitor.request() as session:
        session.sign_in("ada")
    assert sessions.save(found)
    for days in (90, 180):
        clock.advance(timedelta(days=days).total_seconds())
        with visitor.request() as session:
            assert session.user == "ada"
    assert sessions.revoke_user("ada") == (0 if index == "none" else 1)
    with visitor.request() as session:
        assert session.user is None
