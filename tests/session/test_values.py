"""Changes inside a value are stored, and reading writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coatcheck import DecodeError
from tests.model.values import form
from tests.session.scene import stored, tamper


@pytest.mark.promise("8")
def test_a_change_five_levels_deep_is_kept(visitor):
    deep = {"1": [{"2": ({"3": [{"4": {"5"}}]},)}]}
    with stored(visitor, deep=deep).request() as session:
        session["deep"]["1"][0]["2"][0]["3"][0]["4"].add("6")
    assert visitor.read() == {"deep": {"1": [{"2": ({"3": [{"4": {"5", "6"}}]},)}]}}


@pytest.mark.promise("8")
def test_a_change_inside_a_tuple_is_kept(visitor):
    with stored(visitor, pair=([1], {"a": 1})).request() as session:
        session["pair"][0].append(2)
    assert visitor.read() == {"pair": ([1, 2], {"a": 1})}


@pytest.mark.promise("8")
@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ([1], lambda value: value.append(2), [1, 2]),
        ([2, 1], lambda value: value.sort(), [1, 2]),
        ({"a": 1}, lambda value: value.update(b=2), {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, lambda value: value.update(a=value.pop("a")), {"b": 2, "a": 1}),
        ({1}, lambda value: value.add(2), {1, 2}),
        ([1], lambda value: value.__setitem__(0, True), [True]),
        ([1], lambda value: value.__setitem__(0, 1.0), [1.0]),
        ([0.0], lambda value: value.__setitem__(0, -0.0), [-0.0]),
        ([b"a"], lambda value: value.__setitem__(0, "a"), ["a"]),
    ],
    ids=range(9),
)
def test_every_change_inside_a_value_is_kept(visitor, before, change, after):
    with stored(visitor, value=before).request() as session:
        change(session["value"])
    assert form(visitor.read()["value"]) == form(after)


@pytest.mark.promise("8")
def test_a_value_that_is_changed_after_it_was_assigned_is_stored_as_it_is_at_the_end(visitor):
    with visitor.request() as session:
        cart = []
        session["cart"] = cart
        cart.append("hat")
    assert visitor.read() == {"cart": ["hat"]}


@pytest.mark.promise("8")
def test_a_value_that_is_held_beyond_a_save_still_counts(visitor):
    with stored(visitor, cart=["hat"]).request() as session:
        cart = session["cart"]
        cart.append("coat")
        visitor.sessions.save(session)
        cart.append("scarf")
        assert session["cart"] is cart
    assert visitor.read() == {"cart": ["hat", "coat", "scarf"]}


def test_a_value_that_was_replaced_or_removed_does_not_count_any_more(visitor):
    with stored(visitor, a=[1], b=[1], c=[1]).request() as session:
        old = [session["a"], session["b"], session["c"]]
        session["a"] = ["new"]
        del session["b"]
        session.sign_out()
        session["a"] = ["newer"]
        for value in old:
            value.append("lost")
    assert visitor.read() == {"a": ["newer"]}


@pytest.mark.promise("8")
def test_reading_never_writes(visitor):
    values = {
        "set": {3, 1, 2, "a", (1, 2)},
        "dict": {"b": {1: [2.5, None]}, "a": frozenset({1})},
        "when": [datetime(2026, 1, 1, tzinfo=UTC), timedelta(1)],
        "big": [2**70],
    }
    with stored(visitor, **values).request() as session:
        assert dict(session) == values
        assert session.peek_flashes() == []
        session["set"].add(1)
        session["dict"]["a"] = frozenset([1])
    assert visitor.sessions.store.calls == ["load"]
    assert visitor.set_cookie is None


@pytest.mark.promise("8")
def test_a_field_that_is_set_to_what_it_was_is_not_written(visitor):
    with stored(visitor, a=1, b=[{2}]).request() as session:
        session["a"] = 1
        session["b"] = [{2}]
        session["c"] = 1
        del session["c"]
    assert visitor.sessions.store.calls == ["load"]


def test_bytes_of_another_release_that_mean_the_same_are_not_written(visitor):
    stored(visitor, tags={1, 2})
    tamper(visitor, tags=b"\xc7\x03\x02\x92\x02\x01")  # the same set, its members the other way round
    with visitor.request() as session:
        assert session["tags"] == {1, 2}
    assert visitor.sessions.store.calls == ["load"]


@pytest.mark.promise("10")
def test_one_field_that_can_not_be_read_is_named_and_the_others_work(visitor):
    tamper(stored(visitor, good=1, bad=2), bad=b"\xc1")
    with visitor.request() as session:
        assert session["good"] == 1
        assert len(session) == 2
        assert "bad" in session
        for look in (
            lambda: session["bad"],
            lambda: session.get("bad"),
            lambda: session.pop("bad"),
            lambda: dict(session),
        ):
            with pytest.raises(DecodeError, match=r"session\['bad'\]") as caught:
                look()
            assert caught.value.field == "bad"
        session["good"] = 2
    with visitor.request() as session:
        assert session["good"] == 2
        session["bad"] = "mended"
    assert visitor.read() == {"good": 2, "bad": "mended"}


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_can_be_removed(visitor):
    tamper(stored(visitor, good=1, bad=2), bad=b"\xc1")
    with visitor.request() as session:
        del session["bad"]
    assert visitor.read() == {"good": 1}
