from __future__ import annotations

import pytest

from coatcheck.core import lifecycle
from coatcheck.core.lifecycle import (
    change_of,
    fresh,
    maintenance_of,
    needs_cookie,
)
from coatcheck.core.state import Status, clear_fields
from coatcheck.errors import NotStorable
from coatcheck.http.token import Token
from coatcheck.model import codec
from coatcheck.model.fields import CSRF
from coatcheck.model.record import (
    Create,
    Edit,
    Rotation,
    SignIn,
    Update,
)
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    ROTATING,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    make_settings,
    packed,
)

TOKEN = a_token()


# change_of: what must be stored


def changed(scene, now=NOW):
    wanted = scene.state.wanted(scene.settings.merge)
    return change_of(scene.state, scene.settings, now, scene.dice, wanted)


@pytest.mark.parametrize("status", [Status.NEW, Status.LATE, Status.OUTAGE])
def test_a_visitor_who_put_nothing_in_stores_nothing(status):
    scene = Scene().is_in(status)
    for intend in (
        dict,
        lambda session: clear_fields(scene.state),
        lambda session: session.rotate() if status is not Status.OUTAGE else None,
        lambda session: setattr(session, "permanent", True),
        lambda session: session.peek_flashes(),
    ):
        intend(scene.session)
        assert changed(scene) == (None, None)
    assert scene.dice.asked == []


def test_what_an_anonymous_visitor_puts_in_creates_a_record_with_a_token_of_random_bytes():
    scene = Scene().is_in(Status.NEW)
    scene.session["cart"] = [1]
    change, token = changed(scene)
    assert scene.dice.asked == [16, 32, 4]
    assert (token.key, token.secret) == (b"\x81" * 16, b"\x82" * 32)
    assert change == Create(a_record(token, fields={"cart": [1]}, mark=b"\x83" * 4))
    assert change.record.expires == NOW + DAY


@pytest.mark.promise("16")
def test_a_permanent_visitor_s_record_has_the_longer_limits_from_the_beginning():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    scene.session.permanent = True
    change, _ = changed(scene)
    assert change.record.permanent
    assert change.record.expires == NOW + 30 * DAY


@pytest.mark.parametrize("status", [Status.LATE, Status.OUTAGE])
def test_a_late_visitor_and_one_without_a_store_store_nothing_that_they_put_in(status):
    scene = Scene().is_in(status)
    scene.session["a"] = 1
    assert changed(scene) == (None, None)


@pytest.mark.promise("13")
@pytest.mark.parametrize("status", [Status.NEW, Status.LATE])
def test_signing_in_without_a_session_creates_a_record_even_when_late(status):
    scene = Scene().is_in(status)
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    change, token = changed(scene)
    expected = a_record(
        token, fields={"a": 1}, user="ada", client="Browser/1.0", signed_in=NOW, mark=b"\x83" * 4
    )
    assert change == Create(expected)


@pytest.mark.promise("2")
def test_a_session_that_was_only_read_stores_nothing():
    scene = Scene().holds(a_record(fields={"a": 1, "b": [1, {2}]}))
    assert dict(scene.session) == {"a": 1, "b": [1, {2}]}
    scene.session["a"] = 1
    scene.session.permanent = False
    change, token = changed(scene)
    assert change is None
    assert token is scene.state.token


def test_a_change_holds_the_store_to_the_secret_that_was_seen_and_names_only_what_changed():
    scene = Scene().holds(a_record(fields={"a": 1, "b": [1], "c": 3, "d": (4, [])}))
    scene.session["a"] = 2
    scene.session["b"].append(2)
    del scene.session["c"]
    scene.session["d"][1].append(5)
    scene.session["e"] = None
    change, token = changed(scene, NOW + 1)
    assert token is scene.state.token
    assert change == Update(
        key=token.key,
        at=NOW + 1,
        lifetimes=SETTINGS.lifetimes,
        grace=MINUTE,
        secret_hash=token.secret_hash,
        set=packed(a=2, e=None),
        edits={
            name: Edit(*[codec.encode(value) for value in (ours, base, base)])
            for name, ours, base in (("b", [1, 2], [1]), ("d", (4, [5]), (4, [])))
        },
        remove=frozenset({"c"}),
    )


def test_what_was_set_and_removed_again_is_no_change():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["b"] = 1
    del scene.session["b"]
    del scene.session["a"]
    scene.session["a"] = 1
    assert changed(scene)[0] is None


@pytest.mark.promise("V")
def test_clearing_is_told_as_such_and_what_follows_it_is_set_anew():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    clear_fields(scene.state)
    scene.session["a"] = 1
    change, _ = changed(scene)
    assert change.clear
    assert dict(change.set) == {"a": codec.encode(1)}
    assert change.remove == frozenset()


def test_clearing_an_empty_session_is_no_change():
    scene = Scene().holds(a_record())
    clear_fields(scene.state)
    assert changed(scene)[0] is None


def test_a_change_of_permanence_is_a_change():
    scene = Scene().holds(a_record())
    scene.session.permanent = True
    assert changed(scene)[0].permanent is True
    scene = Scene().holds(a_record(permanent=True))
    scene.session.permanent = True
    assert changed(scene)[0] is None
    scene.session.permanent = False
    assert changed(scene)[0].permanent is False


@pytest.mark.promise("13")
def test_signing_in_changes_the_secret_at_random_and_keeps_the_key():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    scene.session.sign_in("ada")
    change, token = changed(scene)
    assert scene.dice.asked == [32, 4]
    assert (token.key, token.secret) == (TOKEN.key, b"\x81" * 32)
    assert change.secret_hash == TOKEN.secret_hash
    assert change.rotate == Rotation(token.secret_hash, b"\x82" * 4, derived=False)
    assert change.sign_in == SignIn("ada", "Browser/1.0")
    assert not change.clear
    assert not change.set


@pytest.mark.promise("V")
def test_rotate_changes_the_secret_at_random_and_nothing_else():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session.rotate()
    change, token = changed(scene, NOW + 5 * HOUR)
    assert scene.dice.asked == [32, 4]
    assert change.rotate == Rotation(token.secret_hash, b"\x82" * 4, derived=False)
    assert change.sign_in is None
    assert token.secret != ROTATING.ring.successor(TOKEN).secret


def test_a_change_carries_the_maintenance_that_is_due_along():
    record = a_record(settings=ROTATING)
    scene = Scene(ROTATING).holds(record)
    scene.session["a"] = 1
    change, token = changed(scene, NOW + 2 * HOUR)
    successor = ROTATING.ring.successor(TOKEN)
    assert token.secret_hash == successor.secret_hash
    assert change.rotate == Rotation(successor.secret_hash, derived=True)
    assert dict(change.set) == {"a": codec.encode(1)}
    assert change.secret_hash == TOKEN.secret_hash


def test_a_change_tells_that_the_new_secret_was_seen():
    record = a_record(settings=ROTATING, previous=a_token(secret=2).secret_hash)
    scene = Scene(ROTATING).holds(record)
    scene.session["a"] = 1
    assert changed(scene)[0].seen


@pytest.mark.promise("4")
def test_an_edit_from_outside_asks_for_no_secret_and_is_no_use():
    scene = Scene(ROTATING).edits(a_record(settings=ROTATING))
    scene.session["a"] = 1
    change, token = changed(scene, NOW + 5 * HOUR)
    assert token is None
    assert (change.secret_hash, change.used, change.rotate) == (None, False, None)


@pytest.mark.promise("21")
def test_a_nested_value_that_can_not_be_stored_is_named_before_anything_is_written():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    scene.session["cart"].append(object())
    with pytest.raises(NotStorable, match=r"session\['cart'\].*object") as caught:
        changed(scene)
    assert caught.value.field == "cart"


def test_a_fresh_record_belongs_to_nobody_unless_somebody_signs_in():
    scene = Scene().is_in(Status.NEW)
    change, token = fresh(scene.state, SETTINGS, NOW, scene.dice, {"a": b"\x01"})
    assert (change.record.user, change.record.signed_in, change.record.client) == (None, 0, "")
    assert dict(change.record.fields) == {"a": b"\x01"}
    assert change.record.secret_hash == token.secret_hash


# needs_cookie: what the head must wait for


@pytest.mark.parametrize(
    ("intend", "needed"),
    [
        (lambda session: None, False),
        (lambda session: session.update(c=1), False),
        (lambda session: session.rotate(), True),
        (lambda session: session.sign_in("ada"), True),
        (lambda session: setattr(session, "permanent", True), True),
    ],
    ids=["nothing", "set", "rotate", "sign_in", "permanent"],
)
def test_only_a_change_of_secret_or_permanence_needs_a_cookie(intend, needed):
    scene = Scene().holds(a_record(fields={"a": 1}))
    intend(scene.session)
    change, _ = changed(scene)
    assert bool(needs_cookie(scene.state, change)) is needed


def test_a_new_record_needs_a_cookie():
    scene = Scene().is_in(Status.NEW)
    assert not needs_cookie(scene.state, None)
    scene.session["a"] = 1
    assert needs_cookie(scene.state, changed(scene)[0])


@pytest.mark.promise("18")
def test_a_token_never_shows_in_what_is_decided():
    scene = Scene().holds(a_record(fields={"pw": "hunter2"}, user="ada", signed_in=NOW))
    scene.session["pw"] = "hunter3"
    scene.session.sign_in("ada")
    verdict = lifecycle.judge([TOKEN], [scene.state.held], SETTINGS, NOW)
    for thing in (verdict, changed(scene), scene.state.record, scene.state, scene.session):
        shown = repr(thing)
        assert "hunter" not in shown
        assert repr(TOKEN.secret)[2:-1] not in shown
        assert TOKEN.secret.hex() not in shown


@pytest.mark.promise("V")
def test_a_sign_in_renews_the_csrf_token_even_one_that_another_request_has_just_made():
    # Whoever knew the old secret could have planted it.
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    change, _ = changed(scene)
    planted = a_record(fields={CSRF: "planted", "cart": [1]})
    after = planted.apply(change)
    assert CSRF not in after.fields
    assert "cart" in after.fields


@pytest.mark.promise("V")
def test_a_sign_in_of_another_user_clears_also_what_another_request_has_just_put_in():
    scene = Scene().holds(a_record(user="ada", signed_in=NOW))
    scene.session.sign_in("grace")
    scene.session["mine"] = 1
    change, _ = changed(scene)
    meanwhile = a_record(user="ada", signed_in=NOW, fields={"ada's": "secret"})
    assert set(meanwhile.apply(change).fields) == {"mine"}


def test_a_token_is_made_of_nothing_but_the_random_source():
    scene = Scene().is_in(Status.NEW)
    scene.session.sign_in("ada")
    scene.dice.next = [b"k" * 16, b"s" * 32, b"mark"]
    change, token = changed(scene)
    assert (token.key, token.secret) == (b"k" * 16, b"s" * 32)
    assert change.record.key == b"k" * 16
    assert change.record.secret_hash == Token(b"k" * 16, b"s" * 32).secret_hash


# Limits of the session's own, and merge rules


@pytest.mark.promise("16")
def test_a_session_s_own_limits_are_a_change_and_hold_from_the_beginning():
    scene = Scene().is_in(Status.NEW)
    scene.state.limits = (HOUR, 2 * HOUR)
    assert changed(scene) == (None, None)
    scene.session["a"] = 1
    record = changed(scene)[0].record
    assert (record.idle, record.absolute, record.expires) == (HOUR, 2 * HOUR, NOW + HOUR)
    held_one = Scene().holds(record)
    held_one.state.limits = (HOUR, 2 * HOUR)
    assert changed(held_one)[0] is None
    held_one.state.limits = (DAY, 0)
    assert changed(held_one)[0].limits == (DAY, 0)
    assert maintenance_of(Scene().holds(record).state, SETTINGS, NOW + 6 * MINUTE) is not None


def biggest(_base, theirs, ours):
    return max(theirs or 0, ours)


@pytest.mark.promise("M")
def test_a_field_with_a_merge_rule_is_merged_also_where_it_is_assigned():
    settings = make_settings(merge={"score": biggest, "new": biggest})
    scene = Scene(settings).holds(a_record(fields={"score": 1, "other": 1}))
    scene.session.update(score=2, other=2, new=3)
    change, _ = changed(scene)
    one, two, three = (codec.encode(number) for number in (1, 2, 3))
    assert change.set == {"other": two}
    assert change.edits == {"score": Edit(two, one, one, biggest), "new": Edit(three, None, None, biggest)}


@pytest.mark.promise("M")
def test_what_is_assigned_is_never_merged_and_what_was_read_and_edited_is():
    scene = Scene().holds(a_record(fields={"a": [1], "b": [1], "c": [1]}))
    scene.session["a"].append(2)
    scene.session["b"] = [*scene.session["b"], 2]
    same = scene.session["c"]
    same.append(2)
    scene.session["c"] = same
    scene.session.setdefault("d", []).append(2)
    change, _ = changed(scene)
    assert (set(change.edits), set(change.set)) == ({"a", "c", "d"}, {"b"})
    assert change.edits["d"] == Edit(codec.encode([2]), codec.encode([]), None)


@pytest.mark.promise("M", "11", "V")
def test_our_own_fields_are_never_merged():
    scene = Scene().holds(a_record())
    scene.session.csrf_token()
    scene.session.flash(["edited", "later"])
    assert changed(scene)[0].edits == {}
    assert scene.session.peek_flashes()[0].message == ["edited", "later"]
    scene.session.peek_flashes()[0].message.append("x")
    change, _ = changed(scene)
    assert change.edits == {}


@pytest.mark.promise("11")
def test_a_request_that_flashes_keeps_the_number_of_messages_bounded():
    scene = Scene(make_settings(max_flashes=2)).holds(a_record())
    scene.session["a"] = 1
    assert changed(scene)[0].max_flashes == 0
    for message in "abc":
        scene.session.flash(message)
    assert changed(scene)[0].max_flashes == 2
    fresh_one = Scene(make_settings(max_flashes=2)).is_in(Status.NEW)
    for message in "abc":
        fresh_one.session.flash(message)
    record = changed(fresh_one)[0].record
    assert [codec.decode(record.fields[name])[1] for name in sorted(record.fields)] == ["b", "c"]
