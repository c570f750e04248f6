"""The end of a request whose handler raised, or whose store fails."""

from __future__ import annotations

import pytest

from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status
from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED
from tests.core.scene import (
    SETTINGS,
    Scene,
    a_record,
    a_token,
    close,
    cookie_of,
    ending,
    load,
    make_settings,
    save,
    sets,
)

TOKEN = a_token()

DOWN = StoreUnavailable("down")


# At the end of a request: a handler that raised


@pytest.mark.promise("23")
def test_of_a_request_that_failed_only_the_end_of_its_session_is_carried_out():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED], failed=True)
    assert played.changes() == [ending()]
    assert cookie_of(played) == SETTINGS.template.clear()


@pytest.mark.promise("23")
@pytest.mark.parametrize("head_sent", [False, True])
@pytest.mark.parametrize("status", [Status.NEW, Status.LIVE])
def test_what_a_request_that_failed_set_is_not_stored(status, head_sent):
    scene = Scene().holds(a_record()) if status is Status.LIVE else Scene().is_in(status)
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
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session["a"] = 2
    played = close(scene, failed=True)
    assert played.asked == []
    assert sets(played, scene.state.token)


# At the end of a request: without the store


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_while_the_store_fails_nothing_is_written_and_no_cookie_set_or_cleared(outage):
    scene = Scene(make_settings(outage=outage))
    scene.comes_with(a_token(current=False))
    load(scene, DOWN)
    scene.state.looked_at = True
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@pytest.mark.parametrize("failed", [False, True])
def test_what_is_put_in_while_the_store_fails_is_dropped_and_told_once(failed):
    scene = Scene(make_settings(outage="anonymous"))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    scene.session["a"] = 1
    scene.session["b"] = []
    scene.session["b"].append(object())
    assert scene.session["a"] == 1
    played = close(scene, failed=failed)
    assert (played.asked, played.kinds, played.result) == ([], [] if failed else ["dropped"], LOOKED_AT)
    assert close(scene, failed=failed).told == []


@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_an_explicit_save_while_the_store_fails_is_an_error(outage):
    scene = Scene(make_settings(outage=outage))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    with pytest.raises(StoreUnavailable):
        save(scene)
    assert scene.state.met is DOWN
