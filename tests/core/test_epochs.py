"""Epochs: a user's sessions are not listed, and all end at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core.epochs import Epoch, epoch_key
from coatcheck.errors import RevocationIncomplete
from coatcheck.model.record import TOMBSTONE_LIFE, Tombstone
from tests.core.epochs import BY_EPOCH, alive, end_all, epoch_of, signed_in
from tests.core.scene import DAY, HOUR, NOW, World, a_token, play

pytestmark = pytest.mark.promise("17")


@pytest.fixture(params=["none", "within", "beside"])
def world(request):
    return World(BY_EPOCH, request.param)


# The bytes


def test_an_epoch_is_written_as_the_reference_says():
    epoch = Epoch(ended=1, newest=2, expires=3, revoked=4, kept=bytes(range(16)))
    expected = (
        "72" * 8 + "0001" + "".join(f"{number:016x}" for number in (1, 2, 3, 4)) + bytes(range(16)).hex()
    )
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
    for position in (8, 9):
        assert Epoch.decode(data[:position] + b"\2" + data[position + 1 :]) is None


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
