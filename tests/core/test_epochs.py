"""Epochs: a user's sessions are not listed, and all end at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core.calls import Apply, Load, Writes
from coatcheck.core.epochs import Epoch, epoch_key
from coatcheck.errors import RevocationIncomplete, StoreFull, StoreReadOnly, StoreUnavailable, TooLarge
from coatcheck.http.token import handle_of
from coatcheck.model.ports import Found, Write
from coatcheck.model.record import TOMBSTONE_LIFE, Create, Destroy, Record, Tombstone
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    STORES,
    Scene,
    World,
    a_record,
    a_token,
    held,
    load,
    make_settings,
    play,
)

pytestmark = pytest.mark.promise("17")

BY_EPOCH = make_settings(revocation="epoch")
DOWN = StoreUnavailable("down")
KEY = epoch_key("ada")


@pytest.fixture(params=["none", "within", "beside"])
def world(request):
    return World(BY_EPOCH, request.param)


def signed_in(world, number, *, user="ada", at=None):
    """A sign-in that is stored and noted."""
    at = world.now if at is None else at
    return world.put(a_record(a_token(number), user=user, signed_in=at, last_used=world.now, created=at))


def unnoted(world, number, *, at=None):
    """A sign-in that is stored, and what is left of its flow: to note it, and to answer."""
    now, world.now = world.now, world.now if at is None else at
    visit = world.request()
    visit.session.sign_in("ada")
    left = world.until(visit.closing(), Apply)
    wish = next(left)
    results = world.answer(wish)
    world.now = now

    def rest():
        call = left.send(results)
        return (yield from _again(left, call))

    return results[0].held.state, rest()


def _again(flow, call):
    try:
        while True:
            call = flow.send((yield call))
    except StopIteration as stop:
        return stop.value


def end_all(world, *, at=None, keep=None):
    keep = None if keep is None else handle_of(keep.key)
    return world.run(world.admin.revoke_user("ada", world.now if at is None else at, keep))


def alive(world, *records):
    return [isinstance(world.counts(record), Record) for record in records]


def epoch_of(world, user="ada"):
    (found,) = world.store.load([epoch_key(user)], world.now, 0)
    return None if found is None else Epoch.decode(found.data)


def plant(world, data):
    world.store.remove([KEY], world.now, 0)
    if data is not None:
        write = Write(key=KEY, data=data, expires=world.now + DAY, live=False)
        assert world.store.write([write], world.now, 0) == [None]


# The bytes


def test_an_epoch_is_written_as_the_reference_says():
    epoch = Epoch(ended=1, newest=2, expires=3, revoked=4, kept=bytes(range(16)))
    expected = "72" * 8 + "01" + "".join(f"{number:016x}" for number in (1, 2, 3, 4)) + bytes(range(16)).hex()
    assert epoch.encode(b"r" * 8).hex() == expected
    assert Epoch.decode(epoch.encode(b"r" * 8)) == epoch
    without = replace(epoch, kept=b"")
    assert Epoch.decode(without.encode(bytes(8))) == without


@pytest.mark.promise("F-22")
@given(st.binary(max_size=80))
def test_whatever_lies_there_is_an_epoch_or_none(data):
    epoch = Epoch.decode(data)
    assert epoch is None or epoch.encode(data[:8]) == data


@pytest.mark.promise("F-22")
def test_what_is_cut_longer_or_of_another_format_is_none():
    data = Epoch(ended=1, newest=2, expires=3, kept=bytes(16)).encode(bytes(8))
    for length in range(len(data)):
        assert Epoch.decode(data[:length]) is None or length == len(data) - 16
    assert Epoch.decode(data + b"\0") is None
    assert Epoch.decode(data[:8] + b"\2" + data[9:]) is None


def test_the_key_of_an_epoch_is_its_users_alone_and_no_name_of_it():
    assert len({epoch_key(user) for user in ("ada", "grace", "", "\N{OLD KEY}")}) == 4
    assert len(epoch_key("ada")) == 16


# Ending all


def test_every_session_that_was_answered_ends_and_later_ones_stand(world):
    before = [signed_in(world, number) for number in (1, 2, 3)]
    other = signed_in(world, 4, user="grace")
    assert end_all(world) == (0 if world.store.index == "none" else 3)
    after = signed_in(world, 5)
    assert alive(world, *before, after, other) == [False, False, False, True, True]
    end_all(world)
    assert alive(world, after, other) == [False, True]


def test_a_user_is_told_once_where_no_session_is_found():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    end_all(world)
    (event,) = world.told
    assert (event.kind, event.user, event.handle) == ("revoked", "ada", None)
    assert play(world.admin.revoke_user("ada", NOW, None), [None], [None]).calls == ["Load", "Writes"]


def test_a_password_reset_ends_all_and_signs_in_within_one_request(world):
    thief = signed_in(world, 1)
    owner = signed_in(world, 2)
    token = a_token(2)
    for _ in range(3):
        visit = world.request(token)
        end_all(world)
        visit.session.sign_in("ada")
        visit.close()
        token = visit.token
        assert world.request(token).session.user == "ada"
    assert alive(world, thief) == [False]
    assert owner.user == "ada"


def test_a_session_that_is_kept_stays_and_is_ended_by_the_next_one(world):
    others = [signed_in(world, number) for number in (1, 2)]
    kept = signed_in(world, 3)
    for _ in range(2):
        end_all(world, keep=kept)
        assert alive(world, *others, kept) == [False, False, True]
    visit = world.request(a_token(3))
    visit.session["cart"] = "apples"
    visit.close()
    assert world.request(a_token(3)).session["cart"] == "apples"
    end_all(world)
    assert alive(world, kept) == [False]


def test_what_is_kept_may_sign_in_again(world):
    kept = signed_in(world, 1)
    end_all(world, keep=kept)
    visit = world.request(a_token(1))
    visit.session.sign_in("ada")
    visit.close()
    assert alive(world, kept) == [True]
    end_all(world, keep=a_token(9))
    assert alive(world, kept) == [False]


def test_keeping_a_session_that_had_ended_does_not_bring_it_back():
    world = World(BY_EPOCH, "none")  # elsewhere, nothing is left of it
    ended, other = signed_in(world, 1), signed_in(world, 2, user="grace")
    end_all(world)
    for keep in (ended, other, a_token(9)):
        end_all(world, keep=keep)
        assert alive(world, ended) == [False]
        assert epoch_of(world).kept == b""
    # Nor does it when its user signs in elsewhere.
    signed_in(world, 3)
    assert alive(world, ended) == [False]


def test_a_session_of_another_user_is_not_kept_though_its_sign_in_is_as_late():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    other = signed_in(world, 2, user="grace", at=NOW + 1)
    signed_in(world, 3, at=NOW + 2)
    end_all(world, keep=other)
    assert epoch_of(world).kept == b""


@pytest.mark.promise("3")
def test_signing_in_costs_one_look_and_one_write_more_where_an_epoch_notes_it():
    world = World(BY_EPOCH, "none")
    visit = world.request()
    visit.session.sign_in("ada")
    assert play(visit.closing(), otherwise=world.answer).calls == ["Apply", "Load", "Writes"]


@pytest.mark.promise("12", "13")
def test_a_request_with_an_ended_session_is_late_for_a_while_then_a_stranger(world):
    signed_in(world, 1, at=NOW - HOUR)
    under_way = world.request(a_token(1))
    end_all(world)
    under_way.session["theme"] = "light"
    assert under_way.close().set_cookie is None
    for after, new in ((0, False), (TOMBSTONE_LIFE - 1, False), (TOMBSTONE_LIFE, True)):
        world.now = NOW + after
        visit = world.request(a_token(1))
        assert visit.session.user is None
        visit.session["a"] = 1
        assert (visit.close().set_cookie is not None) is new


def test_a_user_who_never_signed_in_can_be_ended(world):
    end_all(world)
    epoch = epoch_of(world)
    assert epoch.ended == epoch.newest == epoch.revoked == NOW
    assert epoch.expires == NOW + 90 * DAY
    assert alive(world, signed_in(world, 1)) == [True]


@pytest.mark.promise("12")
def test_logging_out_of_an_ended_session_leaves_nothing_of_it():
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    visit = world.request(a_token(1))
    end_all(world)
    visit.session.sign_out()
    visit.close()
    assert isinstance(world.state_of(record.key), Tombstone)


def test_with_an_epoch_no_doubt_about_the_index_matters():
    world = World(BY_EPOCH, "beside")
    record = signed_in(world, 1)
    world.store.doubt = "it evicts"
    world.store.entries.clear()
    assert end_all(world) == 0
    assert alive(world, record) == [False]
    without = World(index="beside")
    without.store.doubt = "it evicts"
    with pytest.raises(RevocationIncomplete):
        without.run(without.admin.revoke_user("ada", NOW, None))


# One millisecond, and clocks


def test_sign_ins_of_the_millisecond_in_which_all_are_ended_end_too(world):
    before = [signed_in(world, number) for number in (1, 2)]
    end_all(world)
    after = signed_in(world, 3)
    assert alive(world, *before) == [False, False]
    assert (alive(world, after), after.signed_in) == ([True], NOW + 1)
    end_all(world)
    assert alive(world, after) == [False]


@pytest.mark.parametrize("index", ["within", "beside"])
@pytest.mark.parametrize("tokens", [(), (a_token(),)], ids=["a new session", "one that was there"])
def test_a_sign_in_that_was_moved_is_found_in_the_index_and_ended_by_it(index, tokens):
    world = World(BY_EPOCH, index)
    world.put(a_record())
    end_all(world)
    visit = world.request(*tokens)
    visit.session.sign_in("ada")
    visit.close()
    record = world.state_of(visit.token.key)
    assert record.signed_in == visit.state.record.signed_in == NOW + 1
    assert visit.state.held.state == record
    entries = world.store.sessions_of("ada", NOW, 10, None, 0)
    assert [(entry.key, entry.signed_in) for entry in entries] == [(record.key, NOW + 1)]
    assert end_all(world) == 1
    assert isinstance(world.state_of(record.key), Tombstone)


@pytest.mark.promise("F-17")
def test_clocks_that_disagree_neither_keep_nor_lose_a_session(world):
    ahead = signed_in(world, 1, at=NOW + MINUTE)
    end_all(world, at=NOW - MINUTE)
    assert alive(world, ahead) == [False]
    behind = signed_in(world, 2, at=NOW - 30_000)
    assert alive(world, behind) == [True]


def test_an_epoch_never_moves_back(world):
    signed_in(world, 1)
    end_all(world)
    before = epoch_of(world)
    end_all(world, at=NOW - DAY)
    signed_in(world, 2, at=NOW - HOUR)
    after = epoch_of(world)
    assert after.ended >= before.ended
    assert after.newest > before.newest
    assert after.revoked == before.revoked


@pytest.mark.promise("F-17")
def test_a_sign_in_by_a_clock_that_is_behind_ends_no_later_one(world):
    records = [
        signed_in(world, number, at=at) for number, at in ((1, NOW - HOUR), (2, NOW), (3, NOW - MINUTE))
    ]
    assert alive(world, *records) == [True, True, True]


# Losing the epoch


def test_a_lost_epoch_ends_the_sessions_and_the_next_sign_in_begins_another(world):
    first = signed_in(world, 1)
    plant(world, None)
    assert alive(world, first) == [False]
    world.now += 1
    second = signed_in(world, 2)
    assert alive(world, first, second) == [False, True]


def test_a_session_that_was_ended_before_the_epoch_was_lost_stays_ended():
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    end_all(world)
    plant(world, None)
    world.now += 1
    end_all(world)
    world.now += 1
    signed_in(world, 2)
    signed_in(world, 3)
    assert alive(world, record) == [False]


@pytest.mark.promise("F-22")
@pytest.mark.parametrize("data", [b"", b"junk", bytes(100)], ids=["nothing", "junk", "zeros"])
def test_an_epoch_that_can_not_be_read_is_a_lost_one(world, data):
    record = signed_in(world, 1)
    plant(world, data)
    assert alive(world, record) == [False]
    world.now += 1
    again = signed_in(world, 2)
    assert alive(world, record, again) == [False, True]


@pytest.mark.promise("2")
def test_anonymous_sessions_need_no_epoch(world):
    record = world.put(a_record())
    assert alive(world, record) == [True]
    assert epoch_of(world, "") is None
    scene = Scene(index="none").comes_with(a_token())
    assert load(scene, [a_record()]).calls == ["Load"]


def test_a_session_that_was_logged_out_beside_one_that_is_signed_in_does_not_matter(world):
    ended, other = signed_in(world, 1), signed_in(world, 2)
    visit = world.request(a_token(1))
    visit.session.sign_out()
    visit.close()
    assert world.request(a_token(1), a_token(2)).state.record == other
    assert isinstance(world.counts(ended), Tombstone)


def test_an_anonymous_session_beside_one_that_has_ended_stays(world):
    ended, anonymous = signed_in(world, 1), world.put(a_record(a_token(2)))
    end_all(world)
    visit = world.request(a_token(1), a_token(2))
    assert isinstance(world.counts(ended), Tombstone)
    assert visit.state.record == anonymous


@pytest.mark.promise("2", "3")
def test_where_a_user_is_signed_in_loading_is_one_more_load_for_all_users_together():
    scene = Scene(index="none").comes_with(a_token(1), a_token(2))
    epoch = Found(Epoch(ended=0, newest=NOW, expires=NOW + DAY).encode(bytes(8)), bytes(8))
    records = [a_record(a_token(number), user="ada", signed_in=NOW) for number in (1, 2)]
    played = play(scene.requests.load(scene.state, NOW), records, [epoch])
    assert played.asked[1] == Load([KEY])
    assert len(scene.state.competing) == 2


@pytest.mark.promise("20")
@pytest.mark.parametrize("answer", [DOWN, [DOWN]], ids=["the call", "the item"])
def test_where_the_epoch_can_not_be_read_the_session_is_unknown_and_not_absent(answer):
    scene = Scene(index="none").comes_with(a_token())
    played = play(scene.requests.load(scene.state, NOW), [a_record(user="ada", signed_in=NOW)], answer)
    assert (played.kinds, scene.state.failure) == (["unavailable"], DOWN)


def test_an_epoch_lasts_as_long_as_any_session_of_its_user(world):
    signed_in(world, 1)
    assert epoch_of(world).expires == NOW + 90 * DAY
    world.put(a_record(a_token(2), user="ada", signed_in=NOW, absolute=300 * DAY))
    assert epoch_of(world).expires == NOW + 300 * DAY
    world.now += HOUR
    signed_in(world, 3)
    assert epoch_of(world).expires == NOW + 300 * DAY
    end_all(world)
    assert epoch_of(world).expires == NOW + 300 * DAY


# Races


@pytest.mark.promise("13")
def test_a_sign_in_counts_only_once_it_is_noted_and_its_late_companions_are_late(world):
    signed_in(world, 1)
    world.now += 1
    record, rest = unnoted(world, 2)
    assert world.counts(record) == Tombstone(record.key, record.signed_in + TOMBSTONE_LIFE)
    world.run(rest)
    assert alive(world, record) == [True]


def test_a_sign_in_under_way_while_all_are_ended_stands():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    record, rest = unnoted(world, 2)
    end_all(world, at=NOW + 1_000)
    world.run(rest)
    assert alive(world, record) == [True]
    end_all(world)
    assert alive(world, record) == [False]


def test_a_session_that_ended_before_its_sign_in_was_noted_notes_nothing(world):
    record, rest = unnoted(world, 1)
    world.run(ended(record))
    world.run(rest)
    assert epoch_of(world) is None


def test_a_session_that_is_gone_before_its_sign_in_was_noted_notes_nothing():
    world = World(BY_EPOCH, "none")
    record, rest = unnoted(world, 1)
    world.store.remove([record.key], NOW, 0)
    world.run(rest)
    assert epoch_of(world) is None


def test_a_sign_in_that_another_users_has_replaced_notes_nothing():
    world = World(BY_EPOCH, "none")
    record, rest = unnoted(world, 1)
    world.store.remove([record.key], NOW, 0)
    world.run(created(replace(record, user="grace")))
    world.run(rest)
    assert epoch_of(world) is None


@pytest.mark.promise("12")
@pytest.mark.parametrize("lost", [False, True])
def test_a_request_under_way_that_changes_the_limits_does_not_bring_back_a_session_that_has_ended(lost):
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    visit = world.request(a_token(1))
    visit.state.limits, visit.state.acted = (HOUR, 300 * DAY), True
    world.now += 1
    if lost:
        plant(world, None)
    else:
        end_all(world)
    visit.close()
    assert alive(world, record) == [False]


def test_a_change_of_the_limits_makes_the_epoch_last_as_long():
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    visit = world.request(a_token(1))
    visit.state.limits, visit.state.acted = (HOUR, 300 * DAY), True
    visit.close()
    assert epoch_of(world).expires == NOW + 300 * DAY


def test_a_change_of_the_limits_of_an_anonymous_session_notes_nothing(world):
    world.put(a_record())
    visit = world.request(a_token())
    visit.state.limits, visit.state.acted = (HOUR, DAY), True
    visit.close()
    assert world.state_of(a_token().key).absolute == DAY
    assert epoch_of(world, "") is None


def test_noting_a_kept_session_once_more_leaves_its_sign_in_and_the_epoch_as_they_are():
    world = World(BY_EPOCH, "none")
    kept = signed_in(world, 1)
    end_all(world, keep=kept)
    before = world.store.load([kept.key, KEY], NOW, 0)
    noted = world.run(world.users.noted(held(kept)))
    assert noted.state == kept
    assert world.store.load([kept.key, KEY], NOW, 0) == before


def created(record):
    yield Apply([Create(record)], [None])


def ended(record):
    yield Apply([Destroy(key=record.key, at=NOW)], [None])


@pytest.mark.parametrize("first", ["note", "end"])
def test_noting_and_ending_at_once_see_each_other(first):
    """Each has read the epoch before the other writes it."""
    world = World(BY_EPOCH, "none")
    before = signed_in(world, 1)
    world.now += 1
    record, rest = unnoted(world, 2)
    parked = {
        "note": world.until(rest, Writes),
        "end": world.until(world.admin.revoke_user("ada", NOW, None), Writes),
    }
    world.run(parked.pop(first))
    (second,) = parked
    world.run(parked[second])
    # The one that came second was told so, and began anew.
    assert alive(world, before, record) == [False, second == "note"]


@given(st.lists(st.sampled_from(["sign in", "answer", "end", "begin to end"]), max_size=14), st.data())
def test_whatever_was_answered_before_the_end_of_all_began_never_opens_again(steps, data):
    world = World(BY_EPOCH, data.draw(st.sampled_from(sorted(STORES))))
    waiting, ending, answered, must_end = [], [], [], []
    for step in steps:
        world.now += data.draw(st.integers(0, 1))
        match step:
            case "sign in":
                waiting.append(unnoted(world, 1))
            case "answer" if waiting:
                record, rest = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
                world.run(rest)
                answered.append(record)
            case "end":
                before = list(answered)
                end_all(world)
                must_end += before
            case "begin to end":
                ending.append(
                    (list(answered), world.until(world.admin.revoke_user("ada", world.now, None), Writes))
                )
        assert not any(alive(world, *must_end))
    for before, flow in ending:
        world.run(flow)
        must_end += before
        assert not any(alive(world, *must_end))
    last = signed_in(world, 200)
    assert alive(world, last) == [True]


# Where the store fails


def lossy(world, times, *, stores=True, error=None):
    """Let the first `times` writes be stored, or not, and their answers be lost."""
    write = world.store.write
    seen = []

    def lose(writes, now, deadline):
        seen.append(list(writes))
        if len(seen) > times:
            return write(writes, now, deadline)
        if stores:
            write(writes, now, deadline)
        raise error or StoreUnavailable("reset")

    world.store.write = lose
    return seen


@pytest.mark.promise("L")
@pytest.mark.parametrize("stores", [True, False])
def test_a_lost_answer_to_the_end_of_all_is_looked_up(stores):
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    seen = lossy(world, 1, stores=stores)
    end_all(world)
    assert alive(world, record) == [False]
    assert len(seen) == (1 if stores else 2)


@pytest.mark.promise("L")
def test_an_end_of_all_that_found_no_epoch_and_whose_answer_was_lost_is_sent_again():
    world = World(BY_EPOCH, "none")
    seen = lossy(world, 1, stores=False)
    end_all(world)
    assert (len(seen), epoch_of(world).revoked) == (2, NOW)


@pytest.mark.promise("L")
def test_an_end_of_all_whose_answer_was_lost_also_ends_what_another_one_kept_meanwhile():
    world = World(BY_EPOCH, "none")
    kept = signed_in(world, 1)
    ending = world.until(world.admin.revoke_user("ada", NOW, None), Writes)
    next(ending)
    end_all(world, keep=kept)
    look = ending.throw(StoreUnavailable("reset"))
    world.run(_again(ending, look))
    assert alive(world, kept) == [False]


@pytest.mark.promise("L")
def test_a_sign_in_behind_an_end_of_all_whose_answer_was_lost_stands():
    world = World(BY_EPOCH, "none")
    before = signed_in(world, 1)
    ending = world.until(world.admin.revoke_user("ada", NOW, None), Writes)
    call = next(ending)
    assert world.store.write(call.writes, NOW, 0) == [None]
    after = signed_in(world, 2)
    look = ending.throw(StoreUnavailable("reset"))
    world.run(_again(ending, look))
    assert alive(world, before, after) == [False, True]


@pytest.mark.promise("L")
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("moved", [True, False])
def test_a_lost_answer_to_a_note_is_looked_up(stores, moved):
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    if moved:
        end_all(world)  # the next sign-in is of the same millisecond
    else:
        world.now += 1
    visit = world.request()
    visit.session.sign_in("ada")
    noting = world.until(visit.closing(), Writes)
    lossy(world, 2 if moved else 1, stores=stores)
    world.run(noting)
    assert alive(world, visit.state.record) == [True]
    assert world.state_of(visit.token.key) == visit.state.record


@pytest.mark.promise("L")
@pytest.mark.parametrize("what", ["note", "move", "end"])
def test_several_lost_answers_are_an_error_in_bounded_time(what):
    world = World(BY_EPOCH, "none")
    signed_in(world, 1)
    if what == "move":
        end_all(world)
    else:
        world.now += 1
    visit = world.request()
    visit.session.sign_in("ada")
    flow = world.admin.revoke_user("ada", NOW, None) if what == "end" else visit.closing()
    flow = world.until(flow, Writes)
    seen = lossy(world, 1_000, stores=False)
    with pytest.raises(StoreUnavailable, match="lost"):
        world.run(flow)
    assert len(seen) == 3


@pytest.mark.promise("F-10")
def test_where_no_epoch_can_be_written_for_want_of_memory_all_end():
    world = World(BY_EPOCH, "none")
    kept = signed_in(world, 1)
    lossy(world, 1, stores=False, error=StoreFull("full"))
    end_all(world, keep=kept)
    assert (alive(world, kept), epoch_of(world)) == ([False], None)


@pytest.mark.parametrize(
    "error",
    [StoreReadOnly("no"), TooLarge("no", size=2, limit=1), StoreUnavailable("not sent", ambiguous=False)],
    ids=repr,
)
def test_an_end_of_all_that_is_refused_is_an_error(error):
    flow = Scene(index="none").admin.revoke_user("ada", NOW, None)
    with pytest.raises(type(error)):
        play(flow, [None], [error])


@pytest.mark.promise("F-10")
def test_only_a_first_epoch_may_be_refused_in_full_memory():
    world = World(BY_EPOCH, "none")
    seen = lossy(world, 0)
    signed_in(world, 1)
    end_all(world)
    urgent = [(write.urgent, write.live) for writes in seen for write in writes if write.key == KEY]
    assert urgent == [(False, False), (True, False)]
