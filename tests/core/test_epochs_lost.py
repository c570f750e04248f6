"""Epochs that are lost or unreadable, and answers of the store that are."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coatcheck.core.calls import Load, Writes
from coatcheck.core.epochs import Epoch
from coatcheck.errors import StoreFull, StoreReadOnly, StoreUnavailable, TooLarge
from coatcheck.model.ports import Found
from coatcheck.model.record import Tombstone
from tests.core.epochs import BY_EPOCH, KEY, _again, alive, end_all, epoch_of, plant, signed_in
from tests.core.scene import DAY, HOUR, NOW, Scene, World, a_record, a_token, load, play

pytestmark = pytest.mark.promise("17")


DOWN = StoreUnavailable("down")


@pytest.fixture(params=["none", "within", "beside"])
def world(request):
    return World(BY_EPOCH, request.param)


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
    world.put(a_record(a_token(2), user="ada", signed_in=NOW, absolute=300 * DAY, covered=300 * DAY))
    assert epoch_of(world).expires == NOW + 300 * DAY
    world.now += HOUR
    signed_in(world, 3)
    assert epoch_of(world).expires == NOW + 300 * DAY
    end_all(world)
    assert epoch_of(world).expires == NOW + 300 * DAY


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
@pytest.mark.parametrize("stores", [True, False])
def test_a_lost_answer_to_a_longer_epoch_is_looked_up(stores):
    world = World(BY_EPOCH, "none")
    record = signed_in(world, 1)
    seen = lossy(world, 1, stores=stores)
    world.run(world.users.covered(record, 300 * DAY))
    assert epoch_of(world).expires == NOW + 300 * DAY
    assert len(seen) == (1 if stores else 2)
    lossy(world, 100, stores=False)
    with pytest.raises(StoreUnavailable, match="several writes were lost"):
        world.run(world.users.covered(record, 400 * DAY))


@pytest.mark.promise("L")
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("first", [True, False], ids=["the first session", "a later session"])
def test_a_lost_answer_to_the_entering_of_a_user_is_looked_up(stores, first):
    world = World(BY_EPOCH, "none")
    if not first:
        signed_in(world, 1)
    world.now += HOUR
    record = world.put(a_record(a_token(2), created=world.now))
    seen = lossy(world, 1, stores=stores)
    assert world.run(world.users.entering(record, "ada")) == world.now
    assert (epoch_of(world).newest, len(seen)) == (world.now, 1 if stores else 2)
    lossy(world, 100, stores=False)
    world.now += HOUR
    with pytest.raises(StoreUnavailable, match="several writes were lost"):
        world.run(world.users.entering(replace(record, created=world.now), "ada"))


@pytest.mark.promise("17")
def test_a_user_who_is_entered_after_all_were_ended_counts_from_then_on():
    world = World(BY_EPOCH, "none")
    before = signed_in(world, 1)
    end_all(world)
    record = world.put(a_record(a_token(2), created=NOW - HOUR))
    since = world.run(world.users.entering(record, "ada"))
    entered = replace(record, user="ada", signed_in=since)
    assert since > NOW
    assert epoch_of(world).admits(entered)
    assert not epoch_of(world).admits(before)


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
    look = ending.send([StoreUnavailable("reset")])
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
    look = ending.send([StoreUnavailable("reset")])
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
