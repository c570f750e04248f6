"""What is said again, and what is not: only what surely was not done, or what is the same when done twice."""

import time

import pytest
import redis.exceptions

from coatcheck.errors import StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.stores._redis_errors import Broken, Said, failure_of, said
from coatcheck.stores._redis_exchange import Exchange
from coatcheck.stores._redis_words import Command

ONCE = Command(b"key", b"<once>", writes=True, again=False)
OFTEN = Command(b"key", b"<often>", writes=True)


def exchange_of(*commands, seconds=60):
    return Exchange(commands, time.monotonic() + seconds)


def broken(cause, *, sent):
    return Broken("redis://h:1", cause, sent=sent)


@pytest.mark.promise("F-03", "L")
def test_what_is_answered_is_not_said_again():
    exchange = exchange_of(ONCE, OFTEN)
    assert exchange.data((0, 1)) == (b"<once><often>", 2)
    exchange.answered((0, 1), (1, Said("OOM")))
    assert exchange.pause() is None
    assert exchange.replies[0] == 1
    assert exchange.replies[1].code == "OOM"


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize(("sent", "again"), [(False, [0, 1]), (True, [1])])
def test_what_may_have_been_done_is_said_again_only_where_twice_is_the_same(sent, again):
    exchange = exchange_of(ONCE, OFTEN)
    exchange.broke((0, 1), broken(redis.exceptions.ConnectionError("reset"), sent=sent))
    assert exchange.pause() is not None
    assert exchange.pending == again
    assert exchange.renew
    exchange.answered(again, [1] * len(again))
    assert exchange.pause() is None
    assert exchange.replies[1] == 1
    assert isinstance(exchange.replies[0], StoreUnavailable) == sent


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize(
    "cause",
    [
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.exceptions.ConnectionError("The previous master is now a slave"),
    ],
)
def test_what_a_server_refused_by_ending_the_connection_was_not_done(cause):
    exchange = exchange_of(ONCE)
    exchange.broke((0,), broken(cause, sent=True))
    assert exchange.pause() is not None
    assert exchange.pending == [0]


@pytest.mark.promise("F-07")
def test_a_former_primary_is_read_only_if_there_is_no_other():
    cause = redis.exceptions.ConnectionError("The previous master is now a slave")
    assert isinstance(broken(cause, sent=True).failure(writes=True), StoreReadOnly)
    exchange = exchange_of(ONCE)
    tries = 0
    while tries < 10:
        tries += 1
        exchange.answered((0,), (Said("READONLY"),))
        if exchange.pause() is None:
            break
        assert exchange.renew
    assert tries == 3
    assert isinstance(failure_of(exchange.replies[0]), StoreReadOnly)


@pytest.mark.promise("20")
@pytest.mark.parametrize("code", ["LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"])
def test_what_will_pass_is_tried_a_few_times_and_then_unavailable(code):
    exchange = exchange_of(ONCE)
    for _ in range(2):
        exchange.answered((0,), (Said(code),))
        assert exchange.pause() is not None
    exchange.answered((0,), (Said(code),))
    assert exchange.pause() is None
    assert isinstance(failure_of(exchange.replies[0]), StoreUnavailable)


@pytest.mark.promise("20")
def test_a_wrong_password_is_not_tried_again():
    exchange = exchange_of(OFTEN)
    exchange.broke((0,), broken(redis.exceptions.AuthenticationError("invalid password"), sent=False))
    assert exchange.pause() is None
    assert "password" in str(exchange.replies[0])


@pytest.mark.promise("20")
def test_nothing_is_said_again_after_the_deadline():
    exchange = exchange_of(OFTEN, seconds=0)
    exchange.broke((0,), broken(redis.exceptions.TimeoutError("slow"), sent=True))
    assert exchange.pause() is None
    assert isinstance(exchange.replies[0], StoreTimeout)
    assert exchange.replies[0].ambiguous


@pytest.mark.promise("F-03", "L")
def test_only_a_write_that_was_sent_is_ambiguous():
    cause = redis.exceptions.TimeoutError("slow")
    assert [
        broken(cause, sent=sent).failure(writes=writes).ambiguous
        for sent, writes in ((True, True), (True, False), (False, True))
    ] == [True, False, False]


@pytest.mark.promise("F-09")
def test_who_is_sent_elsewhere_goes_there_at_once_but_not_for_ever():
    exchange = exchange_of(ONCE, OFTEN)
    exchange.answered((0, 1), (Said("ASK", ("h", 2)), Said("MOVED", ("h", 3))))
    assert exchange.pause() == 0
    assert {place: moved.address for place, moved in exchange.moved.items()} == {0: ("h", 2), 1: ("h", 3)}
    assert exchange.data((0,)) == (b"*1\r\n$6\r\nASKING\r\n<once>", 2)
    exchange.answered((0,), (b"OK", 1))
    exchange.answered((1,), (Said("MOVED", ("h", 4)),))
    assert exchange.replies[0] == 1
    for _ in range(50):
        if exchange.pause() is None:
            break
        exchange.answered((1,), (Said("MOVED", ("h", 4)),))
    else:
        raise AssertionError("it goes on for ever")
    assert "redis+cluster://" in str(failure_of(exchange.replies[1]))


@pytest.mark.promise("18")
@pytest.mark.parametrize(
    "text", ["unknown command 'EVALSHA', with args beginning with: 'hush'", "MISCONF hush", "HUSH-hush"]
)
def test_no_message_repeats_what_the_server_said_of_a_command(text):
    failure = failure_of(said(redis.exceptions.ResponseError(text)))
    assert isinstance(failure, StoreUnavailable | StoreReadOnly)
    assert "hush" not in f"{failure} {failure!r} {failure.__cause__}".lower()
