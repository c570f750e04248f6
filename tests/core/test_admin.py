from __future__ import annotations

import pytest

from coatcheck.core.calls import Apply, Load
from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status
from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Applied, Create, Destroy, Refused, Tombstone, Update
from tests.core.scene import *

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


# From outside


def open_for_edit(handle, *answers, now=NOW):
    scene = Scene()
    played = play(scene.requests.open_for_edit(scene.state, now, handle), *answers)
    return scene, played


@pytest.mark.promise("4")
def test_an_edit_stores_its_changes_without_counting_as_use():
    scene, played = open_for_edit(HANDLE, [a_record(fields={"a": 1}, user="ada", signed_in=NOW)])
    assert played.asked == [Load([TOKEN.key])]
    scene.session["a"] = 2
    (change,) = play(scene.requests.close_edit(scene.state, NOW + HOUR, HANDLE), [APPLIED]).changes()
    assert (change.used, change.secret, dict(change.set)) == (False, None, packed(a=2))


def test_an_edit_that_changes_nothing_asks_nothing():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    assert play(scene.requests.close_edit(scene.state, NOW + HOUR, HANDLE)).asked == []


@pytest.mark.parametrize(
    "found", [None, Tombstone(TOKEN.key, NOW + 1), Unreadable("damaged"), a_record(created=NOW - 2 * DAY)]
)
def test_an_edit_of_a_session_that_is_not_there_is_an_error(found):
    with pytest.raises(SessionGone) as caught:
        open_for_edit(HANDLE, [found])
    assert caught.value.handle == HANDLE


@pytest.mark.parametrize("handle", ["", "x", "A" * 32, "../x"])
def test_an_edit_of_what_is_no_handle_is_an_error_without_asking_the_store(handle):
    with pytest.raises(SessionGone):
        open_for_edit(handle)


def test_an_edit_of_a_session_that_ended_meanwhile_is_an_error():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session["a"] = 1
    with pytest.raises(SessionGone) as caught:
        play(scene.requests.close_edit(scene.state, NOW, HANDLE), [Refused.GONE])
    assert caught.value.handle == HANDLE


def test_an_edit_can_end_the_session():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session.destroy()
    played = play(scene.requests.close_edit(scene.state, NOW, HANDLE), [APPLIED])
    assert played.changes() == [ending()]
    assert played.kinds == ["destroyed"]


@pytest.mark.promise("V")
def test_an_edit_can_not_sign_in_or_rotate():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    with pytest.raises(CannotSendCookie):
        scene.session.sign_in("ada")
    with pytest.raises(CannotSendCookie):
        scene.session.rotate()


def test_an_edit_never_makes_a_session_that_nobody_holds():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session.destroy()
    scene.session["a"] = 1

    def answer(ask):
        (change,) = ask.arguments[0]
        assert isinstance(change, Destroy)
        return [APPLIED]

    flow = scene.requests.save(scene.state, NOW, head_sent=False)
    with pytest.raises(CannotSendCookie):
        play(flow, otherwise=answer)


def test_revoking_ends_the_session_and_tells():
    played = play(Scene().flows.revoke(HANDLE, NOW), [APPLIED])
    assert played.changes() == [ending()]
    assert [(event.kind, event.handle) for event in played.told] == [("revoked", HANDLE)]
    assert played.result is True


def test_revoking_what_is_not_there_is_false():
    played = play(Scene().flows.revoke(HANDLE, NOW), [Refused.GONE])
    assert (played.result, played.told) == (False, [])
    assert play(Scene().flows.revoke("no handle", NOW)).result is False


LIVES = [Life(a_token(key).key, NOW - key) for key in (1, 2, 3)]


@pytest.mark.promise("17")
def test_revoking_a_user_ends_each_life_that_was_found_and_no_later_one():
    played = play(Scene().flows.revoke_user("ada", NOW, None), LIVES, [APPLIED, Refused.CHANGED, APPLIED])
    assert played.asked[0] == Ask("lives_of", ("ada", NOW))
    assert played.changes(1) == [
        Destroy(key=life.key, at=NOW, user="ada", signed_in=life.signed_in) for life in LIVES
    ]
    assert played.result == 2
    assert [(event.kind, event.handle, event.user) for event in played.told] == [
        ("revoked", handle_of(LIVES[0].key), "ada"),
        ("revoked", handle_of(LIVES[2].key), "ada"),
    ]


@pytest.mark.promise("17")
def test_revoking_a_user_can_leave_one_session_alone():
    played = play(Scene().flows.revoke_user("ada", NOW, handle_of(LIVES[1].key)), LIVES, [APPLIED] * 2)
    assert [change.key for change in played.changes(1)] == [LIVES[0].key, LIVES[2].key]


def test_revoking_a_user_without_sessions_asks_once():
    assert play(Scene().flows.revoke_user("ada", NOW, None), []).result == 0


MANY = [Life(number.to_bytes(16, "big"), NOW) for number in range(250)]


@pytest.mark.promise("17")
def test_many_sessions_are_ended_in_bounded_batches():
    played = play(
        Scene().flows.revoke_user("ada", NOW, None), MANY, *[[APPLIED] * size for size in (100, 100, 50)]
    )
    assert [len(played.changes(at)) for at in (1, 2, 3)] == [100, 100, 50]
    assert played.result == 250


def test_updating_a_user_sets_fields_in_each_of_his_sessions_and_only_while_they_are_his():
    played = play(
        Scene().flows.update_user("ada", {"role": "admin"}, NOW), LIVES, [APPLIED, Refused.CHANGED, APPLIED]
    )
    assert played.result == 2
    for change, life in zip(played.changes(1), LIVES, strict=True):
        assert (change.key, change.user, change.used, change.secret) == (life.key, "ada", False, None)
        assert dict(change.set) == packed(role="admin")


def test_updating_a_user_with_what_can_not_be_stored_asks_nothing():
    with pytest.raises(NotStorable, match="role"):
        play(Scene().flows.update_user("ada", {"role": object()}, NOW))


@pytest.mark.parametrize("name", [1, None, b"a", CSRF, "\x00", "\ud800"], ids=repr)
def test_updating_a_user_takes_only_names_that_a_session_takes(name):
    # A record with a name that is no text can't be read any more: every session of the user would be lost.
    with pytest.raises(NotStorable):
        play(Scene().flows.update_user("ada", {name: 1}, NOW), LIVES, [APPLIED] * 3)


@pytest.mark.promise("21")
@pytest.mark.parametrize(
    "values", [{"a": "x" * 2000}, {"a": "x" * 600, "b": "x" * 600}], ids=["one", "together"]
)
def test_updating_a_user_with_more_than_a_session_may_hold_asks_nothing(values):
    flows = Scene(make_settings(max_bytes=1024)).flows
    with pytest.raises(TooLarge):
        play(flows.update_user("ada", values, NOW), LIVES, [APPLIED] * 3)


@pytest.mark.promise("17")
def test_a_user_s_sessions_are_those_that_are_still_alive_and_still_his():
    lives = [Life(a_token(key).key, NOW) for key in (1, 2, 3, 4, 5)]
    mine = a_record(a_token(1), user="ada", signed_in=NOW)
    found = [
        mine,
        a_record(a_token(2), user="grace", signed_in=NOW),
        a_record(a_token(3), user="ada", signed_in=NOW - 2 * DAY, created=NOW - 2 * DAY),
        Tombstone(a_token(4).key, NOW + 1),
        None,
    ]
    played = play(Scene().flows.of_user("ada", NOW), lives, found)
    assert played.calls == ["lives_of", "load"]
    assert played.result == [mine]


@pytest.mark.promise("17")
def test_many_sessions_are_listed_in_bounded_batches():
    played = play(Scene().flows.of_user("ada", NOW), MANY, [None] * 100, [None] * 100, [None] * 50)
    assert played.calls == ["lives_of", "load", "load", "load"]


def test_sweeping_goes_on_until_a_batch_is_not_full():
    played = play(Scene().flows.sweep(NOW, 10), 10, 10, 3)
    assert played.asked == [Ask("sweep", (NOW, 10))] * 3
    assert played.result == 23


def test_counting_and_pinging_are_one_call_each():
    assert play(Scene().flows.count(NOW), 7).result == 7
    played = play(Scene().flows.ping(), None)
    assert (played.asked, played.result) == ([Ask("ping", ())], None)


# What is said


@pytest.mark.promise("18")
def test_nothing_that_is_asked_or_told_shows_a_value_or_a_token():
    scene = Scene().holds(a_record(fields={"pw": "hunter2"}, user="ada", signed_in=NOW))
    scene.session["pw"] = "hunter3"
    scene.session["new"] = "hunter4"
    scene.session.rotate()
    changed = close(scene, [APPLIED])
    taken = take(scene, ["pw"], [Applied(packed(pw="hunter3"))])
    created = Scene().is_in(Status.NEW)
    created.session["pw"] = "hunter5"
    played = close(created, [APPLIED])
    for thing in (*changed.asked, *changed.told, *taken.asked, *played.asked, Applied(packed(pw="hunter6"))):
        assert "hunter" not in repr(thing)


@pytest.mark.promise("22")
@given(st.binary(max_size=300))
def test_whatever_a_client_sends_as_a_cookie_no_store_is_asked(header):
    scene = Scene(make_settings(cookie=CookieSettings(name="s")))
    scene.state.cookies = header + b"; s=" + header
    played = load(scene)
    assert played.asked == []
    assert scene.state.status is Status.NEW


def test_tokens_come_from_the_random_source_that_the_flows_were_given():
    asked = []

    def random(size):
        asked.append(size)
        return bytes([len(asked)]) * size

    flows = Flows(SETTINGS, Capabilities(), random)
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    play(flows.close(scene.state, NOW, failed=False, head_sent=False), [APPLIED])
    assert asked == [16, 32]
    assert scene.state.token.secret == b"\2" * 32


@pytest.mark.promise("13")
def test_a_late_window_of_nothing_makes_every_old_cookie_a_stranger_s():
    settings = make_settings(late_window=timedelta(0))
    scene = Scene(settings)
    scene.comes_with(TOKEN)
    load(scene, [a_record(a_token(secret=2), last_used=NOW)], now=NOW)
    assert scene.state.status is Status.NEW


@pytest.mark.promise("13")
@pytest.mark.parametrize(("after", "status"), [(MINUTE - SECOND, Status.LATE), (MINUTE, Status.NEW)])
def test_a_stranger_with_an_old_cookie_gets_a_session_of_his_own(after, status):
    scene = Scene()
    scene.comes_with(TOKEN)
    load(scene, [a_record(a_token(secret=2))], now=NOW + after)
    assert scene.state.status is status
    scene.session["a"] = 1
    played = close(scene, *([[APPLIED]] if status is Status.NEW else []), now=NOW + after)
    assert (cookie_of(played) is None) is (status is Status.LATE)


def test_the_rules_stand_where_the_life_cycle_says_they_stand():
    for name in ("judge", "change_of", "fresh", "maintenance_of", "pending_token"):
        assert f"`{name}`" in lifecycle.__doc__
        assert callable(getattr(lifecycle, name))
