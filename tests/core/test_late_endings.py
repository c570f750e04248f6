"""An ending never ends a login that its request did not see, and no logout is lost (rule 12), by barrier.

One request is stopped before its changes go to the store; another one runs meanwhile.
"""

from __future__ import annotations

import pytest

from coatcheck.core.calls import Apply
from coatcheck.errors import StoreFull, StoreTimeout, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import Record, Tombstone
from tests.core.scene import HOUR, ROTATING, SETTINGS, World, a_record, a_token

pytestmark = pytest.mark.promise("12")

TOKEN = a_token()
CLEARED = SETTINGS.template.clear()


@pytest.fixture(params=["within", "beside", "none"])
def world(request):
    return World(ROTATING, request.param)


def signed_in(world, **parts):
    return world.put(a_record(settings=ROTATING, user="ada", signed_in=world.now, **parts))


def begins_to_sign_out(world, *tokens):
    """A request that has ended its session, and whose changes are about to leave."""
    visit = world.request(*tokens or (TOKEN,))
    visit.session.sign_out()
    return world.until(visit.closing(), Apply)


# A login that the request never saw


def test_a_late_anonymous_sign_out_leaves_a_fresh_login_alone_and_its_cookie(world):
    world.put(a_record(settings=ROTATING, fields={"cart": [1]}))
    leaving = begins_to_sign_out(world)
    login = world.request(TOKEN)
    login.session.sign_in("ada")
    login.close()
    outcome = world.run(leaving)
    record = world.state_of(TOKEN.key)
    assert (record.user, outcome.set_cookie) == ("ada", None)
    assert world.kinds()[-1] == "dropped"
    assert world.request(login.token).session.user == "ada"


def test_another_users_login_is_left_alone(world):
    signed_in(world)
    leaving = begins_to_sign_out(world)
    login = world.request(TOKEN)
    login.session.sign_in("grace")
    login.close()
    assert world.run(leaving).set_cookie is None
    assert world.state_of(TOKEN.key).user == "grace"


def test_what_a_late_sign_out_is_followed_by_is_dropped_and_leaves_no_record(world):
    world.put(a_record(settings=ROTATING))
    late = world.request(TOKEN)
    late.session.sign_out()
    late.session.flash("bye")
    leaving = world.until(late.closing(), Apply)
    login = world.request(TOKEN)
    login.session.sign_in("ada")
    login.close()
    before = world.store.count(world.now, 0)
    assert world.run(leaving).set_cookie is None
    assert world.store.count(world.now, 0) == before
    assert dict(late.session) == {}


def test_a_sign_in_behind_a_late_sign_out_stands(world):
    world.put(a_record(settings=ROTATING))
    late = world.request(TOKEN)
    late.session.sign_out()
    late.session.sign_in("grace")
    leaving = world.until(late.closing(), Apply)
    login = world.request(TOKEN)
    login.session.sign_in("ada")
    login.close()
    world.run(leaving)
    assert world.request(login.token).session.user == "ada"
    assert world.request(late.token).session.user == "grace"


# A logout that must not be lost


def rotates(visit):
    visit.session.rotate()


def signs_in_again(visit):
    visit.session.sign_in("ada")


def sets(visit):
    visit.session["a"] = 1


def rotates_periodically(visit):
    visit.world.now += 2 * HOUR


@pytest.mark.parametrize("meanwhile", [rotates, signs_in_again, sets, rotates_periodically])
def test_a_sign_out_ends_what_its_user_did_meanwhile(world, meanwhile):
    signed_in(world)
    leaving = begins_to_sign_out(world)
    other = world.request(TOKEN)
    meanwhile(other)
    other.close()
    assert isinstance(world.state_of(TOKEN.key), Record)
    outcome = world.run(leaving)
    assert isinstance(world.state_of(TOKEN.key), Tombstone)
    assert outcome.set_cookie == CLEARED
    assert world.kinds()[-1] == "destroyed"
    for token in (TOKEN, other.token):
        assert world.request(token).session.user is None


@pytest.mark.promise("14")
def test_a_socket_that_is_older_than_the_grace_ends_its_users_session(world):
    signed_in(world)
    socket = world.request(TOKEN)
    for _ in range(3):
        world.now += 3 * HOUR
        token = ROTATING.ring.successor(TOKEN) if world.state_of(TOKEN.key).previous else TOKEN
        world.request(token).close()
    assert not world.state_of(TOKEN.key).accepts(
        TOKEN.secret_hash, at=world.now, grace=ROTATING.rotation_grace_ms
    )
    socket.session.sign_out()
    assert socket.close(head_sent=True).set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


def test_the_end_of_a_session_that_another_request_has_ended_is_none_of_this_ones(world):
    signed_in(world)
    leaving = begins_to_sign_out(world)
    other = world.request(TOKEN)
    other.session.sign_out()
    assert other.close().set_cookie == CLEARED
    assert world.run(leaving).set_cookie is None
    assert world.kinds().count("destroyed") == 1


@pytest.mark.promise("V")
def test_a_sign_out_ends_every_session_that_the_request_came_with(world):
    tokens = [a_token(number) for number in (1, 2, 3)]
    for token in tokens:
        world.put(a_record(token, settings=ROTATING, user="ada", signed_in=world.now))
    leaving = begins_to_sign_out(world, *tokens)
    other = world.request(tokens[1])
    other.session.rotate()
    other.close()
    assert world.run(leaving).set_cookie == CLEARED
    for token in (*tokens, other.token):
        assert isinstance(world.state_of(token.key), Tombstone)
    ended = [event.handle for event in world.told if event.kind == "destroyed"]
    assert ended == [handle_of(token.key) for token in tokens]


def test_a_sign_out_ends_the_sign_in_of_its_own_request(world):
    # A thread of the request signs in, another one signs out while that is on its way.
    world.put(a_record(settings=ROTATING))
    visit = world.request(TOKEN)
    visit.session.sign_in("ada")
    signing_in = world.until(visit.closing(), Apply)
    visit.session.sign_out()
    world.run(signing_in)
    assert world.state_of(TOKEN.key).user == "ada"
    assert visit.close().set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


# Where the store fails


@pytest.mark.promise("20")
@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreTimeout("slow"), StoreFull("full")])
@pytest.mark.parametrize("after", [lambda _: None, lambda session: session.flash("bye")], ids=["", "flash"])
def test_a_sign_out_that_is_not_stored_is_an_error_and_trying_again_ends_it(world, error, after):
    signed_in(world)
    visit = world.request(TOKEN)
    visit.session.sign_out()
    after(visit.session)
    closing = world.until(visit.closing(), Apply)
    next(closing)
    told = closing.throw(error)
    assert told.kind == "unavailable"
    with pytest.raises(type(error)):
        next(closing)
    assert visit.state.met is error
    again = world.request(TOKEN)
    again.session.sign_out()
    assert again.close().set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


@pytest.mark.promise("23")
def test_a_sign_out_of_a_request_that_failed_is_carried_out(world):
    signed_in(world)
    visit = world.request(TOKEN)
    visit.session["a"] = 1
    visit.session.sign_out()
    visit.session["b"] = 1
    assert visit.close(failed=True).set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)
    assert world.store.count(world.now, 0) == 0


@pytest.mark.promise("F-10")
def test_an_ending_is_marked_as_one_that_must_work_in_full_memory(world):
    signed_in(world)
    writes = []
    write = world.store.write
    world.store.write = lambda items, *rest: writes.extend(items) or write(items, *rest)
    leaving = begins_to_sign_out(world)
    world.run(leaving)
    (ending,) = writes
    assert ending.urgent
    assert not ending.live
    assert ending.entry is None
    assert b"ada" not in ending.data
