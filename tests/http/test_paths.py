"""Which of several prefixes a path falls under."""

import pytest

from coatcheck.errors import ConfigurationError
from coatcheck.http.paths import Prefixes


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        ("/static", "static"),
        ("/static/", "below"),
        ("/static/site.css", "below"),
        ("/staticky", "root"),
        ("/static.css", "root"),
        ("/Static", "root"),
        ("/", "root"),
        ("//static", "root"),
        ("/größe/1", "groesse"),
        ("/größer", "root"),
        ("", None),
        ("static", None),
    ],
)
def test_the_longest_prefix_that_ends_where_a_part_of_the_path_ends_counts(path, choice):
    choices = {"/": "root", "/static": "static", "/größe": "groesse", "/static/": "below"}
    assert Prefixes("outage", choices).of(path) == choice
    assert Prefixes("outage", dict(reversed(choices.items()))).of(path) == choice


def test_without_a_prefix_nothing_is_chosen():
    assert Prefixes("exclude", {}).of("/") is None
    assert not Prefixes("exclude", {})
    assert Prefixes("exclude", {"/": True})


def test_a_false_choice_is_one():
    assert Prefixes("exclude", {"/": True, "/a": False}).of("/a/b") is False


@pytest.mark.parametrize(
    "prefix",
    ["", "static", "*", "/static/*", "/a?b=1", "/<name>", "/{name}", "/a#b", "/gr%C3%B6", None, 1, b"/a"],
)
def test_a_prefix_that_no_path_would_have_is_refused(prefix):
    with pytest.raises(ConfigurationError, match=r"^exclude takes prefixes"):
        Prefixes("exclude", {"/fine": True, prefix: True})


def test_what_is_done_with_the_mapping_afterwards_changes_nothing():
    choices = {"/a": 1}
    prefixes = Prefixes("outage", choices)
    choices["/a"] = 2
    assert prefixes.of("/a") == 1
