"""What a ring remembers of the tokens that it has seen."""

from __future__ import annotations

import os

import pytest

from coatcheck.http import token as module
from coatcheck.http.token import Ring, Token

pytestmark = pytest.mark.promise("15")

SECRET = "UO7FIbsY7qm0bSo0bmE_pwa_v-MIgKEKFQtQT5DIGU8"


def a_token():
    return Token(os.urandom(16), os.urandom(32))


def test_a_token_seen_again_is_the_same_one():
    ring, token = Ring(SECRET, purpose="session"), a_token()
    text = ring.sign(token).encode()
    first, second = ring.verify(text), ring.verify(text)
    assert first is second
    assert (first.key, first.secret, first.current) == (token.key, token.secret, True)


def test_what_is_not_ours_is_not_remembered():
    ring = Ring(SECRET, purpose="session")
    other = Ring(SECRET, purpose="other")
    for _ in range(100):
        assert ring.verify(other.sign(a_token()).encode()) is None
    assert not ring._known_good


def test_only_so_many_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 10)
    ring = Ring(SECRET, purpose="session")
    tokens = [a_token() for _ in range(25)]
    for token in tokens:
        assert ring.verify(ring.sign(token).encode()).key == token.key
        assert len(ring._known_good) <= 10
    assert ring.verify(ring.sign(tokens[0]).encode()).secret == tokens[0].secret


def test_a_token_of_an_older_secret_stays_known_as_such():
    old, ring = Ring(SECRET, purpose="session"), Ring(["x" + SECRET, SECRET], purpose="session")
    text = old.sign(a_token()).encode()
    assert [ring.verify(text).current for _ in range(2)] == [False, False]
