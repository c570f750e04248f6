"""A user's sessions on an index: limiting, listing, updating and ending them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.core.calls import Apply, CheckIndex, Forget, Load, Note, SessionsOf
from coatcheck.core.state import Status
from coatcheck.errors import (
    ConfigurationError,
    NotStorable,
    RevocationIncomplete,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    TooLarge,
)
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF
from coatcheck.model.ports import Entry
from coatcheck.model.record import APPLIED, Destroy, Holder, Record, Refused, Tombstone
from tests.core.scene import (
    DAY,
    NOW,
    Scene,
    World,
    a_record,
    a_token,
    close,
    make_settings,
    packed,
    play,
    sets,
)

pytestmark = pytest.mark.promise("17")

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")
LIMITED = make_settings(max_sessions_per_user=2)
INDEXES = pytest.mark.parametrize("index", ["within", "beside"])


def an_entry(number, user="ada"):
    return Entry(user, a_token(number).key, NOW - number, NOW + DAY)


def its_record(entry, **parts):
    return a_record(a_token(entry.key[0]), user=entry.user, signed_in=entry.signed_in, **parts)


def many_entries(count):
    return [Entry("ada", number.to_bytes(16, "big"), NOW, NOW + DAY) for number in range(count)]


def ends(entry):
    return Destroy(key=entry.key, at=NOW, holder=Holder("ada", entry.signed_in))


ENTRIES = [an_entry(number) for number in (2, 3, 4, 5)]


# A limit of the user's sessions


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
    assert (told.kind, told.user, told.reason) == ("unavailable", "ada", "limit: StoreUnavailable")


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


# Ending all


@INDEXES
def test_revoking_a_user_ends_each_sign_in_that_was_found_and_no_later_one(index):
    entries = ENTRIES[:3]
    apart = index == "beside"
    # What has ended and still stands in the index is found out when it is read.
    extra = [[DOWN], [None]] if apart else [[], []]
    played = play(
        Scene(index=index).admin.revoke_user("ada", NOW, None),
        entries,
        [APPLIED, Refused.CHANGED, APPLIED],
        *extra[0],
        *extra[1],
    )
    assert played.asked[0] == SessionsOf("ada", 100)
    assert played.changes(1) == [ends(entry) for entry in entries]
    assert played.result == 2
    told = [(event.kind, event.handle, event.user) for event in played.told]
    assert told == [("revoked", handle_of(entry.key), "ada") for entry in (entries[0], entries[2])]
    if apart:
        assert played.asked[2] == Forget([entries[0], entries[2]])
        assert played.asked[-1] == CheckIndex()


def test_revoking_a_user_can_leave_one_session_alone():
    handle = handle_of(ENTRIES[1].key)
    played = play(Scene().admin.revoke_user("ada", NOW, handle), ENTRIES[:3], [APPLIED] * 2)
    assert [change.key for change in played.changes(1)] == [ENTRIES[0].key, ENTRIES[2].key]


def test_revoking_a_user_without_sessions_asks_once():
    played = play(Scene().admin.revoke_user("ada", NOW, None), [])
    assert (played.calls, played.result) == (["SessionsOf"], 0)


def test_many_sessions_are_ended_in_bounded_batches_each_behind_the_one_before():
    entries = many_entries(250)
    pages = [entries[start : start + 100] for start in (0, 100, 200)]
    answers = [answer for page in pages for answer in (page, [APPLIED] * len(page))]
    played = play(Scene().admin.revoke_user("ada", NOW, None), *answers)
    asked = [call for call in played.asked if isinstance(call, SessionsOf)]
    assert [call.after for call in asked] == [None, entries[99], entries[199]]
    assert played.result == 250


@pytest.mark.promise("20")
@pytest.mark.parametrize("error", [DOWN, StoreReadOnly("no"), TooLarge("big", size=2, limit=1)])
def test_where_some_could_not_be_ended_the_others_are_and_the_error_is_told(error):
    flow = Scene().admin.revoke_user("ada", NOW, None)
    told = []

    def answer(call):
        told.append(call)
        if isinstance(call, SessionsOf):
            return ENTRIES[:3]
        return [APPLIED, error, APPLIED]

    with pytest.raises(type(error)) as caught:
        play(flow, otherwise=answer)
    assert caught.value is error
    assert [type(call) for call in told] == [SessionsOf, Apply]


@pytest.mark.promise("F-23")
def test_an_index_that_may_have_lost_entries_is_an_error_that_says_so_after_the_rest_has_ended():
    world = World(index="beside")
    record = world.put(a_record(user="ada", signed_in=NOW))
    world.store.doubt = "The server evicts: use another policy."
    with pytest.raises(RevocationIncomplete, match="another policy") as caught:
        world.run(world.admin.revoke_user("ada", NOW, None))
    assert caught.value.ended == 1
    assert isinstance(world.state_of(record.key), Tombstone)


@pytest.mark.promise("12")
@INDEXES
def test_a_session_is_ended_whatever_its_secret_as_long_as_it_has_the_sign_in(index):
    world = World(index=index)
    for number in (1, 2):
        world.put(a_record(a_token(number), user="ada", signed_in=NOW - number))
    revoking = world.until(world.admin.revoke_user("ada", NOW, None), Apply)
    rotating, again = world.request(a_token(1)), world.request(a_token(2))
    rotating.session.rotate()
    rotating.close()
    again.session.sign_in("ada")
    again.close()
    assert world.run(revoking) == 1
    assert isinstance(world.state_of(a_token(1).key), Tombstone)
    # It began during the call.
    assert world.request(again.token).session.user == "ada"


# Lists


@INDEXES
def test_a_user_s_sessions_are_those_that_are_still_alive_and_still_his_and_the_index_is_mended(index):
    entries = [an_entry(number) for number in (1, 2, 3, 4, 5)]
    mine = its_record(entries[0])
    found = [
        mine,
        a_record(a_token(2), user="grace", signed_in=NOW),
        a_record(a_token(3), user="ada", signed_in=NOW - 2 * DAY, created=NOW - 2 * DAY),
        Tombstone(a_token(4).key, NOW + 1),
        None,
    ]
    mended = [None] if index == "beside" else []
    played = play(Scene(index=index).admin.of_user("ada", NOW, 100, None), entries, found, *mended)
    assert played.result == [mine]
    assert played.calls[:2] == ["SessionsOf", "Load"]
    if index == "beside":
        assert played.asked[2] == Forget([entries[1], entries[3], entries[4]])


def test_an_index_that_can_not_be_mended_fails_no_list():
    played = play(Scene(index="beside").admin.of_user("ada", NOW, 100, None), ENTRIES[:1], [None], DOWN)
    assert played.result == []


def test_a_list_that_can_not_be_read_is_an_error_and_not_a_shorter_list():
    with pytest.raises(StoreError):
        play(Scene().admin.of_user("ada", NOW, 100, None), ENTRIES[:2], [its_record(ENTRIES[0]), DOWN])


@pytest.mark.parametrize("limit", [1, 3, 100, 250])
def test_a_list_is_read_page_by_page_and_ends_where_it_may(limit):
    world = World()
    for number in range(1, 6):
        world.put(a_record(a_token(number), user="ada", signed_in=NOW - number))
    records = world.run(world.admin.of_user("ada", NOW, limit, None))
    assert [record.key[0] for record in records] == list(range(1, 6))[:limit]


def test_a_list_goes_on_behind_the_last_one_that_was_seen():
    world = World()
    for number in range(1, 6):
        world.put(a_record(a_token(number), user="ada", signed_in=NOW - number))
    other = world.put(a_record(a_token(9), user="grace", signed_in=NOW))

    def behind(key):
        return [record.key[0] for record in world.run(world.admin.of_user("ada", NOW, 2, handle_of(key)))]

    assert behind(a_token(2).key) == [3, 4]
    assert behind(a_token(4).key) == [5]
    # There is no place to go on from.
    assert behind(other.key) == behind(bytes(16)) == []
    assert world.run(world.admin.of_user("ada", NOW, 2, "no handle")) == []


@pytest.mark.parametrize(
    "task",
    [
        lambda admin: admin.of_user("ada", NOW, 1, None),
        lambda admin: admin.update_user("ada", {}, NOW),
        lambda admin: admin.count(),
    ],
    ids=["of_user", "update_user", "count"],
)
def test_a_store_without_an_index_says_what_it_can_not_do_and_names_those_that_can(task):
    with pytest.raises(ConfigurationError, match=r"Memcached.*SQLite, Redis, PostgreSQL"):
        play(task(Scene(index="none").admin))


# Changing all


def test_updating_a_user_sets_fields_in_each_of_his_sessions_and_only_while_they_are_his():
    entries = ENTRIES[:3]
    played = play(
        Scene().admin.update_user("ada", {"role": "admin"}, NOW),
        entries,
        [its_record(entry) for entry in entries],
        [Refused.CHANGED] * 3,
    )
    assert played.result == 0
    for change, entry in zip(played.changes(2), entries, strict=True):
        assert (change.key, change.user, change.used, change.secret_hash) == (entry.key, "ada", False, None)
        assert dict(change.set) == packed(role="admin")


def test_updating_a_user_counts_where_it_was_and_leaves_others_alone():
    world = World()
    for number in (1, 2):
        world.put(a_record(a_token(number), user="ada", signed_in=NOW))
    world.put(a_record(a_token(3), user="grace", signed_in=NOW))
    assert world.run(world.admin.update_user("ada", {"role": "admin"}, NOW)) == 2
    assert [world.request(a_token(number)).session.get("role") for number in (1, 2, 3)] == [
        "admin",
        "admin",
        None,
    ]
    assert world.run(world.admin.update_user("nobody", {"role": "admin"}, NOW)) == 0


def test_updating_goes_page_by_page():
    entries = many_entries(150)
    records = [a_record(key=entry.key, user="ada", signed_in=NOW) for entry in entries]
    answers = []
    for start in (0, 100):
        page = slice(start, start + 100)
        answers += [entries[page], records[page], [Refused.GONE] * len(entries[page])]
    played = play(Scene().admin.update_user("ada", {"a": 1}, NOW), *answers)
    asked = [call for call in played.asked if isinstance(call, SessionsOf)]
    assert [call.after and call.after.key for call in asked] == [None, entries[99].key]


@pytest.mark.parametrize("error", [TooLarge("full", size=2, limit=1), StoreFull("full")])
def test_where_one_session_has_no_room_the_others_are_updated_and_the_error_is_told(error):
    entries = many_entries(150)
    records = {entry.key: a_record(key=entry.key, user="ada", signed_in=NOW) for entry in entries}
    updated = []

    def answer(call):
        if isinstance(call, SessionsOf):
            return entries[:100] if call.after is None else entries[100:]
        if isinstance(call, Load):
            return [records[key] for key in call.keys]
        updated.extend(change.key for change in call.changes)
        return [error, *[Refused.GONE] * (len(call.changes) - 1)]

    with pytest.raises(type(error)):
        play(Scene().admin.update_user("ada", {"a": 1}, NOW), otherwise=answer)
    assert updated == [entry.key for entry in entries]


def test_updating_a_user_with_what_can_not_be_stored_asks_nothing():
    with pytest.raises(NotStorable, match="role"):
        play(Scene().admin.update_user("ada", {"role": object()}, NOW))


@pytest.mark.parametrize("name", [1, None, b"a", CSRF, "\x00", "\ud800"], ids=repr)
def test_updating_a_user_takes_only_names_that_a_session_takes(name):
    # A record with a name that is no text can't be read any more: every session of the user would be lost.
    with pytest.raises(NotStorable):
        play(Scene().admin.update_user("ada", {name: 1}, NOW))


@pytest.mark.promise("21")
@pytest.mark.parametrize(
    "values", [{"a": "x" * 2000}, {"a": "x" * 600, "b": "x" * 600}], ids=["one", "together"]
)
def test_updating_a_user_with_more_than_a_session_may_hold_asks_nothing(values):
    with pytest.raises(TooLarge):
        play(Scene(make_settings(max_bytes=1024)).admin.update_user("ada", values, NOW))


# A life of its own


def test_a_session_that_gets_longer_limits_of_its_own_renews_its_entry_before_the_answer():
    scene = Scene(index="beside").holds(a_record(user="ada", signed_in=NOW))
    scene.state.limits, scene.state.acted = (DAY, 300 * DAY), True
    played = close(scene, [APPLIED], None)
    assert played.asked[1] == Note([Entry("ada", TOKEN.key, NOW, NOW + 300 * DAY)])
    anonymous = Scene(index="beside").holds(a_record())
    anonymous.state.limits, anonymous.state.acted = (DAY, 300 * DAY), True
    assert close(anonymous, [APPLIED]).calls == ["Apply"]


def test_an_entry_lasts_as_long_as_its_session_can_be_made_to_last():
    world = World()
    world.put(a_record(user="ada", signed_in=NOW, idle=DAY, absolute=300 * DAY))
    (entry,) = world.store.sessions_of("ada", NOW, 10, None, 0)
    assert entry.until == NOW + 300 * DAY


def test_a_list_that_continues_behind_no_handle_is_empty_and_asks_nothing():
    played = play(Scene().admin.of_user("ada", NOW, 10, "junk"))
    assert (played.asked, played.result) == ([], [])
