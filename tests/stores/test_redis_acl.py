"""The commands that the store's user must be permitted: those, and no others."""

from contextlib import nullcontext, suppress

import pytest

from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.model.ports import Life
from coatcheck.model.record import Create, Destroy, Rotation, SignIn
from tests.servers.redis import COMMANDS, STORE, tls_acl
from tests.stores.redis_scene import BOTH_COLOURS, Scene, opened

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def guarded():
    with tls_acl() as server:
        yield server


@pytest.fixture
def scene(guarded, colour, prefix):
    with opened(colour, guarded.url, prefix=prefix, **guarded.options) as store:
        yield Scene(None, store, store)


def everything(scene, tolerant):
    """Whatever a store can be asked, each at least once."""
    store, now = scene.store, scene.now
    ours = {"user": "ada", "signed_in": now}
    one, two, three, gone = (scene.record(**parts) for parts in (ours, {}, ours, ours))
    life = Life(gone.key, now)
    for call in (
        store.ping,
        lambda: store.apply([Create(one), Create(two), Create(three)]),
        lambda: store.enroll("ada", Life(one.key, now), one.expires),
        lambda: store.enroll("ada", life, one.expires),
        lambda: store.load([one.key], now),
        lambda: store.load([one.key, two.key, gone.key], now),
        lambda: store.lives_of("ada", now),
        lambda: store.apply([scene.update(one, set={"a": b"3"}), scene.update(two, take=("a",))]),
        lambda: store.apply([scene.update(one, sign_in=SignIn("bob"), rotate=Rotation(b"n" * 32))]),
        lambda: store.count(now),
        lambda: store.sweep(now, 10),
        lambda: store.apply([Destroy(key=two.key, at=now)]),
        lambda: store.apply([Destroy(key=three.key, at=now, user="ada", signed_in=now)]),
    ):
        with tolerant(StoreError):
            call()


@BOTH_COLOURS
def test_with_the_documented_commands_everything_works(scene, guarded):
    guarded.ask("SCRIPT", "FLUSH")
    guarded.ask("ACL", "LOG", "RESET")
    everything(scene, nullcontext)
    everything(scene, nullcontext)
    assert guarded.ask("ACL", "LOG") == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("colour", ["sync"])
def test_none_of_them_can_be_spared(scene, guarded, command):
    # A plain DEL comes where a script is refused.
    without = {"del": ("del", "evalsha")}.get(command, (command,))
    guarded.ask("SCRIPT", "FLUSH")
    guarded.ask("ACL", "SETUSER", "store", *(f"-{name}" for name in without))
    guarded.ask("ACL", "LOG", "RESET")
    try:
        everything(scene, suppress)
        assert command.encode() in {entry[b"object"] for entry in guarded.ask("ACL", "LOG")}
    finally:
        guarded.ask("ACL", "SETUSER", "store", *(f"+{name}" for name in without))


@BOTH_COLOURS
@pytest.mark.promise("18", "20")
def test_a_key_that_is_not_ours_is_refused_and_the_password_is_not_told(guarded, colour):
    with opened(colour, guarded.url, prefix="others:", **guarded.options) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.load([b"k" * 16], 0)
        assert STORE not in str(caught.value)
        assert "permit" in str(caught.value)
