"""What a periodic rotation does about a copied cookie, and what it does not."""

from datetime import timedelta

import pytest

from tests.sessions.scene import advance
from tests.visitor import make_sessions

ROTATIONS = 200


def visit(sessions, cookie):
    """The user of a request with a cookie, and the cookie afterwards."""
    session = sessions.open(cookie)
    user = session.user
    sent = sessions.close(session).set_cookie
    return user, cookie if sent is None else sent.partition(";")[0]


@pytest.fixture
def events():
    return []


@pytest.fixture
def sessions(events):
    return make_sessions(
        rotate_every=timedelta(minutes=1),
        idle_timeout=timedelta(days=1),
        on_event=lambda event: events.append(event.kind),
    )


def signed_in(sessions):
    session = sessions.open("")
    session.sign_in("ada")
    return sessions.close(session).set_cookie.partition(";")[0]


@pytest.mark.promise("14")
def test_an_owner_and_a_thief_who_take_turns_both_stay_signed_in_and_no_event_tells(sessions, events):
    owner = thief = signed_in(sessions)
    events.clear()
    seen = set()
    for _ in range(ROTATIONS):
        advance(sessions, seconds=61)
        user, owner = visit(sessions, owner)
        assert user == "ada"
        advance(sessions, seconds=1)
        user, thief = visit(sessions, thief)
        assert user == "ada"
        assert owner == thief
        seen.add(owner)
    assert len(seen) > ROTATIONS / 3
    assert set(events) == {"rotated"}


@pytest.mark.promise("14")
def test_a_copy_from_before_the_last_rotation_opens_nothing_after_the_grace(sessions):
    owner = copied = signed_in(sessions)
    for _ in range(3):
        advance(sessions, seconds=61)
        user, owner = visit(sessions, owner)
        assert user == "ada"
    assert owner != copied
    assert visit(sessions, copied) == (None, copied)
    assert visit(sessions, owner)[0] == "ada"
