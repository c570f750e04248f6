"""Ending all sessions of a user by the index."""

from __future__ import annotations

import pytest

from coatcheck.core.calls import Apply, CheckIndex, Forget, SessionsOf
from coatcheck.errors import RevocationIncomplete, StoreReadOnly, StoreUnavailable, TooLarge
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Refused, Tombstone
from tests.core.entries import ENTRIES, INDEXES, ends, many_entries
from tests.core.scene import DAY, NOW, Scene, World, a_record, a_token, play

pytestmark = pytest.mark.promise("17")


DOWN = StoreUnavailable("down")


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


@pytest.mark.promise("F-23")
def test_an_index_beside_the_records_that_lacks_the_session_to_keep_is_incomplete():
    world = World(index="beside")
    records = [world.put(a_record(a_token(number), user="ada", signed_in=NOW - 1)) for number in (1, 2)]
    entries = world.store.sessions_of("ada", NOW, 10, None, 0)
    assert {entry.key for entry in entries} == {record.key for record in records}
    keep = handle_of(records[0].key)
    world.store.forget(entries, 0)  # by hand, or by another program
    with pytest.raises(RevocationIncomplete, match='revocation="epoch"') as caught:
        world.run(world.admin.revoke_user("ada", NOW, keep))
    assert caught.value.ended == 0


@pytest.mark.parametrize(
    "other",
    [
        None,
        {"user": None, "signed_in": 0},
        {"user": "grace"},
        {"last_used": NOW - DAY},
        {"signed_in": NOW},
        Tombstone(bytes(16), NOW + 1),
    ],
    ids=["nothing", "anonymous", "another user's", "expired", "signed in during the call", "ended"],
)
def test_a_session_to_keep_that_is_not_the_user_s_says_nothing_of_the_index(other):
    if isinstance(other, dict):
        other = a_record(**{"user": "ada", "signed_in": NOW - 1, **other})
    played = play(
        Scene(index="beside").admin.revoke_user("ada", NOW, handle_of(a_token().key)), [], None, [other]
    )
    assert (played.calls, played.result) == (["SessionsOf", "CheckIndex", "Load"], 0)


def test_where_the_session_to_keep_can_not_be_read_it_is_unknown_whether_all_have_ended():
    with pytest.raises(StoreUnavailable):
        play(Scene(index="beside").admin.revoke_user("ada", NOW, handle_of(a_token().key)), [], None, [DOWN])


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
