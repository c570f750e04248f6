"""Tokens: randomness, secrets of the application, periodic rotation."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import coatcheck
from tests.sessions.scene import advance
from tests.visitor import OLD_SECRET, SECRET, Visitor, make_sessions, stored_in


def test_tokens_never_repeat_and_seeding_has_no_effect(sessions):
    tokens = set()
    for _ in range(300):
        random.seed(0)
        tokens.add(Visitor(sessions).signed_in().token)
    assert len(tokens) == 300
    for at in range(64):  # of 86 characters, all but those of the MAC
        assert len({token[at] for token in tokens}) > 10


def test_tokens_and_the_other_secrets_come_from_the_secrets_module(monkeypatch):
    sizes = []

    def token_bytes(size):
        sizes.append(size)
        return random.SystemRandom().randbytes(size)

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    visitor = Visitor(make_sessions())
    with visitor.request() as session:
        session["a"] = 1
    assert sizes == [16, 32, 4, 8]  # selector, secret, mark, revision
    sizes.clear()
    with visitor.request() as session:
        session.rotate()
        session.csrf_token()
        session.flash("hello")
    assert sorted(sizes) == [4, 8, 32]  # mark, revision, secret


@pytest.mark.promise("18")
def test_the_store_holds_no_token_and_no_secret():
    sessions = make_sessions()
    visitor = Visitor(sessions).signed_in("ada")
    raw = sessions.settings.ring.verify(visitor.token.encode())
    dump = b"".join(stored_in(sessions.store).values())
    assert raw.secret not in dump
    assert raw.secret_hash in dump
    assert visitor.token.encode() not in dump


@pytest.mark.promise("F-21")
def test_a_secret_can_be_replaced_without_ending_sessions(make):
    old = make(secret=OLD_SECRET)
    visitor = Visitor(old).signed_in("ada", a=1)
    both = old.with_settings(secret=[SECRET, OLD_SECRET])
    with visitor.request(both):
        pass
    assert visitor.set_cookie is None
    before = visitor.token
    with visitor.request(both) as session:
        assert session["a"] == 1
    assert visitor.token != before
    assert visitor.token[:60] == before[:60]
    new = old.with_settings(secret=SECRET)
    with visitor.request(new) as session:
        assert (session.user, dict(session)) == ("ada", {"a": 1})
    assert visitor.set_cookie is None


@pytest.mark.promise("F-21")
def test_parallel_requests_sign_anew_to_the_same_token(make):
    old = make(secret=OLD_SECRET)
    visitor = Visitor(old).signed_in("ada")
    both = old.with_settings(secret=[SECRET, OLD_SECRET])
    others = [Visitor(both, visitor.cookie) for _ in range(3)]
    for other in others:
        other.read()
    assert len({other.token for other in others}) == 1


@pytest.mark.promise("14")
def test_a_rotation_logs_nobody_out_whichever_response_is_lost(make):
    sessions = make(rotate_every=timedelta(hours=1), rotation_grace=timedelta(minutes=1))
    visitor = Visitor(sessions).signed_in("ada", a=1)
    advance(sessions, hours=1)
    first, second, lost = (Visitor(sessions, visitor.cookie) for _ in range(3))
    for other in (first, second, lost):
        assert other.read() == {"a": 1}
    assert first.token == second.token == lost.token != visitor.token
    # The visitor's response was lost: he still shows the old token, for hours.
    advance(sessions, hours=3)
    assert visitor.read() == {"a": 1}
    assert visitor.token == first.token
    # Now the new one has been seen: the old one is good for a minute.
    old = Visitor(sessions, lost.cookie)
    assert visitor.read() == {"a": 1}
    assert old.read() == {"a": 1}


@pytest.mark.promise("14")
def test_the_old_token_of_a_rotation_dies_after_its_grace(make):
    sessions = make(rotate_every=timedelta(hours=5), rotation_grace=timedelta(minutes=1))
    visitor = Visitor(sessions).signed_in("ada", a=1)
    old = visitor.cookie
    advance(sessions, hours=5)
    visitor.read()
    assert visitor.cookie != old
    visitor.read()
    advance(sessions, seconds=59)
    with Visitor(sessions).request(cookies=old) as session:
        assert session.user == "ada"
    advance(sessions, seconds=1)
    with Visitor(sessions).request(cookies=old) as session:
        assert session.user is None
    assert visitor.read() == {"a": 1}


@pytest.mark.promise("F-18")
def test_a_fork_makes_other_tokens():
    program = f"""
import os, random, sys
from coatcheck import Sessions
from coatcheck.stores.memory import MemoryStore
sessions = Sessions(MemoryStore(), secret={SECRET!r})
def make():
    random.seed(0)
    session = sessions.open(b"")
    session["a"] = 1
    print(sessions.close(session).set_cookie.partition(";")[0], flush=True)
make()
child = os.fork()
make()
make()
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(coatcheck.__file__).parent.parent)},
        timeout=60,
    )
    tokens = done.stdout.split()
    assert len(tokens) == len(set(tokens)) == 5
