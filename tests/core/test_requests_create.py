"""The end of a request: a new session."""

from __future__ import annotations

import pytest

from coatcheck.core.state import Status
from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED, Create, Refused
from tests.core.scene import Scene, close, cookie_of, packed, sets


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
