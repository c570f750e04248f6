from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core import lifecycle
from coatcheck.core.lifecycle import (
    Outcome,
    change_of,
    check_size,
    fresh,
    is_held,
    judge,
    needs_cookie,
    outcome_of,
    owed_token,
    owes_nothing,
    surplus,
    upkeep_of,
)
from coatcheck.core.state import CSRF, Standing
from coatcheck.errors import NotStorable, StoreUnavailable, TooLarge
from coatcheck.http.token import Ring, Token
from coatcheck.model import codec
from coatcheck.model.ports import Life, Unreadable
from coatcheck.model.record import Create, Rotation, SignIn, Tombstone, Update, encode
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NEW_SECRET,
    NOW,
    OLD_SECRET,
    ROTATING,
    SECOND,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    make_settings,
)

TOKEN = a_token()


# judge: which session a request holds


def test_nothing_in_the_store_is_a_new_visitor():
    verdict = judge([TOKEN], [None], SETTINGS, NOW)
    assert verdict == lifecycle.Verdict(Standing.NEW)


def test_a_live_record_with_the_token_s_secret_is_held():
    record = a_record()
    verdict = judge([TOKEN], [record], SETTINGS, NOW)
    assert (verdict.standing, verdict.token, verdict.record) == (Standing.LIVE, TOKEN, record)


@pytest.mark.promise("13")
@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, Standing.LATE), (59_999, Standing.LATE), (60_000, Standing.NEW), (HOUR, Standing.NEW)],
)
def test_another_secret_is_late_within_the_window_and_a_stranger_after_it(after, expected):
    record = a_record(a_token(secret=2), created=NOW - DAY // 2, secret_at=NOW)
    verdict = judge([TOKEN], [record], SETTINGS, NOW + after)
    assert (verdict.standing, verdict.token, verdict.record) == (expected, None, None)


@pytest.mark.promise("13")
def test_the_late_window_is_the_setting_s():
    record = a_record(a_token(secret=2))
    settings = make_settings(late_window=timedelta(seconds=5))
    assert judge([TOKEN], [record], settings, NOW + 5 * SECOND - 1).standing is Standing.LATE
    assert judge([TOKEN], [record], settings, NOW + 5 * SECOND).standing is Standing.NEW


@pytest.mark.promise("12")
def test_a_tombstone_makes_late_until_it_expires():
    tombstone = Tombstone(TOKEN.key, NOW + 30 * SECOND)
    assert judge([TOKEN], [tombstone], SETTINGS, NOW + 30 * SECOND - 1).standing is Standing.LATE
    assert judge([TOKEN], [tombstone], SETTINGS, NOW + 30 * SECOND).standing is Standing.NEW


@pytest.mark.promise("14")
def test_the_previous_secret_opens_until_the_grace_after_the_new_one_was_seen():
    unseen = a_record(a_token(secret=2), previous=TOKEN.hashed, last_used=NOW + 2 * HOUR)
    seen = replace(unseen, seen=NOW + HOUR)
    assert judge([TOKEN], [unseen], ROTATING, NOW + 2 * HOUR).standing is Standing.LIVE
    assert judge([TOKEN], [seen], ROTATING, NOW + HOUR + MINUTE - 1).standing is Standing.LIVE
    assert judge([TOKEN], [seen], ROTATING, NOW + HOUR + MINUTE).standing is Standing.NEW
    assert is_held(seen, TOKEN, ROTATING, NOW + HOUR + MINUTE - 1)
    assert not is_held(seen, TOKEN, ROTATING, NOW + HOUR + MINUTE)


@pytest.mark.parametrize(
    ("record", "now", "held"),
    [
        (a_record(), NOW, True),
        (a_record(), NOW + DAY, False),
        (a_record(a_token(secret=2)), NOW, False),
        (a_record(a_token(secret=2), previous=TOKEN.hashed), NOW, True),
        (a_record(a_token(secret=2), previous=TOKEN.hashed, seen=NOW - MINUTE), NOW, False),
    ],
    ids=["live", "expired", "another secret", "previous secret", "after the grace"],
)
def test_the_short_way_decides_like_the_long_one(record, now, held):
    scene = Scene()
    scene.presents(TOKEN)
    assert scene.flows.keys_to_load(scene.state) == [TOKEN.key]
    assert scene.flows.holds_at_once(scene.state, now, [record]) is held
    assert (judge([TOKEN], [record], SETTINGS, now).standing is Standing.LIVE) is held


@pytest.mark.promise("16")
def test_an_expired_record_is_not_held_and_not_late_but_told():
    record = a_record(user="ada", signed_in=NOW)
    verdict = judge([TOKEN], [record], SETTINGS, record.expires)
    assert (verdict.standing, verdict.record, verdict.expired) == (Standing.NEW, None, (record,))
    assert judge([TOKEN], [record], SETTINGS, record.expires - 1).standing is Standing.LIVE


def test_an_expired_record_with_another_secret_is_not_late():
    record = a_record(a_token(secret=2), secret_at=NOW + DAY - 1)
    verdict = judge([TOKEN], [record], SETTINGS, record.expires)
    assert (verdict.standing, verdict.expired) == (Standing.NEW, (record,))


@pytest.mark.promise("10")
def test_what_can_not_be_read_is_an_anonymous_visitor_and_told():
    verdict = judge([TOKEN], [Unreadable("damaged")], SETTINGS, NOW)
    assert (verdict.standing, verdict.unreadable) == (Standing.NEW, ((TOKEN.key, "damaged"),))


@pytest.mark.promise("H")
def test_of_several_tokens_the_only_live_one_wins_wherever_it_stands():
    tokens = [a_token(key) for key in (1, 2, 3, 4)]
    record = a_record(tokens[2])
    found = {
        1: None,
        2: a_record(a_token(2, secret=9)),
        3: record,
        4: Tombstone(tokens[3].key, NOW + SECOND),
    }
    for order in ((1, 2, 3, 4), (3, 4, 2, 1), (4, 3, 1, 2)):
        verdict = judge([tokens[at - 1] for at in order], [found[at] for at in order], SETTINGS, NOW)
        assert (verdict.standing, verdict.record, verdict.token) == (Standing.LIVE, record, tokens[2])
        assert verdict.rivals == ()


@pytest.mark.promise("H")
def test_of_several_live_sessions_none_is_taken_in_any_order():
    tokens = [a_token(1), a_token(2)]
    records = [a_record(token) for token in tokens]
    for step in (1, -1):
        verdict = judge(tokens[::step], records[::step], SETTINGS, NOW)
        assert (verdict.standing, verdict.token, verdict.record) == (Standing.NEW, None, None)
        assert sorted(verdict.rivals) == [tokens[0].key, tokens[1].key]


def test_a_late_token_beside_several_live_ones_makes_nobody_late():
    tokens = [a_token(1), a_token(2), a_token(3, secret=8)]
    found = [a_record(tokens[0]), a_record(tokens[1]), a_record(a_token(3, secret=9))]
    assert judge(tokens, found, SETTINGS, NOW).standing is Standing.NEW


def test_both_secrets_of_one_rotation_are_one_session_held_by_the_newer():
    old, new = a_token(secret=1), a_token(secret=2)
    record = a_record(new, previous=old.hashed)
    for tokens in ([old, new], [new, old]):
        verdict = judge(tokens, [record, record], ROTATING, NOW)
        assert (verdict.standing, verdict.token, verdict.rivals) == (Standing.LIVE, new, ())


@pytest.mark.promise("H")
@given(st.permutations(["live", "late", "tombstone", "expired", "unreadable", "gone"]))
def test_the_order_of_cookies_never_decides(order):
    tokens = {name: a_token(key) for key, name in enumerate(sorted(order), 1)}
    found = {
        "live": a_record(tokens["live"]),
        "late": a_record(a_token(tokens["late"].key[0], secret=9)),
        "tombstone": Tombstone(tokens["tombstone"].key, NOW + SECOND),
        "expired": a_record(tokens["expired"], created=NOW - 2 * DAY),
        "unreadable": Unreadable("damaged"),
        "gone": None,
    }
    verdict = judge([tokens[name] for name in order], [found[name] for name in order], SETTINGS, NOW)
    assert verdict.record == found["live"]
    without = [name for name in order if name != "live"]
    verdict = judge([tokens[name] for name in without], [found[name] for name in without], SETTINGS, NOW)
    assert (verdict.standing, verdict.record) == (Standing.LATE, None)


# change_of: what must be stored


def changed(scene, now=NOW):
    return change_of(scene.state, scene.settings, now, scene.dice)


@pytest.mark.parametrize("standing", [Standing.NEW, Standing.LATE, Standing.OUTAGE])
def test_a_visitor_who_put_nothing_in_stores_nothing(standing):
    scene = Scene().stands(standing)
    for intend in (
        dict,
        lambda session: session.clear(),
        lambda session: session.rotate() if standing is not Standing.OUTAGE else None,
        lambda session: setattr(session, "permanent", True),
        lambda session: session.peek_flashes(),
    ):
        intend(scene.session)
        assert changed(scene) == (None, None)
    assert scene.dice.asked == []


def test_what_an_anonymous_visitor_puts_in_creates_a_record_with_a_token_of_random_bytes():
    scene = Scene().stands(Standing.NEW)
    scene.session["cart"] = [1]
    change, token = changed(scene)
    assert scene.dice.asked == [16, 32]
    assert (token.key, token.secret) == (b"\x81" * 16, b"\x82" * 32)
    assert change == Create(
        a_record(token, fields={"cart": [1]}, client=""),
    )
    assert change.record.expires == NOW + DAY


@pytest.mark.promise("16")
def test_a_permanent_visitor_s_record_has_the_longer_limits_from_the_beginning():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    scene.session.permanent = True
    change, _ = changed(scene)
    assert change.record.permanent
    assert change.record.expires == NOW + 30 * DAY


@pytest.mark.parametrize("standing", [Standing.LATE, Standing.OUTAGE])
def test_a_late_visitor_and_one_without_a_store_store_nothing_that_they_put_in(standing):
    scene = Scene().stands(standing)
    scene.session["a"] = 1
    assert changed(scene) == (None, None)


@pytest.mark.promise("13")
@pytest.mark.parametrize("standing", [Standing.NEW, Standing.LATE])
def test_signing_in_without_a_session_creates_a_record_even_when_late(standing):
    scene = Scene().stands(standing)
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    change, token = changed(scene)
    expected = a_record(token, fields={"a": 1}, user="ada", client="Browser/1.0", signed_in=NOW)
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
        secret=token.hashed,
        set={
            name: codec.encode(value)
            for name, value in {"a": 2, "b": [1, 2], "d": (4, [5]), "e": None}.items()
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
    scene.session.clear()
    scene.session["a"] = 1
    change, _ = changed(scene)
    assert change.clear
    assert dict(change.set) == {"a": codec.encode(1)}
    assert change.remove == frozenset()


def test_clearing_an_empty_session_is_no_change():
    scene = Scene().holds(a_record())
    scene.session.clear()
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
    assert scene.dice.asked == [32]
    assert (token.key, token.secret) == (TOKEN.key, b"\x81" * 32)
    assert change.secret == TOKEN.hashed
    assert change.rotate == Rotation(token.hashed, derived=False)
    assert change.sign_in == SignIn("ada", "Browser/1.0")
    assert not change.clear
    assert not change.set


@pytest.mark.promise("V")
def test_rotate_changes_the_secret_at_random_and_nothing_else():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session.rotate()
    change, token = changed(scene, NOW + 5 * HOUR)
    assert scene.dice.asked == [32]
    assert change.rotate == Rotation(token.hashed, derived=False)
    assert change.sign_in is None
    assert token.secret != ROTATING.ring.successor(TOKEN).secret


def test_a_change_carries_the_upkeep_that_is_due_along():
    record = a_record(settings=ROTATING)
    scene = Scene(ROTATING).holds(record)
    scene.session["a"] = 1
    change, token = changed(scene, NOW + 2 * HOUR)
    successor = ROTATING.ring.successor(TOKEN)
    assert token.hashed == successor.hashed
    assert change.rotate == Rotation(successor.hashed, derived=True)
    assert dict(change.set) == {"a": codec.encode(1)}
    assert change.secret == TOKEN.hashed


def test_a_change_tells_that_the_new_secret_was_seen():
    record = a_record(settings=ROTATING, previous=a_token(secret=2).hashed)
    scene = Scene(ROTATING).holds(record)
    scene.session["a"] = 1
    assert changed(scene)[0].seen


@pytest.mark.promise("4")
def test_an_edit_from_outside_asks_for_no_secret_and_is_no_use():
    scene = Scene(ROTATING).edits(a_record(settings=ROTATING))
    scene.session["a"] = 1
    change, token = changed(scene, NOW + 5 * HOUR)
    assert token is None
    assert (change.secret, change.touch, change.rotate) == (None, False, None)


@pytest.mark.promise("21")
def test_a_nested_value_that_can_not_be_stored_is_named_before_anything_is_written():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    scene.session["cart"].append(object())
    with pytest.raises(NotStorable, match=r"session\['cart'\].*object") as caught:
        changed(scene)
    assert caught.value.field == "cart"


@pytest.mark.promise("21")
def test_a_new_record_over_the_limit_is_refused():
    scene = Scene(make_settings(max_bytes=1024)).stands(Standing.NEW)
    scene.session["a"] = "x" * 600
    scene.session["b"] = "x" * 600
    with pytest.raises(TooLarge) as caught:
        changed(scene)
    assert caught.value.limit == 1024
    assert caught.value.size > 1200


@pytest.mark.promise("21")
def test_a_record_that_grows_over_the_limit_is_refused_and_one_that_shrinks_is_not():
    settings = make_settings(max_bytes=1024)
    record = a_record(fields={"a": "x" * 600, "b": "x" * 600})
    scene = Scene(settings).holds(record)
    scene.session["c"] = 1
    with pytest.raises(TooLarge):
        changed(scene)
    del scene.session["b"]
    assert changed(scene)[0] is not None


def test_the_size_of_a_record_that_has_just_ended_is_nobody_s_business():
    scene = Scene(make_settings(max_bytes=1024)).holds(a_record(fields={"a": "x" * 2000}))
    scene.session["b"] = 1
    assert changed(scene, NOW + 2 * DAY)[0] is not None


@pytest.mark.promise("21")
def test_a_sign_in_that_makes_a_record_too_large_is_refused_though_it_sets_nothing():
    record = a_record(fields={"a": "x" * 2000})
    scene = Scene(make_settings(max_bytes=len(encode(record)) + 200)).holds(record)
    scene.session.sign_in("u" * 255)
    with pytest.raises(TooLarge):
        changed(scene)


@pytest.mark.promise("21")
@pytest.mark.parametrize(
    "fields", [{}, {"x": b"v" * 1000}, {"\N{OLD KEY}" * 200: b""}, {str(n): b"1" for n in range(300)}]
)
def test_the_limit_is_exact_to_the_byte(fields):
    record = replace(a_record(), fields=fields)
    size = len(encode(record))
    check_size(record, size)
    with pytest.raises(TooLarge) as caught:
        check_size(record, size - 1)
    assert (caught.value.size, caught.value.limit) == (size, size - 1)
    assert "max_bytes" in str(caught.value)


@pytest.mark.promise("21")
@given(
    st.dictionaries(st.text(max_size=4), st.binary(max_size=6), max_size=300),
    st.sampled_from([0, 255]),
    st.integers(1024, 20_000),
)
def test_no_record_over_the_limit_slips_through_unweighed(fields, user, limit):
    record = replace(
        a_record(signed_in=NOW, user="\N{OLD KEY}" * user, client="\N{OLD KEY}" * 200, previous=b"p" * 32),
        fields=fields,
    )
    try:
        check_size(record, limit)
    except TooLarge:
        assert len(encode(record)) > limit
    else:
        assert len(encode(record)) <= limit


def test_a_session_far_below_the_limit_is_not_even_encoded(monkeypatch):
    monkeypatch.setattr(lifecycle, "encode", None)
    check_size(a_record(fields={"a": 1}), SETTINGS.max_bytes)


def test_a_fresh_record_belongs_to_nobody_unless_somebody_signs_in():
    scene = Scene().stands(Standing.NEW)
    change, token = fresh(scene.state, SETTINGS, NOW, scene.dice, {"a": b"\x01"})
    assert (change.record.user, change.record.signed_in, change.record.client) == (None, 0, "")
    assert dict(change.record.fields) == {"a": b"\x01"}
    assert change.record.secret == token.hashed


# upkeep_of: what a session that was only looked at owes


def upkeep(record, now, settings=SETTINGS, token=TOKEN):
    scene = Scene(settings).holds(record, token)
    return upkeep_of(scene.state, settings, now)


def test_without_a_record_or_without_its_visitor_nothing_is_owed():
    assert upkeep_of(Scene().stands(Standing.NEW).state, SETTINGS, NOW) is None
    assert upkeep_of(Scene().edits(a_record()).state, SETTINGS, NOW + 5 * HOUR) is None


@pytest.mark.promise("4")
def test_use_is_noted_once_an_hour_at_most():
    record = a_record()
    assert upkeep(record, NOW) is None
    assert upkeep(record, NOW + HOUR - 1) is None
    slide = upkeep(record, NOW + HOUR)
    assert slide == Update(
        key=TOKEN.key,
        at=NOW + HOUR,
        lifetimes=SETTINGS.lifetimes,
        grace=MINUTE,
        secret=TOKEN.hashed,
    )
    assert record.apply(slide).expires == NOW + HOUR + DAY
    assert upkeep(record.apply(slide), NOW + 2 * HOUR - 1) is None


@pytest.mark.promise("14")
def test_the_secret_rotates_when_it_is_old_enough_and_only_where_it_is_asked_for():
    record = a_record(last_used=NOW + 2 * HOUR - 1, settings=ROTATING)
    assert upkeep(record, NOW + 2 * HOUR - 1, ROTATING) is None
    due = upkeep(record, NOW + 2 * HOUR, ROTATING)
    assert due.rotate == Rotation(ROTATING.ring.successor(TOKEN).hashed, derived=True)
    assert due.secret == TOKEN.hashed
    assert upkeep(record, NOW + 2 * HOUR, SETTINGS) is None


def test_the_age_of_a_secret_counts_from_its_last_change():
    record = a_record(secret_at=NOW + HOUR, last_used=NOW + 3 * HOUR - 1, settings=ROTATING)
    assert upkeep(record, NOW + 3 * HOUR - 1, ROTATING) is None
    assert upkeep(record, NOW + 3 * HOUR, ROTATING).rotate is not None


@pytest.mark.promise("14")
def test_all_requests_that_rotate_at_once_agree_on_the_next_secret():
    record = a_record(settings=ROTATING)
    first = upkeep(record, NOW + 2 * HOUR, ROTATING)
    second = upkeep(record, NOW + 2 * HOUR + 5, ROTATING)
    after = record.apply(first)
    assert after.apply(second).secret == after.secret == first.rotate.secret


@pytest.mark.promise("14")
def test_the_new_secret_is_noted_as_seen_once_by_the_visitor_who_shows_it():
    old, new = TOKEN, a_token(secret=2)
    record = a_record(new, previous=old.hashed, settings=ROTATING)
    assert upkeep(record, NOW, ROTATING, token=old) is None
    noted = upkeep(record, NOW, ROTATING, token=new)
    assert noted.seen
    assert record.apply(noted).seen == NOW
    assert upkeep(record.apply(noted), NOW + 1, ROTATING, token=new) is None


@pytest.mark.promise("14")
def test_the_old_secret_rotates_nothing_during_the_grace():
    record = a_record(a_token(secret=2), previous=TOKEN.hashed, settings=ROTATING)
    due = upkeep(record, NOW + 5 * HOUR, ROTATING, token=TOKEN)
    assert due is not None
    assert due.rotate is None
    assert not due.seen


@pytest.mark.promise("14")
def test_the_old_secret_stays_good_for_the_whole_grace_however_often_secrets_rotate():
    settings = make_settings(rotate_every=timedelta(seconds=10), rotation_grace=timedelta(seconds=60))
    first = TOKEN
    record = a_record(first)
    second = settings.ring.successor(first)
    record = record.apply(upkeep(record, NOW + 10 * SECOND, settings, token=first))
    record = record.apply(upkeep(record, NOW + 11 * SECOND, settings, token=second))
    assert record.seen == NOW + 11 * SECOND
    for after in range(11, 71):
        token = second if second.hashed == record.secret else settings.ring.successor(second)
        due = upkeep(record, NOW + after * SECOND, settings, token=token)
        record = record if due is None else record.apply(due)
        assert is_held(record, first, settings, NOW + after * SECOND), (
            f"{after - 11} s after the new one was seen"
        )


# owed_token: the cookie that must go out although nothing changed it


def owed(record, token, settings=SETTINGS):
    return owed_token(Scene(settings).holds(record, token).state, settings)


def test_a_visitor_with_the_current_token_gets_no_cookie():
    assert owed(a_record(), TOKEN) is None
    assert owed_token(Scene().stands(Standing.NEW).state, SETTINGS) is None
    assert owed_token(Scene().edits(a_record()).state, SETTINGS) is None


def test_a_token_signed_by_an_older_secret_is_signed_anew():
    token = a_token(current=False)
    assert owed(a_record(), token) is token


def test_a_visitor_who_still_shows_the_old_secret_gets_the_new_one():
    successor = ROTATING.ring.successor(TOKEN)
    record = a_record(successor, previous=TOKEN.hashed)
    assert owed(record, TOKEN, ROTATING).secret == successor.secret


@pytest.mark.promise("14")
def test_a_rotation_under_an_older_secret_of_the_ring_is_found_again():
    settings = make_settings(secret=[NEW_SECRET, OLD_SECRET], rotate_every=timedelta(hours=1))
    successor = Ring(OLD_SECRET, purpose="__Host-session").successor(TOKEN)
    record = a_record(successor, previous=TOKEN.hashed)
    assert owed(record, TOKEN, settings).secret == successor.secret


def test_a_rotation_under_a_secret_that_the_ring_has_lost_owes_nothing():
    successor = Ring(OLD_SECRET, purpose="__Host-session").successor(TOKEN)
    assert owed(a_record(successor, previous=TOKEN.hashed), TOKEN, ROTATING) is None


# owes_nothing, needs_cookie: what spares a request the way to the store, and what the head must wait for


def owing(
    settings=SETTINGS, now=NOW, *, head_sent=False, token=TOKEN, record=None, intend=lambda session: None
):
    scene = Scene(settings).holds(record or a_record(settings=settings, fields={"a": 1, "b": [1]}), token)
    intend(scene.session)
    return not owes_nothing(scene.state, settings, now, head_sent=head_sent)


@pytest.mark.promise("2")
def test_a_session_that_was_only_read_owes_nothing():
    assert not owing(intend=dict)
    assert not owing(intend=lambda session: session.peek_flashes())
    scene = Scene().stands(Standing.NEW)
    assert scene.session.get("a") is None
    assert owes_nothing(scene.state, SETTINGS, NOW, head_sent=False)


@pytest.mark.parametrize(
    "intend",
    [
        lambda session: session.update(c=1),
        lambda session: session["b"].append(2),
        lambda session: session.pop("a"),
        lambda session: session.clear(),
        lambda session: session.destroy(),
        lambda session: session.rotate(),
        lambda session: session.sign_in("ada"),
        lambda session: setattr(session, "permanent", True),
        lambda session: session.flash("hello"),
        lambda session: session.csrf_token(),
    ],
    ids=["set", "nested", "pop", "clear", "destroy", "rotate", "sign_in", "permanent", "flash", "csrf"],
)
@pytest.mark.parametrize("head_sent", [False, True])
def test_whatever_a_request_wants_it_owes(intend, head_sent):
    assert owing(intend=intend, head_sent=head_sent)


def test_a_cookie_that_waits_for_the_head_is_owed():
    for name, value in (("cookie_set", TOKEN), ("cookie_cleared", True)):
        scene = Scene().holds(a_record())
        setattr(scene.state, name, value)
        assert not owes_nothing(scene.state, SETTINGS, NOW, head_sent=False)


def test_a_store_that_failed_is_a_case_for_the_flow():
    scene = Scene().stands(Standing.OUTAGE)
    scene.state.failure = StoreUnavailable("down")
    assert not owes_nothing(scene.state, SETTINGS, NOW, head_sent=False)


def test_upkeep_and_a_new_signature_are_owed_until_the_head_has_left():
    old = a_token(current=False)
    assert owing(now=NOW + HOUR)
    assert not owing(now=NOW + HOUR, head_sent=True)
    assert owing(token=old)
    assert not owing(token=old, head_sent=True)


def test_the_news_of_a_new_secret_is_owed():
    new = ROTATING.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.hashed, settings=ROTATING)
    assert owing(ROTATING, record=record)
    assert owing(ROTATING, record=record, token=new)


@pytest.mark.parametrize(
    ("intend", "needed"),
    [
        (lambda session: None, False),
        (lambda session: session.update(c=1), False),
        (lambda session: session.clear(), False),
        (lambda session: session.rotate(), True),
        (lambda session: session.sign_in("ada"), True),
        (lambda session: setattr(session, "permanent", True), True),
    ],
    ids=["nothing", "set", "clear", "rotate", "sign_in", "permanent"],
)
def test_only_a_change_of_secret_or_permanence_needs_a_cookie(intend, needed):
    scene = Scene().holds(a_record(fields={"a": 1}))
    intend(scene.session)
    change, _ = changed(scene)
    assert bool(needs_cookie(scene.state, change)) is needed


def test_a_new_record_needs_a_cookie():
    scene = Scene().stands(Standing.NEW)
    assert not needs_cookie(scene.state, None)
    scene.session["a"] = 1
    assert needs_cookie(scene.state, changed(scene)[0])


# outcome_of: what the response says


def test_a_session_that_was_not_looked_at_says_nothing():
    scene = Scene()
    assert outcome_of(scene.state, SETTINGS, NOW) == Outcome(None, vary=False)


@pytest.mark.promise("H")
def test_a_session_that_was_looked_at_varies():
    scene = Scene().stands(Standing.NEW)
    assert outcome_of(scene.state, SETTINGS, NOW) == Outcome(None, vary=True)


def test_a_new_token_goes_out_signed_for_as_long_as_the_browser_lasts():
    scene = Scene().holds(a_record())
    scene.state.cookie_set = TOKEN
    outcome = outcome_of(scene.state, SETTINGS, NOW)
    assert outcome == Outcome(SETTINGS.template.set(SETTINGS.ring.sign(TOKEN), max_age=None), vary=True)
    assert "Max-Age" not in outcome.set_cookie


@pytest.mark.parametrize(
    ("bookkeeping", "after", "seconds"),
    [
        ({}, 0, 90 * 86_400),
        ({}, 10 * DAY, 80 * 86_400),
        ({"signed_in": NOW + DAY, "user": "ada"}, 10 * DAY, 81 * 86_400),
        ({}, 999, 90 * 86_400 - 1),
    ],
)
def test_a_permanent_session_s_cookie_lasts_until_its_absolute_limit(bookkeeping, after, seconds):
    scene = Scene().holds(a_record(permanent=True, **bookkeeping))
    scene.state.cookie_set = TOKEN
    assert f"; Max-Age={seconds};" in outcome_of(scene.state, SETTINGS, NOW + after).set_cookie


@pytest.mark.promise("H")
def test_a_cookie_that_is_cleared_goes_out_with_the_same_attributes():
    scene = Scene().stands(Standing.NEW, TOKEN)
    scene.state.cookie_cleared = True
    assert outcome_of(scene.state, SETTINGS, NOW) == Outcome(SETTINGS.template.clear(), vary=True)


@pytest.mark.promise("18")
def test_a_token_never_shows_in_what_is_decided():
    scene = Scene().holds(a_record(fields={"pw": "hunter2"}, user="ada", signed_in=NOW))
    scene.session["pw"] = "hunter3"
    scene.session.sign_in("ada")
    verdict = judge([TOKEN], [scene.state.record], SETTINGS, NOW)
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
    scene = Scene().stands(Standing.NEW)
    scene.session.sign_in("ada")
    scene.dice.next = [b"k" * 16, b"s" * 32]
    change, token = changed(scene)
    assert (token.key, token.secret) == (b"k" * 16, b"s" * 32)
    assert change.record.key == b"k" * 16
    assert change.record.secret == Token(b"k" * 16, b"s" * 32).hashed


# surplus: which sessions of a user a sign-in ends

LIVES = st.lists(
    st.builds(Life, st.binary(min_size=1, max_size=1), st.integers(0, 3)),
    unique_by=lambda life: life.key,
    max_size=8,
)


def test_those_that_signed_in_longest_ago_are_too_many():
    lives = [Life(bytes([number]) * 16, at) for number, at in enumerate((5, 9, 1, 7))]
    assert surplus(lives, 4) == surplus(lives, 5) == surplus([], 1) == []
    assert surplus(lives, 2) == [lives[0], lives[2]]
    assert surplus(lives, 1) == [lives[3], lives[0], lives[2]]


@pytest.mark.promise("12")
@given(lives=LIVES, limit=st.integers(1, 4), data=st.data())
def test_what_one_sign_in_leaves_standing_of_all_no_other_ends_by_what_it_sees(lives, limit, data):
    stands = [life for life in lives if life not in surplus(lives, limit)]
    assert len(stands) == min(limit, len(lives))
    seen = data.draw(st.permutations(lives).map(lambda those: those[: data.draw(st.integers(0, len(those)))]))
    assert not set(stands) & set(surplus(seen, limit))
    assert all(other.signed_in <= life.signed_in for life in stands for other in surplus(lives, limit))
