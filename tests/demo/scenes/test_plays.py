"""Each scene, in front of both sides: what it shows is what the stores held."""

from __future__ import annotations

import pytest

from coatcheck.demo.scenes.naive import InTheStore
from coatcheck.demo.scenes.plays import SCENES
from coatcheck.demo.scenes.sides import CoatcheckSide, NaiveSide
from coatcheck.demo.scenes.theatre import played

HELD = {
    "two-tabs": (["basket: coat, umbrella, scarf"], ["basket: coat, scarf"]),
    "late-answer": (["user: Ada, basket: coat"], ["basket: coat, user: Ada", "basket: coat, seen: scarf"]),
    "sign-out": (["a session that has ended"], ["user: Ada, basket: scarf"]),
    "stolen-cookie": (["a session that has ended"], ["Nothing: the session is in the cookie."]),
    "store-away": (["user: Ada"], ["user: Ada"]),
    "lost-phone": (["user: Ada", "a session that has ended"], ["user: Ada", "user: Ada"]),
}
EACH = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)


def goes_well(scene, side):
    """What a scene must show of Coatcheck; the naive session fails it."""
    went = played(scene, side)
    assert went.seen.good
    assert went.held == HELD[scene.id][0]


@EACH
def test_on_coatcheck_each_scene_ends_well_and_leaves_nothing_in_the_store(scene, store, clock):
    goes_well(scene, CoatcheckSide(store, clock))
    assert store.store.count(int(clock() * 1000), 1e12) == 0


@EACH
def test_with_the_naive_session_in_place_of_coatcheck_each_scene_fails(scene):
    with pytest.raises(AssertionError):
        goes_well(scene, NaiveSide(scene.naive()))


@EACH
def test_on_the_naive_session_each_scene_ends_badly(scene):
    went = played(scene, NaiveSide(scene.naive()))
    assert not went.seen.good
    assert went.held == HELD[scene.id][1]


@EACH
def test_a_scene_ends_the_same_way_every_time(scene, store, clock):
    sides = [CoatcheckSide(store, clock), CoatcheckSide(store, clock), NaiveSide(scene.naive())]
    first, second, _ = went = [played(scene, side) for side in sides]
    assert first == second
    # The same requests in the same order on both sides; only what they come to differs.
    sent = [[line.partition(", ")[0] for line in one.log] for one in went]
    assert sent[0] == sent[2]


def test_a_basket_that_loses_both_is_told_so():
    class Forgetful(InTheStore):
        def write(self, cookie, blob):
            return "nothing"

    said = played(SCENES[0], NaiveSide(Forgetful())).seen.said
    assert said == "The umbrella and the scarf are gone. Ada was told that all was in her basket."


def test_the_slow_request_reads_before_the_others_write_and_writes_after_them(store, clock):
    log = played(SCENES[0], CoatcheckSide(store, clock)).log
    assert [line.partition(", ")[0] for line in log[1:4]] == [
        "Ada: POST /take/scarf (the slow one) has read the session",
        "Ada: POST /take/umbrella",
        "Ada: POST /take/scarf (the slow one)",
    ]


def test_a_peer_that_keeps_its_session_in_a_store_passes_the_scene_of_the_stolen_cookie():
    """As the page says: there, only a click under way brings the session back."""
    (scene,) = [scene for scene in SCENES if scene.id == "stolen-cookie"]
    assert played(scene, NaiveSide(InTheStore())).seen.good
