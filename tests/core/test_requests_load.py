from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.config import CookieSettings
from coatcheck.core.calls import Load
from coatcheck.core.state import Status
from coatcheck.errors import StoreError, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Create, Tombstone, Unreadable
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NEW_SECRET,
    NOW,
    OLD_SECRET,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    close,
    cookie_of,
    found,
    load,
    make_settings,
    play,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


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
    assert (scene.state.status, scene.state.ready, scene.state.tokens) == (Status.NEW, True, ())


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
    scene.comes_with(*[value] * times)
    played = load(scene)
    assert played.asked == []
    # More than twenty values of our name come from no browser by itself.
    assert played.kinds == ["ambiguous" if times > 20 else "refused"]
    assert (scene.state.status, scene.state.tokens) == (Status.NEW, ())


def test_a_good_token_beside_bad_values_is_no_reason_for_alarm():
    scene = Scene()
    scene.comes_with(b"junk", TOKEN, b'"junk')
    played = load(scene, [a_record()])
    assert played.told == []
    assert scene.state.status is Status.LIVE
    assert load(Scene().comes_with(b"junk", TOKEN), [None]).told == []


@pytest.mark.promise("2")
def test_one_round_trip_finds_the_session():
    scene, record = Scene(), a_record(fields={"a": 1})
    scene.comes_with(TOKEN)
    played = load(scene, [record])
    assert played.asked == [Load((TOKEN.key,))]
    assert played.told == []
    state = scene.state
    assert (state.status, state.record, state.ready) == (Status.LIVE, record, True)
    assert state.held.found.version == state.held.found.data[:8]
    assert (state.token.secret_hash, [token.key for token in state.tokens]) == (
        TOKEN.secret_hash,
        [TOKEN.key],
    )
    assert not state.looked_at


def test_the_same_token_twice_is_one_token():
    scene = Scene()
    scene.comes_with(TOKEN, TOKEN, TOKEN)
    assert list(load(scene, [a_record()]).asked[0].keys) == [TOKEN.key]


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_one_token_under_two_signatures_the_newer_counts(newest_first):
    settings = make_settings(secret=[NEW_SECRET, OLD_SECRET])
    scene = Scene(settings)
    values = [make_settings(secret=secret).ring.sign(TOKEN).encode() for secret in (NEW_SECRET, OLD_SECRET)]
    scene.comes_with(*(values if newest_first else values[::-1]))
    load(scene, [a_record()])
    assert len(scene.state.tokens) == 1
    assert scene.state.token.current


@pytest.mark.promise("F-21")
@pytest.mark.parametrize("several", [False, True])
def test_a_token_signed_by_an_older_secret_of_the_ring_is_known_as_such(several):
    scene = Scene(make_settings(secret=[NEW_SECRET, OLD_SECRET]))
    old = make_settings(secret=OLD_SECRET).ring.sign(TOKEN).encode()
    scene.comes_with(*[old, b"junk"] if several else [old])
    load(scene, [a_record()])
    assert scene.state.status is Status.LIVE
    assert not scene.state.token.current


@pytest.mark.promise("H")
@pytest.mark.parametrize(("many", "tried"), [(4, True), (5, False), (30, False)])
def test_four_sessions_are_tried_and_of_more_none_counts(many, tried):
    scene = Scene().comes_with(*[a_token(key) for key in range(1, 1 + many)])
    if tried:
        played = load(scene, [a_record(), *[None] * (many - 1)])
        assert played.asked[0].keys == [a_token(key).key for key in range(1, 5)]
        assert (played.told, scene.state.status) == ([], Status.LIVE)
        return
    played = load(scene)
    (event,) = played.told
    assert (event.kind, event.reason) == ("ambiguous", "too many cookies of our name in one request")
    assert (scene.state.status, scene.state.tokens) == (Status.NEW, ())


@pytest.mark.promise("H")
def test_one_session_under_many_secrets_is_one_session():
    scene = Scene().comes_with(*[a_token(1, secret) for secret in range(1, 8)])
    assert load(scene, [a_record()]).asked == [Load([TOKEN.key])]
    assert scene.state.status is Status.LIVE


@pytest.mark.promise("22")
def test_a_cookie_behind_any_number_of_others_costs_a_bounded_effort():
    for many in (20, 1000):
        played = load(Scene().comes_with(*[b"junk"] * many, TOKEN))
        assert (played.asked, played.kinds) == ([], ["ambiguous"])
    assert load(Scene().comes_with(*[b"junk"] * 19, TOKEN), [a_record()]).told == []


@pytest.mark.promise("16")
def test_an_expired_session_is_told_with_its_user():
    scene, record = Scene(), a_record(user="ada", signed_in=NOW)
    scene.comes_with(TOKEN)
    played = load(scene, [record], now=NOW + DAY)
    (event,) = played.told
    assert (event.kind, event.handle, event.user) == ("expired", HANDLE, "ada")
    assert event.at == datetime.fromtimestamp((NOW + DAY) / 1000, UTC)
    assert scene.state.status is Status.NEW


@pytest.mark.promise("10")
def test_a_record_that_can_not_be_read_is_told_and_left_alone():
    scene = Scene()
    scene.comes_with(TOKEN)
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
    scene.comes_with(a_token(1), a_token(2))
    played = load(scene, [a_record(a_token(1)), a_record(a_token(2))])
    assert played.kinds == ["ambiguous"]
    assert "2" in played.told[0].reason
    assert scene.state.status is Status.NEW
    assert [held.state.key for held in scene.state.competing] == [a_token(1).key, a_token(2).key]


@pytest.mark.promise("12")
def test_a_tombstone_makes_the_request_late_without_a_word():
    scene = Scene()
    scene.comes_with(TOKEN)
    assert load(scene, [Tombstone(TOKEN.key, NOW + 1)]).told == []
    assert scene.state.status is Status.LATE


@pytest.mark.promise("20")
@pytest.mark.parametrize("error", [StoreTimeout("slow"), StoreReadOnly("no"), StoreError("odd")], ids=repr)
@pytest.mark.parametrize("item", [True, False])
def test_a_store_that_fails_is_noted_and_told_and_raised_only_when_somebody_looks(error, item):
    scene = Scene()
    scene.comes_with(TOKEN)
    played = load(scene, [error] if item else error)
    assert played.kinds == ["unavailable"]
    assert type(error).__name__ in played.told[0].reason
    assert scene.state.failure is error
    assert not getattr(error, "ambiguous", False)  # nothing was written
    assert scene.state.ready
    with pytest.raises(type(error)):
        scene.session.get("a")


@pytest.mark.promise("20")
def test_where_one_of_several_sessions_can_not_be_read_the_request_has_none_of_them():
    scene = Scene().comes_with(TOKEN, a_token(2))
    played = load(scene, [a_record(fields={"a": 1}), DOWN])
    assert (scene.state.failure, scene.state.record) == (DOWN, None)
    assert played.kinds == ["unavailable"]


@pytest.mark.promise("20")
def test_with_the_policy_anonymous_a_store_that_fails_makes_an_empty_session_to_read():
    scene = Scene(make_settings(outage="anonymous"))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    assert scene.state.status is Status.OUTAGE
    assert dict(scene.session) == {}


@pytest.mark.promise("20")
@pytest.mark.parametrize(
    ("path", "status"),
    [("/goods/1", Status.OUTAGE), ("/pay", Status.UNLOADED), ("", Status.UNLOADED)],
)
def test_the_policy_for_a_store_that_fails_may_differ_by_path(path, status):
    scene = Scene(make_settings(outage={"/goods": "anonymous"}))
    scene.state.path = path
    scene.comes_with(a_token())
    play(scene.requests.load(scene.state, NOW), StoreUnavailable("down"))
    assert scene.state.status is status


@pytest.mark.parametrize("tokens", [[TOKEN], [TOKEN, a_token(2)]], ids=["one cookie", "several"])
def test_a_task_that_loaded_first_keeps_what_it_found_and_changed(tokens):
    scene = Scene()
    scene.comes_with(*tokens)
    answer = [a_record(fields={"a": 1}), None][: len(tokens)]
    flow = scene.requests.load(scene.state, NOW)
    next(flow)
    load(scene, answer)
    assert scene.session["a"] == 1
    scene.session.sign_out()
    with pytest.raises(StopIteration):
        flow.send([found(record) for record in answer])
    assert dict(scene.session) == {}
    assert scene.session.is_new


def test_a_task_whose_loading_failed_leaves_alone_what_another_has_loaded():
    scene = Scene()
    scene.comes_with(TOKEN)
    flow = scene.requests.load(scene.state, NOW)
    next(flow)
    load(scene, [a_record(fields={"a": 1})])
    with pytest.raises(StopIteration):
        flow.send([DOWN])
    assert scene.session["a"] == 1


@pytest.mark.promise("22")
@given(st.binary(max_size=300))
def test_whatever_a_client_sends_as_a_cookie_no_store_is_asked(header):
    scene = Scene(make_settings(cookie=CookieSettings(name="s")))
    scene.state.cookies = header + b"; s=" + header
    played = load(scene)
    assert played.asked == []
    assert scene.state.status is Status.NEW


@pytest.mark.promise("13")
@pytest.mark.parametrize(("after", "status"), [(2 * MINUTE - 1, Status.LATE), (2 * MINUTE, Status.NEW)])
def test_a_stranger_with_an_old_cookie_gets_a_session_of_his_own(after, status):
    scene = Scene().comes_with(TOKEN)
    load(scene, [a_record(a_token(secret=2))], now=NOW + after)
    assert scene.state.status is status
    scene.session["a"] = 1
    played = close(scene, *([[APPLIED]] if status is Status.NEW else []), now=NOW + after)
    assert (cookie_of(played) is None) is (status is Status.LATE)


# The short ways, which budgets need, decide like the long ones


@st.composite
def found_states(draw):
    kind = draw(st.sampled_from(["record"] * 8 + ["tombstone", "damaged", "nothing"]))
    match kind:
        case "tombstone":
            return Tombstone(TOKEN.key, NOW + draw(st.sampled_from([-1, 0, 1])))
        case "damaged":
            return Unreadable("the record is damaged")
        case "nothing":
            return None
    secret, previous = (draw(st.sampled_from([1, 2])) for _ in range(2))
    created = NOW - draw(st.sampled_from([0, MINUTE, DAY, 40 * DAY]))
    return a_record(
        a_token(secret=secret),
        created=created,
        last_used=draw(st.sampled_from([created, NOW - DAY, NOW - DAY + 1, NOW])),
        expires=NOW + draw(st.sampled_from([0, 1, DAY])),
        previous=draw(st.sampled_from([None, a_token(secret=previous).secret_hash])),
        seen=draw(st.sampled_from([0, NOW - MINUTE, NOW])),
        permanent=draw(st.booleans()),
        idle=draw(st.sampled_from([0, 0, 1, HOUR])),
        user="ada" if (signs_in := draw(st.booleans())) else None,
        signed_in=created if signs_in else 0,
    )


@given(found_states())
def test_the_short_way_of_loading_one_session_decides_like_the_long_one(state):
    short, judged = Scene().comes_with(TOKEN), Scene().comes_with(TOKEN)
    played = load(short, [state])
    # A value that is no token of ours beside it makes no difference but to the way.
    judged.comes_with(TOKEN, TOKEN, a_token(9))
    long = load(judged, [state, None])
    for name in ("status", "ready", "record", "competing"):
        assert getattr(short.state, name) == getattr(judged.state, name)
    tokens = [scene.state.token and scene.state.token.secret_hash for scene in (short, judged)]
    assert tokens[0] == tokens[1]
    assert [(event.kind, event.handle, event.reason) for event in played.told] == [
        (event.kind, event.handle, event.reason) for event in long.told
    ]
