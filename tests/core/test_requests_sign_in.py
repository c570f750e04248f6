from __future__ import annotations

import pytest

from coatcheck.core.calls import Done, Note
from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status
from coatcheck.errors import StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF
from coatcheck.model.ports import Entry
from coatcheck.model.record import APPLIED, Applied, Create, Refused, Tombstone
from tests.core.scene import (
    DAY,
    NOW,
    SECOND,
    Scene,
    a_record,
    a_token,
    answered,
    close,
    cookie_of,
    ending,
    held,
    load,
    make_settings,
    packed,
    play,
    save,
    sets,
    take,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")
LIMITED = make_settings(max_sessions_per_user=2)


# At the end of a request: signing in


@pytest.mark.promise("13")
def test_signing_in_writes_once_and_sends_a_new_token():
    scene = Scene().holds(a_record(fields={"cart": [1], CSRF: "old"}))
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED])
    (change,) = played.changes()
    assert change.sign_in.user == "ada"
    assert CSRF in change.remove
    assert scene.state.token.key == TOKEN.key
    assert scene.state.token.secret != TOKEN.secret
    assert sets(played, scene.state.token)
    assert [(event.kind, event.handle, event.user) for event in played.told] == [("signed_in", HANDLE, "ada")]
    assert scene.session.user == "ada"


@pytest.mark.promise("3")
def test_signing_in_costs_one_more_where_the_index_is_apart_and_after_the_record():
    scene = Scene(index="beside").holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], None, now=NOW + 5)
    assert played.calls == ["Apply", "Note"]
    assert played.asked[1] == Note([Entry("ada", TOKEN.key, NOW + 5, NOW + 5 + 90 * DAY)])
    assert played.kinds == ["signed_in"]


def test_signing_in_without_a_session_notes_the_new_one():
    scene = Scene(index="beside").is_in(Status.NEW)
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], None)
    assert played.asked[1] == Note([Entry("ada", b"\x81" * 16, NOW, NOW + 90 * DAY)])
    assert played.kinds == ["created", "signed_in"]


def test_an_anonymous_session_is_in_no_user_s_index():
    scene = Scene(index="beside").is_in(Status.NEW)
    scene.session["a"] = 1
    assert close(scene, [APPLIED]).calls == ["Apply"]


@pytest.mark.promise("17")
def test_a_sign_in_that_can_not_be_noted_is_not_answered():
    scene = Scene(index="beside").is_in(Status.NEW)
    scene.session.sign_in("ada")
    with pytest.raises(StoreUnavailable):
        close(scene, [APPLIED], DOWN)
    assert scene.state.cookie_set is None


# At the end of a request: signing in too late


@pytest.mark.promise("13")
@pytest.mark.parametrize("refusal", [Refused.CHANGED, Refused.GONE, Refused.UNREADABLE])
def test_a_sign_in_that_is_refused_starts_afresh_with_what_this_request_set(refusal):
    scene = Scene().holds(a_record(fields={"kept": 1, "same": 2, "read": [1], "nested": [1], "gone": 1}))
    scene.session["same"] = 2  # equal to what is stored
    assert scene.session["read"] == [1]
    scene.session["nested"].append(2)
    scene.session["new"] = 3
    del scene.session["gone"]
    scene.session.sign_in("ada")
    played = close(scene, [refusal], [APPLIED])
    (change,) = played.changes(1)
    assert isinstance(change, Create)
    assert change.record.key != TOKEN.key
    assert dict(change.record.fields) == packed(same=2, nested=[1, 2], new=3)
    assert change.record.user == "ada"
    assert sets(played, scene.state.token)
    assert scene.state.token.key == change.record.key
    assert played.kinds == ["created", "signed_in"]


def test_after_a_sign_in_that_started_afresh_nothing_of_the_old_session_is_left():
    # The response streams: the session is closed at its head, and again at its end.
    scene = Scene().holds(a_record(fields={"cart": ["old"]}))
    assert scene.session["cart"] == ["old"]
    scene.session.sign_in("ada")
    close(scene, [Refused.CHANGED], [APPLIED])
    assert dict(scene.session) == {}
    assert close(scene, head_sent=True).asked == []


def test_what_was_read_of_the_old_session_is_no_part_of_one_that_started_afresh():
    scene = Scene().holds(a_record(fields={"read": [1], "edited": [1]}))
    read, edited, assigned = scene.session["read"], scene.session["edited"], [1]
    edited.append(2)
    scene.session["assigned"] = assigned
    scene.session.sign_in("ada")
    flow = scene.requests.save(scene.state, NOW, head_sent=False)
    asked = flow.send(answered(next(flow), [Refused.CHANGED]))
    scene.session["meanwhile"] = meanwhile = []
    assert play(goes_on(flow, asked)).kinds == ["created", "signed_in"]
    for value in (read, edited, assigned, meanwhile):
        value.append(3)
    scene.session["read"] = [1]
    (change,) = close(scene, [APPLIED]).changes()
    edits = {name: edit.data for name, edit in change.edits.items()}
    assert edits == packed(edited=[1, 2, 3], assigned=[1, 3])
    assert change.set == packed(meanwhile=[3], read=[1])


def goes_on(flow, asked):
    """The rest of `flow`, whose changes are stored."""
    answer = answered(asked, [APPLIED])
    try:
        while True:
            answer = yield flow.send(answer)
    except StopIteration as stop:
        return stop.value


def test_a_sign_in_that_started_afresh_tries_another_key_where_one_is_taken():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [Refused.CHANGED], [Refused.EXISTS], [APPLIED])
    assert played.changes(2)[0].record.user == "ada"


@pytest.mark.promise("13")
def test_a_late_visitor_who_signs_in_is_not_late_any_more():
    scene = Scene().is_in(Status.LATE, TOKEN)
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED])
    (change,) = played.changes()
    assert (change.record.user, dict(change.record.fields)) == ("ada", packed(a=1))
    assert sets(played, scene.state.token)


@pytest.mark.promise("14")
def test_a_rotation_that_is_refused_is_dropped_like_any_change():
    scene = Scene().holds(a_record())
    scene.session.rotate()
    played = close(scene, [Refused.CHANGED])
    assert played.kinds == ["dropped"]
    assert cookie_of(played) is None


@pytest.mark.promise("V")
def test_rotate_sends_a_random_token_and_is_told():
    scene = Scene().holds(a_record(user="ada", signed_in=NOW))
    scene.session.rotate()
    played = close(scene, [APPLIED])
    assert sets(played, scene.state.token)
    assert [(event.kind, event.user, event.reason) for event in played.told] == [("rotated", "ada", "")]
    assert scene.state.record.secret_hash == scene.state.token.secret_hash


@pytest.mark.promise("V")
def test_signing_in_ends_every_live_session_that_came_along():
    scene = Scene()
    scene.comes_with(a_token(1), a_token(2), a_token(3))
    load(scene, [a_record(a_token(1)), a_record(a_token(2)), None])
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED, APPLIED, Refused.GONE])
    create, *destroyed = played.changes()
    assert isinstance(create, Create)
    assert destroyed == [ending(a_token(1)), ending(a_token(2))]
    assert played.kinds == ["destroyed", "created", "signed_in"]
    assert played.told[0].handle == handle_of(a_token(1).key)
    assert played.told[0].reason == "it came with the one that signed in"
    assert sets(played, scene.state.token)
    assert scene.state.competing == ()


@pytest.mark.promise("V")
@pytest.mark.parametrize("refusal", [Refused.GONE, Refused.CHANGED])
def test_what_came_along_and_is_no_longer_what_it_was_is_left_alone_without_a_word(refusal):
    scene = Scene().comes_with(a_token(1), a_token(2))
    load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    scene.session.sign_in("ada")
    assert close(scene, [APPLIED, refusal, refusal]).kinds == ["created", "signed_in"]
    assert close(scene).asked == []


@pytest.mark.promise("H")
def test_what_is_put_in_beside_several_live_sessions_ends_none_of_them():
    scene = Scene()
    scene.comes_with(a_token(1), a_token(2))
    load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    scene.session["a"] = 1
    assert [type(change) for change in close(scene, [APPLIED]).changes()] == [Create]


@pytest.mark.promise("V")
def test_what_came_along_is_ended_by_a_later_sign_in_of_the_request_too():
    scene = Scene().comes_with(a_token(1), a_token(2))
    load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session.sign_in("ada")
    _, *ended = close(scene, [APPLIED] * 3).changes()
    assert ended == [ending(a_token(1)), ending(a_token(2))]


@pytest.mark.promise("V", "20")
def test_what_came_along_and_could_not_be_ended_is_an_error_and_tried_again():
    scene = Scene().comes_with(a_token(1), a_token(2))
    load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    scene.session.sign_in("ada")
    with pytest.raises(StoreUnavailable):
        close(scene, [APPLIED, APPLIED, DOWN])
    assert close(scene, [APPLIED], failed=True).changes() == [ending(a_token(2))]


# A change and another request's sign-in in one write


@pytest.mark.promise("13")
@pytest.mark.parametrize("way", ["close", "save", "take"])
@pytest.mark.parametrize("current", [True, False])
def test_a_request_never_sees_what_a_sign_in_behind_it_in_the_same_write_has_stored(way, current):
    # Whoever knows the old secret, say by fixation, must not read the session of the user who signs in.
    token = a_token(current=current)
    scene = Scene().holds(a_record(token, fields={"a": 1}), token)
    scene.session.rotate()
    save(scene, [APPLIED])
    signed_in = a_record(a_token(secret=9), user="ada", signed_in=NOW, fields={"private": 1})
    answer = [Done(Applied(packed(a=1) if way == "take" else {}), held(signed_in))]
    if way == "take":
        assert take(scene, ["a"], answer).result == {"a": 1}
    else:
        scene.session["b"] = 1
        played = (save if way == "save" else close)(scene, answer)
        assert played.told == []
        assert way == "save" or played.result == LOOKED_AT
    assert scene.state.status is Status.LATE
    assert (dict(scene.session), scene.session.user) == ({}, None)
    assert cookie_of(close(scene)) is None


@pytest.mark.promise("12")
def test_a_change_in_one_write_with_the_end_of_its_session_leaves_nothing():
    scene = Scene(LIMITED).holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [Done(APPLIED, held(Tombstone(TOKEN.key, NOW + SECOND)))])
    assert (played.calls, cookie_of(played), scene.state.status) == (["Apply"], None, Status.LATE)


@pytest.mark.promise("6")
def test_what_another_request_sets_again_behind_a_take_in_the_same_write_is_not_removed():
    scene = Scene().holds(a_record(fields={"a": 1}))
    after = a_record(fields={"a": 2})
    assert take(scene, ["a"], [Done(Applied(packed(a=1)), held(after))]).result == {"a": 1}
    assert scene.session["a"] == 2
    assert close(scene).asked == []
