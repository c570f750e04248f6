"""The naive session has the one fault that it is there for, and none of the slips that some libraries add to it."""

from __future__ import annotations

import pytest

from coatcheck.demo.scenes.naive import COOKIE, InTheCookie, InTheStore
from coatcheck.demo.scenes.sides import NaiveSide
from coatcheck.demo.scenes.stage import Stage


@pytest.fixture
def place():
    return InTheStore()


@pytest.fixture
def stage(place):
    with Stage(NaiveSide(place)) as stage:
        yield stage


@pytest.fixture
def ada(stage):
    return stage.browser("Ada")


def test_an_id_that_the_client_made_up_is_not_adopted(ada, place):
    ada._cookies[COOKIE] = "made-up"
    ada.post("/take/coat")
    assert "made-up" not in place.blobs
    assert ada.look().basket == ["coat"]


def test_a_request_that_only_reads_writes_nothing(ada, place, stage):
    ada.post("/take/coat")
    before = dict(place.blobs)
    ada.look()
    assert place.blobs == before
    assert stage.log[-1] == "Ada: GET /, 200 OK (signed in: nobody; basket: coat)"


def test_a_sign_in_changes_the_id_and_the_old_one_is_dead(ada, place):
    ada.post("/take/coat")
    before = ada.copied("a copy")
    ada.post("/sign-in/Ada")
    assert len(place.blobs) == 1
    assert ada.look().basket == ["coat"]
    assert before.look().basket == []


def test_a_sign_out_deletes_the_session_and_the_cookie(ada, place):
    ada.post("/sign-in/Ada")
    ada.post("/sign-out")
    assert (ada._cookies, place.blobs) == ({}, {})
    ada.post("/sign-out")


def test_a_cookie_that_is_not_signed_opens_nothing():
    with Stage(NaiveSide(InTheCookie())) as stage:
        ada = stage.browser("Ada")
        ada.post("/sign-in/Ada")
        assert ada.look().user == "Ada"
        ada._cookies[COOKIE] += "x"
        assert ada.look().user is None


def test_a_session_in_the_cookie_needs_no_store():
    with Stage(NaiveSide(InTheCookie())) as stage:
        ada = stage.browser("Ada")
        ada.post("/sign-in/Ada")
        with stage.away():
            assert ada.look().user == "Ada"
