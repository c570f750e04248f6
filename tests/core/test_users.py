"""A user's sessions on an index: listing and updating them."""

from __future__ import annotations

import pytest

from coatcheck.core.calls import Forget, Load, Note, SessionsOf
from coatcheck.errors import (
    ConfigurationError,
    NotStorable,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF
from coatcheck.model.ports import Entry
from coatcheck.model.record import APPLIED, Refused, Tombstone
from tests.core.entries import ENTRIES, INDEXES, an_entry, its_record, many_entries
from tests.core.scene import DAY, NOW, Scene, World, a_record, a_token, close, make_settings, packed, play

pytestmark = pytest.mark.promise("17")


TOKEN = a_token()

DOWN = StoreUnavailable("down")


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
    played = close(scene, None, [APPLIED])
    assert played.asked[0] == Note([Entry("ada", TOKEN.key, NOW, NOW + 300 * DAY)])
    assert played.calls == ["Note", "Apply"]  # never a record that its entry does not outlast
    anonymous = Scene(index="beside").holds(a_record())
    anonymous.state.limits, anonymous.state.acted = (DAY, 300 * DAY), True
    assert close(anonymous, [APPLIED]).calls == ["Apply"]


def test_an_entry_lasts_as_long_as_its_session_can_be_made_to_last():
    world = World()
    world.put(a_record(user="ada", signed_in=NOW, idle=DAY, absolute=300 * DAY, covered=300 * DAY))
    (entry,) = world.store.sessions_of("ada", NOW, 10, None, 0)
    assert entry.until == NOW + 300 * DAY


def test_a_list_that_continues_behind_no_handle_is_empty_and_asks_nothing():
    played = play(Scene().admin.of_user("ada", NOW, 10, "junk"))
    assert (played.asked, played.result) == ([], [])
