"""Scenes can't exhaust the server: one at a time, so many in a while, each over in time, and nothing stays of it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

import pytest

from coatcheck.demo.scenes import theatre as module
from coatcheck.demo.scenes.corner_shop import BrokenOff, Gate
from coatcheck.demo.scenes.naive import InTheStore
from coatcheck.demo.scenes.plays import SCENES, Seen
from coatcheck.demo.scenes.sides import CoatcheckSide, NaiveSide, _told
from coatcheck.demo.scenes.stage import Browser, Stage
from coatcheck.demo.scenes.theatre import Busy, Theatre, played
from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.model.record import Unreadable
from coatcheck.testing.wrappers import StoreWrapper

TWO_TABS, STORE_AWAY = SCENES[0], SCENES[4]


@pytest.fixture
def theatre(store, clock):
    return Theatre(store, clock)


def test_it_plays_a_scene_on_both_sides(theatre):
    ours, theirs = theatre.play(TWO_TABS)
    assert (ours.seen.good, theirs.seen.good) == (True, False)


def test_while_one_scene_plays_there_is_no_other(theatre):
    def play(stage):
        with pytest.raises(Busy):
            theatre.play(TWO_TABS)
        return Seen(good=True, said="")

    theatre.play(replace(TWO_TABS, play=play))
    theatre.play(TWO_TABS)


def test_there_are_only_so_many_in_a_while(theatre, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    quick = replace(TWO_TABS, play=lambda stage: Seen(good=True, said=""))
    for _ in range(module._MOST):
        theatre.play(quick)
    with pytest.raises(Busy):
        theatre.play(quick)
    now += module._SECONDS
    theatre.play(quick)


def test_a_demo_whose_store_is_down_says_so_and_plays_nothing(theatre, failing):
    failing.fail("ping", error=StoreUnavailable("down", ambiguous=False))
    with pytest.raises(StoreUnavailable):
        theatre.play(TWO_TABS)
    failing.recover()
    theatre.play(TWO_TABS)


def test_the_outage_of_a_scene_is_for_that_scene_alone_and_no_news_for_the_operator(theatre, store, caplog):
    seen = []

    def play(stage):
        with stage.away():
            store.ping(1e12)
            seen.append(stage.browser("Ada").post("/take/coat", also=HTTPStatus.SERVICE_UNAVAILABLE).status)
        seen.append(stage.browser("Ada").post("/take/coat").status)
        return Seen(good=True, said="")

    theatre.play(replace(STORE_AWAY, play=play))
    assert seen == [503, 200, 200, 200]
    assert caplog.text == ""


def test_the_store_is_back_also_where_a_scene_breaks_off(store):
    for side, is_away in (
        (CoatcheckSide(store, lambda: 1.0), lambda side: side._switch.off),
        (NaiveSide(InTheStore()), lambda side: side._place.away),
    ):
        with suppress(ZeroDivisionError), side.away():
            assert is_away(side)
            raise ZeroDivisionError
        assert not is_away(side)


def test_of_what_is_no_session_nothing_is_told():
    assert _told(Unreadable("an epoch")) is None


@pytest.fixture
def impatient(monkeypatch):
    """Nothing in a scene waits longer than this."""
    for name in ("corner_shop", "stage"):
        monkeypatch.setattr(f"coatcheck.demo.scenes.{name}.PATIENCE", 0.05)


def test_a_gate_that_no_request_reaches_is_not_waited_for_for_ever(impatient):
    with pytest.raises(BrokenOff):
        Gate().wait()


def test_a_slow_request_goes_on_by_itself(impatient):
    Gate().hold()


def test_on_a_machine_that_is_too_busy_a_scene_breaks_off(theatre, impatient, monkeypatch):
    monkeypatch.setattr(Gate, "hold", lambda gate: None)  # it never says that it arrived
    with pytest.raises(BrokenOff):
        theatre.play(TWO_TABS)


@pytest.mark.parametrize("error", [BrokenOff, ZeroDivisionError])
def test_a_slow_request_that_fails_is_told(monkeypatch, error):
    send = Browser.send

    def fail_when_slow(browser, method, path, query="", **kwargs):
        answer = send(browser, method, path, query, **kwargs)
        if query:
            raise error
        return answer

    monkeypatch.setattr(Browser, "send", fail_when_slow)
    with pytest.raises(BrokenOff):
        played(TWO_TABS, NaiveSide(InTheStore()))


def test_after_a_scene_its_server_is_gone():
    before = set(threading.enumerate())
    with Stage(NaiveSide(InTheStore())) as stage:
        ada = stage.browser("Ada")
        ada.look()
    with pytest.raises(BrokenOff):
        ada.look()
    began = set(threading.enumerate()) - before
    assert not any(thread.name == "a scene" for thread in began)
    for thread in began:  # of a request, which has been answered
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [0, 1])
def test_where_a_server_or_a_thread_can_not_be_had_the_scene_breaks_off(theatre, monkeypatch, threads):
    """Its socket is closed: pytest tells of one that is not."""
    start, left = threading.Thread.start, iter(range(threads))

    def refuse(thread):
        if thread.name in ("a scene", "the slow request") and next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BrokenOff):
        theatre.play(TWO_TABS)
    monkeypatch.undo()
    monkeypatch.setattr("coatcheck.demo.scenes.stage._Server", raising(PermissionError))
    with pytest.raises(BrokenOff):
        theatre.play(TWO_TABS)
    monkeypatch.undo()
    theatre.play(TWO_TABS)


def raising(error):
    def call(*_):
        raise error

    return call


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)
def test_a_scene_whose_store_stumbles_once_shows_no_outcome_but_the_true_one(scene, store, clock):
    """At every call in turn, one fails. Either the scene breaks off, or the failure did not matter to what it shows."""
    true = played(scene, CoatcheckSide(store, clock))
    stumbled = broke_off = 0
    for number in range(1, 100):
        stumbling = Stumbling(store, number)
        try:
            went = played(scene, CoatcheckSide(stumbling, clock))
        except (BrokenOff, StoreError):
            broke_off += 1
        else:
            assert (went.seen, went.held) == (true.seen, true.held)
        if not stumbling.stumbled:
            break
        stumbled += 1
    assert 0 < broke_off <= stumbled < 50


class Stumbling(StoreWrapper):
    """Fails one call, by its number."""

    def __init__(self, store, number):
        super().__init__(store)
        self.left, self.stumbled = number, False

    def around(self, call, send):
        self.left -= 1
        if self.left == 0:
            self.stumbled = True
            error = StoreUnavailable("stumbled", ambiguous=False)
            if call.method == "load":  # each key has an answer of its own
                return [error] * len(call.args[0])
            raise error
        return send()
