from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.config import CookieSettings
from coatcheck.core import lifecycle
from coatcheck.core.flows import Ask, Flows
from coatcheck.core.lifecycle import LOOKED_AT, UNTOUCHED, owes_nothing
from coatcheck.core.state import CSRF, Standing
from coatcheck.errors import (
    CannotSendCookie,
    DecodeError,
    NotStorable,
    SessionGone,
    StoreError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    TooLarge,
)
from coatcheck.http.token import handle_of
from coatcheck.model import codec
from coatcheck.model.ports import Capabilities, Life, Unreadable
from coatcheck.model.record import APPLIED, Applied, Create, Destroy, Refused, Tombstone, Update
from coatcheck.session import Flash
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
    Dice,
    Scene,
    a_record,
    a_token,
    make_settings,
    play,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


def load(scene, *answers, now=NOW):
    return play(scene.flows.load(scene.state, now), *answers)


def close(scene, *answers, now=NOW, failed=False, head_sent=False):
    return play(scene.flows.close(scene.state, now, failed=failed, head_sent=head_sent), *answers)


def save(scene, *answers, now=NOW, head_sent=False):
    return play(scene.flows.save(scene.state, now, head_sent=head_sent), *answers)


def take(scene, names, *answers, now=NOW):
    return play(scene.flows.take(scene.state, now, names), *answers)


def cookie_of(played):
    return played.result.set_cookie


def sets(played, token, settings=SETTINGS):
    """Whether the response sets the cookie to `token`."""
    value = settings.ring.sign(token)
    return (cookie_of(played) or "").startswith(f"{settings.template.name}={value};")


def packed(**fields):
    return {name: codec.encode(value) for name, value in fields.items()}


# load


@pytest.mark.promise("1")
@pytest.mark.parametrize(
    "cookies", [b"", b"theme=dark", b"__Host-session2=x; session=y", b"\xff\xfe;;;=", b"__Host-session"]
)
def test_a_request_without_our_cookie_asks_the_store_nothing(cookies):
    scene = Scene()
    scene.state.cookies = cookies
    played = load(scene)
    assert (played.asked, played.told) == ([], [])
    assert (scene.state.standing, scene.state.ready, scene.state.presented) == (Standing.NEW, True, ())


@pytest.mark.promise("15")
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"x",
        b"A" * 86,
        b"../../etc/passwd",
        b"*",
        b"a\r\nset x 0 0 1",
        b"\x00",
        b"{x}",
        b"x" * 10_000,
        HANDLE.encode(),
        b'"' + SETTINGS.ring.sign(TOKEN).encode() + b'"',
        SETTINGS.ring.sign(TOKEN).encode() + b"," + SETTINGS.ring.sign(TOKEN).encode(),
        make_settings(secret=OLD_SECRET).ring.sign(TOKEN).encode(),
        b"eyJ1c2VyIjoiYWRtaW4ifQ==",
    ],
    ids=range(14),
)
@pytest.mark.parametrize("times", [1, 2, 30])
def test_a_cookie_that_we_did_not_sign_is_refused_before_the_store_is_asked(value, times):
    scene = Scene()
    scene.presents(*[value] * times)
    played = load(scene)
    assert played.asked == []
    assert played.kinds == ["refused"]
    assert (scene.state.standing, scene.state.presented) == (Standing.NEW, ())


def test_a_good_token_beside_bad_values_is_no_reason_for_alarm():
    scene = Scene()
    scene.presents(b"junk", TOKEN, b'"junk')
    played = load(scene, [a_record()])
    assert played.told == []
    assert scene.state.standing is Standing.LIVE


@pytest.mark.promise("2")
def test_one_round_trip_finds_the_session():
    scene, record = Scene(), a_record(fields={"a": 1})
    scene.presents(TOKEN)
    played = load(scene, [record])
    assert played.asked == [Ask("load", ([TOKEN.key], NOW))]
    assert played.told == []
    state = scene.state
    assert (state.standing, state.record, state.ready) == (Standing.LIVE, record, True)
    assert (state.token.hashed, [token.key for token in state.presented]) == (TOKEN.hashed, [TOKEN.key])
    assert not state.looked_at


def test_the_same_token_twice_is_one_token():
    scene = Scene()
    scene.presents(TOKEN, TOKEN, TOKEN)
    assert load(scene, [a_record()]).asked[0].arguments[0] == [TOKEN.key]


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_one_token_under_two_signatures_the_newer_counts(newest_first):
    settings = make_settings(secret=[NEW_SECRET, OLD_SECRET])
    scene = Scene(settings)
    values = [make_settings(secret=secret).ring.sign(TOKEN).encode() for secret in (NEW_SECRET, OLD_SECRET)]
    scene.presents(*(values if newest_first else values[::-1]))
    load(scene, [a_record()])
    assert len(scene.state.presented) == 1
    assert scene.state.token.current


@pytest.mark.promise("F-21")
@pytest.mark.parametrize("several", [False, True])
def test_a_token_signed_by_an_older_secret_of_the_ring_is_known_as_such(several):
    scene = Scene(make_settings(secret=[NEW_SECRET, OLD_SECRET]))
    old = make_settings(secret=OLD_SECRET).ring.sign(TOKEN).encode()
    scene.presents(*[old, b"junk"] if several else [old])
    load(scene, [a_record()])
    assert scene.state.standing is Standing.LIVE
    assert not scene.state.token.current


@pytest.mark.promise("H")
def test_at_most_four_tokens_are_tried():
    scene = Scene()
    scene.presents(*[a_token(key) for key in range(1, 10)])
    played = load(scene, [None] * 4)
    assert played.asked[0].arguments[0] == [a_token(key).key for key in range(1, 5)]


@pytest.mark.promise("22")
def test_a_cookie_behind_any_number_of_others_costs_a_bounded_effort():
    scene = Scene()
    scene.presents(*[b"junk"] * 1000, TOKEN)
    assert load(scene).kinds == ["refused"]


@pytest.mark.promise("16")
def test_an_expired_session_is_told_with_its_user():
    scene, record = Scene(), a_record(user="ada", signed_in=NOW)
    scene.presents(TOKEN)
    played = load(scene, [record], now=NOW + DAY)
    (event,) = played.told
    assert (event.kind, event.handle, event.user) == ("expired", HANDLE, "ada")
    assert event.at == datetime.fromtimestamp((NOW + DAY) / 1000, UTC)
    assert scene.state.standing is Standing.NEW


@pytest.mark.promise("10")
def test_a_record_that_can_not_be_read_is_told_and_left_alone():
    scene = Scene()
    scene.presents(TOKEN)
    played = load(scene, [Unreadable("the record is damaged")])
    (event,) = played.told
    assert (event.kind, event.handle, event.reason) == ("unreadable", HANDLE, "the record is damaged")
    scene.session["a"] = 1
    created = close(scene, [APPLIED])
    (change,) = created.changes()
    assert isinstance(change, Create)
    assert change.record.key != TOKEN.key


@pytest.mark.promise("H")
def test_several_live_sessions_are_told_and_none_is_taken():
    scene = Scene()
    scene.presents(a_token(1), a_token(2))
    played = load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    assert played.kinds == ["ambiguous"]
    assert "2" in played.told[0].reason
    assert (scene.state.standing, scene.state.rivals) == (Standing.NEW, (a_token(1).key, a_token(2).key))


@pytest.mark.promise("12")
def test_a_tombstone_makes_the_request_late_without_a_word():
    scene = Scene()
    scene.presents(TOKEN)
    assert load(scene, [Tombstone(TOKEN.key, NOW + 1)]).told == []
    assert scene.state.standing is Standing.LATE


@pytest.mark.promise("20")
@pytest.mark.parametrize("error", [DOWN, StoreTimeout("slow", ambiguous=False), StoreError("odd")])
def test_a_store_that_fails_is_noted_and_told_and_raised_only_when_somebody_looks(error):
    scene = Scene()
    scene.presents(TOKEN)
    played = load(scene, error)
    assert played.kinds == ["unavailable"]
    assert type(error).__name__ in played.told[0].reason
    assert scene.state.failure is error
    assert scene.state.ready
    with pytest.raises(type(error)):
        scene.session.get("a")


@pytest.mark.promise("20")
def test_with_the_policy_anonymous_a_store_that_fails_makes_an_empty_session_to_read():
    scene = Scene(make_settings(outage="anonymous"))
    scene.presents(TOKEN)
    load(scene, DOWN)
    assert scene.state.standing is Standing.OUTAGE
    assert dict(scene.session) == {}


@pytest.mark.promise("20")
@pytest.mark.parametrize(
    ("path", "standing"),
    [("/goods/1", Standing.OUTAGE), ("/pay", Standing.UNLOADED), ("", Standing.UNLOADED)],
)
def test_the_policy_for_a_store_that_fails_may_differ_by_path(path, standing):
    scene = Scene(make_settings(outage={"/goods": "anonymous"}))
    scene.state.path = path
    scene.presents(a_token())
    play(scene.flows.load(scene.state, NOW), StoreUnavailable("down"))
    assert scene.state.standing is standing


def test_a_task_that_loaded_first_keeps_what_it_found_and_changed():
    scene = Scene()
    scene.presents(TOKEN)
    flow = scene.flows.load(scene.state, NOW)
    next(flow)
    load(scene, [a_record(fields={"a": 1})])
    assert scene.session["a"] == 1
    scene.session.sign_out()
    with pytest.raises(StopIteration):
        flow.send([a_record(fields={"a": 1})])
    assert dict(scene.session) == {}
    assert scene.session.is_new


def test_a_task_whose_loading_failed_leaves_alone_what_another_has_loaded():
    scene = Scene()
    scene.presents(TOKEN)
    flow = scene.flows.load(scene.state, NOW)
    next(flow)
    load(scene, [a_record(fields={"a": 1})])
    with pytest.raises(StopIteration):
        flow.throw(DOWN)
    assert scene.session["a"] == 1


# At the end of a request: what costs nothing


@pytest.mark.promise("1")
def test_a_session_that_was_not_looked_at_asks_and_says_nothing():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.state.looked_at = False
    played = close(scene, now=NOW + 5 * HOUR)
    assert (played.asked, played.told, played.result) == ([], [], UNTOUCHED)


@pytest.mark.promise("2")
def test_a_session_that_was_only_read_asks_nothing():
    scene = Scene().holds(a_record(fields={"a": [1]}))
    assert scene.session["a"] == [1]
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@pytest.mark.promise("5")
@pytest.mark.parametrize("standing", [Standing.NEW, Standing.LATE])
def test_an_anonymous_visit_that_puts_nothing_in_stores_and_says_nothing(standing):
    scene = Scene().stands(standing)
    scene.session.clear()
    scene.session.sign_out()
    scene.session.pop("a", None)
    scene.session.permanent = True
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@st.composite
def requests(draw):
    settings = draw(st.sampled_from([SETTINGS, ROTATING]))
    scene = Scene(settings)
    token = a_token(current=draw(st.booleans()))
    standing = draw(st.sampled_from([Standing.LIVE, Standing.LIVE, Standing.NEW, Standing.LATE]))
    if standing is Standing.LIVE:
        rotated = draw(st.booleans())
        new = settings.ring.successor(token)
        record = a_record(
            new if rotated else token,
            previous=token.hashed if rotated else None,
            settings=settings,
            fields={"a": 1, "b": [1]},
        )
        scene.holds(record, draw(st.sampled_from([token, new])) if rotated else token)
    else:
        scene.stands(standing, token)
    intents = [
        lambda session: session.get("a"),
        lambda session: session.setdefault("b", [1]),
        lambda session: session.update(a=1),
        lambda session: session.update(a=2),
        lambda session: session.get("b", []).append(1),
        lambda session: session.pop("c", None),
        lambda session: session.clear(),
        lambda session: session.destroy(),
        lambda session: session.rotate(),
        lambda session: setattr(session, "permanent", True),
        lambda session: session.sign_in("ada"),
    ]
    for intend in draw(st.lists(st.sampled_from(intents), max_size=2)):
        intend(scene.session)
    return scene, NOW + draw(st.sampled_from([0, HOUR, 3 * HOUR])), draw(st.booleans())


@given(requests())
def test_a_request_that_owes_nothing_would_have_asked_and_said_nothing(request):
    scene, now, head_sent = request
    if owes_nothing(scene.state, scene.settings, now, head_sent=head_sent):
        played = close(scene, now=now, head_sent=head_sent)
        assert (played.asked, played.told) == ([], [])
        assert head_sent or played.result == LOOKED_AT


# At the end of a request: what is due, best effort


@pytest.mark.promise("4")
def test_a_slide_that_is_due_is_one_write_and_no_cookie():
    scene = Scene().holds(a_record())
    played = close(scene, [APPLIED], now=NOW + HOUR)
    (change,) = played.changes()
    assert isinstance(change, Update)
    assert change.touch
    assert change.secret == TOKEN.hashed
    assert played.told == []
    assert played.result == LOOKED_AT
    assert scene.state.record.last_used == NOW + HOUR


@pytest.mark.promise("14")
def test_a_periodic_rotation_that_is_due_sends_the_derived_token():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    played = close(scene, [APPLIED], now=NOW + 2 * HOUR)
    (change,) = played.changes()
    assert change.rotate.derived
    assert sets(played, ROTATING.ring.successor(TOKEN), ROTATING)
    assert [(event.kind, event.handle, event.reason) for event in played.told] == [
        ("rotated", HANDLE, "periodic")
    ]
    assert scene.dice.asked == []


@pytest.mark.parametrize("writes", [False, True])
def test_where_another_ring_has_rotated_first_no_cookie_goes_out_that_would_open_nothing(writes):
    # Two processes, one of which has the new secret of the ring already.
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    if writes:
        scene.session["a"] = 1
    played = close(scene, [Applied(rotated=False)], now=NOW + 2 * HOUR)
    assert (cookie_of(played), played.told) == (None, [])
    assert scene.state.token.hashed == TOKEN.hashed
    assert scene.session.get("a") == (1 if writes else None)
    assert owes_nothing(scene.state, SETTINGS, NOW + 2 * HOUR, head_sent=False)


@pytest.mark.promise("14")
def test_the_first_sight_of_the_new_secret_is_noted_without_a_cookie():
    new = ROTATING.ring.successor(TOKEN)
    scene = Scene(ROTATING).holds(a_record(new, previous=TOKEN.hashed, settings=ROTATING), new)
    played = close(scene, [APPLIED])
    assert played.changes()[0].seen
    assert cookie_of(played) is None


@pytest.mark.promise("2")
@pytest.mark.parametrize("error", [DOWN, StoreFull("full")])
def test_upkeep_that_fails_is_told_and_never_fails_the_request(error):
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING, user="ada", signed_in=NOW))
    played = close(scene, error, now=NOW + 2 * HOUR)
    (event,) = played.told
    assert (event.kind, event.handle, event.user) == ("unavailable", HANDLE, "ada")
    assert type(error).__name__ in event.reason
    assert played.result == LOOKED_AT


@pytest.mark.promise("2")
@pytest.mark.parametrize("refusal", [Refused.CHANGED, Refused.GONE, Refused.UNREADABLE])
@pytest.mark.parametrize("current", [True, False])
def test_upkeep_that_is_refused_sends_no_cookie(refusal, current):
    # Somebody signed in or out meanwhile: a cookie now would undo that.
    token = a_token(current=current)
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING), token)
    played = close(scene, [refusal], now=NOW + 2 * HOUR)
    assert cookie_of(played) is None


@pytest.mark.promise("F-21")
def test_a_token_signed_by_an_older_secret_goes_out_with_a_new_signature():
    scene = Scene().holds(a_record(), a_token(current=False))
    played = play_through(scene, a_record())
    assert sets(played, TOKEN)


@pytest.mark.promise("14")
def test_a_visitor_who_shows_the_old_secret_of_a_rotation_gets_the_new_one():
    new = ROTATING.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.hashed, settings=ROTATING)
    scene = Scene(ROTATING).holds(record, TOKEN)
    assert sets(play_through(scene, record), new, ROTATING)


def play_through(scene, stored):
    """Close against a store that holds `stored`, whether it is asked or not."""

    def answer(ask):
        if ask.operation == "load":
            return [stored]
        assert ask.operation == "apply"
        results = [stored.apply(change) for change in ask.arguments[0]]
        return [result if isinstance(result, Refused) else APPLIED for result in results]

    return play(scene.flows.close(scene.state, NOW, failed=False, head_sent=False), otherwise=answer)


def test_a_request_that_writes_gets_the_new_signature_too():
    scene = Scene().holds(a_record(), a_token(current=False))
    scene.session["a"] = 1
    assert sets(play_through(scene, a_record()), TOKEN)


@pytest.mark.promise("14")
def test_a_request_that_writes_with_the_old_secret_of_a_rotation_gets_the_new_one_too():
    new = ROTATING.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.hashed, settings=ROTATING)
    scene = Scene(ROTATING).holds(record, TOKEN)
    scene.session["a"] = 1
    assert sets(play_through(scene, record), new, ROTATING)


def test_what_is_owed_is_not_sent_where_the_store_can_not_confirm_it():
    scene = Scene().holds(a_record(), a_token(current=False))
    played = close(scene, DOWN)
    assert (played.kinds, cookie_of(played)) == (["unavailable"], None)


@pytest.mark.promise("13")
@pytest.mark.parametrize("shows", ["an older signature", "the previous secret"])
def test_a_request_under_way_while_another_signs_in_sends_no_cookie_that_would_undo_it(shows):
    # It only read, and its session changed its secret before the response left.
    if shows == "an older signature":
        settings, token = SETTINGS, a_token(current=False)
        record = a_record(token)
    else:
        settings, token = ROTATING, TOKEN
        record = a_record(ROTATING.ring.successor(token), previous=token.hashed, settings=ROTATING)
    signed_in = a_record(a_token(secret=9), user="ada", signed_in=NOW, settings=settings)
    scene = Scene(settings).holds(record, token)
    played = play_through(scene, signed_in)
    assert cookie_of(played) is None


def test_a_request_that_failed_does_no_upkeep():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    played = close(scene, now=NOW + 5 * HOUR, failed=True)
    assert (played.asked, cookie_of(played)) == ([], None)


def test_after_the_head_no_upkeep_is_done():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    assert close(scene, now=NOW + 5 * HOUR, head_sent=True).asked == []


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
    assert len(change.set) == 53
    assert change.remove == {"c"}
    assert change.secret == TOKEN.hashed
    assert f"; Max-Age={90 * 86_400};" in cookie_of(played)


def test_a_change_of_fields_sends_no_cookie():
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    played = close(scene, [APPLIED])
    assert (played.result, played.told) == (LOOKED_AT, [])
    assert dict(scene.state.record.fields) == packed(a=1)


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
    assert scene.state.standing is Standing.LATE
    assert dict(scene.session) == {}
    assert close(scene).asked == []


@pytest.mark.promise("12")
def test_what_a_late_request_puts_in_is_dropped_and_told_without_asking_the_store():
    scene = Scene().stands(Standing.LATE, TOKEN)
    scene.session["a"] = 1
    played = close(scene)
    assert played.asked == []
    assert [(event.kind, event.handle) for event in played.told] == [("dropped", HANDLE)]
    assert played.result == LOOKED_AT


def test_a_late_request_that_failed_tells_of_nothing():
    scene = Scene().stands(Standing.LATE, TOKEN)
    scene.session["a"] = 1
    assert close(scene, failed=True).told == []


@pytest.mark.promise("9")
def test_a_write_that_fails_is_raised_and_told_and_nothing_is_forgotten():
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    flow = scene.flows.close(scene.state, NOW, failed=False, head_sent=False)
    assert next(flow).operation == "apply"
    assert flow.throw(DOWN).kind == "unavailable"
    with pytest.raises(StoreUnavailable):
        next(flow)
    played = close(scene, [APPLIED])
    assert dict(played.changes()[0].set) == packed(a=1)


@pytest.mark.promise("6")
def test_what_another_task_sets_while_the_store_is_asked_is_not_forgotten():
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    next(flow)
    scene.session["b"] = 2
    scene.session["a"] = 3
    with pytest.raises(StopIteration):
        flow.send([APPLIED])
    setting, _ = scene.state.changes()
    assert setting == packed(a=3, b=2)


@pytest.mark.promise("6")
def test_what_another_thread_sets_while_the_change_is_being_made_is_not_forgotten():
    class Meanwhile(Dice):
        def __call__(self, size):
            scene.session["late"] = scene.session["early"] = 2
            return super().__call__(size)

    scene = Scene().stands(Standing.NEW)
    scene.flows = Flows(SETTINGS, Capabilities(), Meanwhile())
    scene.session["early"] = 1
    played = save(scene, [APPLIED])
    assert dict(played.changes()[0].record.fields) == packed(early=1)
    assert dict(scene.session) == {"early": 2, "late": 2}
    assert dict(close(scene, [APPLIED]).changes()[0].set) == packed(early=2, late=2)


@pytest.mark.promise("6")
def test_what_another_task_puts_into_a_session_that_is_just_being_made_is_not_forgotten():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    next(flow)
    scene.session["b"] = [2]
    told = flow.send([APPLIED])
    assert told.kind == "created"
    with pytest.raises(StopIteration):
        next(flow)
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
        (lambda session: session.clear(), "cleared"),
        (lambda session: session.sign_out(), "doomed"),
    ],
    ids=["sign_in", "rotate", "permanent", "clear", "sign_out"],
)
def test_what_another_task_asks_for_while_the_store_is_asked_is_not_forgotten(intend, wanted):
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["a"] = 2
    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    next(flow)
    intend(scene.session)
    with pytest.raises(StopIteration):
        flow.send([APPLIED])
    assert getattr(scene.state, wanted)


def test_a_session_that_another_task_ends_while_it_is_made_is_ended():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    next(flow)
    scene.session.sign_out()
    scene.session["b"] = 2
    assert flow.send([APPLIED]).kind == "created"
    with pytest.raises(StopIteration):
        next(flow)
    made = b"\x81" * 16
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert destroy == Destroy(key=made, at=NOW)
    assert dict(create.record.fields) == packed(b=2)
    assert sets(played, scene.state.token)
    assert scene.state.token.key != made


def test_a_session_that_another_task_ends_while_it_signs_in_is_ended():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    next(flow)
    scene.session.sign_out()
    assert flow.send([APPLIED]).kind == "signed_in"
    with pytest.raises(StopIteration):
        next(flow)
    assert (scene.session.user, scene.session.is_new) == (None, True)
    played = close(scene, [APPLIED])
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
    assert cookie_of(played) == SETTINGS.template.clear()


# At the end of a request: a new session


@pytest.mark.promise("9")
def test_the_first_thing_put_in_creates_a_record_and_sends_its_token():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    played = close(scene, [APPLIED])
    (change,) = played.changes()
    assert isinstance(change, Create)
    assert scene.dice.asked == [16, 32]
    assert sets(played, scene.state.token)
    assert "Max-Age" not in cookie_of(played)
    assert [(event.kind, event.handle, event.user) for event in played.told] == [("created", "81" * 16, None)]
    assert (scene.state.standing, scene.state.record) == (Standing.LIVE, change.record)


@pytest.mark.promise("15")
def test_a_key_that_is_taken_is_left_alone_and_another_one_is_tried():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    played = close(scene, [Refused.EXISTS], [Refused.EXISTS], [APPLIED])
    created = [played.changes(at)[0] for at in range(3)]
    assert all(isinstance(change, Create) for change in created)
    assert len({change.record.key for change in created}) == 3
    assert len({change.record.secret for change in created}) == 3
    assert all(dict(change.record.fields) == packed(a=1) for change in created)
    assert sets(played, scene.state.token)
    assert scene.state.token.key == created[2].record.key
    assert played.kinds == ["created"]


def test_three_taken_keys_are_a_broken_source_of_randomness():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    with pytest.raises(StoreUnavailable, match="random"):
        close(scene, [Refused.EXISTS], [Refused.EXISTS], [Refused.EXISTS])


def test_a_signed_in_session_whose_key_is_taken_is_still_signed_in():
    scene = Scene().stands(Standing.NEW)
    scene.session.sign_in("ada")
    played = close(scene, [Refused.EXISTS], [APPLIED])
    assert played.changes(1)[0].record.user == "ada"
    assert played.kinds == ["created", "signed_in"]


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
    scene = Scene(capabilities=Capabilities(separate_index=True)).holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], None, now=NOW + 5)
    assert played.operations == ["apply", "enroll"]
    assert played.asked[1].arguments == ("ada", Life(TOKEN.key, NOW + 5), NOW + 5 + 90 * DAY)
    assert played.kinds == ["signed_in"]


def test_signing_in_without_a_session_enrolls_the_new_one():
    scene = Scene(capabilities=Capabilities(separate_index=True)).stands(Standing.NEW)
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], None)
    assert played.asked[1] == Ask("enroll", ("ada", Life(b"\x81" * 16, NOW), NOW + 90 * DAY))
    assert played.kinds == ["created", "signed_in"]


def test_an_anonymous_session_is_in_nobody_s_index():
    scene = Scene(capabilities=Capabilities(separate_index=True)).stands(Standing.NEW)
    scene.session["a"] = 1
    assert close(scene, [APPLIED]).operations == ["apply"]


@pytest.mark.promise("17")
def test_a_sign_in_that_can_not_be_enrolled_is_not_answered():
    scene = Scene(capabilities=Capabilities(separate_index=True)).stands(Standing.NEW)
    scene.session.sign_in("ada")
    with pytest.raises(StoreUnavailable):
        close(scene, [APPLIED], DOWN)
    assert scene.state.cookie_set is None


# At the end of a request: a limit of the user's sessions

LIMITED = make_settings(max_sessions_per_user=2)
OTHERS = [Life(a_token(key).key, NOW - key) for key in (2, 3, 4, 5)]


def ends(life, *, at=NOW):
    return Destroy(key=life.key, at=at, user="ada", signed_in=life.signed_in)


@pytest.mark.promise("17")
@pytest.mark.parametrize("separate_index", [False, True])
def test_a_sign_in_ends_those_of_its_user_that_signed_in_longest_ago(separate_index):
    scene = Scene(LIMITED, Capabilities(separate_index=separate_index)).holds(a_record())
    scene.session.sign_in("ada")
    lives = [Life(TOKEN.key, NOW), *OTHERS]
    enrolled = [None] if separate_index else []
    played = close(scene, [APPLIED], *enrolled, lives, [APPLIED, Refused.CHANGED, APPLIED])
    assert played.operations == ["apply", *["enroll"] * separate_index, "lives_of", "apply"]
    assert played.asked[-2].arguments == ("ada", NOW)
    assert played.changes(-1) == [ends(life) for life in OTHERS[1:]]
    told = [(event.kind, event.handle, event.user, event.reason) for event in played.told]
    assert told == [
        ("revoked", handle_of(OTHERS[1].key), "ada", "the user has 2 newer ones"),
        ("revoked", handle_of(OTHERS[3].key), "ada", "the user has 2 newer ones"),
        ("signed_in", HANDLE, "ada", ""),
    ]
    assert sets(played, scene.state.token)


def test_a_sign_in_within_the_limit_costs_a_look_at_the_index():
    for stands in (lambda scene: scene.holds(a_record()), lambda scene: scene.stands(Standing.NEW)):
        scene = stands(Scene(LIMITED))
        scene.session.sign_in("ada")
        assert close(scene, [APPLIED], [Life(TOKEN.key, NOW), OTHERS[0]]).operations == ["apply", "lives_of"]


def test_what_is_no_sign_in_asks_for_no_limit():
    scene = Scene(LIMITED).stands(Standing.NEW)
    scene.session["a"] = 1
    assert close(scene, [APPLIED]).operations == ["apply"]
    scene = Scene(LIMITED).holds(a_record(user="ada", signed_in=NOW))
    scene.session["a"] = 1
    scene.session.rotate()
    assert close(scene, [APPLIED]).operations == ["apply"]


def test_many_sessions_beyond_the_limit_are_ended_in_bounded_batches():
    scene = Scene(LIMITED).holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], MANY, *[[APPLIED] * size for size in (100, 100, 48)])
    assert [len(played.changes(at)) for at in (2, 3, 4)] == [100, 100, 48]


@pytest.mark.parametrize("taken_back", [[APPLIED], DOWN], ids=["taken back", "not even that"])
@pytest.mark.parametrize("met", ["lives_of", "apply"])
@pytest.mark.parametrize("visitor", ["with a session", "without one"])
def test_a_sign_in_that_can_not_be_brought_under_the_limit_is_not_answered_and_taken_back(
    visitor, met, taken_back
):
    scene = Scene(LIMITED)
    scene = scene.holds(a_record()) if visitor == "with a session" else scene.stands(Standing.NEW)
    scene.session.sign_in("ada")
    answers = iter([[APPLIED], *([DOWN] if met == "lives_of" else [OTHERS, DOWN]), taken_back])
    asked = []

    def answer(ask):
        asked.append(ask)
        return next(answers)

    with pytest.raises(StoreUnavailable) as caught:
        play(scene.flows.close(scene.state, NOW, failed=False, head_sent=False), otherwise=answer)
    assert caught.value is DOWN
    assert list(answers) == []
    (last,) = asked[-1].arguments[0]
    key = TOKEN.key if visitor == "with a session" else asked[0].arguments[0][0].record.key
    assert last == Destroy(key=key, at=NOW, user="ada", signed_in=NOW)
    assert scene.state.cookie_set is None
    assert scene.state.met is DOWN


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


def test_a_sign_in_that_started_afresh_tries_another_key_where_one_is_taken():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    played = close(scene, [Refused.CHANGED], [Refused.EXISTS], [APPLIED])
    assert played.changes(2)[0].record.user == "ada"


@pytest.mark.promise("13")
def test_a_late_visitor_who_signs_in_is_not_late_any_more():
    scene = Scene().stands(Standing.LATE, TOKEN)
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
    assert scene.state.record.secret == scene.state.token.hashed


@pytest.mark.promise("V")
def test_signing_in_ends_every_live_session_that_came_along():
    scene = Scene()
    scene.presents(a_token(1), a_token(2), a_token(3))
    load(scene, [a_record(a_token(1)), a_record(a_token(2)), None])
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED, APPLIED, Refused.GONE])
    create, *destroyed = played.changes()
    assert isinstance(create, Create)
    assert destroyed == [Destroy(key=a_token(1).key, at=NOW), Destroy(key=a_token(2).key, at=NOW)]
    assert played.kinds == ["destroyed", "created", "signed_in"]
    assert played.told[0].handle == handle_of(a_token(1).key)
    assert sets(played, scene.state.token)
    assert scene.state.rivals == ()


@pytest.mark.promise("H")
def test_what_is_put_in_beside_several_live_sessions_ends_none_of_them():
    scene = Scene()
    scene.presents(a_token(1), a_token(2))
    load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    scene.session["a"] = 1
    assert [type(change) for change in close(scene, [APPLIED]).changes()] == [Create]


# At the end of a request: ending the session


@pytest.mark.promise("12")
def test_a_session_that_was_ended_is_destroyed_and_its_cookie_cleared():
    scene = Scene().holds(a_record(user="ada", signed_in=NOW))
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
    assert cookie_of(played) == SETTINGS.template.clear()
    assert [(event.kind, event.handle, event.user) for event in played.told] == [("destroyed", HANDLE, "ada")]


@pytest.mark.promise("V")
def test_what_is_put_in_after_the_end_goes_to_a_new_session_and_only_its_cookie_goes_out():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["lost"] = 1
    scene.session.sign_out()
    scene.session.flash("bye")
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert destroy == Destroy(key=TOKEN.key, at=NOW)
    assert create.record.key != TOKEN.key
    assert len(create.record.fields) == 1
    assert sets(played, scene.state.token)
    assert played.kinds == ["destroyed", "created"]


@pytest.mark.promise("V")
def test_signing_out_and_in_again_is_a_new_session():
    scene = Scene().holds(a_record(fields={"a": 1}, user="ada", signed_in=NOW))
    scene.session.sign_out()
    scene.session.sign_in("grace")
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert (create.record.user, dict(create.record.fields)) == ("grace", {})
    assert destroy.key == TOKEN.key
    assert played.kinds == ["destroyed", "created", "signed_in"]


@pytest.mark.promise("12")
def test_a_session_that_another_request_has_ended_keeps_that_one_s_cookie():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    played = close(scene, [Refused.GONE])
    assert (played.told, cookie_of(played)) == ([], None)


def test_a_session_that_was_made_and_ended_in_one_request_sends_no_cookie():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert isinstance(played.changes()[0], Destroy)
    assert cookie_of(played) is None


def test_a_session_that_signed_in_and_ended_in_one_request_clears_the_cookie():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    save(scene, [APPLIED])
    scene.session.sign_out()
    assert cookie_of(close(scene, [APPLIED])) == SETTINGS.template.clear()


def test_a_new_session_s_cookie_is_not_cleared_at_the_end_of_a_streamed_response():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    assert sets(close(scene, [APPLIED, APPLIED]), scene.state.token)
    scene.session["a"] = 2
    assert cookie_of(close(scene, [APPLIED], head_sent=True)) is None


@pytest.mark.promise("12")
def test_two_ends_in_one_request_end_both_sessions():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    save(scene, [APPLIED, APPLIED])
    second = scene.state.record.key
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert played.changes() == [Destroy(key=second, at=NOW)]
    assert cookie_of(played) == SETTINGS.template.clear()


@pytest.mark.promise("12")
def test_an_end_that_can_not_be_stored_is_raised_and_stays_wanted():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    with pytest.raises(StoreUnavailable):
        close(scene, DOWN)
    assert close(scene, [APPLIED], failed=True).changes() == [Destroy(key=TOKEN.key, at=NOW)]


# At the end of a request: a handler that raised


@pytest.mark.promise("23")
def test_of_a_request_that_failed_only_the_end_of_its_session_is_carried_out():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], failed=True)
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
    assert cookie_of(played) == SETTINGS.template.clear()


@pytest.mark.promise("23")
@pytest.mark.parametrize("head_sent", [False, True])
@pytest.mark.parametrize("standing", [Standing.NEW, Standing.LIVE])
def test_what_a_request_that_failed_set_is_not_stored(standing, head_sent):
    scene = Scene().holds(a_record()) if standing is Standing.LIVE else Scene().stands(standing)
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
    scene = Scene().stands(Standing.NEW)
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
    scene = Scene().stands(Standing.NEW)
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
    assert close(scene, [APPLIED], head_sent=True).changes() == [Destroy(key=TOKEN.key, at=NOW)]


def test_after_the_head_a_session_is_ended_even_where_what_was_put_in_afterwards_can_not_be_kept():
    # A log-out in a streamed response, and a message that says so: the message is lost, the log-out must not be.
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.flash("bye")
    flow = scene.flows.close(scene.state, NOW, failed=False, head_sent=True)
    asked = next(flow)
    assert asked == Ask("apply", ([Destroy(key=TOKEN.key, at=NOW)],))
    assert flow.send([APPLIED]).kind == "destroyed"
    with pytest.raises(CannotSendCookie):
        next(flow)


# At the end of a request: without the store


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_while_the_store_fails_nothing_is_written_and_no_cookie_set_or_cleared(outage):
    scene = Scene(make_settings(outage=outage))
    scene.presents(a_token(current=False))
    load(scene, DOWN)
    scene.state.looked_at = True
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


def test_what_is_put_in_while_the_store_fails_is_dropped_and_told():
    scene = Scene(make_settings(outage="anonymous"))
    scene.presents(TOKEN)
    load(scene, DOWN)
    scene.session["a"] = 1
    assert scene.session["a"] == 1
    played = close(scene)
    assert (played.asked, played.kinds, played.result) == ([], ["dropped"], LOOKED_AT)
    assert close(scene, failed=True).told == []


@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_an_explicit_save_while_the_store_fails_is_an_error(outage):
    scene = Scene(make_settings(outage=outage))
    scene.presents(TOKEN)
    load(scene, DOWN)
    with pytest.raises(StoreUnavailable):
        save(scene)


# save


@pytest.mark.promise("3")
def test_saving_stores_what_changed_so_far_and_the_end_only_what_came_after():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    cart = scene.session["cart"]
    cart.append(2)
    assert dict(save(scene, [APPLIED]).changes()[0].set) == packed(cart=[1, 2])
    assert owes_nothing(scene.state, SETTINGS, NOW, head_sent=False)
    cart.append(3)
    scene.session["a"] = 1
    assert dict(close(scene, [APPLIED]).changes()[0].set) == packed(cart=[1, 2, 3], a=1)


def test_saving_nothing_asks_nothing_and_does_no_upkeep():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    assert save(scene, now=NOW + 5 * HOUR).asked == []


def test_the_cookie_of_what_was_saved_goes_out_with_the_head():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    assert sets(close(scene), scene.state.token)


@pytest.mark.promise("H")
def test_the_cookie_goes_out_once():
    scene = Scene().stands(Standing.NEW)
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
    assert change.secret == scene.state.token.hashed != TOKEN.hashed
    assert change.rotate is None
    assert change.sign_in is None


# take


@pytest.mark.promise("11")
def test_taking_removes_in_one_write_and_gives_back_what_was_there():
    scene = Scene().holds(a_record(fields={"a": 1, "b": [2], "c": 3}))
    played = take(scene, ["b", "missing", "a", "a"], [Applied(packed(a=1, b=[2]))])
    assert played.result == {"a": 1, "b": [2]}
    (change,) = played.changes()
    assert change.take == ("b", "a")
    assert change.secret == TOKEN.hashed
    assert change.touch
    assert dict(scene.session) == {"c": 3}
    assert close(scene).asked == []


@pytest.mark.promise("11")
def test_taking_what_is_not_there_asks_nothing():
    scene = Scene().holds(a_record(fields={"a": 1}))
    assert take(scene, ["b", "c"]).result == {}
    assert take(Scene().stands(Standing.NEW), ["a"]).result == {}
    assert take(scene, []).asked == []


@pytest.mark.promise("11")
def test_of_two_who_take_the_second_gets_nothing():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    played = take(scene, ["a", "b"], [Applied(packed(b=2))])
    assert played.result == {"b": 2}
    assert dict(scene.session) == {}


@pytest.mark.promise("11")
def test_what_another_request_has_changed_meanwhile_is_what_is_taken():
    scene = Scene().holds(a_record(fields={"a": 1}))
    assert take(scene, ["a"], [Applied(packed(a="newer"))]).result == {"a": "newer"}


def test_a_pending_value_is_taken_in_place_of_the_stored_one_and_both_are_gone():
    scene = Scene().holds(a_record(fields={"a": 1, "n": [1]}))
    scene.session["a"] = "pending"
    scene.session["n"].append(2)
    scene.session["new"] = "pending too"
    played = take(scene, ["a", "n", "new"], [Applied(packed(a=1, n=[1]))])
    assert played.result == {"a": "pending", "n": [1, 2], "new": "pending too"}
    assert played.changes()[0].take == ("a", "n")
    assert dict(scene.session) == {}
    assert close(scene).asked == []


def test_a_pending_value_is_taken_even_where_the_stored_one_has_gone():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["a"] = 2
    assert take(scene, ["a"], [Applied()]).result == {"a": 2}


def test_pending_values_alone_are_taken_without_asking_the_store():
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    played = take(scene, ["a"])
    assert (played.asked, played.result) == ([], {"a": 1})
    assert close(scene).asked == []


def test_what_was_removed_before_can_not_be_taken():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    del scene.session["a"]
    assert take(scene, ["a"]).result == {}
    scene.session.clear()
    assert take(scene, ["b"]).result == {}


@pytest.mark.parametrize("refusal", [Refused.GONE, Refused.CHANGED])
def test_taking_from_a_session_that_has_ended_gives_only_what_this_request_had_set(refusal):
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["b"] = 2
    played = take(scene, ["a", "b"], [refusal])
    assert played.result == {"b": 2}
    assert played.kinds == ["dropped"]
    assert scene.state.standing is Standing.LATE
    assert close(scene).result == LOOKED_AT


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_is_an_error_before_it_is_gone():
    record = replace(a_record(), fields={"a": b"\xc1"})
    scene = Scene().holds(record)
    with pytest.raises(DecodeError) as caught:
        take(scene, ["a"])
    assert caught.value.field == "a"


def test_taking_in_an_edit_asks_for_no_secret():
    scene = Scene().edits(a_record(fields={"a": 1}))
    (change,) = take(scene, ["a"], [Applied(packed(a=1))]).changes()
    assert (change.secret, change.touch) == (None, False)


@pytest.mark.promise("16")
def test_taking_just_after_the_record_s_end_by_our_own_reckoning_goes_by_the_store_s_word():
    scene = Scene().holds(a_record(fields={"a": 1}))
    assert take(scene, ["a"], [Applied(packed(a=1))], now=NOW + 2 * DAY).result == {"a": 1}


def test_the_private_fields_are_not_for_the_taking():
    scene = Scene().holds(a_record(fields={CSRF: "t0ken", "a": 1}))
    assert take(scene, [CSRF]).result == {}


@pytest.mark.promise("11")
def test_messages_are_taken_the_oldest_first_and_are_gone():
    scene = Scene().holds(a_record())
    for message in ("first", "second", "third"):
        scene.session.flash(message, "note")
    save(scene, [APPLIED])
    stored = dict(scene.state.record.fields)
    played = play(scene.flows.take_flashes(scene.state, NOW), [Applied(stored)])
    assert played.result == [Flash("note", "first"), Flash("note", "second"), Flash("note", "third")]
    assert scene.session.peek_flashes() == []


@pytest.mark.promise("11")
def test_messages_that_another_response_has_taken_are_not_shown_again():
    scene = Scene().holds(a_record())
    scene.session.flash("one")
    scene.session.flash("two")
    save(scene, [APPLIED])
    (_, two) = sorted(scene.state.record.fields)
    left = {two: scene.state.record.fields[two]}
    assert play(scene.flows.take_flashes(scene.state, NOW), [Applied(left)]).result == [Flash("info", "two")]


# is_live


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (a_record(), True),
        (a_record(a_token(secret=2)), False),
        (None, False),
        (Tombstone(TOKEN.key, NOW + 1), False),
        (Unreadable("damaged"), False),
        (a_record(created=NOW - 2 * DAY), False),
    ],
    ids=["live", "another secret", "gone", "tombstone", "unreadable", "expired"],
)
def test_whether_a_session_is_live_is_the_store_s_word_of_now(found, expected):
    scene = Scene().holds(a_record())
    played = play(scene.flows.is_live(scene.state, NOW), [found])
    assert played.asked == [Ask("load", ([TOKEN.key], NOW))]
    assert played.result is expected


def test_a_visitor_without_a_session_is_not_live():
    scene = Scene().stands(Standing.NEW)
    assert play(scene.flows.is_live(scene.state, NOW)).result is False


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_whether_a_session_is_live_is_not_known_while_the_store_fails(outage):
    scene = Scene(make_settings(outage=outage))
    scene.presents(TOKEN)
    load(scene, DOWN)
    with pytest.raises(StoreUnavailable):
        play(scene.flows.is_live(scene.state, NOW))


def test_a_session_held_from_outside_is_live_whatever_its_secret():
    scene = Scene().edits(a_record())
    assert play(scene.flows.is_live(scene.state, NOW), [a_record(a_token(secret=2))]).result is True


# From outside


def open_for_edit(handle, *answers, now=NOW):
    scene = Scene()
    played = play(scene.flows.open_for_edit(scene.state, now, handle), *answers)
    return scene, played


@pytest.mark.promise("4")
def test_an_edit_stores_its_changes_without_counting_as_use():
    scene, played = open_for_edit(HANDLE, [a_record(fields={"a": 1}, user="ada", signed_in=NOW)])
    assert played.asked == [Ask("load", ([TOKEN.key], NOW))]
    scene.session["a"] = 2
    (change,) = play(scene.flows.close_edit(scene.state, NOW + HOUR, HANDLE), [APPLIED]).changes()
    assert (change.touch, change.secret, dict(change.set)) == (False, None, packed(a=2))


def test_an_edit_that_changes_nothing_asks_nothing():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    assert play(scene.flows.close_edit(scene.state, NOW + HOUR, HANDLE)).asked == []


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
        play(scene.flows.close_edit(scene.state, NOW, HANDLE), [Refused.GONE])
    assert caught.value.handle == HANDLE


def test_an_edit_can_end_the_session():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session.destroy()
    played = play(scene.flows.close_edit(scene.state, NOW, HANDLE), [APPLIED])
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
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

    flow = scene.flows.save(scene.state, NOW, head_sent=False)
    with pytest.raises(CannotSendCookie):
        play(flow, otherwise=answer)


def test_revoking_ends_the_session_and_tells():
    played = play(Scene().flows.revoke(HANDLE, NOW), [APPLIED])
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
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
        assert (change.key, change.user, change.touch, change.secret) == (life.key, "ada", False, None)
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
    assert played.operations == ["lives_of", "load"]
    assert played.result == [mine]


@pytest.mark.promise("17")
def test_many_sessions_are_listed_in_bounded_batches():
    played = play(Scene().flows.of_user("ada", NOW), MANY, [None] * 100, [None] * 100, [None] * 50)
    assert played.operations == ["lives_of", "load", "load", "load"]


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
    created = Scene().stands(Standing.NEW)
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
    assert scene.state.standing is Standing.NEW


def test_tokens_come_from_the_random_source_that_the_flows_were_given():
    asked = []

    def random(size):
        asked.append(size)
        return bytes([len(asked)]) * size

    flows = Flows(SETTINGS, Capabilities(), random)
    scene = Scene().stands(Standing.NEW)
    scene.session["a"] = 1
    play(flows.close(scene.state, NOW, failed=False, head_sent=False), [APPLIED])
    assert asked == [16, 32]
    assert scene.state.token.secret == b"\2" * 32


@pytest.mark.promise("13")
def test_a_late_window_of_nothing_makes_every_old_cookie_a_stranger_s():
    settings = make_settings(late_window=timedelta(0))
    scene = Scene(settings)
    scene.presents(TOKEN)
    load(scene, [a_record(a_token(secret=2), last_used=NOW)], now=NOW)
    assert scene.state.standing is Standing.NEW


@pytest.mark.promise("13")
@pytest.mark.parametrize(("after", "standing"), [(MINUTE - SECOND, Standing.LATE), (MINUTE, Standing.NEW)])
def test_a_stranger_with_an_old_cookie_gets_a_session_of_his_own(after, standing):
    scene = Scene()
    scene.presents(TOKEN)
    load(scene, [a_record(a_token(secret=2))], now=NOW + after)
    assert scene.state.standing is standing
    scene.session["a"] = 1
    played = close(scene, *([[APPLIED]] if standing is Standing.NEW else []), now=NOW + after)
    assert (cookie_of(played) is None) is (standing is Standing.LATE)


def test_the_rules_stand_where_the_life_cycle_says_they_stand():
    for name in ("judge", "change_of", "fresh", "upkeep_of", "owed_token"):
        assert f"`{name}`" in lifecycle.__doc__
        assert callable(getattr(lifecycle, name))
