from __future__ import annotations

import pytest

from coatcheck.core.calls import Apply, Done
from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status
from coatcheck.errors import CannotSendCookie, NotStorable, StoreFull, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model import codec
from coatcheck.model.record import APPLIED, Applied, Create, Destroy, Edit, Holder, Refused
from coatcheck.session import state_of
from tests.core.scene import (
    DAY,
    HOUR,
    NOW,
    ROTATING,
    SETTINGS,
    Dice,
    Scene,
    a_record,
    a_token,
    answered,
    close,
    cookie_of,
    done,
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


# At the end of a request: changes


@pytest.mark.promise("3")
def test_however_many_changes_are_one_write():
    scene = Scene().holds(a_record(fields={"a": 1, "b": [1], "c": 1}))
    for number in range(50):
        scene.session[f"n{number}"] = number
    scene.session["b"].append(2)
    del scene.session["c"]
    scene.session.flash("hello")
    scene.session.csrf_token()
    scene.session.permanent = True
    played = close(scene, [APPLIED])
    (change,) = played.changes()
    assert (len(change.set), set(change.edits)) == (52, {"b"})
    assert change.remove == {"c"}
    assert change.secret_hash == TOKEN.secret_hash
    assert f"; Max-Age={90 * 86_400};" in cookie_of(played)


def begun(flow):
    """A flow that waits for the answer to its changes."""
    wish = next(flow)
    assert isinstance(wish, Apply)
    return flow, wish


def goes_on(begun):
    """The events of a flow whose changes are applied."""
    flow, wish = begun
    return play(flow_from(flow, answered(wish, [APPLIED] * len(wish.changes)))).told


def flow_from(flow, answer):
    try:
        while True:
            answer = yield flow.send(answer)
    except StopIteration as stop:
        return stop.value


def test_a_change_of_fields_sends_no_cookie():
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    played = close(scene, [APPLIED])
    assert (played.result, played.told) == (LOOKED_AT, [])
    assert dict(scene.state.record.fields) == packed(a=1)


@pytest.mark.promise("2")
def test_what_is_set_to_what_it_was_is_no_change_and_leaves_the_session_as_it_is():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["a"] = 1
    played = close(scene)
    assert (played.asked, played.told, dict(scene.session)) == ([], [], {"a": 1})


@pytest.mark.promise("14")
def test_a_change_after_the_rotation_was_due_sends_the_derived_token_in_the_same_write():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session["a"] = 1
    played = close(scene, [APPLIED], now=NOW + 3 * HOUR)
    assert len(played.asked) == 1
    assert sets(played, ROTATING.ring.successor(TOKEN), ROTATING)
    assert played.kinds == ["rotated"]


@pytest.mark.promise("12")
@pytest.mark.parametrize("refusal", [Refused.CHANGED, Refused.GONE, Refused.UNREADABLE])
def test_a_change_that_is_refused_is_dropped_and_told_and_the_response_has_no_cookie(refusal):
    scene = Scene().holds(a_record(user="ada", signed_in=NOW), a_token(current=False))
    scene.session["a"] = 1
    scene.session.permanent = True
    played = close(scene, [refusal])
    (event,) = played.told
    assert (event.kind, event.handle, event.user, event.reason) == ("dropped", HANDLE, "ada", refusal.value)
    assert played.result == LOOKED_AT
    assert scene.state.status is Status.LATE
    assert dict(scene.session) == {}
    assert close(scene).asked == []


@pytest.mark.promise("12")
def test_where_another_sign_in_refuses_a_change_no_cookie_goes_out_of_what_was_saved_before():
    scene = Scene().holds(a_record())
    scene.session.rotate()
    save(scene, [APPLIED])
    scene.session["a"] = 1
    assert cookie_of(close(scene, [Refused.CHANGED])) is None


@pytest.mark.promise("12")
def test_what_a_late_request_puts_in_is_dropped_and_told_without_asking_the_store():
    scene = Scene().is_in(Status.LATE, TOKEN)
    scene.session["a"] = 1
    played = close(scene)
    assert played.asked == []
    assert [(event.kind, event.handle) for event in played.told] == [("dropped", HANDLE)]
    assert played.result == LOOKED_AT


def test_a_late_request_that_failed_tells_of_nothing():
    scene = Scene().is_in(Status.LATE, TOKEN)
    scene.session["a"] = 1
    assert close(scene, failed=True).told == []


@pytest.mark.promise("9")
@pytest.mark.parametrize("whole", [True, False])
def test_a_write_that_fails_is_raised_and_told_and_nothing_is_forgotten(whole):
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    flow = scene.requests.close(scene.state, NOW, failed=False, head_sent=False)
    assert isinstance(next(flow), Apply)
    # The whole call, or this change alone.
    told = flow.throw(DOWN) if whole else flow.send([DOWN])
    assert (told.kind, scene.state.met) == ("unavailable", DOWN)
    with pytest.raises(StoreUnavailable):
        next(flow)
    played = close(scene, [APPLIED])
    assert dict(played.changes()[0].set) == packed(a=1)
    assert scene.state.met is None


@pytest.mark.parametrize(
    "error", [StoreFull("full"), StoreUnavailable("not sent", ambiguous=False)], ids=repr
)
def test_an_edit_that_is_surely_not_stored_is_tried_again(error):
    scene = Scene().holds(a_record(fields={"a": [1]}))
    scene.session["a"].append(2)
    for how in (save, close):
        with pytest.raises(type(error)):
            how(scene, [error])
    assert set(close(scene, [APPLIED]).changes()[0].edits) == {"a"}


@pytest.mark.promise("6")
def test_what_another_task_sets_while_the_store_is_asked_is_not_forgotten():
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    flow = scene.requests.save(scene.state, NOW, head_sent=False)
    flow = begun(flow)
    scene.session["b"] = 2
    scene.session["a"] = 3
    goes_on(flow)
    assert scene.state.wanted({}).set == packed(a=3, b=2)


@pytest.mark.promise("6")
def test_what_another_thread_sets_while_the_change_is_being_made_is_not_forgotten():
    class Meanwhile(Dice):
        def __call__(self, size):
            scene.session["late"] = scene.session["early"] = 2
            return super().__call__(size)

    scene = Scene(random=Meanwhile()).is_in(Status.NEW)
    scene.session["early"] = 1
    played = save(scene, [APPLIED])
    assert dict(played.changes()[0].record.fields) == packed(early=1)
    assert dict(scene.session) == {"early": 2, "late": 2}
    assert dict(close(scene, [APPLIED]).changes()[0].set) == packed(early=2, late=2)


@pytest.mark.promise("6")
def test_what_another_task_puts_into_a_session_that_is_just_being_made_is_not_forgotten():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    flow = begun(scene.requests.save(scene.state, NOW, head_sent=False))
    scene.session["b"] = [2]
    assert [event.kind for event in goes_on(flow)] == ["created"]
    assert scene.session["b"] == [2]
    scene.session["b"].append(3)
    assert dict(close(scene, [APPLIED]).changes()[0].set) == packed(b=[2, 3])


@pytest.mark.promise("6")
@pytest.mark.parametrize(
    ("intend", "wanted"),
    [
        (lambda session: session.sign_in("ada"), "sign_in"),
        (lambda session: session.rotate(), "rotate"),
        (lambda session: setattr(session, "permanent", True), "permanent"),
        (lambda session: setattr(state_of(session), "limits", (HOUR, DAY)), "limits"),
        (lambda session: session.sign_out(), "to_destroy"),
    ],
    ids=["sign_in", "rotate", "permanent", "limits", "sign_out"],
)
def test_what_another_task_asks_for_while_the_store_is_asked_is_not_forgotten(intend, wanted):
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["a"] = 2
    flow = begun(scene.requests.save(scene.state, NOW, head_sent=False))
    intend(scene.session)
    goes_on(flow)
    assert getattr(scene.state, wanted)


def test_a_session_that_another_task_ends_while_it_is_made_is_ended():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    flow = begun(scene.requests.save(scene.state, NOW, head_sent=False))
    scene.session.sign_out()
    scene.session["b"] = 2
    assert [event.kind for event in goes_on(flow)] == ["created"]
    made = b"\x81" * 16
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert destroy == Destroy(key=made, at=NOW, holder=Holder(None))
    assert dict(create.record.fields) == packed(b=2)
    assert sets(played, scene.state.token)
    assert scene.state.token.key != made


def test_a_session_that_another_task_ends_while_it_signs_in_is_ended():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    flow = begun(scene.requests.save(scene.state, NOW, head_sent=False))
    scene.session.sign_out()
    assert [event.kind for event in goes_on(flow)] == ["signed_in"]
    assert (scene.session.user, scene.session.is_new) == (None, True)
    played = close(scene, [APPLIED])
    # It saw nobody signed in when it was ended, but its own sign-in has happened since.
    assert played.changes() == [ending(user="ada")]
    assert cookie_of(played) == SETTINGS.template.clear()


# At the end of a request: a new session


@pytest.mark.promise("9")
def test_the_first_thing_put_in_creates_a_record_and_sends_its_token():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    played = close(scene, [APPLIED])
    (change,) = played.changes()
    assert isinstance(change, Create)
    assert scene.dice.asked == [16, 32, 4]
    assert sets(played, scene.state.token)
    assert "Max-Age" not in cookie_of(played)
    assert [(event.kind, event.handle, event.user) for event in played.told] == [("created", "81" * 16, None)]
    assert (scene.state.status, scene.state.record) == (Status.LIVE, change.record)


@pytest.mark.promise("15")
def test_a_key_that_is_taken_is_left_alone_and_another_one_is_tried():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    played = close(scene, [Refused.EXISTS], [Refused.EXISTS], [APPLIED])
    created = [played.changes(at)[0] for at in range(3)]
    assert all(isinstance(change, Create) for change in created)
    assert len({change.record.key for change in created}) == 3
    assert len({change.record.secret_hash for change in created}) == 3
    assert all(dict(change.record.fields) == packed(a=1) for change in created)
    assert sets(played, scene.state.token)
    assert scene.state.token.key == created[2].record.key
    assert played.kinds == ["created"]


def test_three_taken_keys_are_a_broken_source_of_randomness():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    with pytest.raises(StoreUnavailable, match="random"):
        close(scene, [Refused.EXISTS], [Refused.EXISTS], [Refused.EXISTS])


def test_a_signed_in_session_whose_key_is_taken_is_still_signed_in():
    scene = Scene().is_in(Status.NEW)
    scene.session.sign_in("ada")
    played = close(scene, [Refused.EXISTS], [APPLIED])
    assert played.changes(1)[0].record.user == "ada"
    assert played.kinds == ["created", "signed_in"]


# At the end of a request: a handler that raised


@pytest.mark.promise("23")
def test_of_a_request_that_failed_only_the_end_of_its_session_is_carried_out():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], failed=True)
    assert played.changes() == [ending()]
    assert cookie_of(played) == SETTINGS.template.clear()


@pytest.mark.promise("23")
@pytest.mark.parametrize("head_sent", [False, True])
@pytest.mark.parametrize("status", [Status.NEW, Status.LIVE])
def test_what_a_request_that_failed_set_is_not_stored(status, head_sent):
    scene = Scene().holds(a_record()) if status is Status.LIVE else Scene().is_in(status)
    scene.session["a"] = object.__name__
    scene.session["b"] = [1]
    scene.session["b"].append(object())
    scene.session.sign_in("ada")
    scene.session.rotate()
    scene.session.permanent = True
    played = close(scene, failed=True, head_sent=head_sent)
    assert (played.asked, played.told, cookie_of(played)) == ([], [], None)


@pytest.mark.promise("23")
def test_what_was_saved_before_the_handler_failed_stands_and_its_cookie_goes_out():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session["a"] = 2
    played = close(scene, failed=True)
    assert played.asked == []
    assert sets(played, scene.state.token)


# At the end of a request: after the head


@pytest.mark.promise("23")
@pytest.mark.parametrize(
    "intend",
    [
        lambda session: session.sign_in("ada"),
        lambda session: session.rotate(),
        lambda session: setattr(session, "permanent", True),
    ],
    ids=["sign_in", "rotate", "permanent"],
)
def test_after_the_head_what_needs_a_cookie_is_an_error_and_nothing_is_written(intend):
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    intend(scene.session)
    with pytest.raises(CannotSendCookie):
        close(scene, head_sent=True)
    with pytest.raises(CannotSendCookie):
        save(scene, head_sent=True)


def test_after_the_head_a_new_session_is_an_error_and_nothing_is_written():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    with pytest.raises(CannotSendCookie):
        close(scene, head_sent=True)


def test_after_the_head_a_change_is_stored_as_ever():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session["a"] = 1
    played = close(scene, [APPLIED], head_sent=True, now=NOW + 5 * HOUR)
    assert dict(played.changes()[0].set) == packed(a=1)


def test_after_the_head_a_session_can_be_ended():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    assert close(scene, [APPLIED], head_sent=True).changes() == [ending()]


def test_after_the_head_a_session_is_ended_even_where_what_was_put_in_afterwards_can_not_be_kept():
    # A log-out in a streamed response, and a message that says so: the message is lost, the log-out must not be.
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.flash("bye")
    flow = scene.requests.close(scene.state, NOW, failed=False, head_sent=True)
    asked = next(flow)
    assert list(asked.changes) == [ending()]
    assert flow.send(answered(asked, [APPLIED])).kind == "destroyed"
    with pytest.raises(CannotSendCookie):
        next(flow)


# At the end of a request: without the store


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_while_the_store_fails_nothing_is_written_and_no_cookie_set_or_cleared(outage):
    scene = Scene(make_settings(outage=outage))
    scene.comes_with(a_token(current=False))
    load(scene, DOWN)
    scene.state.looked_at = True
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@pytest.mark.parametrize("failed", [False, True])
def test_what_is_put_in_while_the_store_fails_is_dropped_and_told_once(failed):
    scene = Scene(make_settings(outage="anonymous"))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    scene.session["a"] = 1
    scene.session["b"] = []
    scene.session["b"].append(object())
    assert scene.session["a"] == 1
    played = close(scene, failed=failed)
    assert (played.asked, played.kinds, played.result) == ([], [] if failed else ["dropped"], LOOKED_AT)
    assert close(scene, failed=failed).told == []


@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_an_explicit_save_while_the_store_fails_is_an_error(outage):
    scene = Scene(make_settings(outage=outage))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    with pytest.raises(StoreUnavailable):
        save(scene)
    assert scene.state.met is DOWN


# save


@pytest.mark.promise("3")
def test_saving_stores_what_changed_so_far_and_the_end_only_what_came_after():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    cart = scene.session["cart"]
    cart.append(2)
    (change,) = save(scene, [APPLIED]).changes()
    assert change.edits["cart"].data == codec.encode([1, 2])
    assert scene.state.wanted({}) == ({}, {}, frozenset())
    cart.append(3)
    scene.session["a"] = 1
    (change,) = close(scene, [APPLIED]).changes()
    assert dict(change.set) == packed(a=1)
    # What it last sent is the base of what it does next.
    assert change.edits["cart"] == Edit(*[codec.encode(cart) for cart in ([1, 2, 3], [1, 2], [1, 2])])


def test_saving_nothing_asks_nothing_and_does_no_maintenance():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    assert save(scene, now=NOW + 5 * HOUR).asked == []


def test_the_cookie_of_what_was_saved_goes_out_with_the_head():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    assert sets(close(scene), scene.state.token)


@pytest.mark.promise("H")
def test_the_cookie_goes_out_once():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    assert cookie_of(close(scene, [APPLIED])) is not None
    assert cookie_of(close(scene)) is None


@pytest.mark.promise("21")
def test_saving_what_can_not_be_stored_writes_nothing():
    scene = Scene().holds(a_record(fields={"a": []}))
    scene.session["b"] = 1
    scene.session["a"].append(object())
    with pytest.raises(NotStorable):
        save(scene)


def test_a_save_of_a_sign_in_holds_the_next_one_to_the_new_secret():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    save(scene, [APPLIED])
    scene.session["a"] = 1
    (change,) = close(scene, [APPLIED]).changes()
    assert change.secret_hash == scene.state.token.secret_hash != TOKEN.secret_hash
    assert change.rotate is None
    assert change.sign_in is None


# Said of what was merged


@pytest.mark.promise("M")
def test_fields_that_were_merged_are_told_and_so_are_those_whose_rule_failed():
    scene = Scene().holds(a_record(fields={"a": [1]}))
    scene.session["a"].append(2)
    after = a_record(fields={"a": [1, 3, 2]})
    played = close(scene, [Done(Applied(merged=("a", "b"), unmerged=("c",)), held(after))])
    assert [(event.kind, event.reason) for event in played.told] == [
        ("merged", "a, b"),
        ("merged", "the rule failed, the later write stands: c"),
    ]


@pytest.mark.promise("18")
def test_nothing_that_is_asked_or_told_shows_a_value_or_a_token():
    scene = Scene().holds(a_record(fields={"pw": "hunter2", "list": ["hunter2"]}, user="ada", signed_in=NOW))
    scene.session["list"].append("hunter2")
    scene.session["pw"] = "hunter3"
    scene.session["new"] = "hunter4"
    scene.session.rotate()
    changed = close(scene, [APPLIED])
    taken = take(scene, ["pw"], [Applied(packed(pw="hunter3"))])
    created = Scene().is_in(Status.NEW)
    created.session["pw"] = "hunter5"
    played = close(created, [APPLIED])
    results = [done(change, None, APPLIED) for change in played.changes()]
    asked = (*changed.asked, *taken.asked, *played.asked)
    for thing in (*asked, *changed.told, *results, Applied(packed(pw="hunter6"))):
        assert "hunter" not in repr(thing)
        assert repr(TOKEN.secret)[2:-1] not in repr(thing)
