"""What the drivers' errors mean, told by their names; and no message repeats the text of a server."""

import pytest
import redis.exceptions

from coatcheck.errors import StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.stores.redis.errors import code_in, code_of, failure, is_outage, is_reply
from coatcheck.stores.redis.scripts import failed

CODES = {
    "OOM": redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    "READONLY": redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
    "LOADING": redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    "MASTERDOWN": redis.exceptions.MasterDownError("Link with MASTER is down"),
    "CLUSTERDOWN": redis.exceptions.ClusterDownError("The cluster is down"),
    "CROSSSLOT": redis.exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
    "TRYAGAIN": redis.exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
    "NOPERM": redis.exceptions.NoPermissionError("this user has no permissions"),
    "NOAUTH": redis.exceptions.AuthenticationError("Authentication required."),
    "WRONGPASS": redis.exceptions.AuthenticationError("invalid username-password pair"),
    "NOSCRIPT": redis.exceptions.NoScriptError("No matching script. Please use EVAL."),
    "MISCONF": redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    "NOREPLICAS": redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    "BUSY": redis.exceptions.ResponseError("BUSY Redis is busy running a script."),
    "WRONGTYPE": redis.exceptions.ResponseError("WRONGTYPE Operation against a key"),
    "ERR": redis.exceptions.ResponseError("unknown command 'EVALSHA', with args beginning with: "),
}
KINDS = {"OOM": StoreFull} | dict.fromkeys(("READONLY", "MISCONF", "NOREPLICAS"), StoreReadOnly)


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_is_known_by_its_code_and_was_surely_not_run(code):
    error = CODES[code]
    assert code_of(error) == code
    for told in (failed(error), failure("redis://h:1", error, ambiguous=False)):
        assert type(told) is KINDS.get(code, StoreUnavailable)
        assert not getattr(told, "ambiguous", False)
        assert code in str(told)


def test_a_former_primary_of_sentinel_is_read_only():
    error = redis.exceptions.ConnectionError("The previous master is now a slave")
    assert code_of(error) == "READONLY"
    assert not is_reply(error)


@pytest.mark.parametrize("ambiguous", [False, True])
def test_what_is_no_refusal_is_an_outage_and_as_ambiguous_as_the_caller_says(ambiguous):
    for error, kind in (
        (redis.exceptions.TimeoutError("Timeout reading from socket"), StoreTimeout),
        (TimeoutError(), StoreTimeout),
        (redis.exceptions.ConnectionError("Connection reset by peer"), StoreUnavailable),
        (OSError("no such file"), StoreUnavailable),
        (RuntimeError("a mistake in the driver"), StoreUnavailable),
    ):
        assert code_of(error) is None
        assert is_outage(error)
        told = failure("redis://h:1", error, ambiguous=ambiguous)
        assert type(told) is kind
        assert told.ambiguous == ambiguous
        assert "redis://h:1" in str(told)
        assert told.__cause__ is error


def test_a_refusal_of_the_second_command_leaves_the_first_one_in_doubt():
    told = failure("redis://h:1", CODES["LOADING"], ambiguous=True)
    assert type(told) is StoreUnavailable
    assert told.ambiguous


@pytest.mark.promise("18")
@pytest.mark.parametrize(
    "text",
    ["unknown command 'EVALSHA', with args beginning with: 'hush'", "MISCONF hush", "HUSH-hush", "hush"],
)
def test_no_message_repeats_the_text_of_the_server(text):
    told = failed(redis.exceptions.ResponseError(text))
    assert "hush" not in f"{told} {told!r}".lower()
    assert "hush" not in code_in(text).lower()


def test_a_reply_that_makes_no_sense_is_a_refusal():
    assert type(failed(b"what?")) is StoreUnavailable
