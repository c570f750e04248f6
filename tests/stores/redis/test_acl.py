"""The commands that the store's user must be permitted: those, and no others; and what a user is told that lacks them."""

import os
import re
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from coatcheck.errors import StoreError, StoreUnavailable
from tests.servers.redis import COMMANDS, STORE, tls_acl
from tests.stores.redis.scene import SYNC_AND_ASYNC, Scene, item, now_ms, opened, soon

pytestmark = pytest.mark.servers

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "redis.md"


@pytest.fixture(scope="module")
def guarded():
    with tls_acl() as server:
        yield server


@pytest.fixture
def scene(guarded, kind, prefix):
    with opened(kind, guarded.url, prefix=prefix, **guarded.options) as store:
        yield Scene(None, store, store, 20)


def everything(scene, guarded, policy, tolerant):
    """All that a store can be asked, each at least once."""
    store, now = scene.store, scene.now
    guarded.ask("CONFIG", "SET", "maxmemory-policy", policy)
    one, two, entry = item(), item(urgent=True), scene.entry(until=now + 1)
    for call in (
        lambda: store.ping(soon()),
        lambda: store.write([one, two], now, soon()),
        lambda: store.write([item(key=one.key)], now, soon()),
        lambda: store.load([one.key], now, soon()),
        lambda: store.load([one.key, two.key, os.urandom(16)], now, soon()),
        lambda: store.note([entry, scene.entry(), scene.entry("bob")], now, soon()),
        lambda: store.sessions_of("ada", now, 10, None, soon()),
        lambda: store.index_may_be_incomplete(soon()),
        lambda: store.forget(scene.entries(), soon()),
        lambda: store.count(now, soon()),
        lambda: store.sweep(now + 10, 10, soon()),
        lambda: store.remove([two.key], now, soon()),
    ):
        with tolerant(StoreError):
            call()


@SYNC_AND_ASYNC
def test_with_the_documented_commands_everything_works(scene, guarded):
    guarded.ask("SCRIPT", "FLUSH")
    guarded.ask("ACL", "LOG", "RESET")
    for policy in ("noeviction", "volatile-lru", "allkeys-lru"):
        everything(scene, guarded, policy, nullcontext)
    assert guarded.ask("ACL", "LOG") == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["sync"])
def test_none_of_them_can_be_spared(scene, guarded, command):
    guarded.ask("SCRIPT", "FLUSH")
    guarded.ask("ACL", "SETUSER", "store", f"-{command}")
    guarded.ask("ACL", "LOG", "RESET")
    try:
        for policy in ("noeviction", "volatile-lru"):
            everything(scene, guarded, policy, suppress)
        assert command.encode() in {entry[b"object"] for entry in guarded.ask("ACL", "LOG")}
    finally:
        guarded.ask("ACL", "SETUSER", "store", f"+{command}")


@SYNC_AND_ASYNC
@pytest.mark.promise("18", "20")
def test_a_key_that_is_not_ours_is_refused_and_the_password_is_not_told(guarded, kind):
    with opened(kind, guarded.url, prefix="others:", **guarded.options) as store:
        with pytest.raises(StoreUnavailable) as caught:
            raised_of(store.load([b"k" * 16], 0, soon()))
        assert STORE not in str(caught.value)
        assert "permit" in str(caught.value)


def raised_of(answers):
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer


def rules_of_the_page():
    """What the documentation lets the user of the server do."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("ACL SETUSER")]
    _, _, _, on, password, keys, *commands = line.split()
    assert (on, password, keys) == ("on", ">password", "~coatcheck:*")
    return commands


def test_the_page_names_the_commands_that_are_needed():
    assert sorted(rules_of_the_page()) == sorted(f"+{command}" for command in COMMANDS)


@SYNC_AND_ASYNC
@pytest.mark.promise("20")
@pytest.mark.parametrize("rules", [["-@all"], ["+get", "+set"]])
def test_a_user_without_the_permissions_is_told_which_are_needed(redis_server, kind, rules):
    redis_server.ask("ACL", "SETUSER", "poor", "reset", "on", ">secret-word", "~*", *rules)
    with opened(kind, redis_server.url.replace("//", "//poor:secret-word@")) as store:
        for call in (
            lambda: store.ping(soon()),
            lambda: raised_of(store.write([item()], now_ms(), soon())),
        ):
            with pytest.raises(StoreUnavailable, match=re.escape(" ".join(rules_of_the_page()))) as raised:
                call()
            assert "secret-word" not in str(raised.value)
            assert not raised.value.ambiguous
    redis_server.ask("ACL", "DELUSER", "poor")


@SYNC_AND_ASYNC
@pytest.mark.promise("18")
@pytest.mark.parametrize("login", ["nobody:secret-word@", ":secret-word@"])
def test_a_wrong_password_is_said_and_not_shown(redis_server, kind, login):
    with opened(kind, redis_server.url.replace("//", f"//{login}")) as store:
        for number in range(8):  # so often that an outage would have opened the breaker
            call = store.ping if number % 2 else lambda deadline: store.load([bytes(16)], 0, deadline)
            with pytest.raises(StoreUnavailable) as raised:
                call(soon())
            assert "password" in str(raised.value)
            assert "secret-word" not in repr(raised.value)
            assert "secret-word" not in repr(store)
