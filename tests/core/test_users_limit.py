"""A limit on the number of a user's sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.core.calls import Apply, Forget, SessionsOf
from coatcheck.core.state import Status
from coatcheck.errors import StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.ports import Entry
from coatcheck.model.record import APPLIED, Destroy, Holder, Record, Refused
from tests.core.entries import ENTRIES, INDEXES, ends, its_record, many_entries
from tests.core.scene import DAY, NOW, Scene, World, a_record, a_token, close, make_settings, sets

pytestmark = pytest.mark.promise("17")


TOKEN = a_token()

DOWN = StoreUnavailable("down")
LIMITED = make_settings(max_sessions_per_user=2)


@pytest.mark.parametrize("visitor", ["with a session", "without one"])
@INDEXES
def test_a_sign_in_ends_those_of_its_user_that_signed_in_longest_ago(index, visitor):
    scene = Scene(LIMITED, index)
    scene = scene.holds(a_record()) if visitor == "with a session" else scene.is_in(Status.NEW)
    scene.session.sign_in("ada")
    own = Entry("ada", TOKEN.key, NOW, NOW + DAY)
    records = [its_record(entry) for entry in (own, *ENTRIES)]
    apart = index == "beside"
    answers = [[APPLIED], *[None] * apart, [own, *ENTRIES], records, [APPLIED, Refused.CHANGED, APPLIED]]
    played = close(scene, *answers, *[None] * apart)
    noted, forgotten = ["Note"] * apart, ["Forget"] * apart
    assert played.calls == ["Apply", *noted, "SessionsOf", "Load", "Apply", *forgotten]
    assert played.changes(3 + apart) == [ends(entry) for entry in ENTRIES[1:]]
    revoked = [(event.handle, event.user, event.reason) for event in played.told if event.kind == "revoked"]
    assert revoked == [
        (handle_of(entry.key), "ada", "the user has 2 newer ones") for entry in (ENTRIES[1], ENTRIES[3])
    ]
    assert played.kinds[-1] == "signed_in"
    assert sets(played, scene.state.token)
    if apart:
        assert played.asked[-1] == Forget([ENTRIES[1], ENTRIES[3]])


@INDEXES
def test_a_sign_in_within_the_limit_costs_a_look_at_the_index(index):
    scene = Scene(LIMITED, index).holds(a_record())
    scene.session.sign_in("ada")
    noted = [None] if index == "beside" else []
    entries = [Entry("ada", TOKEN.key, NOW, NOW + DAY), ENTRIES[0]]
    played = close(scene, [APPLIED], *noted, entries, [its_record(entry) for entry in entries])
    assert played.calls[-2:] == ["SessionsOf", "Load"]


def test_what_is_no_sign_in_asks_for_no_limit():
    scene = Scene(LIMITED).is_in(Status.NEW)
    scene.session["a"] = 1
    assert close(scene, [APPLIED]).calls == ["Apply"]
    scene = Scene(LIMITED).holds(a_record(user="ada", signed_in=NOW))
    scene.session["a"] = 1
    scene.session.rotate()
    assert close(scene, [APPLIED]).calls == ["Apply"]


@INDEXES
def test_what_has_ended_does_not_count_against_the_limit(index):
    world = World(LIMITED, index)
    for number, lasts in ((2, DAY), (3, 3 * DAY), (4, DAY)):
        world.put(a_record(a_token(number), user="ada", signed_in=NOW - number, idle=lasts))
        world.store.remove([a_token(4).key], NOW, 0)
    world.now += 2 * DAY
    visit = world.request()
    visit.session.sign_in("ada")
    visit.close()
    assert isinstance(world.state_of(a_token(3).key), Record)


def test_many_sessions_beyond_the_limit_are_ended_page_by_page():
    scene = Scene(LIMITED).holds(a_record())
    scene.session.sign_in("ada")
    entries = many_entries(230)
    answers = []
    for start in (0, 100, 200):
        page = entries[start : start + 100]
        found = [a_record(key=entry.key, user="ada", signed_in=NOW) for entry in page]
        answers += [page, found, [APPLIED] * (len(page) - 2 * (start == 0))]
    played = close(scene, [APPLIED], *answers)
    sizes = [len(call.changes) for call in played.asked[1:] if isinstance(call, Apply)]
    assert sizes == [98, 100, 30]


def test_a_last_page_that_is_just_full_is_followed_by_an_empty_one():
    scene = Scene(LIMITED).holds(a_record())
    scene.session.sign_in("ada")
    entries = many_entries(100)
    records = [a_record(key=entry.key, user="ada", signed_in=NOW) for entry in entries]
    played = close(scene, [APPLIED], entries, records, [APPLIED] * 98, [])
    assert played.asked[-1] == SessionsOf("ada", 100, entries[-1])
    assert sets(played, scene.state.token)


@pytest.mark.parametrize("taken_back", [[APPLIED], DOWN], ids=["taken back", "not even that"])
@pytest.mark.parametrize("met", ["SessionsOf", "Load", "Apply"])
@pytest.mark.parametrize("visitor", ["with a session", "without one"])
def test_a_sign_in_that_can_not_be_brought_under_the_limit_is_not_answered_and_taken_back(
    visitor, met, taken_back
):
    scene = Scene(LIMITED)
    scene = scene.holds(a_record()) if visitor == "with a session" else scene.is_in(Status.NEW)
    scene.session.sign_in("ada")
    until_then = [ENTRIES, [its_record(entry) for entry in ENTRIES]][
        : ("SessionsOf", "Load", "Apply").index(met)
    ]
    answers = iter([[APPLIED], *until_then, DOWN, taken_back])
    asked = []

    def answer(call):
        asked.append(call)
        return next(answers)

    with pytest.raises(StoreUnavailable) as caught:
        close(scene, otherwise=answer)
    assert caught.value is DOWN
    assert list(answers) == []
    (last,) = asked[-1].changes
    key = TOKEN.key if visitor == "with a session" else asked[0].changes[0].record.key
    assert last == Destroy(key=key, at=NOW, holder=Holder("ada", NOW))
    assert (scene.state.cookie_set, scene.state.met) == (None, DOWN)


def test_a_sign_in_that_can_not_be_brought_under_the_limit_is_told():
    world = World(LIMITED)
    visit = world.request()
    visit.session.sign_in("ada")
    flow = world.until(visit.closing(), SessionsOf)
    next(flow)
    told = flow.throw(DOWN)
    assert (told.kind, told.user, told.reason) == ("unavailable", "ada", "limit: StoreUnavailable: down")


def test_a_sign_in_fails_where_one_of_the_sessions_beyond_the_limit_can_not_be_ended():
    scene = Scene(LIMITED).is_in(Status.NEW)
    scene.session.sign_in("ada")
    records = [its_record(entry) for entry in ENTRIES]
    with pytest.raises(StoreUnavailable):
        close(scene, [APPLIED], ENTRIES, records, [APPLIED, DOWN], [APPLIED])


@pytest.mark.promise("12")
@given(st.lists(st.integers(0, 3), max_size=6), st.integers(1, 3), st.permutations(range(6)))
def test_whatever_signs_in_at_once_as_many_stand_as_may(times, limit, order):
    world = World(make_settings(max_sessions_per_user=limit))
    # Each is stored before any of them has looked at the others.
    waiting = []
    for at in times:
        world.now = NOW + at
        visit = world.request()
        visit.session.sign_in("ada")
        waiting.append(world.until(visit.closing(), SessionsOf))
    for number in order:
        if number < len(waiting):
            world.run(waiting[number])
    alive = world.run(world.users.live_of("ada", world.now, 100, None))
    assert len(alive) == min(limit, len(times))
    assert sorted(held.state.signed_in for held in alive) == sorted(NOW + at for at in times)[-limit:]
