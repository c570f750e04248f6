"""What the flows remember of the Cookie headers that they have read."""

import os

import pytest

from coatcheck.core import flows as module
from coatcheck.http.token import Token
from tests.core.scene import NEW_SECRET, OLD_SECRET, Scene, make_settings


def a_token():
    return Token(os.urandom(16), os.urandom(32))


def read(scene, header):
    """What a new request with this header presents."""
    state = scene.a_state(header)
    keys = scene.flows.keys_to_load(state)
    return keys, state.presented, state.refused


def header_of(scene, *tokens):
    scene.presents(*tokens)
    return scene.state.cookies


def test_a_header_that_comes_again_is_read_as_before():
    scene, token = Scene(), a_token()
    header = b"theme=dark; " + header_of(scene, token) + b"; lang=en"
    first, second = read(scene, header), read(scene, header)
    assert first == second
    assert first[0] == [token.key]
    assert len(scene.flows._known_headers) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"theme=dark",
        b"__Host-session=garbage",
        b"__Host-session=" + b"A" * 86,
    ],
)
def test_a_header_without_a_token_of_ours_is_not_remembered(header):
    scene = Scene()
    assert read(scene, header)[0] == read(scene, header)[0] == []
    assert not scene.flows._known_headers


def test_several_tokens_and_garbage_beside_one_are_looked_at_each_time():
    scene = Scene()
    two = header_of(scene, a_token(), a_token())
    mixed = header_of(scene, a_token(), b"garbage")
    for header, refused in ((two, False), (mixed, True)):
        assert read(scene, header) == read(scene, header)
        assert read(scene, header)[2] is refused
    assert not scene.flows._known_headers


def test_another_manager_remembers_for_itself():
    ours, theirs = Scene(make_settings(secret=NEW_SECRET)), Scene(make_settings(secret=OLD_SECRET))
    header = header_of(ours, a_token())
    assert read(ours, header)[0] != []
    assert read(theirs, header)[0] == []


def test_only_so_many_are_remembered_and_none_that_is_long(monkeypatch):
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 10)
    scene = Scene()
    for token in (a_token() for _ in range(25)):
        assert read(scene, header_of(scene, token))[0] == [token.key]
        assert len(scene.flows._known_headers) <= 10
    scene.flows._known_headers.clear()
    long = header_of(scene, a_token()) + b"; x=" + b"y" * 2000
    assert read(scene, long)[0] != []
    assert not scene.flows._known_headers
